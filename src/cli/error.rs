//! What can go wrong in a command, the exit code it has, and what to do next.

mod program;

use std::error::Error;
use std::io;
use std::process::ExitCode;

use tokio::signal::unix::SignalKind;

use crate::advice::startup::{CHECK_LIMITS, INSTALL_ALL, next_for_path, next_for_service};
use crate::advice::{by_hand, pasteable};
use crate::bridge::machine::MachineError;
use crate::client::{End, Outcome};
use crate::paths::PathError;
use crate::protocol::{AskKind, AskState, ErrorCode, Refusal};
use crate::service::ServiceError;

pub use self::program::ProgramError;

/// The exit codes: scripts rest on them, `relayctl --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done; for an ask answered; for a broadcast answered by everybody; for a tell delivered.
    Done = 0,
    /// Failed or refused.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// No hub answers.
    HubUnreachable = 3,
    /// The deadline passed without an answer.
    TimedOut = 4,
    /// The asked session ended.
    PeerGone = 5,
    /// No session has this name, or there is none at all.
    NobodyThere = 6,
    /// The session's machine cannot be reached.
    MachineUnreachable = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<ErrorCode> for Exit {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::HubUnreachable => Self::HubUnreachable,
            ErrorCode::Timeout => Self::TimedOut,
            ErrorCode::PeerGone => Self::PeerGone,
            ErrorCode::PeerNotFound => Self::NobodyThere,
            ErrorCode::MachineUnreachable => Self::MachineUnreachable,
            ErrorCode::BadArgs => Self::Usage,
            ErrorCode::NameTaken
            | ErrorCode::NotRegistered
            | ErrorCode::AlreadyRegistered
            | ErrorCode::UnknownAsk
            | ErrorCode::BadMsg
            | ErrorCode::ProtocolMismatch
            | ErrorCode::TooLarge
            | ErrorCode::RateLimited
            | ErrorCode::PeerBusy
            | ErrorCode::LoopDetected
            | ErrorCode::NotAllowed
            | ErrorCode::Unconfirmed => Self::Failed,
        }
    }
}

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The hub or the client refused.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// An own ask ended without a reply, or a tell without having been delivered.
    #[error("{}", unanswered(*kind, to, *code, *state, waited, waiting_for.as_deref(), *unreachable_s))]
    Unanswered {
        /// Whether it was a tell.
        kind: AskKind,
        /// Whom it had been asked.
        to: String,
        /// `timeout` or `peer_gone`.
        code: ErrorCode,
        /// How far it had come.
        state: AskState,
        /// What the session waits for, where it stands at a dialog.
        waiting_for: Option<String>,
        /// Since when nothing was heard of its machine, in seconds; none where it is reachable.
        unreachable_s: Option<u64>,
        /// The time that it had, for people.
        waited: String,
    },
    /// A broadcast was not answered by everybody; who did not answer was said before.
    #[error("not everybody answered")]
    Incomplete(Exit),
    /// A session was waited for in vain.
    #[error("{what}")]
    InVain {
        /// What was seen of it last.
        what: String,
    },
    /// Some of the sessions that a broadcast names are not there; which, was said before.
    #[error("not all of these sessions are there")]
    NotAllThere,
    /// A broadcast found no session in a folder.
    #[error("no session works in {folder} or below it")]
    NobodyBelow {
        /// The folder.
        folder: String,
    },
    /// A broadcast found no session.
    #[error("nobody is connected")]
    NobodyThere,
    /// There is no place for the socket: no hub can be reached.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The service manager did not do as it was told.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A file about a machine cannot be used.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// `relay-hub` or `relay-channel` cannot do its work.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Something stands in the way.
    #[error("{what}")]
    Obstacle {
        /// What.
        what: String,
        /// What to do about it.
        next: String,
    },
    /// A relative path means nothing here.
    #[error("the current directory is not known: {0}")]
    CurrentDirectory(#[source] io::Error),
    /// The question could not be read.
    #[error("standard input cannot be read: {0}")]
    Input(#[source] io::Error),
    /// The question is no text.
    #[error("standard input is not UTF-8 text")]
    InputNotText,
    /// What was found could not be written.
    #[error("standard output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// What was found has no JSON form.
    #[error("the result cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The system gave no event loop or signal.
    #[error("the program cannot run here: {0}")]
    Runtime(#[source] io::Error),
    /// A program of this package is not beside this one.
    #[error("{program} is not in {directory}, where relayctl is")]
    ProgramMissing {
        /// The program's file name.
        program: &'static str,
        /// The directory that was looked at.
        directory: String,
    },
    /// The demo found something that does not work.
    #[error("the demo failed at the step \"{step}\": {reason}")]
    Demo {
        /// The step's name.
        step: &'static str,
        /// What was there instead of what had to come.
        reason: String,
    },
    /// The journal cannot be read.
    #[error("journalctl cannot show the log: {0}")]
    Journal(String),
    /// The directory of the log files is not there.
    #[error(
        "there is no directory {directory}: a session's channel makes it and logs there only where the plugin has started it"
    )]
    NoLogFiles {
        /// The directory that was named.
        directory: String,
    },
    /// Log files cannot be read.
    #[error("the log files in {directory} cannot be read")]
    LogFiles {
        /// Where they are.
        directory: String,
        /// Why not.
        source: io::Error,
    },
    /// Files cannot be written.
    #[error("{directory} cannot be written to")]
    Directory {
        /// The directory.
        directory: String,
        /// Why not.
        source: io::Error,
    },
    /// The doctor found what does not work.
    #[error("{}", if *failed == 1 { "1 check failed".to_owned() } else { format!("{failed} checks failed") })]
    Unhealthy {
        /// How many checks failed.
        failed: usize,
        /// What cures the first of them.
        next: String,
    },
    /// A signal asks the program to end: it dies of it and says nothing.
    #[error("ended by a signal")]
    Signalled(SignalKind),
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl CliError {
    /// Returns why an ask was in vain, if it was.
    pub(super) fn of_outcome(outcome: &Outcome, waited: &str) -> Option<Self> {
        let End::Failed { code, state, waiting_for, unreachable_s } = &outcome.end else { return None };
        Some(Self::Unanswered {
            kind: outcome.kind,
            to: outcome.to.to_string(),
            code: *code,
            state: *state,
            waiting_for: waiting_for.clone(),
            unreachable_s: *unreachable_s,
            waited: waited.to_owned(),
        })
    }

    /// Returns what went wrong, with the causes that it does not name itself.
    pub(super) fn message(&self) -> String {
        let mut message = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !message.contains(&said) {
                message = format!("{message}: {said}");
            }
            cause = error.source();
        }
        message
    }

    /// Returns the exit code. Whoever closed the pipe has read enough: a broken one is success.
    pub(super) fn exit(&self) -> Exit {
        if let Self::Incomplete(exit) = self {
            return *exit;
        }
        if let Self::Program(error) = self
            && error.is_wrong_usage()
        {
            return Exit::Usage;
        }
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return Exit::Done;
        }
        self.code().map_or(Exit::Failed, Exit::from)
    }

    /// Returns whether the JSON that was printed before says everything about it.
    pub(super) const fn is_told_as_data(&self) -> bool {
        matches!(self, Self::Unanswered { .. } | Self::Incomplete(_) | Self::Unhealthy { .. })
    }

    /// Returns the stable code for programs, where there is one.
    pub(super) const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Unanswered { code, .. } => Some(*code),
            Self::NobodyThere | Self::NobodyBelow { .. } => Some(ErrorCode::PeerNotFound),
            Self::InVain { .. } => Some(ErrorCode::Timeout),
            Self::Path(_) => Some(ErrorCode::HubUnreachable),
            Self::Incomplete(_)
            | Self::NotAllThere
            | Self::Service(_)
            | Self::Machine(_)
            | Self::Program(_)
            | Self::Obstacle { .. }
            | Self::CurrentDirectory(_)
            | Self::Input(_)
            | Self::InputNotText
            | Self::Output(_)
            | Self::Json(_)
            | Self::Runtime(_)
            | Self::ProgramMissing { .. }
            | Self::Demo { .. }
            | Self::Journal(_)
            | Self::NoLogFiles { .. }
            | Self::LogFiles { .. }
            | Self::Directory { .. }
            | Self::Unhealthy { .. }
            | Self::Signalled(_) => None,
        }
    }

    /// Returns what to do now: a line that can be pasted into a shell. The hub's own advice speaks to a model as well as
    /// to a person; where a command of `relayctl` helps more, it stands here.
    pub(super) fn next(&self) -> String {
        match self {
            Self::Refused(refusal) if refusal.code == ErrorCode::PeerNotFound => "relayctl peers".to_owned(),
            Self::Refused(refusal) => pasteable(&refusal.next),
            Self::Unanswered { to, code: ErrorCode::Timeout, state: AskState::Held, .. } => {
                by_hand(&format!("nothing wakes the session {to}: type something there, then try again"))
            }
            Self::Unanswered { to, unreachable_s: Some(_), .. } => {
                let machine = to.rsplit_once('@').map_or(to.as_str(), |(_, machine)| machine);
                format!("relayctl machines test {machine}")
            }
            Self::Unanswered { to, waiting_for: Some(dialog), .. } => {
                by_hand(&format!("go to the session {to} and decide what it waits for ({dialog})"))
            }
            Self::Unanswered { .. }
            | Self::Incomplete(_)
            | Self::NotAllThere
            | Self::NobodyBelow { .. }
            | Self::InVain { .. } => "relayctl peers".to_owned(),
            Self::NobodyThere => by_hand("start claude in a project; without the plugin first: relayctl setup"),
            Self::Signalled(_) => "relayctl status".to_owned(),
            Self::Path(error) => next_for_path(error),
            Self::Service(error) => next_for_service(error),
            Self::Machine(error) => pasteable(&error.next()),
            Self::Program(error) => error.next(),
            Self::CurrentDirectory(_) => "cd".to_owned(),
            Self::Input(_) => by_hand("give the text as an argument, in quotes"),
            Self::InputNotText => by_hand("put the data into a file and send its path"),
            Self::Output(_) | Self::Json(_) => by_hand("check where the output goes"),
            Self::Runtime(_) => CHECK_LIMITS.to_owned(),
            Self::ProgramMissing { .. } => INSTALL_ALL.to_owned(),
            Self::Demo { .. } => "RELAY_LOG=debug relayctl demo".to_owned(),
            Self::Journal(_) => by_hand("ask to be put into the group systemd-journal, or look as its member"),
            Self::NoLogFiles { .. } => "relayctl logs".to_owned(),
            Self::LogFiles { .. } => by_hand("name a directory with files like relay-2026-02-28.log that you can read"),
            Self::Directory { .. } => by_hand("make it a directory that you can write to, or name another one"),
            Self::Unhealthy { next, .. } | Self::Obstacle { next, .. } => pasteable(next),
        }
    }
}

/// Says how an ask failed, how far it had come, and whom the session waits for.
fn unanswered(
    kind: AskKind,
    to: &str,
    code: ErrorCode,
    state: AskState,
    waited: &str,
    waiting_for: Option<&str>,
    unreachable_s: Option<u64>,
) -> String {
    let (what, answered) = match kind {
        AskKind::Ask => ("question", "answered"),
        AskKind::Tell => ("message", "was known to have seen it"),
    };
    let far = format!("the {what} was {}", state.told("the session"));
    let waits = waiting_for.map(|dialog| format!("; {to} waits for its user: {dialog}")).unwrap_or_default();
    let away = unreachable_s.map(|seconds| format!("; nothing was heard of its machine for {seconds}s"));
    let waits = format!("{waits}{}", away.unwrap_or_default());
    match (code, kind) {
        (ErrorCode::PeerGone, _) => format!("{to} went away before it {answered}: {far}"),
        (_, AskKind::Ask) => format!("{to} did not answer within {waited}: {far}{waits}"),
        (_, AskKind::Tell) => format!("{to} did not see it within {waited}, as far as is known: {far}{waits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_documented_exit_code() {
        let exits: Vec<String> = ErrorCode::ALL.map(|code| format!("{code} {}", Exit::from(code) as u8)).into();
        insta::assert_snapshot!(exits.join("\n"), @"
        peer_not_found 6
        peer_gone 5
        timeout 4
        name_taken 1
        not_registered 1
        already_registered 1
        unknown_ask 1
        bad_msg 1
        hub_unreachable 3
        bad_args 2
        protocol_mismatch 1
        too_large 1
        rate_limited 1
        peer_busy 1
        loop_detected 1
        machine_unreachable 7
        not_allowed 1
        unconfirmed 1
        ");
    }

    #[test]
    fn a_hub_without_a_place_cannot_be_reached() {
        let error = CliError::from(PathError::NoHome);
        assert_eq!((error.exit(), error.code()), (Exit::HubUnreachable, Some(ErrorCode::HubUnreachable)));
    }

    #[test]
    fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
        assert_eq!(CliError::Output(io::ErrorKind::BrokenPipe.into()).exit(), Exit::Done);
        assert_eq!(CliError::Output(io::ErrorKind::StorageFull.into()).exit(), Exit::Failed);
    }

    #[test]
    fn an_unanswered_ask_says_how_far_it_came() {
        let told = |kind, code, state, waiting_for: Option<&str>| {
            let (to, waited, waiting_for) = ("backend".into(), "2m".into(), waiting_for.map(str::to_owned));
            let error = CliError::Unanswered { kind, to, code, state, waiting_for, unreachable_s: None, waited };
            format!("{error} [{}] {}\n", error.exit() as u8, error.next())
        };
        let (ask, tell) = (AskKind::Ask, AskKind::Tell);
        let said = [
            told(ask, ErrorCode::Timeout, AskState::Accepted, None),
            told(ask, ErrorCode::Timeout, AskState::Held, None),
            told(ask, ErrorCode::Timeout, AskState::HandedOver, Some("permission prompt")),
            told(ask, ErrorCode::PeerGone, AskState::Shown, None),
            told(tell, ErrorCode::Timeout, AskState::HandedOver, None),
            told(tell, ErrorCode::Timeout, AskState::Accepted, Some("permission prompt")),
            told(tell, ErrorCode::PeerGone, AskState::Held, None),
        ];
        insta::assert_snapshot!(said.concat(), @"
        backend did not answer within 2m: the question was accepted by the hub; not confirmed that it was delivered to the session [4] relayctl peers
        backend did not answer within 2m: the question was held by the hub: nothing could wake the session, which has not seen it [4] # nothing wakes the session backend: type something there, then try again
        backend did not answer within 2m: the question was delivered to the session; not confirmed that its model has read it; backend waits for its user: permission prompt [4] # go to the session backend and decide what it waits for (permission prompt)
        backend went away before it answered: the question was shown to the session [5] relayctl peers
        backend did not see it within 2m, as far as is known: the message was delivered to the session; not confirmed that its model has read it [4] relayctl peers
        backend did not see it within 2m, as far as is known: the message was accepted by the hub; not confirmed that it was delivered to the session; backend waits for its user: permission prompt [4] # go to the session backend and decide what it waits for (permission prompt)
        backend went away before it was known to have seen it: the message was held by the hub: nothing could wake the session, which has not seen it [5] relayctl peers
        ");
    }

    #[test]
    fn a_message_names_each_cause_once() {
        let source = io::Error::other("no such device");
        assert_eq!(CliError::Input(source).message(), "standard input cannot be read: no such device");
        let source = io::Error::other("permission denied");
        let error = ServiceError::Program { path: "relayctl".into(), source };
        assert_eq!(CliError::from(error).message(), "could not find out where relayctl is: permission denied");
    }

    #[test]
    fn an_unknown_name_leads_to_the_list_of_names() {
        let error = CliError::from(Refusal::new(ErrorCode::PeerNotFound, "no peer is called web", "call relay_peers"));
        assert_eq!((error.exit(), error.next().as_str()), (Exit::NobodyThere, "relayctl peers"));
    }
}
