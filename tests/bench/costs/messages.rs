//! What a message costs: from the call to the other session's client, one by one, at a human's pace, many at once.
//!
//! The programs are spoken to as Claude Code does: over socket pairs, one JSON line a message.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::null_path;
use crate::stage::{Process, Room, Session, Times, Via, kib, print_row};

const ASKS: usize = 2000;
const AT_HUMAN_PACE: usize = 60;
const PAIRS: usize = 8;
const ASKS_OF_A_PAIR: usize = 200;
const ASKS_OF_A_BUSY_PAIR: usize = 5000;
/// How many asks of a busy pair are on their way at once.
const WINDOW: usize = 4;
const LISTENERS: usize = 100;
const BROADCASTS: usize = 20;

pub fn measure() {
    println!("microseconds, and how often each floor goes into those of the relay");
    let mut three = [Via::Relay, Via::Null, Via::SameCrates].map(|via| Room::start(via, 2));
    one_pair("one pair, back to back", ASKS, &mut three, || {});
    let mut random = 1_u64;
    one_pair("one pair, at human pace", AT_HUMAN_PACE, &mut three, || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis((random >> 33) % 1000));
    });
    drop(three);
    let mut rooms = [Via::Relay, Via::Null].map(|via| Room::start(via, PAIRS * 2));
    pairs(&mut rooms);
    let channels: u64 = rooms[0].sessions[..PAIRS].iter().map(|session| kib(session.pid(), "Pss:")).sum();
    println!("a channel, of {}, after this: {} KiB (Pss)", PAIRS * 2, channels / PAIRS as u64);
    println!("the hub: {} KiB (Rss)", kib(rooms[0].hub_pid(), "Rss:"));
    let [relay, null] = rooms;
    broadcasts(&mut [relay, null, Room::start(Via::SameCrates, 2)]);
    busy_pairs(&mut [Via::Relay, Via::Null].map(|via| Room::start(via, PAIRS * 2)));
}

/// One pair of sessions asks and answers, after a pause each.
fn one_pair(what: &str, asks: usize, rooms: &mut [Room; 3], mut pause: impl FnMut()) {
    let mut floor = Process::start(null_path::command(null_path::ECHO, Path::new("")));
    let mut pings = Times::default();
    let [mut relay, mut null, mut same] = [(); 3].map(|()| (Times::default(), Times::default()));
    for n in 0..asks {
        let question = format!("{n} {}", "x".repeat(200));
        pause();
        let begun = Instant::now();
        floor.say(&question);
        floor.hear();
        pings.push(begun.elapsed());
        for (room, times) in rooms.iter_mut().zip([&mut relay, &mut null, &mut same]) {
            pause();
            let [asker, asked, ..] = &mut room.sessions[..] else { panic!("two sessions at least") };
            let begun = Instant::now();
            asker.ask("s1", &question);
            let ask = asked.hear_message();
            times.0.push(begun.elapsed());
            asked.reply("s0", &ask, "yes");
            asker.hear_message();
            times.1.push(begun.elapsed());
        }
    }
    println!("{what}, {asks} asks of 200 bytes");
    for percent in [50, 99] {
        let ping = pings.percentile(percent);
        for step in ["shown", "answered"] {
            let all = [&mut relay, &mut null, &mut same].map(|(shown, answered)| {
                if step == "shown" { shown.percentile(percent) } else { answered.percentile(percent) }
            });
            let names = ["relay", "null path", "same crates"];
            let figures = [(names[0], all[0]), (names[1], all[1]), (names[2], all[2]), ("ping-pong", ping)];
            print_row(&format!("  ask until {step}, p{percent}"), &figures);
        }
    }
}

/// Pairs of sessions ask and answer at the same time.
fn pairs(rooms: &mut [Room; 2]) {
    println!("{PAIRS} pairs at once, {ASKS_OF_A_PAIR} asks each");
    let [mut relay, mut null] = rooms.each_mut().map(|room| {
        std::thread::scope(|scope| {
            let pairs = room.sessions.chunks_mut(2).enumerate();
            let asking: Vec<_> = pairs.map(|(n, pair)| scope.spawn(move || pair_asks(n, pair))).collect();
            let mut all = Times::default();
            asking.into_iter().for_each(|pair| all.extend(pair.join().unwrap()));
            all
        })
    });
    for percent in [50, 99] {
        let figures = [("relay", relay.percentile(percent)), ("null path", null.percentile(percent))];
        print_row(&format!("  ask until shown, p{percent}"), &figures);
    }
}

fn pair_asks(n: usize, pair: &mut [Session]) -> Times {
    let [asker, asked] = pair else { panic!("a pair") };
    let (own, other) = (format!("s{}", n * 2), format!("s{}", n * 2 + 1));
    let mut times = Times::default();
    for _ in 0..ASKS_OF_A_PAIR {
        let begun = Instant::now();
        asker.ask(&other, &"x".repeat(200));
        let ask = asked.hear_message();
        times.push(begun.elapsed());
        asked.reply(&own, &ask, "yes");
        asker.hear_message();
    }
    times
}

fn broadcasts(rooms: &mut [Room; 3]) {
    let times = rooms.each_mut().map(|room| {
        room.grow(LISTENERS + 1);
        std::thread::sleep(Duration::from_secs(1));
        let (asker, others) = room.sessions.split_first_mut().unwrap();
        let mut times = Times::default();
        for _ in 0..BROADCASTS {
            let begun = Instant::now();
            asker.broadcast(&"x".repeat(200));
            others.iter_mut().for_each(|session| drop(session.hear_message()));
            times.push(begun.elapsed());
            // A channel whose results nobody reads takes no more calls.
            asker.hear();
        }
        times
    });
    let names = ["relay", "null path", "same crates"].into_iter();
    let figures: Vec<(&str, f64)> = names.zip(times).map(|(name, mut times)| (name, times.percentile(50))).collect();
    print_row(&format!("a broadcast, until the last of {LISTENERS} has it"), &figures);
}

/// Pairs of sessions ask as much as they can, and nobody answers.
fn busy_pairs(rooms: &mut [Room; 2]) {
    let [relay, null] = rooms.each_mut().map(|room| {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for (n, pair) in room.sessions.chunks_mut(2).enumerate() {
                scope.spawn(move || busy_pair_asks(n, pair));
            }
        });
        (PAIRS * ASKS_OF_A_BUSY_PAIR) as f64 / begun.elapsed().as_secs_f64()
    });
    let what = format!("{PAIRS} pairs, {WINDOW} asks on their way in each, a second");
    print_row(&what, &[("relay", relay), ("null path", null)]);
}

fn busy_pair_asks(n: usize, pair: &mut [Session]) {
    let [asker, asked] = pair else { panic!("a pair") };
    let other = format!("s{}", n * 2 + 1);
    for n in 0..ASKS_OF_A_BUSY_PAIR + WINDOW {
        if n < ASKS_OF_A_BUSY_PAIR {
            asker.ask(&other, &"x".repeat(200));
        }
        if n >= WINDOW {
            asked.hear_message();
            asker.hear();
        }
    }
}
