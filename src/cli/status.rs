//! `relayctl status`: whether a hub answers, judged by connecting, what it has to do, and what is to be repaired.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Context;
use super::diagnosis;
use super::error::{CliError, Exit};
use super::output::{Format, Output};
use super::service_view::{Reach, ServiceView, Warning};
use crate::advice::Observation;
use crate::paths::Environment;
use crate::protocol::{ErrorCode, MachineView, PeerView, Refusal, Status, VersionRange};
use crate::service::UnitStatus;

mod glance;

/// Show at a glance whether relay works, which sessions can be woken, and who waits for you
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Show the service, the socket, the hub and the limits as well
    #[arg(long, short)]
    verbose: bool,
    /// Print one short line without colour, for a shell's prompt or a status bar
    #[arg(long, conflicts_with_all = ["verbose", "json"])]
    short: bool,
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
        let environment = context.environment()?;
        let socket = environment.socket()?;
        let reach = diagnosis::reach(&socket);
        let answers = match reach {
            Ok(()) => Some(tokio::select! {
                answers = ask(context) => answers,
                refusal = diagnosis::start_that_fails(environment.clone()) => Err(refusal),
            }),
            Err(_) => None,
        };
        // Asked after connecting, which may have started the hub.
        let service = ServiceView::look(&environment);
        let named_by = environment.socket_named_by();
        let mut report = Report { environment, socket, named_by, reach, service, hub: None, refusal: None };
        match answers {
            Some(Ok((status, peers))) => report.hub = Some(HubView { status, peers }),
            Some(Err(refusal)) => report.refusal = Some(refusal),
            None => {}
        }
        let failure = report.failure();
        if self.short {
            context.out.print(&glance::short(&report))?;
            return Ok(failure.map_or(Exit::Done, |refusal| refusal.code.into()));
        }
        report.show(self.verbose, &mut context.out)?;
        failure.map_or(Ok(Exit::Done), |refusal| Err(refusal.into()))
    }
}

async fn ask(context: &Context) -> Result<(Status, Vec<PeerView>), Refusal> {
    let mut hub =
        context.connect().map_err(|error| Refusal::new(ErrorCode::HubUnreachable, error.to_string(), error.next()))?;
    let answers = async { Ok((hub.status().await?, hub.peers().await?.peers)) }.await;
    hub.bye().await;
    answers
}

/// Everything that was found.
struct Report {
    environment: Environment,
    socket: PathBuf,
    /// What names the socket, where it is not the service's.
    named_by: Option<&'static str>,
    /// What a connect met.
    reach: Reach,
    service: ServiceView,
    hub: Option<HubView>,
    /// Why the hub that listens says nothing of itself.
    refusal: Option<Refusal>,
}

struct HubView {
    status: Status,
    peers: Vec<PeerView>,
}

impl Report {
    fn show(&self, verbose: bool, out: &mut Output) -> Result<(), CliError> {
        let warnings = self.warnings();
        if out.is_json() {
            return out.print_json("status", &self.json(&warnings));
        }
        let failure = self.failure();
        let is_told = |warning: &Warning| failure.as_ref().is_some_and(|refusal| refusal.next == warning.next);
        out.print(&glance::headline(self, failure.as_ref().map(|refusal| refusal.message.as_str())))?;
        if let Some(hub) = &self.hub {
            out.print(&glance::sessions(&hub.peers, &hub.status.machines))?;
            for line in glance::machines(&hub.status.machines) {
                out.print(&line)?;
            }
        }
        if verbose {
            out.print(&glance::details(self))?;
        }
        for warning in warnings.iter().filter(|warning| !is_told(warning)) {
            out.warn(&warning.what, &warning.next);
        }
        Ok(())
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        match (self.named_by, &self.reach) {
            (None, reach) => warnings.extend(self.service.warnings(reach)),
            (Some(_), Err(seen)) => {
                let (advice, fix) = diagnosis::explain(&self.environment, seen, &self.service);
                warnings.push(Warning { what: advice.sentence, next: advice.next, fix });
            }
            (Some(_), Ok(())) => {}
        }
        if let Some(hub) = &self.hub {
            warnings.extend(version_warnings(&hub.status, &self.service.restart_command()));
        }
        warnings
    }

    /// Returns why the hub is of no use; none where it answers.
    fn failure(&self) -> Option<Refusal> {
        match (&self.reach, &self.refusal) {
            (Err(seen), _) => Some(diagnosis::unreachable(&self.environment, seen, &self.service)),
            (Ok(()), Some(refusal)) if refusal.code == ErrorCode::HubUnreachable => {
                Some(diagnosis::unreachable(&self.environment, &Observation::Silent, &self.service))
            }
            (Ok(()), refusal) => refusal.clone(),
        }
    }

    fn json<'a>(&'a self, warnings: &'a [Warning]) -> StatusView<'a> {
        let status = self.hub.as_ref().map(|hub| &hub.status);
        StatusView {
            socket: self.socket.display().to_string(),
            reachable: status.is_some(),
            hub: status.map(HubJson::of),
            names: self.hub.iter().flat_map(|hub| &hub.peers).map(|peer| peer.name.to_string()).collect(),
            service: ServiceJson::of(&self.service),
            warnings,
        }
    }
}

/// Warns of programs that are not of one version. A socket-activated hub replaces itself when somebody connects.
fn version_warnings(status: &Status, restart: &str) -> Vec<Warning> {
    let own = env!("CARGO_PKG_VERSION");
    let mut warnings = Vec::new();
    let restart = if status.activated { restart } else { "relayctl hub stop; relayctl hub start" };
    if status.hub != own {
        let next = if status.replaced { restart } else { "install both from the same package" };
        let what = format!("the hub has version {} and relayctl has {own}", status.hub);
        warnings.push(Warning::new(what, next));
    } else if status.replaced {
        warnings.push(Warning::new("the hub's program was replaced, and the old one still runs", restart));
    }
    let old: Vec<String> = status
        .programs
        .iter()
        .filter(|(program, _)| program.starts_with("relay-channel ") && !program.ends_with(&format!(" {own}")))
        .map(|(program, n)| format!("{n} {program}"))
        .collect();
    if !old.is_empty() {
        let what = format!("sessions run a channel of another version: {}", old.join(", "));
        warnings.push(Warning::new(what, "reconnect in these sessions: /mcp"));
    }
    warnings
}

/// What was found, as JSON. The keys of the hub are missing where none is reached.
#[derive(Serialize)]
struct StatusView<'a> {
    socket: String,
    reachable: bool,
    #[serde(flatten)]
    hub: Option<HubJson<'a>>,
    names: Vec<String>,
    service: Option<ServiceJson<'a>>,
    warnings: &'a [Warning],
}

#[derive(Serialize)]
struct HubJson<'a> {
    hub: &'a str,
    versions: VersionRange,
    pid: u32,
    uptime_s: u64,
    settling: bool,
    connections: u64,
    peers: u64,
    open_asks: u64,
    programs: &'a BTreeMap<String, u64>,
    activated: bool,
    replaced: bool,
    refused: &'a BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    machines: &'a [MachineView],
}

impl<'a> HubJson<'a> {
    fn of(status: &'a Status) -> Self {
        Self {
            hub: &status.hub,
            versions: status.versions,
            pid: status.pid,
            uptime_s: status.uptime_s,
            settling: status.settling,
            connections: status.connections,
            peers: status.peers,
            open_asks: status.open_asks,
            programs: &status.programs,
            activated: status.activated,
            replaced: status.replaced,
            refused: &status.refused,
            machines: &status.machines,
        }
    }
}

#[derive(Serialize)]
struct ServiceJson<'a> {
    manager: String,
    units: Vec<UnitJson<'a>>,
}

#[derive(Serialize)]
struct UnitJson<'a> {
    name: &'a str,
    load: &'a str,
    active: &'a str,
    sub: &'a str,
    enabled: &'a str,
}

impl<'a> ServiceJson<'a> {
    fn of(view: &'a ServiceView) -> Option<Self> {
        let ServiceView::Seen { manager, units } = view else { return None };
        let unit = |unit: &'a UnitStatus| UnitJson {
            name: &unit.name,
            load: &unit.load,
            active: &unit.active,
            sub: &unit.sub,
            enabled: &unit.enabled,
        };
        Some(Self { manager: manager.to_string(), units: units.iter().map(unit).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture;
    use crate::cli::service_view::tests::{IDLE, LISTENS, systemd};
    use crate::protocol::{Activity, OpenAsks, PeerName, Presence, Wake};

    const RESTART: &str = "systemctl --user restart relay.service";

    pub(super) fn status() -> Status {
        Status {
            hub: "0.1.0".into(),
            versions: VersionRange { min: 1, max: 1 },
            pid: 4711,
            uptime_s: 200,
            settling: false,
            connections: 3,
            peers: 2,
            open_asks: 1,
            programs: [("relay-channel 0.1.0".to_owned(), 2), ("relayctl 0.1.0".to_owned(), 1)].into(),
            activated: true,
            replaced: false,
            refused: BTreeMap::new(),
            machines: Vec::new(),
        }
    }

    pub(super) fn peer(name: &str) -> PeerView {
        PeerView {
            name: PeerName::parse(name).unwrap(),
            pid: Some(1),
            agent: "claude-code".into(),
            client: None,
            presence: Presence {
                cwd: "/".into(),
                branch: None,
                status: Activity::Idle,
                waiting_for: None,
                wakes_by: Wake::Channel,
            },
            status_s: 0,
            connected_s: 1,
            open_asks: OpenAsks::default(),
            machine: None,
            reachable: None,
            tag: None,
        }
    }

    pub(super) fn report(status: Status) -> Report {
        Report {
            socket: "/home/ada/.relay/hub.sock".into(),
            environment: Environment {
                relay_socket: None,
                runtime_dir: None,
                run_user: "/nonexistent".into(),
                home: Some("/home/ada".into()),
                ..Environment::of_process()
            },
            reach: Ok(()),
            service: systemd(LISTENS, IDLE),
            named_by: None,
            hub: Some(HubView { status, peers: vec![peer("backend"), peer("web")] }),
            refusal: None,
        }
    }

    pub(super) fn shown(report: &Report, json: bool) -> String {
        let (mut out, captured) = capture::output(json);
        report.show(true, &mut out).unwrap();
        anstream::adapter::strip_str(&captured.text()).to_string()
    }

    #[test]
    fn the_state_has_its_json() {
        insta::assert_snapshot!(shown(&report(status()), true), @r#"
        --- stdout
        {"schema":1,"type":"status","socket":"/home/ada/.relay/hub.sock","reachable":true,"hub":"0.1.0","versions":{"min":1,"max":1},"pid":4711,"uptime_s":200,"settling":false,"connections":3,"peers":2,"open_asks":1,"programs":{"relay-channel 0.1.0":2,"relayctl 0.1.0":1},"activated":true,"replaced":false,"refused":{},"names":["backend","web"],"service":{"manager":"systemd --user","units":[{"name":"relay.socket","load":"loaded","active":"active","sub":"listening","enabled":"enabled"},{"name":"relay.service","load":"loaded","active":"inactive","sub":"dead","enabled":"static"}]},"warnings":[]}
        --- stderr
        "#);
    }

    #[test]
    fn where_no_hub_is_reached_the_first_cure_is_what_to_do_next() {
        let mut report = report(status());
        (report.hub, report.reach) = (None, Err(Observation::Missing));
        insta::assert_snapshot!(shown(&report, false), @"
        --- stdout
        ✗ relay does not work: no hub listens: there is no socket at /home/ada/.relay/hub.sock
        service    systemd --user; relay.socket is active (listening), enabled; relay.service is inactive (dead)
        socket     /home/ada/.relay/hub.sock
        --- stderr
        ");
        assert_eq!(report.failure().unwrap().next, "systemctl --user restart relay.socket");
        insta::assert_snapshot!(shown(&report, true), @r#"
        --- stdout
        {"schema":1,"type":"status","socket":"/home/ada/.relay/hub.sock","reachable":false,"names":[],"service":{"manager":"systemd --user","units":[{"name":"relay.socket","load":"loaded","active":"active","sub":"listening","enabled":"enabled"},{"name":"relay.service","load":"loaded","active":"inactive","sub":"dead","enabled":"static"}]},"warnings":[{"what":"relay.socket is active, but its socket was removed or replaced","next":"systemctl --user restart relay.socket"}]}
        --- stderr
        "#);
    }

    #[test]
    fn programs_of_several_versions_are_worth_a_warning_each() {
        assert_eq!(version_warnings(&status(), RESTART), []);
        let old = Status {
            hub: "0.0.9".into(),
            replaced: true,
            programs: [("relay-channel 0.0.9".to_owned(), 2)].into(),
            ..status()
        };
        let said: Vec<String> = version_warnings(&old, RESTART)
            .into_iter()
            .map(|warning| format!("{} -> {}", warning.what, warning.next))
            .collect();
        insta::assert_snapshot!(said.join("\n"), @"
        the hub has version 0.0.9 and relayctl has 0.1.0 -> systemctl --user restart relay.service
        sessions run a channel of another version: 2 relay-channel 0.0.9 -> reconnect in these sessions: /mcp
        ");
        let foreground = Status { activated: false, replaced: true, ..status() };
        assert_eq!(version_warnings(&foreground, RESTART)[0].next, "relayctl hub stop; relayctl hub start");
    }
}
