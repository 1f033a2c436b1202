//! The words of every refusal that the hub makes, in one place.

use std::time::Duration;

use super::limits::{BROADCASTS_WAITING_MAX, Limits, OPEN_ASKS_FACTOR, Rate, SHARES, WATCHERS_MAX};
use crate::protocol::codec::FrameError;
use crate::protocol::{
    AskId, AskOutcome, BODY_MAX_BYTES, ErrorCode, MachineName, NameError, PeerName, RESERVED_NAMES, Refusal, SHELL,
    TIMEOUT_MAX_S, VERSIONS, VersionRange,
};

const LIST: &str = "list the sessions (relay_peers, or relayctl peers) and use one of their names";

/// A refusal, and the limit that it counts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The limit's name in `docs/operations.md`; none where no limit was reached.
    pub(super) limit: Option<&'static str>,
    /// What the caller is told.
    pub(super) error: Refusal,
}

impl From<Refusal> for Refused {
    fn from(error: Refusal) -> Self {
        Self { limit: None, error }
    }
}

/// What texts a quota is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// Questions that their sessions have not taken, counted for their askers.
    Questions,
    /// Replies that their askers have not taken, counted for these.
    Replies,
    /// Values that sessions have parked.
    Parked,
}

fn refused(code: ErrorCode, message: impl Into<String>, next: impl Into<String>) -> Refused {
    Refusal::new(code, message, next).into()
}

fn limited(limit: &'static str, code: ErrorCode, message: impl Into<String>, next: impl Into<String>) -> Refused {
    Refused { limit: Some(limit), error: Refusal::new(code, message, next) }
}

pub(super) fn no_address(to: &str, error: NameError) -> Refused {
    let plain = to.trim().trim_start_matches('@').to_lowercase();
    let message = match error {
        NameError::Empty => "the address is empty: it needs at least one letter or digit".to_owned(),
        NameError::Reserved if plain == SHELL => {
            "a question from the shell is answered with its ask_id; the shell itself cannot be asked".to_owned()
        }
        NameError::Reserved if ["all", "everyone"].contains(&plain.as_str()) => {
            format!("{plain} names no session; a broadcast asks every session")
        }
        NameError::Reserved => format!("{plain} names no session"),
        NameError::NoMachine => error.to_string(),
    };
    let next = match error {
        NameError::Reserved => "ask a session by its name, or all of them by a broadcast",
        NameError::Empty | NameError::NoMachine => LIST,
    };
    refused(ErrorCode::PeerNotFound, message, next)
}

/// A bridge asked for a session by its tag.
pub(super) fn no_such_session() -> Refused {
    refused(ErrorCode::PeerNotFound, "the session has ended, or its machine's hub does not know it yet", LIST)
}

pub(super) fn peer_not_found(name: &PeerName, nearest: &[&PeerName]) -> Refused {
    refused(ErrorCode::PeerNotFound, format!("no session is named {name}{}", similar(nearest)), LIST)
}

/// `to` is no slug and would lose a character that tells projects apart.
pub(super) fn no_such_folder(to: &str, nearest: &[&PeerName]) -> Refused {
    let message = format!("no session works in a folder named exactly {to:?}{}", similar(nearest));
    refused(ErrorCode::PeerNotFound, message, LIST)
}

pub(super) fn several_in_folder(to: &str, names: &[&PeerName]) -> Refused {
    let message = format!("{} sessions work in folders named {to:?}: {}", names.len(), list(names));
    refused(ErrorCode::PeerNotFound, message, "ask one of them by its name")
}

fn similar(names: &[&PeerName]) -> String {
    if names.is_empty() { String::new() } else { format!("; similar names: {}", list(names)) }
}

fn list(names: &[&PeerName]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn machine_unreachable(machine: &MachineName) -> Refused {
    Refusal::machine_unreachable(machine).into()
}

/// `to`: a session on another machine.
pub(super) fn not_confirmed(to: &str) -> Refused {
    let message = format!(
        "the machine of {to} did not say in time that it has the message: {to} may see it all the same, and its answer is not waited for"
    );
    let machine = to.rsplit_once('@').map_or(to, |(_, machine)| machine);
    refused(ErrorCode::MachineUnreachable, message, format!("run: relayctl machines test {machine}"))
}

pub(super) fn no_such_machine(machine: &str) -> Refused {
    let message = format!("no machine is linked by the name {machine:?}");
    refused(ErrorCode::PeerNotFound, message, "list the machines: relayctl machines")
}

/// A session on one machine asks one on another, by way of this.
pub(super) fn not_across(to: &str) -> Refused {
    let message = format!("{to} is on another machine as well: this machine passes nothing on between others");
    refused(ErrorCode::NotAllowed, message, "link the two machines with each other")
}

pub(super) fn only_here(what: &str) -> Refused {
    let message = format!("a session on another machine cannot {what} here");
    refused(ErrorCode::NotAllowed, message, "ask a session of this machine to do it")
}

/// The asker's machine has not said what became of the reply, or does not know.
pub(super) fn unconfirmed(id: AskId, to: &str) -> Refused {
    let message = format!("it is not known whether {to} has the reply to the ask {id}: it may have arrived");
    refused(ErrorCode::Unconfirmed, message, format!("if it matters, tell {to} again"))
}

pub(super) fn peer_gone(to: &str) -> Refused {
    refused(ErrorCode::PeerGone, format!("the session {to} has ended"), "ask again when it is back")
}

pub(super) fn asks_itself(name: &str) -> Refused {
    refused(ErrorCode::BadArgs, format!("{name} is this session itself"), LIST)
}

pub(super) fn id_in_use(id: AskId) -> Refused {
    refused(ErrorCode::BadArgs, format!("the ask_id {id} names an ask of another client"), "make a new random id")
}

pub(super) fn name_taken(name: &PeerName, own: &str) -> Refused {
    let message = format!("another session is named {name}; this session is still {own}");
    refused(ErrorCode::NameTaken, message, "choose another name")
}

pub(super) fn no_name(error: NameError) -> Refused {
    match error {
        NameError::Reserved => refused(
            ErrorCode::BadArgs,
            format!("these names are reserved: {}", RESERVED_NAMES.join(", ")),
            "choose another name",
        ),
        NameError::Empty | NameError::NoMachine => refused(
            ErrorCode::BadArgs,
            "a name needs at least one letter or digit",
            "choose a name such as backend-api",
        ),
    }
}

pub(super) fn address_too_long(bytes: usize, limit: usize) -> Refused {
    refused(ErrorCode::BadArgs, format!("the address has {bytes} bytes; the limit is {limit}"), LIST)
}

pub(super) fn too_many_addresses(given: usize, limit: usize) -> Refused {
    let message = format!("the broadcast names {given} sessions; the limit is {limit}");
    refused(ErrorCode::BadArgs, message, "name fewer, or a folder, or nobody, which asks everybody")
}

pub(super) fn relative_folder(folder: &str) -> Refused {
    refused(ErrorCode::BadArgs, format!("the folder {folder:?} is no absolute path"), "begin the folder's path with /")
}

pub(super) fn empty_text() -> Refused {
    refused(ErrorCode::BadArgs, "the text is empty", "write the question or the reply")
}

pub(super) fn body_too_large(bytes: usize) -> Refused {
    limited(
        "text_bytes",
        ErrorCode::TooLarge,
        format!("the text has {bytes} bytes; the limit is {BODY_MAX_BYTES}"),
        "put it into a file and send the file's path: all sessions are on one machine",
    )
}

pub(super) fn timeout_out_of_bounds(timeout_ms: u64) -> Refused {
    refused(
        ErrorCode::BadArgs,
        format!("a timeout of {} s is out of bounds: 1 to {TIMEOUT_MAX_S} s", timeout_ms / 1000),
        "give a timeout within these bounds",
    )
}

pub(super) fn not_registered(what: &str) -> Refused {
    refused(ErrorCode::NotRegistered, format!("{what} needs a hello first"), "send hello, then try again")
}

pub(super) fn only_sessions(what: &str) -> Refused {
    refused(
        ErrorCode::NotRegistered,
        format!("only a session can {what}, and this connection has the kind control"),
        "send hello with the kind session on a connection of its own",
    )
}

pub(super) fn only_control(what: &str) -> Refused {
    refused(
        ErrorCode::NotRegistered,
        format!("only a person's tool can {what}, and this connection has the kind session"),
        "send hello with the kind control on a connection of its own",
    )
}

pub(super) fn already_registered() -> Refused {
    refused(
        ErrorCode::AlreadyRegistered,
        "this connection has sent hello before",
        "continue without, or open another connection",
    )
}

pub(super) fn malformed(error: &FrameError) -> Refused {
    let limit = match error {
        FrameError::TooLong { .. } => Some("frame_bytes"),
        FrameError::Crowded { .. } => Some("unfinished_bytes"),
        FrameError::NotUtf8 | FrameError::NotAnObject(_) | FrameError::NotAMessage { .. } => None,
    };
    Refused { limit, error: error.refusal() }
}

pub(super) fn superseded() -> Refused {
    refused(
        ErrorCode::AlreadyRegistered,
        "a newer connection with the same identity has taken the place of this one",
        "leave it to the newer one",
    )
}

pub(super) fn protocol_mismatch(theirs: VersionRange, program: &str) -> Refused {
    let (old, next) = if theirs.max < VERSIONS.min && program.starts_with("relay-channel") {
        (program, "install the newer claude-relay, then start the session's client again (or in it: /mcp, reconnect)")
    } else if theirs.max < VERSIONS.min {
        (program, "install the newer claude-relay, then try again")
    } else {
        ("relay-hub", "install the newer claude-relay, then run: relayctl doctor --fix")
    };
    refused(
        ErrorCode::ProtocolMismatch,
        format!(
            "{program} speaks protocol {} to {}, this hub {} to {}: {old} is too old",
            theirs.min, theirs.max, VERSIONS.min, VERSIONS.max
        ),
        next,
    )
}

/// To a bridge: this hub knows nothing of the ask, and another one may have known it.
pub(super) fn forgotten(id: AskId) -> Refused {
    let message = format!("this hub knows nothing of the ask {id}: a hub before it may have given the asker the reply");
    refused(ErrorCode::Unconfirmed, message, "tell the replier that it may have arrived")
}

/// `ended`: how the ask ended, and how long ago.
pub(super) fn unknown_ask(id: AskId, ended: Option<(AskOutcome, Duration)>) -> Refused {
    let message = match ended {
        None => format!("no open ask {id} waits for a reply of this session"),
        Some((outcome, ago)) => {
            let how = match outcome {
                AskOutcome::Reply => "was answered before",
                AskOutcome::Shown | AskOutcome::HandedOver => return takes_no_reply(id),
                AskOutcome::Timeout => "timed out",
                AskOutcome::PeerGone => "ended when its session was gone",
                AskOutcome::Withdrawn => "was withdrawn by its asker or ended with it",
                AskOutcome::Unconfirmed => "was answered, and it is not known whether the answer arrived",
            };
            format!("the ask {id} {how}, {} s ago; a reply can no longer be delivered", ago.as_secs())
        }
    };
    refused(
        ErrorCode::UnknownAsk,
        message,
        "check the ask_id; if the answer still matters, ask that session a question of your own",
    )
}

/// It is a tell.
pub(super) fn takes_no_reply(id: AskId) -> Refused {
    Refusal::takes_no_reply(id).into()
}

pub(super) fn reply_on_its_way(id: AskId) -> Refused {
    refused(
        ErrorCode::UnknownAsk,
        format!("a reply of this session to the ask {id} is on its way already"),
        "wait for its result; to add something, ask that session a question of your own",
    )
}

/// `between`: who asks whom.
pub(super) fn too_fast(rate: Rate, between: &str, wait: Duration) -> Refused {
    limited(
        "rate",
        ErrorCode::RateLimited,
        format!(
            "too many asks {between}: the limit is {} at once, then one every {} ms",
            rate.burst,
            rate.interval.as_millis()
        ),
        format!("wait {} s, and put several questions into one", wait.as_secs() + 1),
    )
}

pub(super) fn too_many_sent(open: u64, limits: &Limits) -> Refused {
    limited(
        "open_asks",
        ErrorCode::RateLimited,
        format!("this session waits for {open} replies; the limit is {}", limits.open_asks),
        "wait until some of its asks have ended",
    )
}

pub(super) fn peer_busy(name: &str, open: u64, limits: &Limits) -> Refused {
    limited(
        "open_asks",
        ErrorCode::PeerBusy,
        format!("{open} asks wait for {name}; the limit is {}", limits.open_asks),
        "ask again when it has answered some of them",
    )
}

pub(super) fn too_many_open(open: u64, limits: &Limits) -> Refused {
    let limit = limits.open_asks.saturating_mul(OPEN_ASKS_FACTOR);
    limited(
        "open_asks",
        ErrorCode::RateLimited,
        format!("{open} asks are open in all; the limit is {limit}"),
        "wait until some of them have ended",
    )
}

/// A client's share of a quota is full.
pub(super) fn over_share(texts: Texts, bytes: u64, own: u64, share: u64, all: u64) -> Refused {
    let subject = match texts {
        Texts::Questions => format!("this session already has {own} bytes of unread questions"),
        Texts::Replies => format!("the session that asked already has {own} bytes of unread replies"),
        Texts::Parked => format!("this session already has {own} bytes of parked values"),
    };
    let message = format!("{bytes} bytes do not fit: {subject}; its share is {share} of {all}");
    limited("held_bytes", ErrorCode::RateLimited, message, room_advice(texts))
}

/// A quota is full.
pub(super) fn no_room(texts: Texts, bytes: u64, held: u64, all: u64) -> Refused {
    let what = match texts {
        Texts::Questions => "unread questions",
        Texts::Replies => "unread replies",
        Texts::Parked => "parked values",
    };
    let message = format!("{bytes} bytes do not fit: the hub holds {held} bytes of {what}; the limit is {all}");
    limited("held_bytes", ErrorCode::RateLimited, message, room_advice(texts))
}

const fn room_advice(texts: Texts) -> &'static str {
    match texts {
        Texts::Questions => "wait until some of them were read, or send the path of a file",
        Texts::Replies => "wait a moment and reply again, or send the path of a file",
        Texts::Parked => "park a smaller value",
    }
}

const _: () = assert!(SHARES > 1, "no client may fill a quota alone");

pub(super) fn too_many_watchers() -> Refused {
    limited(
        "watchers",
        ErrorCode::RateLimited,
        format!("{WATCHERS_MAX} connections watch this hub already; the limit is {WATCHERS_MAX}"),
        "end one of the others, such as a relayctl watch that was left running",
    )
}

pub(super) fn too_many_waiting(waiting: usize) -> Refused {
    limited(
        "broadcasts_waiting",
        ErrorCode::RateLimited,
        format!(
            "the hub has just started and waits for its sessions to come back; {waiting} broadcasts of this session wait \
             for that, and the limit is {BROADCASTS_WAITING_MAX}"
        ),
        "wait 2 s and try again",
    )
}

pub(super) fn too_many_connections(limits: &Limits) -> Refused {
    limited(
        "connections",
        ErrorCode::RateLimited,
        format!("the hub has {0} connections; the limit is {0}", limits.connections),
        "close sessions that are not needed, or raise the limit: relay-hub --limit connections=NUMBER, or \
         RELAY_LIMITS=connections=NUMBER in the service's environment",
    )
}

pub(super) fn loop_detected(name: &str) -> Refused {
    limited(
        "loop",
        ErrorCode::LoopDetected,
        format!("these sessions keep asking each other: each question leads to the next, and {name} is asked again"),
        "stop asking for a minute; answer what is open with what is known, or tell your user",
    )
}
