//! The words of the refusals that a client makes by itself.

use std::path::Path;

use super::config::ClientConfig;
use crate::protocol::{AskId, ErrorCode, Refusal};

/// No hub answers at the socket.
pub(super) fn hub_unreachable(config: &ClientConfig, listener_missing: bool) -> Refusal {
    let socket = config.socket.display();
    let (message, next) = if listener_missing {
        let leads = config.named_by.map(|name| format!(", where {name} leads")).unwrap_or_default();
        (format!("no hub listens at {socket}{leads}"), next_without_listener(config.named_by, &config.socket))
    } else {
        let next = "run: relayctl doctor --fix, then try again".to_owned();
        (format!("the hub at {socket} does not answer"), next)
    };
    Refusal::new(ErrorCode::HubUnreachable, message, next)
}

/// Returns what to do where nobody listens at the socket, and what has named it.
fn next_without_listener(named_by: Option<&str>, socket: &Path) -> String {
    match named_by {
        None => "run: relayctl install-service (without a service manager: relay-hub &), then try again".to_owned(),
        Some(name) => format!(
            "start a hub there: relay-hub --socket '{}' &; or correct {name} (a session has what its client was started with)",
            socket.display()
        ),
    }
}

/// The hub does not know this request.
pub(super) fn older_hub(version: u32, request: &str) -> Refusal {
    Refusal::new(
        ErrorCode::ProtocolMismatch,
        format!("relay-hub is too old: it speaks protocol {version}, which has no {request}"),
        "install the newer claude-relay, then run: relayctl doctor --fix",
    )
}

/// The session has answered this ask before, or is about to.
pub(super) fn answered_before(ask_id: AskId, taken: bool) -> Refusal {
    let message = if taken {
        format!("this session has answered the ask {ask_id} before; an ask takes one answer")
    } else {
        format!("an answer of this session to the ask {ask_id} is on its way already")
    };
    Refusal::new(ErrorCode::UnknownAsk, message, "to say more, ask that session a question of your own")
}

/// The hub knows nothing of an ask from another machine, and the one that the reply was given to first is lost.
pub(super) fn unconfirmed(ask_id: AskId, to: &str) -> Refusal {
    let message = format!(
        "the hub that the reply to the ask {ask_id} was given to is lost, and what became of it is not known: it may have arrived"
    );
    Refusal::new(ErrorCode::Unconfirmed, message, format!("if it matters, tell {to} again"))
}

/// More replies wait for the hub than are kept.
pub(super) fn too_many_replies(limit: usize) -> Refusal {
    Refusal::new(
        ErrorCode::RateLimited,
        format!("{limit} answers of this session wait for the hub and that is the limit"),
        "run: relayctl status, and answer again when the hub is back",
    )
}
