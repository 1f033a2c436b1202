//! `relayctl ask`: one question to one session, and the wait for its one outcome.

use clap::Args;
use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::{Format, Line, Output};
use super::question::QuestionArgs;
use super::{Context, wording};
use crate::client::{AcceptedAsk, ClientEvent, End, HubClient, Outcome};
use crate::protocol::{AskId, AskState};

/// Ask a session and wait for its answer
#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// Ask the session with this name, as relayctl peers shows it
    name: String,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    format: Format,
}

impl AskArgs {
    /// Prints the answer.
    ///
    /// # Errors
    /// The ask was refused, withdrawn, or ended without a reply.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        // Before the signals are ours: Ctrl-C while the question is typed ends the program as usual.
        let text = self.question.text(std::io::stdin())?;
        let exchange = async |hub: &mut _, out: &mut _| self.exchange(hub, text, out).await;
        context.converse(Err(CliError::Withdrawn), exchange).await
    }

    async fn exchange(&self, hub: &mut HubClient, text: String, out: &mut Output) -> Result<Exit, CliError> {
        let asked = hub.ask(self.name.clone(), text, self.question.timeout).await?;
        let waited = wording::exact(self.question.timeout);
        out.say_progress(&waiting(&asked, &waited));
        let outcome = outcome_of(asked.ask_id, async || hub.next_event().await).await;
        if out.is_json() {
            out.print_json("outcome", &OutcomeView::of(&outcome))?;
        }
        match outcome.end {
            End::Reply { text, .. } => {
                if !out.is_json() {
                    out.print(&Line::of(&text))?;
                }
                Ok(Exit::Done)
            }
            End::Failed { code, state, .. } => {
                Err(CliError::Unanswered { to: outcome.to.to_string(), code, state, waited })
            }
        }
    }
}

/// Returns the outcome of an ask, whatever else happens before it.
async fn outcome_of(ask: AskId, mut next_event: impl AsyncFnMut() -> ClientEvent) -> Outcome {
    loop {
        if let ClientEvent::Outcome(outcome) = next_event().await
            && outcome.ask_id == ask
        {
            return outcome;
        }
    }
}

fn waiting(asked: &AcceptedAsk, waited: &str) -> Line {
    let held = if asked.state == AskState::Held { ", it sees this at its next prompt or relay call" } else { "" };
    Line::of(&format!("asked {}{held}, waiting ({waited})…", asked.to))
}

/// An outcome as JSON.
#[derive(Serialize)]
pub(super) struct OutcomeView<'a> {
    ask_id: AskId,
    to: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<AskState>,
}

impl<'a> OutcomeView<'a> {
    /// Returns the view of an outcome.
    pub(super) fn of(outcome: &'a Outcome) -> Self {
        let (ask_id, to) = (outcome.ask_id, outcome.to.as_str());
        match &outcome.end {
            End::Reply { from, text } => {
                Self { ask_id, to, outcome: "reply", from: Some(from.as_str()), text: Some(text), state: None }
            }
            End::Failed { code, state, .. } => {
                Self { ask_id, to, outcome: code.as_str(), from: None, text: None, state: Some(*state) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture;
    use crate::protocol::{Activity, ErrorCode, PeerName};

    fn name(text: &str) -> PeerName {
        PeerName::parse(text).unwrap()
    }

    fn outcome(ask: u64, end: End) -> Outcome {
        Outcome { ask_id: AskId::from_bits(ask), to: name("backend"), broadcast_id: None, end }
    }

    #[tokio::test]
    async fn the_outcome_of_the_own_ask_is_found_among_other_events() {
        let answered = outcome(2, End::Reply { from: name("api"), text: "green".into() });
        let mut events = [
            ClientEvent::Closed { ask_id: AskId::from_bits(2) },
            ClientEvent::Outcome(outcome(1, answered.end.clone())),
            ClientEvent::Outcome(answered.clone()),
        ]
        .into_iter();
        assert_eq!(outcome_of(answered.ask_id, async || events.next().unwrap()).await, answered);
    }

    #[test]
    fn each_outcome_has_its_json() {
        let (mut out, captured) = capture::output(true);
        let failed = |code| End::Failed { code, state: AskState::HandedOver, waiting_for: None };
        for end in [
            End::Reply { from: name("api"), text: "two\nlines".into() },
            failed(ErrorCode::Timeout),
            failed(ErrorCode::PeerGone),
        ] {
            out.print_json("outcome", &OutcomeView::of(&outcome(1, end))).unwrap();
        }
        insta::assert_snapshot!(captured.text(), @r#"
        --- stdout
        {"schema":1,"type":"outcome","ask_id":"0000-0000-0001","to":"backend","outcome":"reply","from":"api","text":"two\nlines"}
        {"schema":1,"type":"outcome","ask_id":"0000-0000-0001","to":"backend","outcome":"timeout","state":"handed_over"}
        {"schema":1,"type":"outcome","ask_id":"0000-0000-0001","to":"backend","outcome":"peer_gone","state":"handed_over"}
        --- stderr
        "#);
    }

    #[test]
    fn a_held_ask_says_why_it_takes_long() {
        let asked = AcceptedAsk {
            ask_id: AskId::from_bits(1),
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
            "asked backend, it sees this at its next prompt or relay call, waiting (2m)…"
        );
    }
}
