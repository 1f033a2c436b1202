//! `relayctl wait`: until a session is there, or has ended its turn. The hub's watch events tell; nothing is polled.

use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::completions::session_names;
use super::error::{CliError, Exit};
use super::output::{Format, Line, Output};
use super::question::TimeoutArgs;
use super::{Context, peers, wording};
use crate::client::{ClientEvent, HubClient};
use crate::protocol::{Activity, Audience, ErrorCode, NameError, PeerName, PeerView, Refusal, Watched};

/// Wait until a session is there
///
/// Exits with 0 as soon as it is, and with 4 where that takes longer than --timeout. A hub that is restarted meanwhile makes
/// no difference.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Wait for the session with this name, as relayctl peers shows it
    #[arg(add = ArgValueCompleter::new(session_names))]
    name: String,
    /// Wait until it has ended its turn as well
    #[arg(long)]
    idle: bool,
    #[command(flatten)]
    wait: TimeoutArgs,
    #[command(flatten)]
    format: Format,
}

impl WaitArgs {
    /// Waits.
    ///
    /// # Errors
    /// No hub answers, or the session was not there in time, or not idle.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        let wait = async |hub: &mut HubClient, out: &mut Output| {
            let wanted = if self.idle { Wanted::Idle } else { Wanted::There };
            let peer = until(hub, &self.name, wanted, self.wait.timeout).await?;
            if out.is_json() {
                out.print_json("peer", &peer)?;
            } else {
                out.say_progress(&Line::of(&format!("{} is {}", peer.name, peers::doing(&peer.presence))));
            }
            Ok(Exit::Done)
        };
        context.converse(wait).await
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The session is there.
    There,
    /// It is not known to be in a turn.
    Free,
    /// It has ended its turn.
    Idle,
}

impl Wanted {
    const fn is_met(self, does: Activity) -> bool {
        match self {
            Self::There => true,
            Self::Free => matches!(does, Activity::Idle | Activity::Unknown),
            Self::Idle => matches!(does, Activity::Idle),
        }
    }
}

/// Waits so long for the session that an address means, and returns it.
///
/// # Errors
/// No hub answers, no session can have this address, or it did not come about in time.
pub(super) async fn until(
    hub: &mut HubClient,
    address: &str,
    wanted: Wanted,
    time: Duration,
) -> Result<PeerView, CliError> {
    hub.watch(false).await?;
    let mut last = None;
    let looking = async {
        loop {
            match look(hub, address).await {
                Ok(Some(peer)) if peer.reachable != Some(false) && wanted.is_met(peer.presence.status) => {
                    return Ok(peer);
                }
                Ok(Some(peer)) => last = Some(Ok(peer)),
                Ok(None) => {}
                // It may come; a hub that is away comes back.
                Err(refusal) if refusal.code == ErrorCode::PeerNotFound && may_come(address) => {
                    last = Some(Err(refusal));
                }
                Err(refusal) if matches!(refusal.code, ErrorCode::HubUnreachable | ErrorCode::MachineUnreachable) => {}
                Err(refusal) => return Err(refusal),
            }
            change(hub).await;
        }
    };
    match tokio::time::timeout(time, looking).await {
        Ok(found) => Ok(found?),
        Err(_elapsed) => Err(in_vain(address, last, time)),
    }
}

/// Returns the session that an address means now; none where it has gone meanwhile.
async fn look(hub: &mut HubClient, address: &str) -> Result<Option<PeerView>, Refusal> {
    let view = hub.audience(Audience { to: Some(vec![address.to_owned()]), folder: None, machines: None }).await?;
    if let Some(refused) = view.refused.into_iter().next() {
        return Err(refused.error);
    }
    let peers = hub.peers().await?.peers;
    Ok(peers.into_iter().find(|peer| view.names.contains(&peer.name)))
}

fn may_come(address: &str) -> bool {
    !matches!(PeerName::parse(address), Err(NameError::Reserved | NameError::Empty))
}

/// Returns when a session has come or changed.
async fn change(hub: &mut HubClient) {
    loop {
        let event = hub.next_event().await;
        let is_change = |watched: &Watched| {
            matches!(
                watched,
                Watched::PeerCame { .. }
                    | Watched::PeerRenamed { .. }
                    | Watched::PeerChanged { .. }
                    | Watched::MachineChanged(_)
            )
        };
        if matches!(event, ClientEvent::Watching(_)) || matches!(&event, ClientEvent::Watched(it) if is_change(it)) {
            return;
        }
    }
}

/// Says what was seen last of a session that was waited for in vain.
fn in_vain(address: &str, last: Option<Result<PeerView, Refusal>>, time: Duration) -> CliError {
    let waited = wording::exact(time);
    let what = match last {
        None => format!("{address} was not there within {waited}"),
        Some(Err(refusal)) => format!("{address} was not there within {waited}: {}", refusal.message),
        Some(Ok(peer)) => {
            let does = match (peer.presence.status, &peer.presence.waiting_for) {
                (Activity::Unknown, _) => "nothing tells what it does".to_owned(),
                (Activity::Waiting, Some(dialog)) => format!("it waits for its user: {dialog}"),
                (status, _) => format!("it is {}", peers::status(status)),
            };
            format!("{} was there and not idle within {waited}: {does}", peer.name)
        }
    };
    CliError::InVain { what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{OpenAsks, Presence, Wake};

    fn peer(status: Activity, waiting_for: Option<&str>) -> PeerView {
        PeerView {
            name: PeerName::parse("backend").unwrap(),
            pid: Some(1),
            agent: "claude-code".to_owned(),
            client: None,
            presence: Presence {
                cwd: "/w".to_owned(),
                branch: None,
                status,
                waiting_for: waiting_for.map(str::to_owned),
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

    #[test]
    fn session_of_unknown_state_is_free_and_not_idle() {
        let all = [Activity::Idle, Activity::Busy, Activity::Waiting, Activity::Unknown];
        let met = |wanted: Wanted| all.map(|does| wanted.is_met(does));
        assert_eq!(met(Wanted::There), [true; 4]);
        assert_eq!(met(Wanted::Free), [true, false, false, true]);
        assert_eq!(met(Wanted::Idle), [true, false, false, false]);
    }

    #[test]
    fn wait_in_vain_says_what_was_seen_last_and_exits_with_4() {
        let unknown = Refusal::new(ErrorCode::PeerNotFound, "no session is named web; similar names: www", "look");
        let said = [
            None,
            Some(Err(unknown)),
            Some(Ok(peer(Activity::Busy, None))),
            Some(Ok(peer(Activity::Waiting, Some("permission prompt")))),
            Some(Ok(peer(Activity::Unknown, None))),
        ]
        .map(|last| {
            let error = in_vain("web", last, Duration::from_secs(120));
            assert_eq!(error.exit(), Exit::TimedOut);
            error.to_string()
        });
        insta::assert_snapshot!(said.join("\n"), @"
        web was not there within 2m
        web was not there within 2m: no session is named web; similar names: www
        backend was there and not idle within 2m: it is busy
        backend was there and not idle within 2m: it waits for its user: permission prompt
        backend was there and not idle within 2m: nothing tells what it does
        ");
    }
}
