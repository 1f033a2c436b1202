//! The list of the machines: what the files decide, and how the links stand.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use clap_complete::CompletionCandidate;
use serde::Serialize;

use super::add::how_to_begin;
use super::bridge::{Bridge, NoBridge};
use crate::bridge::control::{Down, HeldAsk, Link, MachineState, Machines};
use crate::bridge::machine::{Machine, MachineError, MachineFiles, Pattern};
use crate::cli::columns::{Column, NOTHING, Room, fit};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Line, Output, visible_line};
use crate::cli::wording;
use crate::paths::Environment;
use crate::protocol::MachineName;

/// What is known of a machine: from its file, and from the bridge.
struct Row {
    machine: Machine,
    state: Option<MachineState>,
}

/// Prints the machines. None there is no failure.
///
/// # Errors
/// The files' directory is open to others or cannot be read, or the bridge fails.
pub(super) fn list(environment: &Environment, out: &mut Output) -> Result<Exit, CliError> {
    let loaded = MachineFiles::of(environment)?.load()?;
    let (state, no_bridge) = match Bridge::connect(environment) {
        Ok(mut bridge) => (Some(bridge.machines()?), None),
        Err(no) => (None, Some(no)),
    };
    let rows = rows(loaded.machines, state.as_ref());
    if out.is_json() {
        out.print_json("machines", &view(&rows, state.as_ref(), &loaded.faults))?;
    } else if rows.is_empty() && loaded.faults.is_empty() {
        out.say(&Line::of("no machine is configured, and none has come"));
        out.say(&Line::of(&format!("next: {}", how_to_begin())));
        return Ok(Exit::Done);
    } else if !rows.is_empty() {
        out.print(&Line::of(&table(&rows, out.width())))?;
        for line in rows.iter().flat_map(held) {
            out.print(&Line::of(&line))?;
        }
    }
    for fault in &loaded.faults {
        out.warn(&fault.to_string(), &fault.next());
    }
    if let Some(NoBridge { what, next }) = no_bridge {
        out.warn(&what, &next);
    } else if state.is_some_and(|state| !state.hub) {
        out.warn("the bridge has no connection to the hub", "relayctl status");
    }
    Ok(Exit::Done)
}

/// Returns the names of all machines that are configured or have come.
fn names(environment: &Environment) -> Vec<MachineName> {
    let loaded = MachineFiles::of(environment).and_then(|files| files.load()).unwrap_or_default();
    let state = Bridge::connect(environment).ok().and_then(|mut bridge| bridge.machines().ok());
    rows(loaded.machines, state.as_ref()).into_iter().map(|row| row.machine.name).collect()
}

/// Returns the names of the machines that begin so.
pub(in crate::cli) fn machine_names(begin: &OsStr) -> Vec<CompletionCandidate> {
    let Some(begin) = begin.to_str().map(str::to_lowercase) else { return Vec::new() };
    let (before, begin) = begin.split_at(begin.rfind(',').map_or(0, |comma| comma + 1));
    let names = names(&Environment::of_process());
    let fitting = names.into_iter().filter(|name| name.as_str().starts_with(begin));
    fitting.map(|name| CompletionCandidate::new(name.as_str()).add_prefix(before)).collect()
}

fn rows(machines: Vec<Machine>, state: Option<&Machines>) -> Vec<Row> {
    let mut rows: BTreeMap<MachineName, Row> = BTreeMap::new();
    for machine in machines {
        rows.insert(machine.name.clone(), Row { machine, state: None });
    }
    for one in state.iter().flat_map(|state| &state.machines) {
        let machine = || Row { machine: Machine::new(one.name.clone(), None), state: None };
        rows.entry(one.name.clone()).or_insert_with(machine).state = Some(one.clone());
    }
    rows.into_values().collect()
}

fn table(rows: &[Row], width: Option<u16>) -> String {
    let of_state = |text: fn(&MachineState) -> Option<String>| {
        move |row: &Row| row.state.as_ref().and_then(text).unwrap_or_else(|| NOTHING.to_owned())
    };
    let mut columns = vec![
        Column::of("MACHINE", Room::Whole, rows, |row| row.machine.name.to_string()),
        Column::of("VIA", Room::Cut, rows, |row| visible_line(&row.machine.via_text())),
        Column::of("LINK", Room::Whole, rows, link),
        Column::of("ROUND-TRIP", Room::LeftOut(0), rows, of_state(|state| Some(format!("{}ms", state.round_trip_ms?)))),
        Column::of("THEY-MAY", Room::Whole, rows, |row| they_may(&row.machine)),
        Column::of("WE-MAY", Room::Whole, rows, of_state(|state| Some(visible_line(state.we_may.as_deref()?)))),
        Column::of("SESSIONS", Room::LeftOut(1), rows, of_state(|state| Some(state.sessions.to_string()))),
    ];
    fit(&mut columns, width.map(usize::from));
    let titles = columns.iter().map(Column::padded_title).collect::<String>();
    let lines = (0..rows.len()).map(|row| columns.iter().map(|column| column.padded_cell(row)).collect());
    let lines: Vec<String> = [titles].into_iter().chain(lines).map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Returns how the link stands, and since when.
fn link(row: &Row) -> String {
    let Some(state) = &row.state else {
        return if row.machine.is_paused { "paused".to_owned() } else { NOTHING.to_owned() };
    };
    let since = wording::rough(state.since_s);
    match &state.link {
        Link::Up => format!("up {since}"),
        Link::Connecting => "connecting".to_owned(),
        Link::Down(Down { why, .. }) => format!("down {since}: {}", visible_line(why)),
        Link::Paused => "paused".to_owned(),
        Link::Awaited => format!("awaited {since}"),
    }
}

fn they_may(machine: &Machine) -> String {
    let word = machine.they_may.as_str();
    if machine.sessions.is_some() { format!("{word} (some)") } else { word.to_owned() }
}

/// Returns the asks that wait for the person, with the command that lets each through.
fn held(row: &Row) -> Vec<String> {
    let name = &row.machine.name;
    let line = |held: &HeldAsk| {
        let (from, to) = (visible_line(&held.from), visible_line(&held.to));
        let left = wording::rough(held.left_s);
        format!("held: {}  {from} → {to}, {left} left: relayctl machines release {name} {0}", held.ask_id)
    };
    row.state.iter().flat_map(|state| &state.held).map(line).collect()
}

/// The machines as JSON.
#[derive(Serialize)]
struct MachinesView<'a> {
    bridge: Option<BridgeView<'a>>,
    machines: Vec<MachineJson<'a>>,
    faults: Vec<FaultView>,
}

#[derive(Serialize)]
struct BridgeView<'a> {
    version: &'a str,
    pid: u32,
    hub: bool,
}

#[derive(Serialize)]
struct MachineJson<'a> {
    name: &'a MachineName,
    via: String,
    they_may: &'static str,
    sessions_allowed: Option<&'a [Pattern]>,
    paused: bool,
    #[serde(flatten)]
    state: Option<StateJson<'a>>,
}

/// What the bridge knows of it.
#[derive(Serialize)]
struct StateJson<'a> {
    link: &'a Link,
    since_s: u64,
    round_trip_ms: Option<u64>,
    version: Option<&'a str>,
    we_may: Option<&'a str>,
    sessions: u64,
    open_asks: u64,
    held: &'a [HeldAsk],
}

#[derive(Serialize)]
struct FaultView {
    what: String,
    next: String,
}

fn view<'a>(rows: &'a [Row], state: Option<&'a Machines>, faults: &[MachineError]) -> MachinesView<'a> {
    MachinesView {
        bridge: state.map(|state| BridgeView { version: &state.version, pid: state.pid, hub: state.hub }),
        machines: rows.iter().map(MachineJson::of).collect(),
        faults: faults.iter().map(|fault| FaultView { what: fault.to_string(), next: fault.next() }).collect(),
    }
}

impl<'a> MachineJson<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            name: &row.machine.name,
            via: row.machine.via_text(),
            they_may: row.machine.they_may.as_str(),
            sessions_allowed: row.machine.sessions.as_deref(),
            paused: row.machine.is_paused,
            state: row.state.as_ref().map(|state| StateJson {
                link: &state.link,
                since_s: state.since_s,
                round_trip_ms: state.round_trip_ms,
                version: state.version.as_deref(),
                we_may: state.we_may.as_deref(),
                sessions: state.sessions,
                open_asks: state.open_asks,
                held: &state.held,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::machine::{SshHost, TheyMay, Via};
    use crate::cli::output::capture;
    use crate::protocol::AskId;

    fn name(text: &str) -> MachineName {
        MachineName::parse(text).unwrap()
    }

    fn state(machine: &str, link: Link) -> MachineState {
        MachineState {
            name: name(machine),
            link,
            since_s: 40,
            round_trip_ms: None,
            version: None,
            we_may: None,
            sessions: 0,
            open_asks: 0,
            held: Vec::new(),
        }
    }

    fn machines() -> (Vec<Machine>, Machines) {
        let desk = Machine::new(name("desk"), Some(Via::Ssh(SshHost::parse("me@desk").unwrap())));
        let docs = Some(vec![Pattern::parse("docs-*").unwrap()]);
        let build = Machine { sessions: docs, they_may: TheyMay::Hold, ..Machine::new(name("build"), None) };
        let held = HeldAsk { ask_id: AskId::from_bits(7), from: "web@build".into(), to: "docs-a".into(), left_s: 130 };
        let up = MachineState {
            round_trip_ms: Some(12),
            version: Some("0.1.0".into()),
            we_may: Some("ask".into()),
            sessions: 3,
            ..state("desk", Link::Up)
        };
        let why = "ssh: connect to host\x1b[2J: timed out".to_owned();
        let held = MachineState { held: vec![held], ..state("build", Link::Down(Down::new(why))) };
        let all = vec![up, held, state("laptop", Link::Awaited)];
        (vec![build, desk], Machines { version: "0.1.0".into(), pid: 7, hub: true, machines: all })
    }

    #[test]
    fn machines_are_rows_and_what_waits_is_below() {
        let (files, state) = machines();
        let rows = rows(files, Some(&state));
        let below: Vec<String> = rows.iter().flat_map(held).collect();
        insta::assert_snapshot!(format!("{}\n{}", table(&rows, None), below.join("\n")), @r"
        MACHINE  VIA          LINK                                                ROUND-TRIP  THEY-MAY     WE-MAY  SESSIONS
        build    comes to us  down 40s: ssh: connect to host\u{1b}[2J: timed out  -           hold (some)  -       0
        desk     ssh me@desk  up 40s                                              12ms        reply        ask     3
        laptop   comes to us  awaited 40s                                         -           ask          -       0
        held: 0000-0000-0007  web@build → docs-a, 2m left: relayctl machines release build 0000-0000-0007
        ");
    }

    #[test]
    fn without_a_bridge_the_files_are_shown() {
        let (files, _) = machines();
        insta::assert_snapshot!(table(&rows(files, None), None), @"
        MACHINE  VIA          THEY-MAY
        build    comes to us  hold (some)
        desk     ssh me@desk  reply
        ");
    }

    #[test]
    fn machines_have_their_json() {
        let (files, state) = machines();
        let (mut out, captured) = capture::output(true);
        out.print_json("machines", &view(&rows(files, Some(&state)), Some(&state), &[])).unwrap();
        insta::assert_snapshot!(captured.text(), @r#"
        --- stdout
        {"schema":1,"type":"machines","bridge":{"version":"0.1.0","pid":7,"hub":true},"machines":[{"name":"build","via":"comes to us","they_may":"hold","sessions_allowed":["docs-*"],"paused":false,"link":{"state":"down","why":"ssh: connect to host\u001b[2J: timed out"},"since_s":40,"round_trip_ms":null,"version":null,"we_may":null,"sessions":0,"open_asks":0,"held":[{"ask_id":"0000-0000-0007","from":"web@build","to":"docs-a","left_s":130}]},{"name":"desk","via":"ssh me@desk","they_may":"reply","sessions_allowed":null,"paused":false,"link":{"state":"up"},"since_s":40,"round_trip_ms":12,"version":"0.1.0","we_may":"ask","sessions":3,"open_asks":0,"held":[]},{"name":"laptop","via":"comes to us","they_may":"ask","sessions_allowed":null,"paused":false,"link":{"state":"awaited"},"since_s":40,"round_trip_ms":null,"version":null,"we_may":null,"sessions":0,"open_asks":0,"held":[]}],"faults":[]}
        --- stderr
        "#);
    }
}
