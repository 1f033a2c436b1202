//! `relayctl demo`: three sessions talk to each other through a hub of their own, and a newcomer reads along.
//!
//! It needs no service manager and no Claude Code: it starts the real `relay-hub` and three real `relay-channel`s and
//! speaks to them as an MCP client does. `stage` starts and removes them, `session` is the MCP client, `play` is what
//! happens, `transcript` is how it is told, `brief` the words for those who want it short. Every line that is printed was received; what does not come fails the demo.

use clap::Args;

use super::Context;
use super::error::{CliError, Exit};
use super::interrupt::Interrupt;
use super::output::Line;

mod brief;
mod play;
mod session;
mod stage;
mod transcript;

use play::Play;
use stage::{Programs, Stage};
use transcript::Transcript;

/// Show three sessions talking, on a private hub that leaves nothing behind
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Show every tool call, its result and what each session is shown, word for word
    #[arg(short, long)]
    verbose: bool,
}

impl DemoArgs {
    /// Plays the demo to its end.
    ///
    /// # Errors
    /// A step did not happen as it has to, a program is missing, or the user ended it.
    pub(super) async fn run(self, context: &mut Context) -> Result<Exit, CliError> {
        let mut interrupt = Interrupt::listen()?;
        let programs = Programs::beside_this()?;
        let mut stage = tokio::select! {
            biased;
            signal = interrupt.wait() => return Err(CliError::Signalled(signal)),
            stage = Stage::open(&programs) => stage.map_err(|broken| broken.at("the hub and three sessions start"))?,
        };
        let result = tokio::select! {
            biased;
            signal = interrupt.wait() => Err(CliError::Signalled(signal)),
            result = Play::new(&mut stage, Transcript::new(&mut context.out, self.verbose)).perform() => result,
        };
        if let Err(CliError::Demo { .. }) = &result {
            for line in stage.last_log_lines() {
                context.out.say(&Line::of(&line));
            }
        }
        stage.clear().await.map_err(|broken| broken.at("everything is cleared away"))?;
        result.map(|()| Exit::Done)
    }
}
