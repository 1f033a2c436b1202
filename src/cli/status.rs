//! `relayctl status`: whether a hub answers, judged by connecting, and what it has to do.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::{Format, Line};
use super::{Context, wording};
use crate::paths::Environment;
use crate::protocol::{StatusAnswer, VersionRange};
use crate::service::{self, SystemCommands, UnitStatus};

/// Show the hub and what is connected to it
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    format: Format,
}

impl StatusArgs {
    /// Prints the hub's state. Connecting starts a hub that the service manager holds ready.
    ///
    /// # Errors
    /// No hub answers.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        let socket = context.socket()?;
        let (hub, _events) = context.connect()?;
        let status = hub.status().await;
        hub.bye().await;
        // Asked after connecting, which may have started the hub.
        let service = Service::seen();
        let out = &mut context.out;
        if !out.is_json() {
            out.print(&Line::of(&row("service", &service.as_ref().map_or_else(no_service, Service::text))))?;
        }
        let status = status?;
        if out.is_json() {
            out.print_json("status", &StatusView::of(&socket, &status, service))?;
        } else {
            out.print(&text(&socket, &status))?;
            if let Some(warning) = other_version(&status.hub) {
                out.say(&warning);
            }
        }
        Ok(Exit::Done)
    }
}

fn text(socket: &Path, status: &StatusAnswer) -> Line {
    let VersionRange { min, max } = status.versions;
    let versions = if min == max { max.to_string() } else { format!("{min} to {max}") };
    let uptime = wording::exact(Duration::from_secs(status.uptime_s));
    let settling = if status.settling { ", just started: not every session may be back yet" } else { "" };
    let programs: Vec<String> = status.programs.iter().map(|(program, n)| format!("{n} {program}")).collect();
    let rows = [
        ("hub", format!("{}, up {uptime}, process {}, protocol {versions}{settling}", status.hub, status.pid)),
        ("socket", socket.display().to_string()),
        ("peers", status.peers.to_string()),
        ("open asks", status.open_asks.to_string()),
        ("connected", format!("{}: {}", status.connections, programs.join(", "))),
    ];
    Line::of(&rows.map(|(label, value)| row(label, &value)).join("\n"))
}

fn row(label: &str, value: &str) -> String {
    format!("{label:<11}{value}")
}

/// How the hub stands with the service manager.
#[derive(Debug, Serialize)]
struct Service {
    manager: String,
    units: Vec<Unit>,
}

#[derive(Debug, Serialize)]
struct Unit {
    name: String,
    load: String,
    active: String,
    sub: String,
    enabled: String,
}

impl Service {
    /// Asks the service manager; none where none answers, which is no failure: a hub may run without.
    fn seen() -> Option<Self> {
        let environment = Environment::of_process();
        let mut commands = SystemCommands::new(&environment);
        let manager = service::detect(&environment, &mut commands).ok()?;
        let units = service::status(&manager, &mut commands).ok()?;
        Some(Self { manager: manager.to_string(), units: units.into_iter().map(Unit::from).collect() })
    }

    fn text(&self) -> String {
        let units: Vec<String> = self.units.iter().map(Unit::text).collect();
        format!("{}; {}", self.manager, units.join("; "))
    }
}

fn no_service() -> String {
    "no service manager answers".to_owned()
}

impl From<UnitStatus> for Unit {
    fn from(unit: UnitStatus) -> Self {
        let UnitStatus { name, load, active, sub, enabled, .. } = unit;
        Self { name, load, active, sub, enabled }
    }
}

impl Unit {
    fn text(&self) -> String {
        if self.load == "not-found" {
            return format!("{} is not installed", self.name);
        }
        let sub = if self.sub.is_empty() { String::new() } else { format!(" ({})", self.sub) };
        let enabled = if self.enabled.is_empty() { String::new() } else { format!(", {}", self.enabled) };
        format!("{} is {}{sub}{enabled}", self.name, self.active)
    }
}

/// Warns where the hub is of another version than this program: a hub in the foreground does not replace itself.
fn other_version(hub: &str) -> Option<Line> {
    let own = env!("CARGO_PKG_VERSION");
    let theirs = hub.split_whitespace().last()?;
    (theirs != own).then(|| {
        Line::of(&format!(
            "warning: the hub has version {theirs} and relayctl has {own}\n\
             next: restart the hub, or install both from the same package"
        ))
    })
}

/// The hub's state as JSON.
#[derive(Serialize)]
struct StatusView<'a> {
    socket: String,
    hub: &'a str,
    versions: VersionRange,
    pid: u32,
    uptime_s: u64,
    settling: bool,
    connections: u64,
    peers: u64,
    open_asks: u64,
    programs: &'a BTreeMap<String, u64>,
    service: Option<Service>,
}

impl<'a> StatusView<'a> {
    fn of(socket: &Path, status: &'a StatusAnswer, service: Option<Service>) -> Self {
        Self {
            socket: socket.display().to_string(),
            hub: &status.hub,
            versions: status.versions,
            pid: status.pid,
            uptime_s: status.uptime_s,
            settling: status.settling,
            connections: status.connections,
            peers: status.peers,
            open_asks: status.open_asks,
            programs: &status.programs,
            service,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture;

    fn status() -> StatusAnswer {
        StatusAnswer {
            id: 1,
            hub: "0.1.0".into(),
            versions: VersionRange { min: 1, max: 1 },
            pid: 4711,
            uptime_s: 200,
            settling: false,
            connections: 3,
            peers: 2,
            open_asks: 1,
            programs: [("relay-channel 0.1.0".to_owned(), 2), ("relayctl 0.1.0".to_owned(), 1)].into(),
        }
    }

    fn service() -> Service {
        let unit = |name: &str, load: &str, active: &str, sub: &str, enabled: &str| {
            let text = str::to_owned;
            Unit { name: text(name), load: text(load), active: text(active), sub: text(sub), enabled: text(enabled) }
        };
        Service {
            manager: "systemd --user".into(),
            units: vec![
                unit("relay.socket", "loaded", "active", "listening", "enabled"),
                unit("relay.service", "not-found", "inactive", "dead", ""),
            ],
        }
    }

    #[test]
    fn the_service_manager_says_how_each_unit_is() {
        insta::assert_snapshot!(service().text(), @"systemd --user; relay.socket is active (listening), enabled; relay.service is not installed");
    }

    #[test]
    fn the_state_is_one_fact_a_line() {
        insta::assert_snapshot!(text(Path::new("/run/user/1000/relay/hub.sock"), &status()).as_str(), @"
        hub        0.1.0, up 3m 20s, process 4711, protocol 1
        socket     /run/user/1000/relay/hub.sock
        peers      2
        open asks  1
        connected  3: 2 relay-channel 0.1.0, 1 relayctl 0.1.0
        ");
    }

    #[test]
    fn the_state_has_its_json() {
        let (mut out, captured) = capture::output(true);
        out.print_json("status", &StatusView::of(Path::new("/run/hub.sock"), &status(), Some(service()))).unwrap();
        insta::assert_snapshot!(captured.text(), @r#"
        --- stdout
        {"schema":1,"type":"status","socket":"/run/hub.sock","hub":"0.1.0","versions":{"min":1,"max":1},"pid":4711,"uptime_s":200,"settling":false,"connections":3,"peers":2,"open_asks":1,"programs":{"relay-channel 0.1.0":2,"relayctl 0.1.0":1},"service":{"manager":"systemd --user","units":[{"name":"relay.socket","load":"loaded","active":"active","sub":"listening","enabled":"enabled"},{"name":"relay.service","load":"not-found","active":"inactive","sub":"dead","enabled":""}]}}
        --- stderr
        "#);
    }

    #[test]
    fn a_hub_of_another_version_is_worth_a_warning() {
        assert_eq!(other_version(env!("CARGO_PKG_VERSION")), None);
        assert_eq!(other_version(concat!("relay-hub ", env!("CARGO_PKG_VERSION"))), None);
        assert!(other_version("0.0.9").unwrap().as_str().contains("the hub has version 0.0.9"));
    }
}
