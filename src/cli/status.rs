//! `relayctl status`: whether a hub answers, judged by connecting, what it has to do, and what is to be repaired.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::{Format, Line, Output};
use super::reach::Reach;
use super::service_view::{ServiceView, Warning};
use super::{Context, wording};
use crate::client::next_without_listener;
use crate::protocol::{ErrorCode, PeerView, Refusal, StatusAnswer, VersionRange};
use crate::service::UnitStatus;

/// How many peers are named before the rest is counted.
const NAMED_MAX: usize = 8;

/// Show the hub, what is connected to it, and what needs repair
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
        let environment = context.environment()?;
        let socket = environment.socket()?;
        let reach = Reach::of(&socket);
        let answers = match &reach {
            Reach::Listening => Some(ask(context).await),
            Reach::Missing | Reach::Abandoned | Reach::Barred(_) => None,
        };
        // Asked after connecting, which may have started the hub.
        let service = ServiceView::look(&environment);
        let named_by = environment.socket_named_by();
        let mut report = Report { socket, named_by, reach, service, hub: None, refusal: None };
        let out = &mut context.out;
        match answers {
            Some(Ok((status, peers))) => {
                report.hub = Some(HubView { status, peers });
                report.show(out)?;
                Ok(Exit::Done)
            }
            Some(Err(refusal)) => {
                let refusal = report.refusal.insert(report.refused(refusal)).clone();
                report.show(out)?;
                Err(refusal.into())
            }
            None => {
                report.show(out)?;
                Err(report.unreachable().into())
            }
        }
    }
}

async fn ask(context: &Context) -> Result<(StatusAnswer, Vec<PeerView>), Refusal> {
    let (hub, _events) =
        context.connect().map_err(|error| Refusal::new(ErrorCode::HubUnreachable, error.to_string(), error.next()))?;
    let (status, peers) = tokio::join!(hub.status(), hub.peers());
    hub.bye().await;
    Ok((status?, peers?.peers))
}

/// Everything that was found.
struct Report {
    socket: PathBuf,
    /// What names the socket, where it is not the service's.
    named_by: Option<&'static str>,
    reach: Reach,
    service: ServiceView,
    hub: Option<HubView>,
    /// Why the hub that listens says nothing of itself.
    refusal: Option<Refusal>,
}

struct HubView {
    status: StatusAnswer,
    peers: Vec<PeerView>,
}

impl Report {
    fn show(&self, out: &mut Output) -> Result<(), CliError> {
        let warnings = self.warnings();
        if out.is_json() {
            return out.print_json("status", &self.json(&warnings));
        }
        out.print(&self.text())?;
        for warning in warnings {
            out.warn(&warning.what, &warning.next);
        }
        Ok(())
    }

    fn text(&self) -> Line {
        let mut rows = vec![("service", self.service.text()), ("socket", self.socket.display().to_string())];
        if let Some(HubView { status, peers }) = &self.hub {
            let programs: Vec<String> = status.programs.iter().map(|(program, n)| format!("{n} {program}")).collect();
            rows.push(("hub", hub_text(status)));
            rows.push(("connected", format!("{}: {}", status.connections, programs.join(", "))));
            rows.push(("peers", peers_text(peers)));
            rows.push(("open asks", status.open_asks.to_string()));
            rows.push(("limits", limits_text(&status.refused)));
        } else {
            let why = match &self.refusal {
                Some(refusal) if refusal.code != ErrorCode::HubUnreachable => format!("refuses: {}", refusal.message),
                Some(refusal) => format!("not reachable: {}", refusal.message),
                None => format!("not reachable: {}", self.reach.why_not(&self.socket).unwrap_or_default()),
            };
            rows.push(("hub", why));
        }
        let rows: Vec<String> = rows.iter().map(|(label, value)| format!("{label:<11}{value}")).collect();
        Line::of(&rows.join("\n"))
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        match self.named_by {
            None => warnings.extend(self.service.warnings(&self.reach)),
            Some(name) if !matches!(self.reach, Reach::Listening) => {
                let what = format!("{name} leads to a place where no hub is reached");
                warnings.push(Warning::new(what, next_without_listener(self.named_by, &self.socket)));
            }
            Some(_) => {}
        }
        if let Some(hub) = &self.hub {
            warnings.extend(version_warnings(&hub.status, &self.service.restart_command()));
        }
        warnings
    }

    /// Says why no hub is reached, and what to do about the first thing that explains it.
    fn unreachable(&self) -> Refusal {
        let why = self.reach.why_not(&self.socket).unwrap_or_else(|| "no hub answers".to_owned());
        let next =
            self.warnings().into_iter().next().map_or_else(|| "relayctl doctor".to_owned(), |warning| warning.next);
        Refusal::new(ErrorCode::HubUnreachable, why, next)
    }

    /// Says what to do about a hub that listens and does not answer: the service's own can be replaced.
    fn refused(&self, refusal: Refusal) -> Refusal {
        if self.named_by.is_some() || !self.service.is_loaded() {
            return refusal;
        }
        if refusal.code == ErrorCode::HubUnreachable {
            Refusal { next: self.service.restart_command(), ..refusal }
        } else {
            refusal
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

fn hub_text(status: &StatusAnswer) -> String {
    let VersionRange { min, max } = status.versions;
    let versions = if min == max { max.to_string() } else { format!("{min} to {max}") };
    let uptime = wording::exact(Duration::from_secs(status.uptime_s));
    let state = match (status.settling, status.uptime_s) {
        (true, 0) if status.activated => ", was idle until now",
        (true, _) => ", just started: not every session may be back yet",
        (false, _) => "",
    };
    format!("{}, up {uptime}, process {}, protocol {versions}{state}", status.hub, status.pid)
}

fn peers_text(peers: &[PeerView]) -> String {
    let named: Vec<&str> = peers.iter().take(NAMED_MAX).map(|peer| peer.name.as_str()).collect();
    let rest = peers.len().saturating_sub(NAMED_MAX);
    match (peers.len(), rest) {
        (0, _) => "0".to_owned(),
        (n, 0) => format!("{n}: {}", named.join(", ")),
        (n, rest) => format!("{n}: {} and {rest} more", named.join(", ")),
    }
}

fn limits_text(refused: &BTreeMap<String, u64>) -> String {
    let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let reached: Vec<String> = refused.iter().map(|(limit, n)| format!("{limit} {}", times(*n))).collect();
    if reached.is_empty() { "none reached".to_owned() } else { format!("reached: {}", reached.join(", ")) }
}

/// Warns of programs that are not of one version. A socket-activated hub replaces itself when somebody connects.
fn version_warnings(status: &StatusAnswer, restart: &str) -> Vec<Warning> {
    let own = env!("CARGO_PKG_VERSION");
    let mut warnings = Vec::new();
    let restart = if status.activated { restart } else { "restart relay-hub" };
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
}

impl<'a> HubJson<'a> {
    fn of(status: &'a StatusAnswer) -> Self {
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
            activated: true,
            replaced: false,
            refused: BTreeMap::new(),
        }
    }

    fn peer(name: &str) -> PeerView {
        PeerView {
            name: PeerName::parse(name).unwrap(),
            cwd: "/".into(),
            branch: None,
            pid: 1,
            client: None,
            presence: Presence { status: Activity::Idle, wakes_by: Wake::Channel },
            connected_s: 1,
            open_asks: OpenAsks::default(),
        }
    }

    fn report(status: StatusAnswer) -> Report {
        Report {
            socket: "/run/user/1000/relay/hub.sock".into(),
            reach: Reach::Listening,
            service: systemd(LISTENS, IDLE),
            named_by: None,
            hub: Some(HubView { status, peers: vec![peer("backend"), peer("web")] }),
            refusal: None,
        }
    }

    fn shown(report: &Report, json: bool) -> String {
        let (mut out, captured) = capture::output(json);
        report.show(&mut out).unwrap();
        captured.text()
    }

    #[test]
    fn the_state_is_one_fact_a_line() {
        insta::assert_snapshot!(shown(&report(status()), false), @"
        --- stdout
        service    systemd --user; relay.socket is active (listening), enabled; relay.service is inactive (dead)
        socket     /run/user/1000/relay/hub.sock
        hub        0.1.0, up 3m 20s, process 4711, protocol 1
        connected  3: 2 relay-channel 0.1.0, 1 relayctl 0.1.0
        peers      2: backend, web
        open asks  1
        limits     none reached
        --- stderr
        ");
    }

    #[test]
    fn the_state_has_its_json() {
        insta::assert_snapshot!(shown(&report(status()), true), @r#"
        --- stdout
        {"schema":1,"type":"status","socket":"/run/user/1000/relay/hub.sock","reachable":true,"hub":"0.1.0","versions":{"min":1,"max":1},"pid":4711,"uptime_s":200,"settling":false,"connections":3,"peers":2,"open_asks":1,"programs":{"relay-channel 0.1.0":2,"relayctl 0.1.0":1},"activated":true,"replaced":false,"refused":{},"names":["backend","web"],"service":{"manager":"systemd --user","units":[{"name":"relay.socket","load":"loaded","active":"active","sub":"listening","enabled":"enabled"},{"name":"relay.service","load":"loaded","active":"inactive","sub":"dead","enabled":"static"}]},"warnings":[]}
        --- stderr
        "#);
    }

    #[test]
    fn limits_that_were_reached_are_named_and_counted() {
        let refused = [("rate".to_owned(), 3), ("loop".to_owned(), 1)].into();
        let text = shown(&report(StatusAnswer { refused, ..status() }), false);
        assert!(text.contains("limits     reached: loop once, rate 3 times\n"), "{text}");
    }

    #[test]
    fn many_peers_are_counted_beyond_the_first() {
        let peers: Vec<PeerView> = (0..11).map(|n| peer(&format!("p{n}"))).collect();
        assert_eq!(peers_text(&peers), "11: p0, p1, p2, p3, p4, p5, p6, p7 and 3 more");
    }

    #[test]
    fn where_no_hub_is_reached_the_first_cure_is_what_to_do_next() {
        let mut report = report(status());
        (report.hub, report.reach) = (None, Reach::Missing);
        insta::assert_snapshot!(shown(&report, false), @"
        --- stdout
        service    systemd --user; relay.socket is active (listening), enabled; relay.service is inactive (dead)
        socket     /run/user/1000/relay/hub.sock
        hub        not reachable: there is no socket at /run/user/1000/relay/hub.sock
        --- stderr
        warning: relay.socket is active, but its socket was removed or replaced
        next: systemctl --user restart relay.socket
        ");
        assert_eq!(report.unreachable().next, "systemctl --user restart relay.socket");
        insta::assert_snapshot!(shown(&report, true), @r#"
        --- stdout
        {"schema":1,"type":"status","socket":"/run/user/1000/relay/hub.sock","reachable":false,"names":[],"service":{"manager":"systemd --user","units":[{"name":"relay.socket","load":"loaded","active":"active","sub":"listening","enabled":"enabled"},{"name":"relay.service","load":"loaded","active":"inactive","sub":"dead","enabled":"static"}]},"warnings":[{"what":"relay.socket is active, but its socket was removed or replaced","next":"systemctl --user restart relay.socket"}]}
        --- stderr
        "#);
    }

    #[test]
    fn programs_of_several_versions_are_worth_a_warning_each() {
        assert_eq!(version_warnings(&status(), RESTART), []);
        let old = StatusAnswer {
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
        let foreground = StatusAnswer { activated: false, replaced: true, ..status() };
        assert_eq!(version_warnings(&foreground, RESTART)[0].next, "restart relay-hub");
    }
}
