//! `relayctl ask`: one question to one session, and the wait for its one outcome.

use std::time::Duration;

use clap::{Args, ValueHint};
use clap_complete::ArgValueCompleter;

use super::completions::session_names;
use super::error::{CliError, Exit};
use super::outcome::{OutcomeView, outcome_of, waiting};
use super::output::{Format, Line, Output};
use super::question::TimeoutArgs;
use super::wait::{self, Wanted};
use super::{Context, broadcast, question, wording};
use crate::client::{End, HubClient};
use crate::protocol::{AskState, Audience};

/// Ask a session and wait for its answer
#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// Ask the session with this name, as relayctl peers shows it; several with commas between them: web,api
    #[arg(add = ArgValueCompleter::new(session_names))]
    name: String,
    /// Say this, in quotes or not; with - read it from standard input
    #[arg(value_name = "QUESTION", required = true, value_hint = ValueHint::Other)]
    question: Vec<String>,
    /// First wait so long until the session is there and has ended its turn: 90s, 5m; if it has not then, nothing is asked
    #[arg(long, value_name = "DURATION", value_parser = question::parse_timeout)]
    wait_for: Option<Duration>,
    #[command(flatten)]
    wait: TimeoutArgs,
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
        let text = question::text(&self.question, "question", std::io::stdin())?;
        if self.name.contains(',') {
            let audience = Audience { to: Some(broadcast::names(&self.name)), folder: None, machines: None };
            return broadcast::ask(context, audience, text, self.wait.timeout, self.wait_for).await;
        }
        let exchange = async |hub: &mut _, out: &mut _| self.exchange(hub, text, out).await;
        context.converse(exchange).await
    }

    async fn exchange(&self, hub: &mut HubClient, text: String, out: &mut Output) -> Result<Exit, CliError> {
        if let Some(time) = self.wait_for {
            wait::until(hub, &self.name, Wanted::Free, time).await?;
        }
        let asked = hub.ask(self.name.clone(), text, self.wait.timeout).await?;
        let waited = wording::exact(self.wait.timeout);
        if asked.state == AskState::Held {
            // A script waits as well, and whoever reads its log should know for what.
            out.say(&waiting(&asked, &waited));
        } else {
            out.say_progress(&waiting(&asked, &waited));
        }
        let outcome = outcome_of(asked.ask_id, async || hub.next_event().await).await;
        if out.is_json() {
            out.print_json("outcome", &OutcomeView::of(&outcome))?;
        }
        if let Some(failure) = CliError::of_outcome(&outcome, &waited) {
            return Err(failure);
        }
        if let End::Reply { text, .. } = outcome.end
            && !out.is_json()
        {
            out.print(&Line::of(&text))?;
        }
        Ok(Exit::Done)
    }
}
