//! The agents that can be set up: a table, one entry each.

use std::path::{Path, PathBuf};

use super::recipe::Agent;
use super::{claude_code, codex, copilot, gemini_cli, qwen_code, script_file};
use crate::cli::error::CliError;
use crate::paths::Environment;
use crate::service::{Plan, ServiceError};

/// Every agent.
pub(super) const AGENTS: &[Agent] = &[
    claude_code::AGENT,
    codex::AGENT,
    copilot::AGENT,
    gemini_cli::AGENT,
    script_file::OPENCODE,
    script_file::PI,
    qwen_code::AGENT,
];

/// An agent that is on this machine.
pub(super) struct Found {
    agent: &'static Agent,
    program: PathBuf,
}

impl Found {
    /// Returns what it is, for people.
    pub(super) fn title(&self) -> String {
        format!("{} ({})", self.agent.shown, self.program.display())
    }

    /// Returns what is to be restarted.
    pub(super) const fn restart(&self) -> &str {
        self.agent.restart
    }

    /// Returns what installs the plugin, with the programs in `bindir`.
    pub(super) fn install(&self, environment: &Environment, bindir: &Path) -> Result<Plan, ServiceError> {
        (self.agent.install)(&self.program, environment, bindir)
    }

    /// Returns what removes the plugin.
    pub(super) fn remove(&self) -> Result<Plan, ServiceError> {
        (self.agent.remove)(&self.program)
    }
}

/// Returns the agents' names on the command line.
pub(super) fn names() -> Vec<&'static str> {
    AGENTS.iter().map(|agent| agent.name).collect()
}

/// Returns the agents that are found, of these names; without names of all.
///
/// # Errors
/// One that was named is not found.
pub(super) fn find(environment: &Environment, named: &[String]) -> Result<Vec<Found>, CliError> {
    let mut found = Vec::new();
    for agent in AGENTS.iter().filter(|agent| named.is_empty() || named.iter().any(|name| name == agent.name)) {
        match (agent.find)(environment) {
            Some(program) => found.push(Found { agent, program }),
            None if named.is_empty() => {}
            None => {
                let what = format!("{} is not found: {} is in no directory of PATH", agent.shown, agent.name);
                let next = format!("# install {}, then run: relayctl setup {}", agent.shown, agent.name);
                return Err(CliError::Obstacle { what, next });
            }
        }
    }
    Ok(found)
}

/// An agent that is on this machine, and whether it is set up.
pub(in crate::cli) struct AgentState {
    /// What it is called on the command line.
    pub(in crate::cli) name: &'static str,
    /// What people call it.
    pub(in crate::cli) shown: &'static str,
    /// Its program.
    pub(in crate::cli) program: PathBuf,
    /// Whether setting it up would change nothing.
    pub(in crate::cli) is_set_up: bool,
    /// What wakes its sessions.
    pub(in crate::cli) wakes: &'static str,
}

/// Returns the agents that are found, with the programs in `bindir`. Claude Code has checks of its own.
pub(in crate::cli) fn states(environment: &Environment, bindir: &Path) -> Vec<AgentState> {
    let state = |agent: &'static Agent| {
        let program = (agent.find)(environment)?;
        let plan = (agent.install)(&program, environment, bindir);
        let is_set_up = plan.is_ok_and(|plan| plan.is_done());
        Some(AgentState { name: agent.name, shown: agent.shown, program, is_set_up, wakes: agent.wakes })
    };
    AGENTS.iter().filter(|agent| agent.name != claude_code::AGENT.name).filter_map(state).collect()
}
