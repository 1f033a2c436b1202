//! Claude Code: there, with the plugin enabled, and nothing that switches channels off. All of it best effort.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Examined;
use super::finding::Finding;
use crate::paths::SOCKET_VARIABLE;
use crate::service::Commands;

/// The plugin's name in the settings.
const PLUGIN: &str = "relay@claude-relay";

/// What switches Claude Code's channels off, seen with version 2.1.
const AGAINST_CHANNELS: [&str; 2] = ["DISABLE_TELEMETRY", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"];

pub(super) fn check(examined: &mut Examined) -> Vec<Finding> {
    let claude = version(&mut examined.commands);
    let directory = std::env::var_os("CLAUDE_CONFIG_DIR")
        .map(PathBuf::from)
        .or_else(|| Some(examined.environment.home.as_ref()?.join(".claude")));
    let settings = directory.as_deref().map(settings).unwrap_or_default();
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let mut findings = vec![claude, plugin(&settings), channels(&settings, set)];
    findings.extend(socket(&settings, examined.socket.as_deref().ok()));
    findings
}

/// Settings may give sessions another hub than the shell has.
fn socket(settings: &Value, own: Option<&Path>) -> Option<Finding> {
    let theirs = settings["env"][SOCKET_VARIABLE].as_str().filter(|path| own != Some(Path::new(path)))?;
    let what = format!("Claude Code's settings set {SOCKET_VARIABLE}={theirs}: sessions look for their hub there");
    Some(Finding::warn(
        "claude-socket",
        what,
        format!("take {SOCKET_VARIABLE} out of settings.json, or set it here too"),
    ))
}

fn version(commands: &mut dyn Commands) -> Finding {
    match commands.run(&["claude", "--version"].map(str::to_owned)) {
        Ok(said) if said.success() => Finding::ok("claude-code", said.stdout.trim().to_owned()),
        Ok(said) => {
            Finding::warn("claude-code", format!("claude does not run: {}", said.stderr.trim()), "claude doctor")
        }
        Err(error) => {
            let what = format!("claude cannot be run from here ({error})");
            Finding::warn("claude-code", what, "npm install -g @anthropic-ai/claude-code")
        }
    }
}

/// Returns the user's settings; null where there are none.
fn settings(directory: &Path) -> Value {
    let text = fs::read_to_string(directory.join("settings.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn plugin(settings: &Value) -> Finding {
    let install = "claude plugin marketplace add PATH-OF-CLAUDE-RELAY && claude plugin install relay@claude-relay";
    match settings["enabledPlugins"].get(PLUGIN).and_then(Value::as_bool) {
        Some(true) => Finding::ok("claude-plugin", format!("{PLUGIN} is enabled")),
        Some(false) => {
            Finding::warn("claude-plugin", format!("{PLUGIN} is disabled"), format!("claude plugin enable {PLUGIN}"))
        }
        None => Finding::warn("claude-plugin", format!("{PLUGIN} is not enabled for you"), install),
    }
}

/// Without channels a session is woken by the plugin's waiter, or sees messages at its next prompt.
fn channels(settings: &Value, is_set: impl Fn(&str) -> bool) -> Finding {
    let in_settings = |name: &str| settings["env"].get(name).is_some();
    let against: Vec<&str> = AGAINST_CHANNELS.into_iter().filter(|name| is_set(name) || in_settings(name)).collect();
    if against.is_empty() {
        Finding::ok("claude-channels", "nothing switches channels off")
    } else {
        let what = format!(
            "{} switches channels off: sessions are woken by the plugin's hooks instead",
            against.join(" and ")
        );
        Finding::note("claude-channels", what)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::finding::State;

    #[test]
    fn the_plugin_is_enabled_disabled_or_not_there() {
        assert_eq!(plugin(&json!({"enabledPlugins": {PLUGIN: true}})).state, State::Ok);
        let disabled = plugin(&json!({"enabledPlugins": {PLUGIN: false}}));
        assert_eq!(disabled.cure.as_deref(), Some("claude plugin enable relay@claude-relay"));
        assert!(plugin(&Value::Null).what.contains("not enabled"));
    }

    #[test]
    fn a_hub_of_its_own_in_the_settings_is_named() {
        let settings = json!({"env": {"RELAY_SOCKET": "/srv/hub.sock"}});
        assert_eq!(socket(&settings, Some(Path::new("/srv/hub.sock"))), None);
        assert_eq!(socket(&Value::Null, None), None);
        let found = socket(&settings, Some(Path::new("/run/hub.sock"))).unwrap();
        assert!(found.what.contains("RELAY_SOCKET=/srv/hub.sock"), "{}", found.what);
    }

    #[test]
    fn what_switches_channels_off_is_named_wherever_it_is_set() {
        assert_eq!(channels(&Value::Null, |_| false).state, State::Ok);
        let found = channels(&json!({"env": {"DISABLE_TELEMETRY": "1"}}), |_| false);
        assert!(found.what.starts_with("DISABLE_TELEMETRY switches channels off"), "{}", found.what);
        assert_eq!(channels(&Value::Null, |name| name.starts_with("CLAUDE")).state, State::Note);
    }
}
