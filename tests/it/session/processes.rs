//! The processes of a session: asleep while nothing happens, and gone once its client is.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::claude_code;
use crate::support::mcp::Session;
use crate::support::stage::{Stage, ask};

/// Returns the processes that were told of this stage's hub, with their command lines.
fn processes_of(stage: &Stage) -> Vec<(u32, String)> {
    let variable = format!("RELAY_SOCKET={}", stage.hub.socket().display()).into_bytes();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable)
    })
    .map(|pid| (pid, std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")))
    .collect()
}

#[test]
fn two_seconds_after_a_client_was_killed_nothing_of_ours_is_left_of_it() {
    let stage = Stage::settled(&[]);
    let backend = stage.session("backend");
    // The client is a shell: a plugin's channel, a project's channel, and a waiter are its children.
    let script = "exec 3<&0; \"$0\" <&3 3<&- & \"$0\" <&3 3<&- >/dev/null & \"$0\" wait 3<&- & exec 3<&- <&-; wait";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_relay-channel")]);
    shell.env("CLAUDECODE", "1").env("CLAUDE_CODE_ENTRYPOINT", "cli");
    let folder = stage.folders().join("web");
    std::fs::create_dir_all(&folder).unwrap();
    let client = Session::builder_of(shell).socket(&stage.hub.socket()).cwd(&folder).spawn();
    let end = Instant::now() + Duration::from_secs(10);
    while processes_of(&stage).iter().filter(|(_, command)| command.contains("relay-channel")).count() < 5 {
        assert!(Instant::now() < end, "{:?}", processes_of(&stage));
        std::thread::sleep(Duration::from_millis(20));
    }
    client.signal(Signal::KILL);
    client.close();
    let killed = Instant::now();
    client.wait();
    while processes_of(&stage).iter().any(|(pid, _)| *pid != backend.pid) {
        assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", processes_of(&stage));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns how often a process gave up the processor by itself, which it does each time that it wakes.
fn wake_ups(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_thread = |path: std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    threads.map(|thread| of_thread(thread.unwrap().path())).sum()
}

/// `RELAY_IDLE_SECONDS=n` looks for so long instead of ten seconds.
#[test]
fn an_idle_session_wakes_neither_its_channel_nor_its_waiter() {
    let stage = Stage::settled(&[]);
    let folder = stage.folders().join("web");
    std::fs::create_dir_all(&folder).unwrap();
    let session = claude_code::session(&stage.hub, &folder, stage.folders()).start();
    let waiter = claude_code::Waiter::start(&stage.hub);
    let (other, held) = (stage.session("other"), stage.held_session("held"));
    ask(&other, "held", "Hm?", 600);
    // What has begun comes to its end: first events, the hub's grace period, the alarms of the calls.
    std::thread::sleep(Duration::from_secs(7));
    let pids = [session.pid, waiter.pid(), other.pid, held.pid];
    let before = pids.map(wake_ups);
    let seconds = std::env::var("RELAY_IDLE_SECONDS").map_or(10, |text| text.parse().unwrap());
    std::thread::sleep(Duration::from_secs(seconds));
    assert_eq!(pids.map(wake_ups), before, "session, waiter, asker, asked: after {seconds} s");
}
