//! The agents beside Claude Code that are on this machine: their versions, whether they are set up, and what wakes their
//! sessions.

use super::Examined;
use super::finding::Finding;
use crate::cli::setup::{AgentState, states};
use crate::service::Commands;

pub(super) fn check(examined: &mut Examined) -> Vec<Finding> {
    let Some(bindir) = examined.bindir.clone() else { return Vec::new() };
    let found = states(&examined.environment, &bindir);
    found.iter().map(|state| finding(state, &mut examined.commands)).collect()
}

fn finding(state: &AgentState, commands: &mut dyn Commands) -> Finding {
    let version = version(state, commands).unwrap_or_else(|| "does not say its version".to_owned());
    let about = format!("{} ({version})", state.shown);
    if state.is_set_up {
        Finding::ok(state.name, format!("{about} is set up; its sessions are woken by: {}", state.wakes))
    } else {
        Finding::warn(state.name, format!("{about} is not set up, or not for these programs"), setup(state))
    }
}

fn setup(state: &AgentState) -> String {
    format!("relayctl setup {}", state.name)
}

/// Returns the first line that the agent says of its version.
fn version(state: &AgentState, commands: &mut dyn Commands) -> Option<String> {
    let said = commands.run(&[state.program.display().to_string(), "--version".to_owned()]).ok()?;
    let line = said.stdout.lines().next().unwrap_or_default().trim().to_owned();
    (said.success() && !line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;
    use crate::service::Finished;

    struct Says(&'static str);

    impl Commands for Says {
        fn run(&mut self, _argv: &[String]) -> io::Result<Finished> {
            Ok(Finished { code: Some(0), stdout: self.0.to_owned(), ..Finished::default() })
        }
    }

    #[test]
    fn agent_is_named_with_its_version_and_what_wakes_it_or_with_its_cure() {
        let state = |is_set_up| AgentState {
            name: "codex",
            shown: "Codex",
            program: PathBuf::from("/bin/codex"),
            is_set_up,
            wakes: "its daemon",
        };
        let found = finding(&state(true), &mut Says("codex-cli 0.171.0\n"));
        assert_eq!(found.what, "Codex (codex-cli 0.171.0) is set up; its sessions are woken by: its daemon");
        let found = finding(&state(false), &mut Says(""));
        assert_eq!(found.cure.as_deref(), Some("relayctl setup codex"));
    }
}
