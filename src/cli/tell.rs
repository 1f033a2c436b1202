//! `relayctl tell`: one text for one session, and the wait until it was delivered.

use clap::{Args, ValueHint};
use clap_complete::ArgValueCompleter;

use super::completions::session_names;
use super::error::{CliError, Exit};
use super::outcome::{OutcomeView, outcome_of, waiting};
use super::output::{Format, Line, Output};
use super::question::TimeoutArgs;
use super::{Context, question, wording};
use crate::client::{End, HubClient};
use crate::protocol::AskState;

/// Tell a session something; no answer is expected
///
/// Waits until the session was shown the text, which takes a moment where it can be woken, and until its next prompt where
/// it cannot. Exit code 0 says that it was delivered; some sessions cannot confirm that their model has read it. What was
/// not delivered in time, or when this command is interrupted, is taken back. Where a script must not wait: relayctl tell … &
#[derive(Debug, Args)]
#[command(visible_alias = "send")]
pub(super) struct TellArgs {
    /// Tell the session with this name, as relayctl peers shows it
    #[arg(add = ArgValueCompleter::new(session_names))]
    name: String,
    /// Say this, in quotes or not; with - read it from standard input
    #[arg(value_name = "TEXT", required = true, value_hint = ValueHint::Other)]
    text: Vec<String>,
    #[command(flatten)]
    wait: TimeoutArgs,
    #[command(flatten)]
    format: Format,
}

impl TellArgs {
    /// Tells it.
    ///
    /// # Errors
    /// The tell was refused or withdrawn, or was not delivered.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(self.format.json);
        // Before the signals are ours: Ctrl-C while the text is typed ends the program as usual.
        let text = question::text(&self.text, "message", std::io::stdin())?;
        let exchange = async |hub: &mut _, out: &mut _| self.exchange(hub, text, out).await;
        context.converse(exchange).await
    }

    async fn exchange(&self, hub: &mut HubClient, text: String, out: &mut Output) -> Result<Exit, CliError> {
        let told = hub.tell(self.name.clone(), text, self.wait.timeout).await?;
        let waited = wording::exact(self.wait.timeout);
        if told.state == AskState::Held {
            // A script waits as well, and whoever reads its log should know for what.
            out.say(&waiting(&told, &waited));
        } else {
            out.say_progress(&waiting(&told, &waited));
        }
        let outcome = outcome_of(told.ask_id, async || hub.next_event().await).await;
        if out.is_json() {
            out.print_json("outcome", &OutcomeView::of(&outcome))?;
        }
        if let Some(failure) = CliError::of_outcome(&outcome, &waited) {
            return Err(failure);
        }
        if let End::Arrived { state } = outcome.end {
            out.say_progress(&Line::of(&state.told(outcome.to.as_str())));
        }
        Ok(Exit::Done)
    }
}
