//! The other machines: their files, and how the links stand. Nothing is said where no machine is configured and none has come.

use super::Examined;
use super::finding::Finding;
use crate::bridge::control::{Down, Link, MachineState};
use crate::bridge::machine::MachineFiles;
use crate::cli::machines::{Bridge, NoBridge};
use crate::cli::wording;

const FILES: &str = "machine-files";
const BRIDGE: &str = "bridge";
const MACHINE: &str = "machine";

pub(super) fn check(examined: &Examined) -> Vec<Finding> {
    let loaded = match MachineFiles::of(&examined.environment).and_then(|files| files.load()) {
        Ok(loaded) => loaded,
        Err(error) => return vec![Finding::fail(FILES, error.to_string(), error.next())],
    };
    let n_files = loaded.machines.len();
    let mut findings: Vec<Finding> =
        loaded.faults.iter().map(|fault| Finding::fail(FILES, fault.to_string(), fault.next())).collect();
    let has_bridge = examined.environment.bridge_socket().is_ok_and(|socket| socket.exists());
    if n_files == 0 && !has_bridge {
        return findings;
    }
    let state = Bridge::connect(&examined.environment).map(|mut bridge| bridge.machines());
    match state {
        Err(NoBridge { what, next }) => findings.push(Finding::fail(BRIDGE, what, next)),
        Ok(Err(error)) => findings.push(Finding::fail(BRIDGE, error.message(), error.next())),
        Ok(Ok(state)) => {
            let what =
                format!("relay-bridge {} links {}", state.version, wording::count(state.machines.len(), "machine"));
            findings.push(match state.hub {
                true => Finding::ok(BRIDGE, what),
                false => Finding::fail(BRIDGE, "it has no connection to the hub", "relayctl status"),
            });
            findings.extend(state.machines.iter().map(machine));
        }
    }
    findings
}

fn machine(state: &MachineState) -> Finding {
    let (name, since) = (&state.name, wording::rough(state.since_s));
    match &state.link {
        _ if !state.held.is_empty() => {
            let what = format!("{name}: held until you let them through: {}", wording::count(state.held.len(), "ask"));
            Finding::warn(MACHINE, what, format!("relayctl machines release {name}"))
        }
        Link::Up => Finding::ok(MACHINE, format!("{name}: up {since}")),
        Link::Paused => Finding::note(MACHINE, format!("{name}: paused, until relayctl machines resume {name}")),
        Link::Awaited => Finding::note(MACHINE, format!("{name}: it is for {name} to start the link; away {since}")),
        Link::Connecting => {
            Finding::warn(MACHINE, format!("{name}: connecting"), format!("relayctl machines test {name}"))
        }
        Link::Down(Down { why, .. }) => {
            Finding::warn(MACHINE, format!("{name}: down {since}: {why}"), format!("relayctl machines test {name}"))
        }
    }
}
