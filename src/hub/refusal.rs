//! The words of every refusal that the hub makes, in one place.

use std::time::{Duration, Instant};

use super::asks::Ending;
use super::held::Text;
use super::limits::{BROADCASTS_WAITING_MAX, Limits, OPEN_ASKS_FACTOR, WATCHERS_MAX};
use super::pace::{Party, TooFast};
use super::peers::RenameError;
use crate::protocol::{
    AskId, BODY_MAX_BYTES, ErrorCode, NameError, PeerName, RESERVED_NAMES, Refusal, SHELL, TIMEOUT_MAX_S, VERSIONS,
    VersionRange,
};

const LIST: &str = "list the peers (relay_peers, or relayctl peers) and use one of their names";

pub(super) fn peer_not_found(to: &str) -> Refusal {
    let message = match PeerName::parse(to) {
        Ok(name) => format!("no peer is named {name}"),
        Err(NameError::Empty) => "the address is empty: it needs at least one letter or digit".to_owned(),
        Err(NameError::Reserved) if to.trim().eq_ignore_ascii_case(SHELL) => {
            "a question from the shell is answered with its ask_id; the shell itself cannot be asked".to_owned()
        }
        Err(NameError::Reserved) if ["all", "everyone"].iter().any(|all| to.trim().eq_ignore_ascii_case(all)) => {
            format!("{to} names no peer; everybody is asked by a broadcast")
        }
        Err(NameError::Reserved) => format!("{to} names no peer"),
    };
    let next = match PeerName::parse(to) {
        Err(NameError::Reserved) => "ask a peer by its name, or everybody by a broadcast",
        Ok(_) | Err(NameError::Empty) => LIST,
    };
    Refusal::new(ErrorCode::PeerNotFound, message, next)
}

pub(super) fn peer_gone(to: &str) -> Refusal {
    Refusal::new(ErrorCode::PeerGone, format!("the session {to} has ended"), "ask again when it is back")
}

pub(super) fn asks_itself(name: &str) -> Refusal {
    Refusal::new(ErrorCode::BadArgs, format!("{name} is this session itself"), LIST)
}

pub(super) fn succeeded() -> Refusal {
    Refusal::new(
        ErrorCode::AlreadyRegistered,
        "another server of this session has taken this one's place",
        "use the tools of the other one, or reconnect this one: /mcp",
    )
}

pub(super) fn id_in_use(id: AskId) -> Refusal {
    Refusal::new(ErrorCode::BadArgs, format!("the ask_id {id} names an ask of another client"), "make a new random id")
}

pub(super) fn rename(error: &RenameError, own: &str) -> Refusal {
    match error {
        RenameError::Taken(name) => Refusal::new(
            ErrorCode::NameTaken,
            format!("another peer is named {name}; this session is still {own}"),
            "choose another name",
        ),
        RenameError::NoName(NameError::Reserved) => Refusal::new(
            ErrorCode::BadArgs,
            format!("these names are reserved: {}", RESERVED_NAMES.join(", ")),
            "choose another name",
        ),
        RenameError::NoName(NameError::Empty) => Refusal::new(
            ErrorCode::BadArgs,
            "a name needs at least one letter or digit",
            "choose a name such as backend-api",
        ),
    }
}

pub(super) fn address_too_long(bytes: usize, limit: usize) -> Refusal {
    Refusal::new(ErrorCode::BadArgs, format!("the address has {bytes} bytes and the limit is {limit}"), LIST)
}

pub(super) fn empty_text() -> Refusal {
    Refusal::new(ErrorCode::BadArgs, "the text is empty", "say what is to be asked or answered")
}

pub(super) fn body_too_large(bytes: usize) -> Refusal {
    Refusal::new(
        ErrorCode::TooLarge,
        format!("the text has {bytes} bytes and the limit is {BODY_MAX_BYTES}"),
        "put it into a file and send the file's path: all sessions are on one machine",
    )
}

pub(super) fn timeout_out_of_bounds(timeout_ms: u64) -> Refusal {
    Refusal::new(
        ErrorCode::BadArgs,
        format!("a timeout of {} s is out of bounds: 1 to {TIMEOUT_MAX_S} s", timeout_ms / 1000),
        "give a timeout within these bounds",
    )
}

pub(super) fn not_registered(what: &str) -> Refusal {
    Refusal::new(ErrorCode::NotRegistered, format!("{what} needs a hello first"), "say hello, then ask again")
}

pub(super) fn only_sessions(what: &str) -> Refusal {
    Refusal::new(
        ErrorCode::NotRegistered,
        format!("only a session can {what}, and this connection said hello as something else"),
        "say hello with kind channel on a connection of its own",
    )
}

pub(super) fn only_clients(what: &str) -> Refusal {
    Refusal::new(
        ErrorCode::NotRegistered,
        format!("a waiter or a hook cannot {what}"),
        "say hello with kind channel or control on a connection of its own",
    )
}

pub(super) fn no_descendant(client: u32, own: u32) -> Refusal {
    Refusal::new(
        ErrorCode::BadArgs,
        format!("the process {own} was not started by the process {client}, whose session it says it belongs to"),
        "say the pid and the start of the process that started this one",
    )
}

pub(super) fn only_control(what: &str) -> Refusal {
    Refusal::new(
        ErrorCode::NotRegistered,
        format!("only a person's tool can {what}, and this connection said hello as a session"),
        "say hello with kind control on a connection of its own",
    )
}

pub(super) fn already_registered() -> Refusal {
    Refusal::new(
        ErrorCode::AlreadyRegistered,
        "this connection has said hello before",
        "go on without, or open another connection",
    )
}

pub(super) fn protocol_mismatch(theirs: VersionRange, program: &str) -> Refusal {
    let (old, next) = if theirs.max < VERSIONS.min && program.starts_with("relay-channel") {
        (program, "install the newer claude-relay, then start the session's client again (or in it: /mcp, reconnect)")
    } else if theirs.max < VERSIONS.min {
        (program, "install the newer claude-relay, then try again")
    } else {
        ("relay-hub", "install the newer claude-relay, then run: relayctl doctor --fix")
    };
    Refusal::new(
        ErrorCode::ProtocolMismatch,
        format!(
            "{program} speaks protocol {} to {}, this hub {} to {}: {old} is too old",
            theirs.min, theirs.max, VERSIONS.min, VERSIONS.max
        ),
        next,
    )
}

pub(super) fn unknown_ask(id: AskId, ended: Option<(Ending, Instant)>, now: Instant) -> Refusal {
    let message = match ended {
        None => format!("no open ask {id} waits for an answer of this session"),
        Some((ending, at)) => {
            let ago = Duration::from_secs(now.saturating_duration_since(at).as_secs());
            let how = match ending {
                Ending::Replied => "was answered before",
                Ending::TimedOut => "timed out",
                Ending::PeerGone => "ended when its session was gone",
                Ending::Withdrawn => "was withdrawn by its asker",
            };
            format!("the ask {id} {how}, {} s ago; nothing of it can be delivered any more", ago.as_secs())
        }
    };
    Refusal::new(
        ErrorCode::UnknownAsk,
        message,
        "check the ask_id; if the answer still matters, ask that session a question of your own",
    )
}

pub(super) fn answer_on_its_way(id: AskId) -> Refusal {
    Refusal::new(
        ErrorCode::UnknownAsk,
        format!("an answer of this session to the ask {id} is on its way already"),
        "wait for the end of that one; to say more, ask that session a question of your own",
    )
}

pub(super) fn too_fast(too_fast: &TooFast) -> Refusal {
    let TooFast { pace, asker, pair, wait } = too_fast;
    let between = match (asker, pair) {
        (Party::Session(_), true) => "between these two sessions",
        (Party::Session(_), false) => "from this session",
        (Party::Shell, true) => "from the shell to this session",
        (Party::Shell, false) => "from the shell",
    };
    Refusal::new(
        ErrorCode::RateLimited,
        format!(
            "too many asks {between}: the limit is {} at once, then one every {} ms",
            pace.burst,
            pace.interval.as_millis()
        ),
        format!("wait {} s, and put several questions into one", wait.as_secs() + 1),
    )
}

pub(super) fn too_many_sent(open: u64, limits: &Limits) -> Refusal {
    Refusal::new(
        ErrorCode::RateLimited,
        format!("this session waits for {open} answers and the limit is {}", limits.open_asks),
        "wait until some of them have ended",
    )
}

pub(super) fn peer_busy(name: &str, open: u64, limits: &Limits) -> Refusal {
    Refusal::new(
        ErrorCode::PeerBusy,
        format!("{open} asks wait for {name} and the limit is {}", limits.open_asks),
        "ask again when it has answered some of them",
    )
}

pub(super) fn too_many_open(open: u64, limits: &Limits) -> Refusal {
    let limit = limits.open_asks.saturating_mul(OPEN_ASKS_FACTOR);
    Refusal::new(
        ErrorCode::RateLimited,
        format!("{open} asks are open in all and the limit is {limit}"),
        "wait until some of them have ended",
    )
}

/// A client that holds texts itself is told of its share; one that holds none, of the whole.
pub(super) fn no_room(text: Text, bytes: u64, own: u64, all: u64, limit: u64) -> Refusal {
    let left = limit.saturating_sub(all);
    let (what, whose, next) = match text {
        Text::Question(_) => ("questions", "of this session", "wait until some of them were taken"),
        Text::Reply(_) => ("replies", "for the session that asked", "wait a moment and reply again"),
    };
    let message = if own == 0 {
        format!("{bytes} bytes do not fit: the hub holds {all} bytes of {what} and the limit is {limit}")
    } else {
        format!(
            "{bytes} bytes do not fit: the hub holds {own} bytes of {what} {whose}, for which there may be as many as are \
             left, {left} of {limit}"
        )
    };
    Refusal::new(ErrorCode::RateLimited, message, format!("{next}, or send the path of a file"))
}

pub(super) fn too_many_watchers() -> Refusal {
    Refusal::new(
        ErrorCode::RateLimited,
        format!("{WATCHERS_MAX} connections watch this hub already; the limit is {WATCHERS_MAX}"),
        "end one of the others, such as a relayctl watch that was left running",
    )
}

pub(super) fn too_many_waiting(waiting: usize) -> Refusal {
    Refusal::new(
        ErrorCode::RateLimited,
        format!(
            "{waiting} broadcasts of this session wait until the hub, which has just started, knows who is there; the limit \
             is {BROADCASTS_WAITING_MAX}"
        ),
        "wait 2 s and say it again",
    )
}

pub(super) fn too_many_connections(limits: &Limits) -> Refusal {
    Refusal::new(
        ErrorCode::RateLimited,
        format!("the hub has {0} connections and the limit is {0}", limits.connections),
        "close sessions that are not needed, or raise the limit: relay-hub --limit connections=NUMBER, or \
         RELAY_LIMITS=connections=NUMBER in the service's environment",
    )
}

pub(super) fn loop_detected(name: &str) -> Refusal {
    Refusal::new(
        ErrorCode::LoopDetected,
        format!(
            "these sessions keep asking each other, one question making the next, and {name} is asked again and again"
        ),
        "stop asking for a minute; answer what is open with what is known, or tell your user",
    )
}
