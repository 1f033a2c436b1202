//! What sessions cost when nothing happens, and what is left of many messages.
//!
//! Eight sessions with a channel and a waiter each, the release build, played as Claude Code does. Processor time and waits
//! are those that the kernel counts for each process.

use std::time::Duration;

use crate::stage::{Room, Session, Via, cpu, kib, wake_ups};

const SESSIONS: usize = 8;
const IDLE: Duration = Duration::from_secs(60);
/// How many messages are sent until memory is looked at: asks and replies are one each.
const MESSAGES: [usize; 2] = [10_000, 100_000];

pub fn measure() {
    println!("{SESSIONS} sessions with their waiters");
    let mut room = Room::start(Via::RelayWithWaiters, SESSIONS);
    let find = |session: &Session, is_waiter: bool| {
        let children = session.children();
        children.iter().find(|(command, _)| command.contains("wait") == is_waiter).unwrap().1
    };
    let channels: Vec<u32> = room.sessions.iter().map(|session| find(session, false)).collect();
    let waiters: Vec<u32> = room.sessions.iter().map(|session| find(session, true)).collect();
    let hub = [room.hub_pid()];
    print_memory("when idle", &channels, &waiters, hub[0]);

    let all = [("channels", &channels[..]), ("waiters", &waiters), ("the hub", &hub)];
    let before = all.map(|(_, pids)| used(pids));
    std::thread::sleep(IDLE);
    for ((name, pids), (time, waits)) in all.into_iter().zip(before) {
        let (time_after, waits_after) = used(pids);
        println!("idle for {IDLE:?}: {name}: {:?} of a processor, {} wake-ups", time_after - time, waits_after - waits);
    }

    // The first message of a session wakes its waiter, which ends with it.
    let mut sent = 0;
    for messages in MESSAGES {
        exchange(&mut room.sessions, messages - sent);
        sent = messages;
        std::thread::sleep(Duration::from_secs(1));
        print_memory(&format!("after {messages} messages"), &channels, &[], hub[0]);
    }
}

/// Has pairs of sessions ask and answer, until there were so many messages.
fn exchange(sessions: &mut [Session], messages: usize) {
    let each = messages / 2 / (SESSIONS / 2);
    std::thread::scope(|scope| {
        for (n, pair) in sessions.chunks_mut(2).enumerate() {
            scope.spawn(move || {
                let [asker, asked] = pair else { panic!("a pair") };
                for _ in 0..each {
                    asker.ask(&format!("s{}", n * 2 + 1), &"x".repeat(200));
                    let ask = asked.hear_message();
                    asked.reply("", &ask, &"y".repeat(200));
                    asker.hear_message();
                }
            });
        }
    });
}

fn used(pids: &[u32]) -> (Duration, u64) {
    (pids.iter().map(|pid| cpu(*pid)).sum(), pids.iter().map(|pid| wake_ups(*pid)).sum())
}

fn print_memory(when: &str, channels: &[u32], waiters: &[u32], hub: u32) {
    let each = |pids: &[u32]| pids.iter().map(|pid| kib(*pid, "Pss:")).sum::<u64>() / pids.len().max(1) as u64;
    print!("{when}: a channel {} KiB", each(channels));
    if !waiters.is_empty() {
        print!(", with its waiter {} KiB", each(channels) + each(waiters));
    }
    println!(" (Pss), the hub {} KiB (Rss)", kib(hub, "Rss:"));
}
