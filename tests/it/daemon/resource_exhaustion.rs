//! What the hub does without when there is nothing of it: descriptors, disk, a journal that takes lines, a clock that can
//! be trusted. Who is there must not notice.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::hub_process::RawClient;
use crate::support::installed::{Installed, cpu_time, greet, signal, soon};
use crate::support::mcp::{Builder, Session};
use crate::support::stage::{ask, reply};
use crate::support::user_manager::user_manager;

/// The brakes on loops and storms have tests of their own.
const NO_BRAKES: &str = "--limit rate=off --limit loop=off";

/// One asks, the other answers, `times` times.
#[track_caller]
fn assert_they_talk(asker: &Session, asked: &Session, to: &str, times: usize) {
    for n in 0..times {
        ask(asker, to, &format!("{n}?"), 60);
        let question = asked.event();
        assert!(question.content.starts_with(&format!("{n}?\n")), "{question:?}");
        assert_eq!(reply(asked, &question, &format!("{n}!"))["state"], "accepted");
        assert_eq!(asker.event().content, format!("{n}!"));
    }
}

#[test]
fn a_hub_without_descriptors_serves_who_is_there_and_later_who_comes() {
    let relay = Installed::with(user_manager!());
    relay.drop_in("LimitNOFILE=32");
    let [web, backend] = ["web", "backend"].map(|folder| relay.session(folder));
    soon("both sessions", || (relay.peers().len() == 2).then_some(()));
    let hub = relay.hub();
    let limits = fs::read_to_string(format!("/proc/{hub}/limits")).unwrap();
    assert!(limits.contains("Max open files            32 "), "{limits}");

    let crowd: Vec<_> = (0..64).map(|_| relay.connect().unwrap()).collect();
    soon("the last descriptor", || {
        (relay.journal().iter().any(|entry| entry["MESSAGE"] == "closed a connection")).then_some(())
    });
    let cpu = cpu_time(hub);
    assert_they_talk(&web, &backend, "backend", 5);
    sleep(Duration::from_secs(2));
    let cpu = cpu_time(hub) - cpu;
    assert!(cpu < Duration::from_secs(1), "it spins: {cpu:?} of two seconds");
    drop(crowd);
    soon("room", || {
        let mut client = RawClient::over(relay.connect().ok()?);
        let hello = json!({
            "type": "hello", "id": 1, "versions": {"min": 1, "max": 2}, "key": format!("{:032x}", 77), "program": "test 1",
            "kind": "control",
        });
        // Whoever comes before there is room is turned away.
        client.write(format!("{hello}\n").as_bytes()).ok()?;
        (client.try_hear()?["type"] == "welcome").then_some(())
    });
    assert_eq!(relay.hub(), hub);
    assert_they_talk(&web, &backend, "backend", 1);
}

#[test]
fn a_full_disk_costs_lines_of_the_log_and_nothing_else() {
    let manager = user_manager!();
    let programs = manager.install_programs(&[env!("CARGO_BIN_EXE_relay-hub"), env!("CARGO_BIN_EXE_relay-channel")]);
    let folder = |name: &str| {
        let path = manager.home().join(name);
        assert!(manager.command("mkdir").arg(&path).status().unwrap().success());
        path
    };
    let full = folder("full");
    assert!(manager.mount_memory(&full, "size=4k,mode=777").is_some(), "nothing can be mounted here");
    let socket = manager.home().join("run/hub.sock");
    let script = format!("exec \"$0\" --socket \"$1\" {NO_BRAKES} 2>\"$2\"/hub.log");
    let mut hub = manager.command("sh");
    hub.args(["-c", &script]).arg(programs.join("relay-hub")).arg(&socket).arg(&full).env("RELAY_LOG", "debug");
    let mut hub = hub.spawn().unwrap();
    let log = || fs::metadata(manager.outside(&full.join("hub.log"))).map_or(0, |file| file.len());
    // The channels log there as well, and might take all of it.
    soon("the hub's first line", || (log() > 0).then_some(()));
    let [web, backend] = ["web", "backend"].map(|name| {
        let command = manager.command_in(&folder(name), programs.join("relay-channel"));
        let environment = Builder::of(command).socket(&socket).env("RELAY_CHANNEL", "on").env("RELAY_LOG", "debug");
        environment.env("CLAUDE_PLUGIN_DATA", &full).start()
    });
    soon("the hub", || (!web.call("relay_peers", json!({})).is_error).then_some(()));
    soon("the other", || (web.call("relay_peers", json!({})).json["peers"] != json!([])).then_some(()));
    assert_they_talk(&web, &backend, "backend", 20);

    assert!((1..=4096).contains(&log()), "{} bytes: the disk was not full", log());
    assert!(hub.try_wait().unwrap().is_none(), "the hub has ended");
    let status = fs::read_to_string(format!("/proc/{}/status", hub.id())).unwrap();
    let resident = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = resident.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 64 * 1024, "what cannot be written piles up: {resident}");
    hub.kill().unwrap();
    hub.wait().unwrap();
}

#[test]
fn a_journal_that_stops_costs_lines_of_the_log_and_nothing_else() {
    let relay = Installed::with(user_manager!());
    let Some(journal) = relay.manager.journal_pid() else {
        return crate::support::skip::skipped("a_journal_that_stops", &"the journal is not a private one");
    };
    relay.drop_in(&format!(
        "Environment=RELAY_LOG=debug\nExecStart=\nExecStart=\"{}\" {NO_BRAKES}",
        relay.program("relay-hub").display()
    ));
    let [web, backend] = ["web", "backend"].map(|folder| relay.session(folder));
    soon("both sessions", || (relay.peers().len() == 2).then_some(()));
    let hub = relay.hub();
    // Every client that comes and goes is worth some lines, of which the kernel keeps ten (net.unix.max_dgram_qlen).
    let come_and_go = || (0..30).for_each(|_| drop(relay.client()));
    signal(journal, Signal::STOP);
    come_and_go();
    assert_they_talk(&web, &backend, "backend", 20);
    // That a hub is started meanwhile is not promised: systemd itself waits ten seconds for each line that it logs.
    assert_eq!(relay.hub(), hub);
    signal(journal, Signal::CONT);
    soon("how many lines were lost", || {
        relay.client();
        relay.journal().iter().any(|entry| entry["DROPPED"].is_string()).then_some(())
    });
}

#[test]
fn a_service_manager_that_stops_costs_nothing() {
    let relay = Installed::with(user_manager!());
    relay.drop_in(&format!("ExecStart=\nExecStart=\"{}\" {NO_BRAKES}", relay.program("relay-hub").display()));
    let [web, backend] = ["web", "backend"].map(|folder| relay.session(folder));
    soon("both sessions", || (relay.peers().len() == 2).then_some(()));
    let hub = relay.hub();
    let status = fs::read_to_string(format!("/proc/{hub}/status")).unwrap();
    let manager = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    let environment = String::from_utf8(fs::read(format!("/proc/{hub}/environ")).unwrap()).unwrap();
    let socket = environment.split('\0').find_map(|variable| variable.strip_prefix("NOTIFY_SOCKET=")).unwrap();

    signal(manager, Signal::STOP);
    let full = UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    let socket = relay.manager.outside(socket.as_ref());
    let refused = (0..1000).find_map(|_| full.send_to(b"STATUS=x\n", &socket).err()).unwrap();
    assert_eq!(refused.kind(), ErrorKind::WouldBlock, "{refused}");
    let third = relay.session("third");
    soon("the third", || (web.call("relay_peers", json!({})).json["peers"].as_array()?.len() == 2).then_some(()));
    // A status that has changed is told once a second.
    sleep(Duration::from_millis(1500));
    assert_they_talk(&web, &backend, "backend", 20);

    // Nothing happens in the hub any more: it has to tell again by itself.
    sleep(Duration::from_millis(500));
    signal(manager, Signal::CONT);
    soon("what the manager missed", || {
        relay.manager.property("relay.service", "StatusText").contains("3 sessions").then_some(())
    });
    assert_eq!(relay.hub(), hub);
    drop(third);
}

/// The time of day that programs see with this library: ten years ago, now, in ten years, and so on, at each look.
const JUMPING_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static int jump(void) { static int looks; return (looks++ % 3 - 1) * 315360000; }
int clock_gettime(clockid_t clock, struct timespec *at) {
    int result = syscall(SYS_clock_gettime, clock, at);
    if (clock == CLOCK_REALTIME) at->tv_sec += jump();
    return result;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    int result = syscall(SYS_gettimeofday, at, zone);
    at->tv_sec += jump();
    return result;
}
time_t time(time_t *at) {
    time_t now = syscall(SYS_time, 0) + jump();
    if (at) *at = now;
    return now;
}
"#;

struct Hub(Child);

impl Drop for Hub {
    fn drop(&mut self) {
        let _already_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_clock_that_jumps_by_decades_changes_no_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("clock.c"), JUMPING_CLOCK).unwrap();
    let mut cc = Command::new("cc");
    let built = cc.args(["-shared", "-fPIC", "-o"]).args([path("clock.so"), path("clock.c")]).status().unwrap();
    assert!(built.success());
    let (socket, log) = (path("run/hub.sock"), path("hub.log"));
    let mut hub = Command::new(env!("CARGO_BIN_EXE_relay-hub"));
    hub.arg("--socket").arg(&socket).args(NO_BRAKES.split(' ')).env("LD_PRELOAD", path("clock.so"));
    hub.env("RELAY_LOG", "debug").stdin(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let _hub = Hub(hub.spawn().unwrap());
    let session = |folder: &str| {
        fs::create_dir(path(folder)).unwrap();
        let environment = Session::builder().cwd(&path(folder)).socket(&socket).env("RELAY_CHANNEL", "on");
        let session = environment.env("LD_PRELOAD", path("clock.so")).start();
        soon("the hub", || (!session.call("relay_peers", json!({})).is_error).then_some(()));
        session
    };
    let [web, backend] = ["web", "backend"].map(session);
    soon("the other", || (web.call("relay_peers", json!({})).json["peers"] != json!([])).then_some(()));
    assert_they_talk(&web, &backend, "backend", 20);

    let start = Instant::now();
    let ask_id = ask(&web, "backend", "Not answered?", 2);
    let end = web.event();
    assert_eq!((end.get("ask_id"), end.get("code")), (ask_id.as_str(), "timeout"));
    let took = end.at - start;
    assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&took), "{took:?}");

    let log = fs::read_to_string(log).unwrap();
    assert!(years(&log).len() >= 3, "the clock did not jump: {log}");
}

/// Returns the years of the lines' times.
fn years(log: &str) -> std::collections::BTreeSet<&str> {
    log.lines().filter_map(|line| line.split_once("\"timestamp\":\"")?.1.get(..4)).collect()
}

#[test]
fn clients_that_say_half_of_something_hold_nobody_up() {
    let relay = Installed::with(user_manager!());
    let [web, backend] = ["web", "backend"].map(|folder| relay.session(folder));
    soon("both sessions", || (relay.peers().len() == 2).then_some(()));
    // Half of a hello and nothing more; a hello and then half of a request; a request and then no word is read.
    let mut halves: Vec<RawClient> = (0..30).map(|_| RawClient::over(relay.connect().unwrap())).collect();
    for (n, client) in halves.iter_mut().enumerate() {
        if n % 3 > 0 {
            greet(client);
        }
        let said = ["{\"type\":\"hel", "{\"type\":\"sta", "{\"type\":\"peers\",\"id\":2}\n"][n % 3];
        client.write(said.as_bytes()).unwrap();
    }
    assert_they_talk(&web, &backend, "backend", 5);
    // Nobody has to wait for a hello for longer than five seconds.
    for client in halves.iter_mut().step_by(3) {
        client.expect_end();
    }
    assert_they_talk(&web, &backend, "backend", 1);
}
