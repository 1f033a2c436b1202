//! The hub that answers: its version, its limits, and a question that goes through it and comes back.

use std::path::Path;
use std::time::{Duration, Instant};

use super::finding::Finding;
use super::{Examined, claude};
use crate::cli::PROGRAM;
use crate::cli::diagnosis;
use crate::cli::hubs::{self, HubProcess};
use crate::cli::service_view::{Fix, ServiceView};
use crate::client::{ClientConfig, ClientEvent, End, HubClient};
use crate::paths::Environment;
use crate::process::command_line;
use crate::protocol::{
    Activity, ClientKey, ClientKind, ErrorCode, PeerName, PeerView, Presence, Refusal, SessionFacts, SessionId, Status,
    Wake,
};

/// How long the question may take.
const LOOP_BACK: Duration = Duration::from_secs(5);

pub(super) async fn check(examined: &Examined) -> Vec<Finding> {
    let (Ok(socket), Some(Ok(()))) = (&examined.socket, &examined.reach) else { return Vec::new() };
    let mut control = client(socket, ClientKind::Control { key: ClientKey::random() });
    let status = tokio::select! {
        status = control.status() => status,
        refusal = diagnosis::start_that_fails(examined.environment.clone()) => Err(refusal),
    };
    let findings = match status {
        Ok(status) => {
            let mut findings = vec![version(&status, &examined.service.restart_command())];
            findings.extend(limits(&status));
            if let Ok(answer) = control.peers().await {
                findings.extend(sessions(&answer.peers));
            }
            findings.extend(other_hubs(hubs::of_user(examined.environment.uid), status.pid, &examined.environment));
            findings.push(loop_back(socket, &mut control).await);
            findings
        }
        Err(refusal) => match ServiceView::look(&examined.environment).failing() {
            Some(_) => vec![Finding::fail("hub", refusal.message, refusal.next)],
            None => vec![silent(&refusal, restart_of_service(examined))],
        },
    };
    control.bye().await;
    findings
}

fn client(socket: &Path, kind: ClientKind) -> HubClient {
    let program = PROGRAM.to_owned();
    // Somebody listens there: what names it is not to blame.
    let config = ClientConfig { socket: socket.to_owned(), named_by: None, program, kind };
    HubClient::new(config)
}

/// Returns what restarts the hub of the service; none where this socket is another hub's.
fn restart_of_service(examined: &Examined) -> Option<String> {
    let is_service = examined.environment.service_socket() == examined.socket && examined.service.is_loaded();
    is_service.then(|| examined.service.restart_command())
}

fn silent(refusal: &Refusal, restart: Option<String>) -> Finding {
    let what = refusal.message.clone();
    match restart {
        _ if refusal.code != ErrorCode::HubUnreachable => Finding::fail("hub", what, refusal.next.clone()),
        // A hub that hangs is replaced.
        Some(restart) => Finding::fail("hub", what, restart).with_fix(Fix::RestartHub),
        None => Finding::fail("hub", what, "relayctl hub stop; relayctl hub start"),
    }
}

fn version(status: &Status, restart: &str) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    let shown = format!("version {}, process {}, up {} s", status.hub, status.pid, status.uptime_s);
    let (what, outdated) = match (status.hub == own, status.replaced) {
        (true, false) => return Finding::ok("hub", shown),
        (true, true) => (format!("{shown}: its program was replaced since"), true),
        (false, replaced) => (format!("{shown}: relayctl is {own}"), replaced || status.activated),
    };
    if status.activated && outdated {
        Finding::warn("hub", what, restart).with_fix(Fix::RestartHub)
    } else {
        Finding::warn("hub", what, "relayctl hub stop; relayctl hub start")
    }
}

/// Names the hubs that do not answer here: whoever is connected to one of them meets nobody of this one. One at a place
/// that somebody named, for a test or another purpose, may be meant.
fn other_hubs(hubs: Vec<HubProcess>, answering: u32, environment: &Environment) -> Option<Finding> {
    let others: Vec<HubProcess> = hubs.into_iter().filter(|hub| hub.pid != answering).collect();
    let shown: Vec<String> = others
        .iter()
        .map(|hub| {
            let socket = hub.socket.as_ref().map_or_else(|| "?".to_owned(), |socket| socket.display().to_string());
            format!(
                "process {} at {socket}{}",
                hub.pid,
                if hub.is_outdated { ", of a program that has gone" } else { "" }
            )
        })
        .collect();
    let default = environment.service_socket().ok();
    let is_lost = |hub: &HubProcess| {
        hub.is_outdated || hub.socket == default || !hub.socket.as_ref().is_some_and(|socket| socket.exists())
    };
    let lost: Vec<String> = others.iter().filter(|hub| is_lost(hub)).map(|hub| hub.pid.to_string()).collect();
    let what = format!("other hubs of yours run: {}", shown.join("; "));
    match (others.is_empty(), lost.is_empty()) {
        (true, _) => None,
        (false, true) => Some(Finding::note("other-hubs", what)),
        (false, false) => Some(Finding::warn("other-hubs", what, format!("kill {}", lost.join(" ")))),
    }
}

fn limits(status: &Status) -> Option<Finding> {
    let reached: Vec<String> = status.refused.iter().map(|(limit, n)| format!("{limit} ({n})")).collect();
    (!reached.is_empty()).then(|| Finding::note("hub-limits", format!("refused something: {}", reached.join(", "))))
}

/// Says whether Claude Code has started channels, and which routes they have: without names, which say what one works on.
fn sessions(peers: &[PeerView]) -> Vec<Finding> {
    let by = |wake: Wake| peers.iter().filter(|peer| peer.presence.wakes_by == wake).count();
    if peers.is_empty() {
        let what = "none is connected: start claude in a project; /mcp there shows the server relay";
        return vec![Finding::note("sessions", what)];
    }
    let (channel, waiter, next) = (by(Wake::Channel), by(Wake::Waiter), by(Wake::NextPrompt));
    let what = format!(
        "{} connected: {channel} woken by a channel, {waiter} by the plugin's hooks, {next} only by the next prompt",
        peers.len()
    );
    let finding = if next == 0 {
        Finding::ok("sessions", what)
    } else {
        Finding::warn("sessions", what, "relayctl setup   # then restart these sessions")
    };
    let started: Vec<_> =
        peers.iter().filter_map(|peer| Some((command_line(peer.pid?), peer.presence.wakes_by))).collect();
    vec![finding, claude::channel_flag(&started)]
}

/// Has a session of its own asked by a tool of its own, through the real hub.
async fn loop_back(socket: &Path, control: &mut HubClient) -> Finding {
    let name = format!("doctor-{:08x}", getrandom::u32().unwrap_or(0));
    let facts = SessionFacts {
        // This process is no agent's: a start that no process has tells it from all others.
        session: SessionId { pid: std::process::id(), start: 0, thread: Some(name.clone()) },
        name: PeerName::parse(&name).ok(),
        agent: "doctor".to_owned(),
        client: Some(PROGRAM.to_owned()),
        presence: Presence {
            cwd: std::env::current_dir().map_or_else(|_| "/".to_owned(), |cwd| cwd.display().to_string()),
            branch: None,
            status: Activity::Busy,
            waiting_for: None,
            wakes_by: Wake::Channel,
        },
    };
    let mut session = client(socket, ClientKind::Session(Box::new(facts)));
    let started = Instant::now();
    let came_back = tokio::time::timeout(LOOP_BACK, exchange(&mut session, control, &name)).await;
    let taken = started.elapsed();
    session.bye().await;
    match came_back {
        Ok(Ok(())) => Finding::ok("loop-back", format!("a question came back answered in {} ms", taken.as_millis())),
        Ok(Err(why)) => Finding::fail("loop-back", why, "relayctl logs --since 10m"),
        Err(_) => {
            let what = format!("a question was not answered within {} s", LOOP_BACK.as_secs());
            Finding::fail("loop-back", what, "relayctl logs --since 10m")
        }
    }
}

async fn exchange(session: &mut HubClient, control: &mut HubClient, name: &str) -> Result<(), String> {
    let refused = |refusal: Refusal| format!("{} ({})", refusal.message, refusal.code);
    // Answered only once the session is known to the hub.
    session.peers().await.map_err(refused)?;
    let asked = control.ask(name.to_owned(), "loop-back".to_owned(), LOOP_BACK).await.map_err(refused)?;
    let answering = async {
        loop {
            // A broadcast may reach this session as well: it ends when the session leaves.
            if let ClientEvent::Ask(ask) = session.next_event().await
                && ask.ask_id == asked.ask_id
            {
                return session.reply(ask.ask_id, ask.question).await.map(|_| ()).map_err(refused);
            }
        }
    };
    let hearing = async {
        loop {
            if let ClientEvent::Outcome(outcome) = control.next_event().await
                && outcome.ask_id == asked.ask_id
            {
                return match outcome.end {
                    End::Reply { text, .. } if text == "loop-back" => Ok(()),
                    End::Reply { .. } | End::Arrived { .. } => Err("another answer came back".to_owned()),
                    End::Failed { code, .. } => Err(format!("the question ended with {code}")),
                };
            }
        }
    };
    tokio::try_join!(answering, hearing).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::State;
    use crate::protocol::VersionRange;

    fn status(hub: &str, activated: bool, replaced: bool) -> Status {
        Status {
            hub: hub.to_owned(),
            pid: 2,
            versions: VersionRange { min: 1, max: 1 },
            uptime_s: 3,
            settling: false,
            connections: 1,
            peers: 0,
            open_asks: 0,
            programs: std::collections::BTreeMap::new(),
            activated,
            replaced,
            refused: std::collections::BTreeMap::new(),
            machines: Vec::new(),
        }
    }

    #[test]
    fn an_old_hub_is_replaced_where_a_service_manager_starts_the_next() {
        let own = env!("CARGO_PKG_VERSION");
        assert_eq!(version(&status(own, true, false), "restart it").state, State::Ok);
        let old = version(&status("0.0.1", true, false), "restart it");
        assert_eq!((old.state, old.fix), (State::Warn, Some(Fix::RestartHub)));
        let foreground = version(&status(own, false, true), "restart it");
        assert_eq!((foreground.state, foreground.fix), (State::Warn, None));
    }

    #[test]
    fn a_silent_hub_is_replaced() {
        let silence = Refusal::new(ErrorCode::HubUnreachable, "it does not answer", "run: relayctl doctor --fix");
        let service = silent(&silence, Some("restart it".to_owned()));
        assert_eq!((service.state, service.fix), (State::Fail, Some(Fix::RestartHub)));
        let foreground = silent(&silence, None);
        assert_eq!((foreground.state, foreground.fix), (State::Fail, None));
        assert_eq!(foreground.cure.as_deref(), Some("relayctl hub stop; relayctl hub start"));
        let full = Refusal::new(ErrorCode::RateLimited, "too many connections", "close some");
        assert_eq!(silent(&full, Some("restart it".to_owned())).fix, None);
    }
}
