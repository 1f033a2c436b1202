//! `relayctl board` in a real terminal, with a real hub.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::hub_process::{HubProcess, RawClient};
use crate::support::skip::needs;
use crate::support::terminal::Terminal;

const RELAYCTL: &str = env!("CARGO_BIN_EXE_relayctl");

/// Opens the board in a shell that says how the terminal was before and after it, and how the board ended.
fn open(hub: &HubProcess, size: (u16, u16)) -> Terminal {
    let shell = format!(
        "sh -c 'echo at the prompt; stty -g >before; {RELAYCTL} board; end=$?; stty -g >after; echo ended with $end; cat'"
    );
    let line = format!("cd \"$(dirname \"${{TMUX%%,*}}\")\" && {shell}");
    let terminal = Terminal::run(&line, &hub.socket(), size);
    terminal.wait_for_text("? keys");
    terminal
}

fn presence(client: &mut RawClient, status: &str, waiting_for: Option<&str>) {
    let mut presence = json!({"type": "presence", "cwd": "/test/x", "status": status, "wakes_by": "channel"});
    if let Some(dialog) = waiting_for {
        presence["waiting_for"] = json!(dialog);
    }
    client.say(&presence);
}

/// Waits until the shell has its terminal back, and checks that it is as it was.
#[track_caller]
fn is_as_it_was(terminal: &Terminal, ended: &str) {
    let screen = terminal.wait_for_text(ended);
    assert!(screen.starts_with("at the prompt\n"), "{screen}");
    let read = |name| std::fs::read_to_string(terminal.directory().join(name)).unwrap();
    assert_eq!(read("before"), read("after"));
    assert_eq!([terminal.is("alternate_on"), terminal.is("cursor_flag")], ["0", "1"]);
    // A text that is pasted comes as it is typed: the terminal marks it no more.
    terminal.type_text("typed");
    terminal.wait_for_text("typed");
}

fn pid_of_board(terminal: &Terminal) -> Pid {
    let shell = terminal.is("pane_pid");
    let found = Command::new("ps").args(["-eo", "pid,args"]).output().unwrap();
    let directory = terminal.directory().display().to_string();
    let listed = String::from_utf8(found.stdout).unwrap();
    let pids = listed.lines().filter(|line| line.contains("relayctl board") && !line.contains("sh -c"));
    let pids = pids.filter_map(|line| line.trim().split(' ').next()?.parse::<i32>().ok());
    let is_here = |pid: &i32| {
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
        cwd.is_ok_and(|cwd| cwd == Path::new(&directory))
    };
    Pid::from_raw(pids.into_iter().find(is_here).unwrap_or_else(|| panic!("no board below {shell}: {listed}"))).unwrap()
}

#[test]
fn the_board_shows_what_happens_and_who_waits_first() {
    needs!("tmux", "ps");
    let hub = HubProcess::start(&[]);
    let mut backend = hub.session("backend");
    let mut web = hub.session("web");
    let terminal = open(&hub, (100, 24));
    terminal.wait_for_text("2 sessions");
    presence(&mut web, "waiting", Some("permission prompt"));
    let screen = terminal.wait_for_text("waits for you: permission prompt");
    assert!(screen.contains("1 waits for you"), "{screen}");
    assert!(screen.find("\nweb ").unwrap() < screen.find("\nbackend ").unwrap(), "{screen}");
    web.say(&json!({
        "type": "ask", "id": 9, "ask_id": "k3v9-x2mq-7bd4", "to": "backend", "question": "?", "timeout_ms": 60_000,
    }));
    terminal.wait_for_text("web → backend");
    while backend.hear()["type"] != "ask" {}
    backend.say(&json!({"type": "reply", "id": 3, "ask_id": "k3v9-x2mq-7bd4", "text": "yes"}));
    let reply = std::iter::repeat_with(|| web.hear()).find(|message| message["type"] == "reply").unwrap();
    web.say(&json!({"type": "taken", "ask_id": "k3v9-x2mq-7bd4", "by": reply["by"]}));
    let screen = terminal.wait_for_text("answered after");
    assert!(screen.contains("LAST OUTCOMES") && !screen.contains("OPEN ASK"), "{screen}");
    // A narrow terminal has all that matters, and a wide one everything again.
    terminal.resize((44, 10));
    let screen = terminal.wait_for("a narrow board", |screen| !screen.contains("FOLDER"));
    assert!(screen.contains("waits for you: permission prompt"), "{screen}");
    terminal.resize((120, 24));
    terminal.wait_for_text("FOLDER");
    terminal.press(&["q"]);
    is_as_it_was(&terminal, "ended with 0");
}

#[test]
fn a_session_is_found_asked_and_its_name_copied() {
    needs!("tmux", "ps");
    let hub = HubProcess::start(&[]);
    let (mut backend, _web) = (hub.session("backend"), hub.session("web"));
    let terminal = open(&hub, (100, 24));
    terminal.press(&["/"]);
    terminal.type_text("back");
    terminal.press(&["Enter"]);
    terminal.wait_for("the filter", |screen| screen.contains("\nbackend ") && !screen.contains("\nweb "));
    terminal.press(&["c"]);
    terminal.wait_for_text("was sent to the terminal's clipboard");
    assert_eq!(terminal.copied(), "backend");
    terminal.press(&["a"]);
    terminal.type_text("is it green?");
    terminal.wait_for_text("ask backend: is it green?");
    terminal.press(&["Enter"]);
    let ask = std::iter::repeat_with(|| backend.hear()).find(|message| message["type"] == "ask").unwrap();
    assert_eq!((&ask["from"], &ask["question"]), (&json!("shell"), &json!("is it green?")));
    terminal.wait_for_text("shell → backend");
    backend.say(&json!({"type": "reply", "id": 3, "ask_id": ask["ask_id"], "text": "as grass"}));
    terminal.wait_for_text("backend has answered: r to read");
    terminal.press(&["r"]);
    terminal.wait_for_text("as grass");
    terminal.press(&["Escape"]);
    terminal.wait_for_text("answered after");
    terminal.press(&["Enter"]);
    terminal.wait_for_text("/test/backend");
    terminal.press(&["Escape"]);
    terminal.press(&["a"]);
    terminal.type_text("and now?");
    terminal.press(&["Enter"]);
    terminal.wait_for_text("OPEN ASK");
    terminal.press(&["q"]);
    terminal.wait_for_text("leaving withdraws what is open of yours");
    terminal.press(&["q"]);
    is_as_it_was(&terminal, "ended with 0");
    hub.wait_for_log("\"outcome\":\"withdrawn\"");
}

#[test]
fn the_board_outlives_its_hub() {
    needs!("tmux", "ps");
    let mut hub = HubProcess::start(&[]);
    let mut web = hub.session("web");
    let terminal = open(&hub, (100, 24));
    presence(&mut web, "busy", None);
    terminal.wait_for_text("busy");
    hub.kill();
    let screen = terminal.wait_for_text("the hub is away");
    assert!(screen.contains("\nweb "), "{screen}");
    hub.start_again(&[]);
    let _late = hub.session("late");
    let screen = terminal.wait_for_text("\nlate ");
    assert!(!screen.contains("the hub is away"), "{screen}");
    // It is asked again, on the connection to the new hub.
    terminal.press(&["a"]);
    terminal.wait_for_text("ask late:");
    terminal.press(&["C-c"]);
    is_as_it_was(&terminal, "ended with 130");
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    needs!("tmux", "ps");
    let hub = HubProcess::start(&[]);
    for (signal, ended) in
        [(Signal::TERM, "ended with 143"), (Signal::INT, "ended with 130"), (Signal::HUP, "ended with 129")]
    {
        let terminal = open(&hub, (80, 24));
        kill_process(pid_of_board(&terminal), signal).unwrap();
        is_as_it_was(&terminal, ended);
    }
}

#[test]
fn a_board_that_is_stopped_gives_the_terminal_to_its_shell_and_comes_back() {
    needs!("tmux", "ps");
    let hub = HubProcess::start(&[]);
    let line = format!("bash --norc -i -c 'set -m; {RELAYCTL} board; echo stopped; fg; echo ended with $?; cat'");
    let terminal = Terminal::run(&line, &hub.socket(), (80, 24));
    terminal.wait_for_text("? keys");
    let _web = hub.session("web");
    terminal.wait_for_text("1 session");
    terminal.press(&["C-z"]);
    // The shell continues it at once.
    terminal.wait_for_text("? keys");
    terminal.press(&["q"]);
    let screen = terminal.wait_for_text("ended with 0");
    assert!(screen.contains("stopped"), "{screen}");
}

#[test]
fn a_board_is_printed_once_where_nobody_looks_on() {
    let hub = HubProcess::start(&[]);
    let (_backend, mut web) = (hub.session("backend"), hub.session("web"));
    presence(&mut web, "waiting", Some("permission prompt"));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(RELAYCTL);
        command.args(arguments).env("RELAY_SOCKET", hub.socket()).stdin(Stdio::null());
        command.output().unwrap()
    };
    // What the session says last is known when its next request is answered.
    web.say(&json!({"type": "peers", "id": 4}));
    web.hear();
    let once = run(&["board", "--once"]);
    let text = String::from_utf8(once.stdout).unwrap();
    assert!(text.contains("2 sessions, 1 waits for you"), "{text}");
    assert!(text.find("\nweb ").unwrap() < text.find("\nbackend ").unwrap(), "{text}");
    let json: Value = serde_json::from_slice(&run(&["board", "--json"]).stdout).unwrap();
    assert_eq!((&json["type"], &json["peers"][0]["name"]), (&json!("board"), &json!("web")));
    let refused = run(&["board"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.ends_with("error: the board needs a terminal\nnext: relayctl board --once\n"), "{said}");
}
