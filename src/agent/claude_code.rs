//! Claude Code: how it is recognised and started, and what decides whether it takes channel events.
//!
//! All of it was seen in 2.1.197 and 2.1.330.

pub mod session_file;
mod settings;

use std::path::{Path, PathBuf};

use self::session_file::SessionFile;
pub use self::settings::{Inbound, config_directory, inbound, isolates_machines};
use super::kind::{Kind, Profile, State, Surroundings, arguments, has_flag};
use crate::process::{self, Process};

/// What is the same in all its sessions.
pub const PROFILE: Profile = Profile { id: "claude-code", shown: "Claude Code" };

/// How the name of its MCP client begins.
const CLIENT: &str = "claude";

/// The subcommands that start servers without a session.
const SUBCOMMANDS: [&str; 2] = ["mcp", "plugin"];

/// The flag that lets channels in that Claude Code has not approved. [`APPROVED_FLAG`] lets in only what is approved, and
/// drops the events of others without a word.
pub const CHANNEL_FLAG: &str = "--dangerously-load-development-channels";

/// The flag that does not help: see [`CHANNEL_FLAG`].
pub const APPROVED_FLAG: &str = "--channels";

/// The variable with which a user has Claude Code ask about each call of relay's own tools: `RELAY_ALLOW_TOOLS=off`.
pub const ALLOW_VARIABLE: &str = "RELAY_ALLOW_TOOLS";

/// Returns whether this value of [`ALLOW_VARIABLE`] has the plugin allow relay's own tools; without one it does.
pub fn allows_tools(value: Option<&str>) -> bool {
    !value.is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "off" | "0" | "false" | "no"))
}

/// Our entries behind the flag: the plugin's, and the server's of a project without the plugin. A server that is
/// configured under another name is not told which, so its user sets `RELAY_CHANNEL`.
const PLUGIN_ENTRY: &str = "plugin:relay@";
const SERVER_ENTRY: &str = "server:relay";

/// Settings that switch channels off in Claude Code, which then drops events without a word; and ways to reach the model
/// that have no channels.
const CHANNEL_BLOCKERS: [&str; 6] = [
    "DISABLE_TELEMETRY",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
];

/// How the plugin's tools begin: plugin `relay`, server `relay`.
pub const PLUGIN_TOOLS: &str = "mcp__plugin_relay_relay__";

/// How Claude Code was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A person's session in a terminal.
    Terminal,
    /// Prompts come as JSON on its standard input: the VS Code extension, the Desktop app, programs.
    StreamJson,
    /// One prompt, one answer: `-p`, or no terminal.
    Print,
    /// No session at all, such as `claude mcp list`, which starts the servers as well.
    Subcommand,
}

impl Mode {
    /// Returns the mode of a process by its command line, and whether it writes to a terminal where that is known.
    pub fn of(command: &[String], terminal: Option<bool>) -> Self {
        let has_program = command.iter().any(|argument| is_program(argument));
        let arguments = arguments(command, is_program);
        if arguments.first().is_some_and(|first| SUBCOMMANDS.contains(&first.as_str())) {
            return Self::Subcommand;
        }
        if has_flag(arguments, &["-p", "--print"]) {
            Self::Print
        } else if has_flag(arguments, &["--input-format"]) {
            Self::StreamJson
        } else if has_flag(arguments, &["--output-format"]) || (has_program && terminal == Some(false)) {
            Self::Print
        } else {
            Self::Terminal
        }
    }

    /// Returns the mode of this process.
    pub fn of_process(pid: u32) -> Self {
        Self::of(&process::command_line(pid), process::writes_to_terminal(pid))
    }
}

/// Returns whether an argument is Claude Code's own program, or the script that an interpreter runs as such.
fn is_program(argument: &str) -> bool {
    argument.contains("/claude-code/") || Path::new(argument).file_name().is_some_and(|name| name == "claude")
}

/// Claude Code, as its environment and its command line show it.
#[derive(Debug)]
pub struct ClaudeCode {
    process: Process,
    mode: Mode,
    /// Whether it says of itself that nobody attends to the session.
    unattended: bool,
    takes_channel_events: bool,
    /// Whether this is the plugin's server, and not one that a project configures.
    is_plugin: bool,
    /// The folder of its project, where it names one.
    project: Option<PathBuf>,
    config: Option<PathBuf>,
    file: Option<SessionFile>,
    path: Option<PathBuf>,
}

impl ClaudeCode {
    /// Returns what is known of it, if it is the one that started this process: its MCP client says so and it has left its
    /// marks in the environment, which other agents pass on when they are started from within it.
    pub fn recognise(seen: &Surroundings<'_>) -> Option<Box<dyn Kind>> {
        let is_set = |name: &str| (seen.value_of)(name).is_some();
        let is_marked = is_set("CLAUDECODE") && is_set("CLAUDE_CODE_ENTRYPOINT");
        if !is_marked || !seen.client.name.starts_with(CLIENT) {
            return None;
        }
        let mode = Mode::of(&seen.command, seen.terminal);
        let is_plugin = is_set("CLAUDE_PLUGIN_ROOT");
        let is_let_in = lets_us_in(&seen.command, is_plugin);
        let config = config_directory();
        Some(Box::new(Self {
            process: seen.parent,
            mode,
            unattended: (seen.value_of)("CLAUDE_CODE_SESSION_ATTENDED").as_deref() == Some("0"),
            takes_channel_events: mode == Mode::Terminal && is_let_in && channel_blockers(seen.value_of).is_empty(),
            is_plugin,
            project: (seen.value_of)("CLAUDE_PROJECT_DIR").map(PathBuf::from),
            path: config.as_deref().map(|config| session_file::path(config, seen.parent.pid)),
            config,
            file: None,
        }))
    }
}

impl Kind for ClaudeCode {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn process(&self) -> Process {
        self.process
    }

    /// A program that feeds prompts to it as an editor does, without a person, is known only by what Claude Code says of it.
    fn is_interactive(&self) -> bool {
        match self.mode {
            Mode::Terminal => true,
            Mode::StreamJson => !self.unattended,
            Mode::Print | Mode::Subcommand => false,
        }
    }

    fn start_folder(&self) -> Option<PathBuf> {
        self.project.clone()
    }

    fn takes_channel_events(&self) -> bool {
        self.takes_channel_events
    }

    fn file(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn look(&mut self, folder: &Path) -> Option<State> {
        let config = self.config.as_deref()?;
        self.file.get_or_insert_with(|| SessionFile::new(config, self.process, folder)).look()
    }

    fn tool_prefix(&self) -> &'static str {
        if self.is_plugin { PLUGIN_TOOLS } else { "" }
    }
}

/// Returns the variables that switch channels off, of those that have a value.
pub fn channel_blockers(value_of: impl Fn(&str) -> Option<String>) -> Vec<&'static str> {
    let is_on = |name: &str| value_of(name).is_some_and(|value| is_true(&value));
    CHANNEL_BLOCKERS.into_iter().filter(|name| is_on(name)).collect()
}

fn is_true(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "false" | "no" | "off")
}

/// Returns whether this command line lets our channel in: one of our entries between the flag and the next option. The
/// entry is the plugin's, or the server's of a project.
pub fn lets_us_in(command: &[String], plugin: bool) -> bool {
    names_us(command, CHANNEL_FLAG, plugin)
}

/// Returns whether one of our entries is between this flag and the next option.
pub fn names_us(command: &[String], flag: &str, plugin: bool) -> bool {
    let is_ours = |entry: &str| if plugin { entry.starts_with(PLUGIN_ENTRY) } else { entry == SERVER_ENTRY };
    let mut behind_flag = false;
    command.iter().any(|argument| {
        if let Some(entry) = argument.strip_prefix(flag) {
            behind_flag = entry.is_empty();
            return entry.strip_prefix('=').is_some_and(is_ours);
        }
        behind_flag &= !argument.starts_with('-');
        behind_flag && is_ours(argument)
    })
}

#[cfg(test)]
mod tests {
    use super::super::mcp_client::McpClient;
    use super::*;

    fn lets_in(command: &str, plugin: bool) -> bool {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        lets_us_in(&words, plugin)
    }

    fn mode(command: &str, terminal: Option<bool>) -> Mode {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        Mode::of(&words, terminal)
    }

    #[test]
    fn mode_is_seen_in_the_command_line_and_the_terminal() {
        for (command, terminal, expected) in [
            ("claude", Some(true), Mode::Terminal),
            ("claude --continue -n api", Some(true), Mode::Terminal),
            ("node /opt/@anthropic-ai/claude-code/cli.js", None, Mode::Terminal),
            ("sh -c claude-like", Some(false), Mode::Terminal),
            ("claude --permission-mode plan", Some(true), Mode::Terminal),
            ("/usr/bin/claude -p hello", Some(true), Mode::Print),
            ("claude --print --input-format stream-json", Some(false), Mode::Print),
            ("claude --output-format=json", Some(true), Mode::Print),
            ("claude", Some(false), Mode::Print),
            ("claude --input-format stream-json --output-format stream-json --verbose", Some(false), Mode::StreamJson),
            (
                "node /x/claude-code/cli.js --output-format stream-json --input-format=stream-json",
                None,
                Mode::StreamJson,
            ),
            ("claude mcp list", Some(true), Mode::Subcommand),
            ("claude explain mcp", Some(true), Mode::Terminal),
        ] {
            assert_eq!(mode(command, terminal), expected, "{command}");
        }
        assert_eq!(Mode::of(&[], None), Mode::Terminal);
    }

    #[test]
    fn claude_code_is_recognised_by_its_client_and_its_environment() {
        let marks = |name: &str| matches!(name, "CLAUDECODE" | "CLAUDE_CODE_ENTRYPOINT").then(|| "1".to_owned());
        let is_recognised = |client: &str, value_of: &dyn Fn(&str) -> Option<String>| {
            let client = McpClient { name: client.to_owned(), version: String::new() };
            ClaudeCode::recognise(&Surroundings::of_process(&client, None, value_of).unwrap()).is_some()
        };
        assert!(is_recognised("claude-code", &marks));
        assert!(!is_recognised("codex-mcp-client", &marks));
        assert!(!is_recognised("claude-code", &|_| None));
    }

    #[test]
    fn channel_flag_counts_only_with_an_entry_of_ours() {
        let flag = CHANNEL_FLAG;
        assert!(lets_in(&format!("claude {flag} plugin:relay@claude-relay"), true));
        assert!(lets_in(&format!("claude {flag} server:other plugin:relay@claude-relay -c"), true));
        assert!(lets_in(&format!("node cli.js {flag}=plugin:relay@x"), true));
        assert!(lets_in(&format!("claude -c {flag} server:relay"), false));
        assert!(!lets_in(&format!("claude {flag} server:relay"), true));
        assert!(!lets_in(&format!("claude {flag} plugin:relay@claude-relay"), false));
        assert!(!lets_in(&format!("claude {flag} server:relay-two"), false));
        assert!(!lets_in(&format!("claude {flag} server:other --name server:relay"), false));
        assert!(!lets_in("claude --channels plugin:relay@claude-relay", true));
        assert!(!lets_in("claude server:relay", false));
        assert!(!lets_in(&format!("claude {flag}"), false));
    }

    #[test]
    fn channel_blocker_counts_only_if_it_is_on() {
        let set = |value: &str| channel_blockers(|name| (name == "DISABLE_TELEMETRY").then(|| value.to_owned()));
        assert_eq!(set("1"), ["DISABLE_TELEMETRY"]);
        assert_eq!(set("0"), [""; 0]);
    }
}
