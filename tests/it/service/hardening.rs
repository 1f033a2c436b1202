//! Every directive of `relay.service` does something: each is shown at work, in a real `systemd --user`.
//!
//! What confines the hub is tried by a small program in C, once without any directive, once with each alone, once with
//! all of them as in the unit; and the hub's own process has what the program had.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::installed::{Installed, runs, signal, soon, within};
use crate::support::program_copy::copy_program;
use crate::support::user_manager::{UserManager, user_manager};

const UNIT: &str = include_str!("../../../service/systemd/relay.service.in");

const PROBE: &str = include_str!("hardening/probe.c");

/// What each directive changes of what the program can do: the attempt, and its result with the directive alone.
const CONFINING: &[(&str, &str, &str)] = &[
    ("UMask=0077", "umask", "600"),
    ("LimitNOFILE=8192", "files", "8192:8192"),
    ("LimitCORE=0", "core", "0:0"),
    ("LimitDATA=256M", "memory", "ENOMEM"),
    ("NoNewPrivileges=yes", "elevated", "own"),
    ("KeyringMode=private", "keyring", ";_ses"),
    ("LockPersonality=yes", "personality", "EPERM"),
    ("MemoryDenyWriteExecute=yes", "executable", "EPERM"),
    ("RestrictAddressFamilies=AF_UNIX", "inet", "EAFNOSUPPORT"),
    ("RestrictAddressFamilies=AF_UNIX", "netlink", "EAFNOSUPPORT"),
    ("RestrictNamespaces=yes", "namespaces", "EPERM"),
    ("RestrictSUIDSGID=yes", "suid", "EPERM"),
    #[cfg(target_arch = "x86_64")]
    ("SystemCallArchitectures=native", "foreign", "signal 31"),
    ("SystemCallFilter=@system-service", "trace", "signal 31"),
    ("SystemCallFilter=~@resources @privileged", "affinity", "signal 31"),
    ("SystemCallFilter=~@resources @privileged", "chown", "signal 31"),
];

/// What makes a refused system call an error instead of the process's end.
const ERROR_NUMBER: &str = "SystemCallErrorNumber=EPERM";

/// What `a_hub_that_does_not_get_ready_is_given_up_after_its_time` shows.
const STARTING: &[&str] = &["Type=notify", "NotifyAccess=main", "TimeoutStartSec=20s"];

/// What `a_hub_that_ends_or_hangs_is_dealt_with_as_the_unit_says` shows, and `one_hub` of what paces a hub that fails.
const LIVING: &[&str] = &[
    "Description=claude-relay hub, which carries messages between Claude Code sessions",
    "Requires=relay.socket",
    "After=relay.socket",
    "StartLimitIntervalSec=0",
    "ExecStart=\"@bindir@/relay-hub\"",
    "ExecStopPost=/bin/sh -c 'test \"$$SERVICE_RESULT\" != exit-code || exec sleep 5'",
    "Restart=on-failure",
    "RestartSec=200ms",
    "WatchdogSec=30s",
    "TimeoutStopSec=10s",
];

fn directives() -> impl Iterator<Item = &'static str> {
    UNIT.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']))
}

#[test]
fn every_directive_of_the_unit_is_shown_at_work() {
    for directive in directives() {
        let confines = CONFINING.iter().any(|(shown, ..)| *shown == directive) || directive == ERROR_NUMBER;
        let elsewhere = cfg!(not(target_arch = "x86_64")) && directive == "SystemCallArchitectures=native";
        let shown = confines || elsewhere || STARTING.contains(&directive) || LIVING.contains(&directive);
        assert!(shown, "nothing shows that {directive} does anything");
    }
    let confining = CONFINING.iter().map(|(shown, ..)| shown);
    for shown in confining.chain(STARTING).chain(LIVING).chain([&ERROR_NUMBER]) {
        assert!(directives().any(|directive| directive == *shown), "{shown} is not in the unit");
    }
}

/// Makes units that run the program with these directives each.
struct Probes<'a> {
    manager: &'a UserManager,
    units: Vec<String>,
}

impl<'a> Probes<'a> {
    fn new(manager: &'a UserManager) -> Self {
        let home = manager.home();
        let source = home.join("probe.c");
        fs::write(&source, PROBE).unwrap();
        let cc = Command::new("cc").arg("-o").arg(home.join("probe")).arg(source).status().unwrap();
        assert!(cc.success());
        copy_program(home.join("probe"), home.join("probe.suid"));
        fs::set_permissions(home.join("probe.suid"), Permissions::from_mode(0o4755)).unwrap();
        Self { manager, units: Vec::new() }
    }

    fn add(&mut self, directives: &[&str]) -> usize {
        let n = self.units.len();
        let (name, home) = (format!("probe-{n}.service"), self.manager.home().display());
        let unit = format!(
            "[Service]\nType=oneshot\nExecStart={home}/probe\nEnvironment=PROBE={home}/probe\n\
             StandardOutput=file:{home}/probe-{n}.out\n{}\n",
            directives.join("\n")
        );
        let directory = self.manager.outside(&self.manager.runtime_dir().join("systemd/user"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(&name), unit).unwrap();
        self.units.push(name);
        n
    }

    /// Runs all of them and returns the results of each, by attempt.
    fn run(&self) -> Vec<BTreeMap<String, String>> {
        self.manager.systemctl("daemon-reload");
        self.manager.systemctl(&format!("start {}", self.units.join(" ")));
        let output = |n| fs::read_to_string(self.manager.home().join(format!("probe-{n}.out"))).unwrap();
        (0..self.units.len()).map(|n| attempts(&output(n))).collect()
    }
}

fn attempts(output: &str) -> BTreeMap<String, String> {
    let pairs = output.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(attempt, result)| (attempt.to_owned(), result.trim().to_owned())).collect()
}

/// Returns a line of one of a process's files, without blanks at its ends.
fn line_of(pid: u32, file: &str, start: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("no {start} in {text}"));
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_confines_the_hub_does_so_alone_and_with_the_rest() {
    let relay = Installed::with(user_manager!());
    let mut all: Vec<&str> = CONFINING.iter().map(|(directive, ..)| *directive).collect();
    all.dedup();
    let mut probes = Probes::new(&relay.manager);
    let bare = probes.add(&[]);
    let without_error_number = probes.add(&all);
    let alone: Vec<usize> = CONFINING.iter().map(|(directive, ..)| probes.add(&[directive])).collect();
    all.push(ERROR_NUMBER);
    let shipped = probes.add(&all);
    let results = probes.run();

    for ((directive, attempt, expected), alone) in CONFINING.iter().zip(alone) {
        let [bare, alone, shipped] = [bare, alone, shipped].map(|n| results[n][*attempt].as_str());
        assert_ne!(bare, alone, "{directive} changes nothing");
        assert!(alone.ends_with(expected), "{directive}: {attempt} is {alone}, not {expected}");
        // A foreign system call has no number of which its filter could make an error.
        let refused = if *attempt == "foreign" { alone } else { &alone.replace("signal 31", "EPERM") };
        assert_eq!(shipped, refused, "{attempt} in the whole unit");
    }
    assert_eq!(results[without_error_number]["trace"], "signal 31");
    assert_eq!(results[shipped]["unix"], "ok");

    // The hub's own process.
    let hub = relay.hub();
    assert_eq!(line_of(hub, "status", "NoNewPrivs:"), "1");
    assert_eq!(line_of(hub, "status", "Seccomp:"), "2");
    assert_eq!(line_of(hub, "status", "Seccomp_filters:"), results[shipped]["filters"]);
    assert_eq!(line_of(hub, "status", "Umask:"), "0077");
    for (name, limit) in [("open files", "8192 8192"), ("core file size", "0 0"), ("data size", "268435456 268435456")]
    {
        let found = line_of(hub, "limits", &format!("Max {name} "));
        assert!(found.starts_with(limit), "{name}: {found}");
    }
}

#[test]
fn a_hub_that_does_not_get_ready_is_given_up_after_its_time() {
    let relay = Installed::with(user_manager!());
    // A child of the main process says that it is ready, and is not believed.
    relay.drop_in("Restart=no\nExecStart=\nExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep 60'");
    let start = Instant::now();
    relay.manager.systemctl("start --no-block relay.service");
    sleep(Duration::from_secs(2));
    assert_eq!(relay.manager.property("relay.service", "ActiveState"), "activating");
    within(Duration::from_secs(30), "the end of the start", || {
        (relay.manager.property("relay.service", "Result") == "timeout").then_some(())
    });
    assert!(start.elapsed() > Duration::from_secs(18), "{:?}", start.elapsed());
}

#[test]
fn a_hub_that_ends_or_hangs_is_dealt_with_as_the_unit_says() {
    let relay = Installed::with(user_manager!());
    let property = |name: &str| relay.manager.property("relay.service", name);
    assert_eq!(format!("Description={}", property("Description")), LIVING[0]);

    // The socket comes with the service, and before it; the hub is the program that was installed.
    relay.manager.systemctl("stop relay.socket");
    relay.manager.systemctl("start relay.service");
    assert_eq!(relay.manager.property("relay.socket", "ActiveState"), "active");
    let entered = |unit: &str| relay.manager.property(unit, "InactiveExitTimestampMonotonic").parse::<u64>().unwrap();
    assert!(entered("relay.socket") <= entered("relay.service"));
    let hub = relay.hub();
    assert_eq!(property("MainPID"), hub.to_string());
    assert_eq!(
        fs::read_link(Path::new("/proc").join(hub.to_string()).join("exe")).unwrap(),
        relay.program("relay-hub")
    );
    let environment = fs::read_to_string(format!("/proc/{hub}/environ")).unwrap();
    assert!(environment.contains("WATCHDOG_USEC=30000000\0"), "{environment}");
    relay.manager.systemctl("stop relay.socket");
    soon("the end of a hub whose socket was closed", || (!runs(hub)).then_some(()));
    relay.manager.systemctl("start relay.socket");

    // Killed it comes back by itself, after a pause, however often. Told to leave it stays away.
    let mut hub = relay.hub();
    for _ in 0..8 {
        signal(hub, Signal::KILL);
        let killed = Instant::now();
        hub = soon("the next hub", || {
            let pid: u32 = property("MainPID").parse().unwrap();
            (pid != 0 && pid != hub && property("ActiveState") == "active").then_some(pid)
        });
        assert!(killed.elapsed() >= Duration::from_millis(200), "{:?}", killed.elapsed());
    }
    signal(hub, Signal::TERM);
    soon("the end", || (property("ActiveState") == "inactive").then_some(()));
    sleep(Duration::from_secs(1));
    assert_eq!(property("MainPID"), "0");

    // One that does not leave is made to.
    relay.drop_in("Type=exec\nExecStart=\nExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'");
    relay.manager.systemctl("start relay.service");
    let start = Instant::now();
    relay.manager.systemctl("stop relay.service");
    let took = start.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(20)).contains(&took), "{took:?}");
    assert_eq!(property("Result"), "timeout");
}
