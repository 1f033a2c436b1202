//! Four sessions that talk all the time while their hub is killed again and again, under a real `systemd --user`.
//!
//! What every MCP client saw is recorded and judged by `support::checker`, which knows only the promises.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::support::chaos_clients::{End, hasty, invite, slow, stopped};
use crate::support::checker::{BACK, PEACE, violations};
use crate::support::hub_finder::HubFinder;
use crate::support::installed::Installed;
use crate::support::load::{Clock, processes_of, summary, talk, worked};
use crate::support::record::Record;
use crate::support::user_manager::{UserManager, user_manager};

/// How often the hub is killed.
const KILLS: usize = 200;

/// The names of the sessions, which are their folders'.
const NAMES: [&str; 4] = ["backend", "docs", "ops", "web"];

/// Makes the service manager start the next hub at once. By the unit it waits for 200 ms, and with its timers' accuracy
/// for up to 450: time in which nothing happens.
fn restart_at_once(manager: &UserManager) {
    let drop_in = manager.home().join(".config/systemd/user/relay.service.d/test.conf");
    let write = "mkdir -p \"${1%/*}\" && printf '[Service]\nRestartSec=0\n' > \"$1\"";
    assert!(manager.command("sh").args(["-c", write, "sh"]).arg(&drop_in).status().unwrap().success());
    manager.systemctl("daemon-reload");
}

/// Kills hubs in bursts, each as soon as it is there or some time later, with peace between the bursts.
fn kill_hubs(manager: &UserManager, clock: &Clock) {
    let hub = HubFinder::new(manager);
    let mut chance = clock.chance(7777);
    let (mut kills, mut killed) = (0, None);
    while kills < KILLS {
        // The first burst is at the unit's own pace.
        let burst = if kills == 0 { 10 } else { 10 + chance.below(30) as usize };
        for _ in 0..burst.min(KILLS - kills) {
            let pid = loop {
                match hub.find() {
                    Some(pid) if killed != Some(pid) => break pid,
                    _ => sleep(Duration::from_millis(2)),
                }
            };
            let longest_ms = [60, 60, 60, 400, 400, 400, 900][chance.below(7) as usize];
            sleep(chance.millis(longest_ms));
            kill_process(pid, Signal::KILL).expect("the hub was alive");
            kills += 1;
            killed = Some(pid);
        }
        sleep(PEACE + chance.millis(1000));
        restart_at_once(manager);
    }
}

#[test]
fn two_hundred_kills_of_the_hub_break_no_promise() {
    let manager = user_manager!();
    let seed = match std::env::var("RELAY_CHAOS_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => getrandom::u64().unwrap(),
    };
    println!("RELAY_CHAOS_SEED={seed}");
    let programs = manager.install_programs(&[
        env!("CARGO_BIN_EXE_relay-hub"),
        env!("CARGO_BIN_EXE_relay-channel"),
        env!("CARGO_BIN_EXE_relayctl"),
    ]);
    // The brakes on loops and storms have tests of their own; here they would keep the sessions from talking.
    manager.systemctl("set-environment RELAY_LIMITS=rate=off,loop=off");
    let relayctl = |subcommand: &str| {
        let output = manager.command(programs.join("relayctl")).arg(subcommand).output().unwrap();
        assert!(output.status.success(), "{subcommand}: {output:?}");
    };
    relayctl("install-service");

    let clock = Clock::start(seed);
    let channel = programs.join("relay-channel");
    let record = talk(&manager, &clock, &channel, &NAMES, || kill_hubs(&manager, &clock));
    relayctl("uninstall-service");
    assert_eq!(processes_of(manager.uid(), &programs), [], "no process of ours is left");
    println!("{}", summary(&record));
    let found = violations(&record);
    assert!(
        found.is_empty(),
        "seed {seed}, {}: {} broken promises:\n{}",
        summary(&record),
        found.len(),
        found.join("\n")
    );
    assert_enough_was_tried(&record);
}

/// How often a hub is restarted unless `RELAY_TEST_RESTARTS` says otherwise.
const RESTARTS: u64 = 8;

#[test]
fn restarts_every_few_seconds_among_clients_of_every_bad_kind_break_no_promise() {
    let relay = Installed::with(user_manager!());
    relay.hub_arguments("--limit rate=off --limit loop=off --limit queued_bytes=100000");
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seed = number("RELAY_CHAOS_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    let restarts = number("RELAY_TEST_RESTARTS").unwrap_or(RESTARTS);
    println!("RELAY_CHAOS_SEED={seed}");
    let (clock, over) = (Clock::start(seed), AtomicBool::new(false));
    let visits: [&(dyn Fn() + Sync); 3] = [
        &|| stopped(&relay),
        &|| {
            let _hub_lost = slow(&relay, 4000);
        },
        &|| {
            let _hub_lost = hasty(&relay);
        },
    ];
    let record = scope(|scope| {
        invite(scope, &relay, &over);
        for visit in visits {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    visit();
                    sleep(Duration::from_millis(500));
                }
            });
        }
        let end = End(&over);
        talk(&relay.manager, &clock, &relay.program("relay-channel"), &NAMES, || {
            for _ in 0..restarts {
                // A little more than they have to be back: sooner nothing would be owed.
                sleep(BACK + Duration::from_millis(400));
                relay.manager.systemctl("restart relay.service");
            }
            sleep(PEACE);
            drop(end);
        })
    });
    println!("{}", summary(&record));
    let found = violations(&record);
    assert!(found.is_empty(), "seed {seed}: {} broken promises:\n{}", found.len(), found.join("\n"));
    assert_peace(&record);
    for (tool, state, least) in [("relay_ask", "accepted", 100), ("relay_reply", "accepted", 50)] {
        let n = worked(&record, tool, state);
        assert!(n >= least, "only {n} of {tool} {state}");
    }
    let programs = relay.program("relay-hub").parent().unwrap().to_owned();
    relay.relayctl_ok("uninstall-service");
    assert_eq!(processes_of(relay.manager.uid(), &programs), [], "no process of ours is left");
}

/// What was not tried was not tested.
fn assert_enough_was_tried(record: &Record) {
    assert_peace(record);
    for (tool, state, least) in [
        ("relay_ask", "accepted", 200),
        ("relay_tell", "accepted", 30),
        ("relay_broadcast", "", 5),
        ("relay_reply", "accepted", 100),
        ("relay_peers", "", 200),
    ] {
        let n = worked(record, tool, state);
        assert!(n >= least, "only {n} of {tool} {state}");
    }
}

/// Where no hub lives long enough, nobody must be back.
fn assert_peace(record: &Record) {
    let peaceful = record.lives.iter().filter(|life| life.until - life.from > BACK).count();
    assert!(peaceful >= 3, "{peaceful} hubs lived in peace");
}
