//! What `relayctl board` costs with 100 sessions: `cargo bench --bench board`. It needs tmux.
//!
//! Everything is real: a hub and the board of the release build, the board in a terminal of tmux, and 100 connections that
//! said hello as sessions. First nothing happens, then 50 sessions a second change what they do. Times are the processor
//! time of the board's process, as the kernel counts it; the hub's and tmux's own stand beside it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on fails, and prints")]
#![allow(dead_code, unused_imports, unused_macros, reason = "the support of the tests has more than is used here")]
#![allow(unreachable_pub, reason = "one binary: what a module offers is for the others")]

#[cfg(target_os = "linux")]
#[path = "../it/support"]
mod support {
    pub mod hub_process;
    pub mod terminal;
}

fn main() {
    #[cfg(target_os = "linux")]
    board::measure();
    #[cfg(not(target_os = "linux"))]
    println!("this reads /proc");
}

#[cfg(target_os = "linux")]
mod board {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use crate::support::hub_process::{HubProcess, RawClient};
    use crate::support::terminal::Terminal;

    const SESSIONS: usize = 100;
    const EVENTS_A_SECOND: u32 = 50;
    const SPAN: Duration = Duration::from_secs(20);

    pub fn measure() {
        let hub = HubProcess::start(&[]);
        let mut sessions: Vec<RawClient> =
            (0..SESSIONS).map(|number| hub.session(&format!("service-{number}"))).collect();
        let board = format!("exec {} board", env!("CARGO_BIN_EXE_relayctl"));
        let terminal = Terminal::run(&board, &hub.socket(), (160, 50));
        terminal.wait_for_text("100 sessions");
        let processes =
            [("board", terminal.is("pane_pid")), ("hub", hub.pid().to_string()), ("tmux", terminal.is("pid"))];
        // What the start makes is over.
        std::thread::sleep(Duration::from_secs(3));
        let load = std::fs::read_to_string("/proc/loadavg").unwrap();
        println!("{SESSIONS} sessions, {SPAN:?} each, load {}", load.split_whitespace().next().unwrap());
        println!("{:<28} {:>10} {:>10} {:>10}", "% of a core", "board", "hub", "tmux");
        row("nothing happens", &processes, || std::thread::sleep(SPAN));
        row("50 changes a second", &processes, || {
            let start = Instant::now();
            let states = ["busy", "idle", "waiting"];
            let mut n = 0;
            while start.elapsed() < SPAN {
                sessions[n % SESSIONS].say(&json!({
                    "type": "presence", "cwd": format!("/test/service-{}", n % SESSIONS), "branch": "main",
                    "status": states[(n / SESSIONS + n) % 3], "wakes_by": "channel",
                }));
                n += 1;
                let next = start + Duration::from_secs(1) / EVENTS_A_SECOND * u32::try_from(n).unwrap();
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
    }

    fn row(what: &str, processes: &[(&str, String)], act: impl FnOnce()) {
        let before: Vec<Duration> = processes.iter().map(|(_, pid)| busy(pid)).collect();
        let start = Instant::now();
        act();
        let time = start.elapsed();
        let shares = processes.iter().zip(before).map(|((_, pid), before)| {
            let share = (busy(pid) - before).as_secs_f64() / time.as_secs_f64() * 100.0;
            format!(" {share:>10.2}")
        });
        println!("{what:<28}{}", shares.collect::<String>());
    }

    /// Returns the processor time of a process: the first field of schedstat of each of its threads, in nanoseconds.
    fn busy(pid: &str) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let times = threads.map(|thread| {
            let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
            Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
        });
        times.sum()
    }
}
