//! What every agent is asked. One file an agent answers; what it leaves out is answered as for any MCP client.

use std::fmt;
use std::path::{Path, PathBuf};

use super::mcp_client::McpClient;
use super::route::Route;
use crate::object::Object;
use crate::process::{self, Process};
use crate::protocol::Activity;

/// What is the same in every session of an agent.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its short name on the wire: `claude-code`.
    pub id: &'static str,
    /// What people call it: `Claude Code`.
    pub shown: &'static str,
}

/// What is to be seen of the process that started this one, which may be an agent.
pub struct Surroundings<'a> {
    /// What its MCP client says of itself.
    pub client: &'a McpClient,
    /// The process.
    pub parent: Process,
    /// Its command line.
    pub command: Vec<String>,
    /// Whether it writes to a terminal, where that is known.
    pub terminal: Option<bool>,
    /// Where the sessions' sockets are.
    pub sockets: Option<&'a Path>,
    /// The variables that this process was given.
    pub value_of: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Surroundings<'a> {
    /// Returns what this process can see.
    pub fn of_process(
        client: &'a McpClient,
        sockets: Option<&'a Path>,
        value_of: &'a dyn Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let parent = process::parent()?;
        let (command, terminal) = (process::command_line(parent.pid), process::writes_to_terminal(parent.pid));
        Some(Self { client, parent, command, terminal, sockets, value_of })
    }

    /// Returns what stands behind the agent's program on its command line; `is_program` knows the program, or the script
    /// that an interpreter runs as such.
    pub fn arguments(&self, is_program: impl Fn(&str) -> bool) -> &[String] {
        arguments(&self.command, is_program)
    }
}

/// Returns what stands behind the program on a command line: see [`Surroundings::arguments`].
pub(super) fn arguments(command: &[String], is_program: impl Fn(&str) -> bool) -> &[String] {
    let program = command.iter().position(|argument| is_program(argument));
    &command[program.map_or(command.len().min(1), |at| at + 1)..]
}

/// Returns whether one of these flags is among the arguments, alone or with a value behind `=`.
pub(super) fn has_flag(arguments: &[String], flags: &[&str]) -> bool {
    let is = |argument: &str, flag: &str| {
        argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    arguments.iter().any(|argument| flags.iter().any(|flag| is(argument, flag)))
}

/// What an agent says of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What the session does.
    pub activity: Activity,
    /// The dialog that it stands at.
    pub waiting_for: Option<String>,
    /// The folder that it works in.
    pub cwd: Option<PathBuf>,
    /// The name that its user has given it since the last look.
    pub name: Option<String>,
}

/// Who has called a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOrigin {
    /// The session's model.
    Model,
    /// A channel that looks for its session: nothing is to be done for it.
    Channel,
}

/// The agent that runs this channel's session.
pub trait Kind: fmt::Debug {
    /// Returns what is the same in all its sessions.
    fn profile(&self) -> &'static Profile;

    /// Returns the process whose end is the session's.
    fn process(&self) -> Process;

    /// Returns the agent's own id of the session, where one process holds several.
    fn thread(&self) -> Option<&str> {
        None
    }

    /// Returns whether it is known which session this is. The agent may have to tell.
    fn is_identified(&self) -> bool {
        true
    }

    /// Records that nobody will tell which session this is: then it is this process's own.
    fn handle_unidentified(&mut self) {}

    /// Takes over what the agent says with a tool call (`_meta`).
    fn handle_call_meta(&mut self, meta: &Object) -> CallOrigin {
        let _nothing_is_known_of_it = meta;
        CallOrigin::Model
    }

    /// Returns the way into the session that its channel goes itself.
    fn route(&mut self) -> Option<&mut dyn Route> {
        None
    }

    /// Returns whether a person sits before the session. A run without one is no peer before it uses a tool.
    fn is_interactive(&self) -> bool {
        true
    }

    /// Returns the folder that the session was started in, where that is not this process's.
    fn start_folder(&self) -> Option<PathBuf> {
        None
    }

    /// Returns whether the session was started so that it takes our channel events.
    fn takes_channel_events(&self) -> bool {
        false
    }

    /// Returns the file in which the agent says what the session does.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Returns what the agent says of its session now; none where nothing is said. `folder`: where the session works.
    fn look(&mut self, folder: &Path) -> Option<State> {
        let _nothing_depends_on_it = folder;
        None
    }

    /// Returns how the full names of our tools begin in this agent. Its model may be shown nothing else to call them by.
    fn tool_prefix(&self) -> &'static str {
        ""
    }

    /// Returns whether the agent shows its model a call that failed in front of its error, and of both only the beginning.
    fn repeats_failed_calls(&self) -> bool {
        false
    }

    /// Returns what a model does that was not shown our tools.
    fn tool_hint(&self) -> Option<&'static str> {
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns what `look` says of an agent with this MCP client and this command line.
    pub(in crate::agent) fn seen<T>(client: &str, command: &str, look: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let client = McpClient { name: client.to_owned(), version: String::new() };
        let command = command.split(' ').map(str::to_owned).collect();
        let parent = process::own();
        look(&Surroundings {
            client: &client,
            parent,
            command,
            terminal: Some(true),
            sockets: None,
            value_of: &|_| None,
        })
    }

    #[test]
    fn arguments_stand_behind_the_program_or_its_script() {
        let words: Vec<String> = "node --max-old-space-size=9 /x/qwen -p=hi".split(' ').map(str::to_owned).collect();
        assert_eq!(arguments(&words, |word| word.ends_with("/qwen")), ["-p=hi"]);
        assert_eq!(arguments(&words, |_| false).len(), 3);
        assert_eq!(arguments(&[], |_| true), [""; 0]);
    }

    #[test]
    fn flag_is_there_alone_or_with_a_value() {
        let words: Vec<String> = ["-p=hi", "--prompts"].map(str::to_owned).to_vec();
        assert!(has_flag(&words, &["--print", "-p"]));
        assert!(!has_flag(&words, &["--prompt"]));
    }
}
