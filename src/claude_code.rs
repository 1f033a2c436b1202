//! What Claude Code goes by when it decides whether our channel events are taken, seen in 2.1.197 and 2.1.330.

use std::ffi::OsString;
use std::path::PathBuf;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

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

/// Returns the directory of Claude Code's settings and state, as this process's environment names it.
pub fn config_directory() -> Option<PathBuf> {
    let set = std::env::var_os("CLAUDE_CONFIG_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    set.or_else(|| std::env::home_dir().map(|home| home.join(".claude")))
}

/// Returns a process's arguments; none where they cannot be read.
pub fn command_line(pid: u32) -> Vec<String> {
    let pid = Pid::from_u32(pid);
    let Ok(mut system) = System::new() else { return Vec::new() };
    let only_command = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, only_command);
    let arguments: &[OsString] = system.process(pid).map_or(&[], |process| process.cmd());
    arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets_in(command: &str, plugin: bool) -> bool {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        lets_us_in(&words, plugin)
    }

    #[test]
    fn the_flag_counts_only_with_an_entry_of_ours() {
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
    fn what_switches_channels_off_counts_only_if_it_is_on() {
        let set = |value: &str| channel_blockers(|name| (name == "DISABLE_TELEMETRY").then(|| value.to_owned()));
        assert_eq!(set("1"), ["DISABLE_TELEMETRY"]);
        assert_eq!(set("0"), [""; 0]);
    }

    #[test]
    fn a_command_line_is_read_from_the_system() {
        let command = command_line(std::process::id());
        assert_eq!(command.first().map(String::as_str), std::env::args().next().as_deref());
    }
}
