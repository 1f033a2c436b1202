//! Programs that are replaced under a running hub: it makes room by itself, and nothing that is open is lost or doubled.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use relay::client::{ClientConfig, ClientEvent, End, HubClient};
use relay::protocol::{Activity, ClientKey, ClientKind, PeerName, Presence, SessionFacts, SessionId, Wake};
use rustix::process::Uid;
use serde_json::Value;
use tokio::sync::Notify;

use crate::support::hub_process::HubProcess;
use crate::support::installed::PROGRAMS;
use crate::support::program_copy::copy_program;
use crate::support::user_manager::{UserManager, user_manager};

const HUB: &str = env!("CARGO_BIN_EXE_relay-hub");
const RELAYCTL: &str = env!("CARGO_BIN_EXE_relayctl");

const SOON: Duration = Duration::from_secs(20);

/// How often the programs are replaced under load; `RELAY_TEST_REPLACEMENTS` says otherwise.
const REPLACEMENTS: u64 = 25;

fn install(manager: &UserManager) -> PathBuf {
    let bindir = manager.install_programs(&PROGRAMS);
    let output = manager.command(bindir.join("relayctl")).arg("install-service").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    bindir
}

/// Returns the hub's state as `relayctl status` sees it.
fn status(manager: &UserManager, bindir: &Path) -> Value {
    let output = manager.command(bindir.join("relayctl")).args(["status", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Replaces a program as a package does: by a new file of the same name.
fn replace(program: &Path) {
    let new = program.with_extension("new");
    copy_program(program, &new);
    fs::rename(&new, program).unwrap();
}

#[test]
fn a_hub_whose_program_was_replaced_leaves_the_next_client_to_the_new_one() {
    let manager = user_manager!();
    let bindir = install(&manager);
    let old = status(&manager, &bindir);
    assert_eq!((&old["activated"], &old["replaced"]), (&true.into(), &false.into()), "{old}");
    assert_eq!(status(&manager, &bindir)["pid"], old["pid"]);

    replace(&bindir.join("relay-hub"));
    let new = status(&manager, &bindir);
    assert_ne!(new["pid"], old["pid"], "{new}");
    assert_eq!(new["replaced"], false, "{new}");
    assert_eq!(manager.property("relay.service", "Result"), "success");
    assert_eq!(manager.property("relay.service", "NRestarts"), "0");
    let log = manager.journal("relay.service");
    assert!(log.contains("the program was replaced: making room for the new one"), "{log}");
}

#[test]
fn a_foreground_hub_whose_program_was_replaced_stays_and_the_status_warns() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("relay-hub");
    copy_program(HUB, &program);
    let hub = HubProcess::start_program(&program, &[]);
    let status = || {
        let mut command = Command::new(RELAYCTL);
        let output = command.args(["status"]).env("RELAY_SOCKET", hub.socket()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!status().contains("replaced"), "{}", status());
    replace(&program);
    assert!(status().contains("warning: the hub's program was replaced, and the old one still runs"), "{}", status());
    hub.connect();
}

/// Asks in a loop through the hub at this socket, answered by a session of its own. Every ask must have one answer.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Runs something of the user's on a thread, with the path to the hub's socket.
fn as_user<F: Future<Output = ()>>(
    manager: &UserManager,
    run: impl FnOnce(PathBuf) -> F + Send + 'static,
) -> std::thread::JoinHandle<()> {
    // The user cannot see another's `/run`, so the way to the socket begins at a descriptor.
    let directory = File::open(manager.outside(&manager.runtime_dir().join("relay"))).unwrap();
    let socket = PathBuf::from(format!("/proc/self/fd/{}/hub.sock", directory.as_raw_fd()));
    let user = Uid::from_raw(manager.uid());
    std::thread::spawn(move || {
        let _way = directory;
        // This thread alone becomes the user: the hub serves nobody else.
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, run(socket));
    })
}

fn client(socket: &Path, kind: ClientKind) -> HubClient {
    HubClient::new(ClientConfig { socket: socket.to_owned(), named_by: None, program: "load 1".to_owned(), kind })
}

/// Returns a session of this name that the hub knows.
async fn session(socket: &Path, name: &str) -> HubClient {
    let own = relay::process::own();
    let facts = SessionFacts {
        session: SessionId { pid: own.pid, start: own.start, thread: Some(name.to_owned()) },
        name: Some(PeerName::parse(name).unwrap()),
        agent: "test".to_owned(),
        client: None,
        presence: Presence {
            cwd: "/".to_owned(),
            branch: None,
            status: Activity::Idle,
            waiting_for: None,
            wakes_by: Wake::Channel,
        },
    };
    let mut session = client(socket, ClientKind::Session(Box::new(facts)));
    session.peers().await.unwrap();
    session
}

impl Load {
    fn start(manager: &UserManager) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = as_user(manager, move |socket| async move { run_load(&socket, &ended, &count).await });
        Self { stop, answered, thread: Some(thread) }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.answered()
    }
}

async fn run_load(socket: &Path, stop: &AtomicBool, answered: &AtomicU64) {
    let mut echo = session(socket, "echo").await;
    let mut control = client(socket, ClientKind::Control { key: ClientKey::random() });
    let answer = async {
        let mut seen = BTreeSet::new();
        loop {
            if let ClientEvent::Ask(ask) = echo.next_event().await {
                assert!(seen.insert(ask.question.clone()), "the session was asked {} twice", ask.question);
                // Pending is fine: it is kept, and the asker counts what comes.
                echo.reply(ask.ask_id, ask.question).await.unwrap();
            }
        }
    };
    let ask = async {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let question = format!("question {number}");
            let asked = control.ask("echo".to_owned(), question.clone(), Duration::from_secs(60)).await.unwrap();
            let outcome = loop {
                if let ClientEvent::Outcome(outcome) = control.next_event().await {
                    break outcome;
                }
            };
            assert_eq!(outcome.ask_id, asked.ask_id);
            assert!(matches!(&outcome.end, End::Reply { text, .. } if *text == question), "{outcome:?}");
            answered.fetch_add(1, Ordering::Relaxed);
        }
        // One outcome an ask: nothing more comes.
        let more = tokio::time::timeout(Duration::from_millis(300), control.next_event()).await;
        assert!(more.is_err(), "{more:?}");
        control.bye().await;
    };
    tokio::select! {
        () = ask => {}
        () = answer => {}
    }
    echo.bye().await;
}

#[test]
fn programs_replaced_again_and_again_under_load_lose_and_double_nothing() {
    let manager = user_manager!();
    let bindir = install(&manager);
    let unlimited = manager.home().join(".config/systemd/user/relay.service.d");
    fs::create_dir(&unlimited).unwrap();
    fs::write(unlimited.join("x.conf"), "[Service]\nEnvironment=RELAY_LIMITS=rate=off,loop=off\n").unwrap();
    manager.systemctl("daemon-reload");
    let wanted: Option<u64> = std::env::var("RELAY_TEST_REPLACEMENTS").ok().and_then(|n| n.parse().ok());
    let replacements = wanted.unwrap_or(REPLACEMENTS);

    let load = Load::start(&manager);
    let mut pids = BTreeSet::new();
    for n in 0..replacements {
        let before = load.answered();
        replace(&bindir.join("relay-hub"));
        assert!(pids.insert(status(&manager, &bindir)["pid"].as_u64()), "replacement {n} changed nothing");
        let end = Instant::now() + SOON;
        while load.answered() < before + 3 {
            assert!(Instant::now() < end, "no answer comes after replacement {n}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let answered = load.finish();
    assert!(answered >= replacements * 3, "{answered}");
    if wanted.is_some() {
        let line = format!("{replacements} replacements, {answered} asks, each answered once\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    assert_eq!(manager.property("relay.socket", "Result"), "success");
    assert_eq!(manager.property("relay.service", "NRestarts"), "0");
}

#[test]
fn an_ask_that_waits_survives_the_upgrade_of_all_programs_and_a_watcher_is_told() {
    let manager = user_manager!();
    let bindir = install(&manager);
    let relayctl = bindir.join("relayctl");
    let old = status(&manager, &bindir);
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (is_asked, may_answer) = (Arc::clone(&asked), Arc::clone(&answer));
    let slow = as_user(&manager, move |socket| async move {
        let mut session = session(&socket, "slow").await;
        loop {
            if let ClientEvent::Ask(ask) = session.next_event().await {
                is_asked.notify_one();
                may_answer.notified().await;
                session.reply(ask.ask_id, "at last".to_owned()).await.unwrap();
                return session.bye().await;
            }
        }
    });
    let mut watch = manager.command(&relayctl).arg("watch").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("slow")));
    let mut command = manager.command(&relayctl);
    let waiting =
        command.args(["ask", "slow", "ready?"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(SOON, asked.notified()).await }).expect("the session is asked");

    for name in ["relay-hub", "relayctl", "relay-channel"] {
        replace(&bindir.join(name));
    }
    assert_ne!(status(&manager, &bindir)["pid"], old["pid"]);
    assert!(lines.any(|line| line.contains("hub restarted")));
    answer.notify_one();
    let output = waiting.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"at last\n"[..]), "{output:?}");
    slow.join().unwrap();
    let _ended = watch.kill();
    let _reaped = watch.wait();
}
