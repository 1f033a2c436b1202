//! How an ask or a tell of the shell ends: the wait for it, and what is printed of it.

use serde::Serialize;

use super::output::Line;
use super::wording;
use crate::client::{AcceptedAsk, ClientEvent, End, MessageId, Outcome};
use crate::protocol::{AskId, AskState};

/// Returns the outcome of an ask, whatever else happens before it.
pub(super) async fn outcome_of(ask: AskId, mut next_event: impl AsyncFnMut() -> ClientEvent) -> Outcome {
    loop {
        if let ClientEvent::Outcome(outcome) = next_event().await
            && outcome.ask_id == ask
        {
            return outcome;
        }
    }
}

/// Says that an ask is open, and why it may take long.
pub(super) fn waiting(asked: &AcceptedAsk, waited: &str) -> Line {
    let verb = wording::sent(asked.kind);
    let held = if asked.state != AskState::Held {
        ""
    } else if asked.to.machine().is_some() {
        ", whose person has to let it through or to prompt it"
    } else {
        ", which sees this at its next prompt only"
    };
    let dialog = asked.waiting_for.as_deref().map(|dialog| format!(", which waits for its user: {dialog}"));
    Line::of(&format!("{verb} {}{held}{}, waiting ({waited})…", asked.to, dialog.unwrap_or_default()))
}

/// An outcome as JSON.
#[derive(Serialize)]
pub(super) struct OutcomeView<'a> {
    #[serde(flatten)]
    id: MessageId,
    to: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<AskState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable_s: Option<u64>,
}

impl<'a> OutcomeView<'a> {
    /// Returns the view of an outcome.
    pub(super) fn of(outcome: &'a Outcome) -> Self {
        let (id, to) = (MessageId::of(outcome.ask_id, outcome.kind), outcome.to.as_str());
        let (from, text, state, waiting_for, unreachable_s) = (None, None, None, None, None);
        let view = |outcome| Self { id, to, outcome, from, text, state, waiting_for, unreachable_s };
        match &outcome.end {
            End::Reply { from, text } => Self { from: Some(from.as_str()), text: Some(text), ..view("reply") },
            End::Arrived { state: AskState::Shown } => view("shown"),
            End::Arrived { .. } => view("handed_over"),
            End::Failed { code, state, waiting_for, unreachable_s } => Self {
                state: Some(*state),
                waiting_for: waiting_for.as_deref(),
                unreachable_s: *unreachable_s,
                ..view(code.as_str())
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture;
    use crate::protocol::{Activity, AskKind, ErrorCode, PeerName};

    fn name(text: &str) -> PeerName {
        PeerName::parse(text).unwrap()
    }

    fn outcome(ask: u64, end: End) -> Outcome {
        let kind = if let End::Arrived { .. } = end { AskKind::Tell } else { AskKind::Ask };
        Outcome { ask_id: AskId::from_bits(ask), kind, to: name("backend"), broadcast_id: None, end }
    }

    #[tokio::test]
    async fn the_outcome_of_the_own_ask_is_found_among_other_events() {
        let answered = outcome(2, End::Reply { from: name("api"), text: "green".into() });
        let mut events = [
            ClientEvent::Closed { ask_id: AskId::from_bits(2), kind: AskKind::Ask },
            ClientEvent::Outcome(outcome(1, answered.end.clone())),
            ClientEvent::Outcome(answered.clone()),
        ]
        .into_iter();
        assert_eq!(outcome_of(answered.ask_id, async || events.next().unwrap()).await, answered);
    }

    #[test]
    fn each_outcome_has_its_json() {
        let (mut out, captured) = capture::output(true);
        let waiting_for = Some("permission prompt".to_owned());
        let failed = |code| End::Failed {
            code,
            state: AskState::HandedOver,
            waiting_for: waiting_for.clone(),
            unreachable_s: None,
        };
        for end in [
            End::Reply { from: name("api"), text: "two\nlines".into() },
            failed(ErrorCode::Timeout),
            failed(ErrorCode::PeerGone),
            End::Arrived { state: AskState::Shown },
            End::Arrived { state: AskState::HandedOver },
        ] {
            out.print_json("outcome", &OutcomeView::of(&outcome(1, end))).unwrap();
        }
        insta::assert_snapshot!(captured.text(), @r#"
        --- stdout
        {"schema":1,"type":"outcome","ask_id":"0000-0000-0001","to":"backend","outcome":"reply","from":"api","text":"two\nlines"}
        {"schema":1,"type":"outcome","ask_id":"0000-0000-0001","to":"backend","outcome":"timeout","state":"handed_over","waiting_for":"permission prompt"}
        {"schema":1,"type":"outcome","ask_id":"0000-0000-0001","to":"backend","outcome":"peer_gone","state":"handed_over","waiting_for":"permission prompt"}
        {"schema":1,"type":"outcome","tell_id":"0000-0000-0001","to":"backend","outcome":"shown"}
        {"schema":1,"type":"outcome","tell_id":"0000-0000-0001","to":"backend","outcome":"handed_over"}
        --- stderr
        "#);
    }

    #[test]
    fn a_held_ask_says_why_it_takes_long() {
        let asked = AcceptedAsk {
            ask_id: AskId::from_bits(1),
            kind: AskKind::Ask,
            to: name("backend"),
            state: AskState::Accepted,
            cwd: None,
            status: Activity::Idle,
            waiting_for: None,
        };
        assert_eq!(waiting(&asked, "2m").as_str(), "asked backend, waiting (2m)…");
        let asked = AcceptedAsk { state: AskState::Held, ..asked };
        assert_eq!(
            waiting(&asked, "2m").as_str(),
            "asked backend, which sees this at its next prompt only, waiting (2m)…"
        );
        let there = AcceptedAsk { to: PeerName::try_from("backend@desk".to_owned()).unwrap(), ..asked.clone() };
        assert_eq!(
            waiting(&there, "2m").as_str(),
            "asked backend@desk, whose person has to let it through or to prompt it, waiting (2m)…"
        );
        let (kind, waiting_for) = (AskKind::Tell, Some("permission prompt".to_owned()));
        let told = AcceptedAsk { kind, state: AskState::Accepted, waiting_for, ..asked };
        assert_eq!(
            waiting(&told, "2m").as_str(),
            "told backend, which waits for its user: permission prompt, waiting (2m)…"
        );
    }
}
