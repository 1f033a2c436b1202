//! Claude Code: there, with the plugin and its server, and nothing that switches channels or hooks off. All of it best
//! effort: what Claude Code says and keeps was seen in 2.1.197 and 2.1.330.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Examined;
use super::finding::{Finding, State};
use crate::advice::by_hand;
use crate::agent::claude_code::{
    ALLOW_VARIABLE, APPROVED_FLAG, CHANNEL_FLAG, allows_tools, channel_blockers, config_directory, lets_us_in, names_us,
};
use crate::cli::setup;
use crate::paths::SOCKET_VARIABLE;
use crate::protocol::Wake;
use crate::service::Commands;

/// The plugin's name in the settings.
const PLUGIN: &str = "relay@claude-relay";

/// What `claude mcp list` calls our server: the plugin's, or that of a project without the plugin.
const SERVERS: [&str; 2] = ["plugin:relay:relay", "relay"];

/// The oldest version that relay was seen to work with.
const OLDEST: [u64; 3] = [2, 1, 197];

const SETUP: &str = "relayctl setup";

/// What a rule names that is about all of the plugin's tools.
const TOOLS: &str = "mcp__plugin_relay_relay";

pub(super) fn check(examined: &mut Examined) -> Vec<Finding> {
    let directory = config_directory();
    let read = |name: &str| directory.as_deref().map(|directory| json_file(&directory.join(name))).unwrap_or_default();
    let settings = read("settings.json");
    let program = setup::find_claude(&examined.environment).map(|program| program.display().to_string());
    let claude = version(program.as_deref(), &mut examined.commands);
    let runs = claude.state == State::Ok;
    let mut findings = vec![claude, plugin(&settings, &read("plugins/installed_plugins.json"))];
    findings.extend(marketplace(&read("plugins/known_marketplaces.json")));
    if let Some(program) = program.filter(|_| runs) {
        findings.push(server(&program, &mut examined.commands));
    }
    let set = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    findings.push(permissions(&settings, set));
    findings.push(channels(&settings, set));
    findings.extend(hooks(&settings));
    findings.extend(socket(&settings, examined.socket.as_deref().ok()));
    findings
}

/// Says what Claude Code thinks of our server: it starts it and says hello.
fn server(program: &str, commands: &mut dyn Commands) -> Finding {
    let name = "claude-server";
    let said = match commands.run(&[program, "mcp", "list"].map(str::to_owned)) {
        Ok(said) if said.success() => said.stdout,
        Ok(said) => {
            let what = format!("claude mcp list fails: {}", said.stderr.trim());
            return Finding::warn(name, what, "claude mcp list");
        }
        Err(error) => return Finding::note(name, format!("claude mcp list: {error}")),
    };
    let ours = said.lines().find_map(|line| {
        let (server, rest) = SERVERS.iter().find_map(|server| Some((server, line.strip_prefix(server)?)))?;
        Some((server, rest.strip_prefix(": ")?.rsplit_once(" - ")?.1))
    });
    match ours {
        Some((server, state)) if state.contains("Connected") => Finding::ok(name, format!("{server} answers")),
        Some((server, state)) => {
            let cure =
                "put the programs into the PATH of the shell that starts claude; then in a session: /mcp, reconnect";
            Finding::warn(name, format!("{server}: {state}"), cure)
        }
        None => Finding::warn(name, "Claude Code knows no server of relay in this folder", SETUP),
    }
}

/// Says which of the connected sessions were started with the channel flag. It is a matter of taste; what does not help
/// is named.
pub(super) fn channel_flag(sessions: &[(Vec<String>, Wake)]) -> Finding {
    let name = "claude-channel-flag";
    let with = |flag: &str, command: &[String]| [true, false].iter().any(|plugin| names_us(command, flag, *plugin));
    let in_vain = sessions.iter().filter(|(command, _)| with(APPROVED_FLAG, command)).count();
    let flagged = |command: &[String]| lets_us_in(command, true) || lets_us_in(command, false);
    let is_deaf = |(command, wake): &&(Vec<String>, Wake)| flagged(command) && *wake != Wake::Channel;
    let deaf = sessions.iter().filter(is_deaf).count();
    let taking = sessions.iter().filter(|(command, _)| flagged(command)).count() - deaf;
    if in_vain > 0 {
        let what = format!("started with {APPROVED_FLAG}: {in_vain}; it lets in only what Anthropic has approved");
        return Finding::warn(name, what, format!("claude {CHANNEL_FLAG} plugin:{PLUGIN}"));
    }
    if deaf > 0 {
        let what = format!("started with the channel flag, and take no channel events: {deaf}");
        return Finding::warn(name, what, "start them again without what switches channels off (docs/claude-code.md)");
    }
    if taking == 0 {
        return Finding::note(name, "no session was started with the channel flag; none needs it");
    }
    Finding::ok(name, format!("started with the channel flag: {taking} of {}", sessions.len()))
}

/// A plugin is read from its marketplace's folder each time: without that a session starts without it, and says nothing.
fn marketplace(known: &Value) -> Option<Finding> {
    let folder = known["claude-relay"]["source"]["path"].as_str().filter(|folder| !Path::new(folder).exists())?;
    let what = format!("the plugin's files are gone: {folder}");
    Some(Finding::fail("claude-marketplace", what, SETUP))
}

/// Says whether relay's own tools are asked about: a dialog stands in the way of an answer where nobody looks.
fn permissions(settings: &Value, set: impl Fn(&str) -> Option<String>) -> Finding {
    let name = "claude-permissions";
    let has_rule = |kind: &str| {
        let rules = settings["permissions"][kind].as_array();
        rules.is_some_and(|rules| rules.iter().any(|rule| rule.as_str().is_some_and(|rule| rule.starts_with(TOOLS))))
    };
    let switch = settings["env"][ALLOW_VARIABLE].as_str().map(str::to_owned).or_else(|| set(ALLOW_VARIABLE));
    let without_hook = !allows_tools(switch.as_deref()) || settings["disableAllHooks"] == true;
    let is_installed = settings["enabledPlugins"][PLUGIN] == true;
    if has_rule("deny") || has_rule("ask") {
        let what = "a rule in settings.json denies relay's tools, or has each call asked about";
        Finding::note(name, what)
    } else if has_rule("allow") {
        Finding::ok(name, "a rule in settings.json allows relay's tools")
    } else if is_installed && !without_hook {
        Finding::ok(
            name,
            format!("the plugin allows relay's own tools ({ALLOW_VARIABLE}=off has each call asked about)"),
        )
    } else {
        Finding::note(
            name,
            "Claude Code asks about each call of a relay tool, in sessions that nobody looks at as well",
        )
    }
}

/// Without hooks there is no waiter.
fn hooks(settings: &Value) -> Option<Finding> {
    (settings["disableAllHooks"] == true).then(|| {
        let what = "\"disableAllHooks\": true in settings.json: no session is woken by the plugin's hooks";
        Finding::warn("claude-hooks", what, "take disableAllHooks out of settings.json")
    })
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

fn version(program: Option<&str>, commands: &mut dyn Commands) -> Finding {
    let name = "claude-code";
    let Some(program) = program else {
        let what = "claude is in no directory of PATH, nor where its installers put it";
        return Finding::warn(name, what, by_hand("install Claude Code, then run: relayctl setup"));
    };
    match commands.run(&[program, "--version"].map(str::to_owned)) {
        Ok(said) if said.success() => {
            let shown = said.stdout.trim();
            if is_too_old(shown) {
                let [major, minor, patch] = OLDEST;
                let what = format!("{shown}: relay was seen to work with {major}.{minor}.{patch} and later");
                return Finding::warn(name, what, "claude update");
            }
            Finding::ok(name, shown)
        }
        Ok(said) => Finding::warn(name, format!("claude does not run: {}", said.stderr.trim()), "claude doctor"),
        Err(error) => Finding::warn(name, format!("{program} cannot be run ({error})"), "claude doctor"),
    }
}

/// Reads `2.1.330 (Claude Code)`. What cannot be read is not held against it.
fn is_too_old(shown: &str) -> bool {
    let numbers = shown.split_whitespace().next().unwrap_or_default();
    let numbers: Vec<u64> = numbers.split('.').map_while(|number| number.parse().ok()).collect();
    numbers.len() == OLDEST.len() && numbers.as_slice() < OLDEST.as_slice()
}

/// Returns what a file of Claude Code's holds; null where it is not there or no JSON.
fn json_file(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap_or_default()).unwrap_or_default()
}

fn plugin(settings: &Value, installed: &Value) -> Finding {
    let (name, own) = ("claude-plugin", env!("CARGO_PKG_VERSION"));
    match settings["enabledPlugins"].get(PLUGIN).and_then(Value::as_bool) {
        Some(true) => match installed["plugins"][PLUGIN][0]["version"].as_str() {
            Some(version) if version != own => {
                let what = format!("{PLUGIN} has version {version} and relayctl {own}");
                Finding::warn(name, what, format!("claude plugin update {PLUGIN}"))
            }
            Some(_) => Finding::ok(name, format!("{PLUGIN} {own} is enabled")),
            None => Finding::ok(name, format!("{PLUGIN} is enabled")),
        },
        Some(false) => Finding::warn(name, format!("{PLUGIN} is disabled"), format!("claude plugin enable {PLUGIN}")),
        None => Finding::warn(name, format!("{PLUGIN} is not enabled for you"), SETUP),
    }
}

/// Without channels a session is woken by the plugin's waiter, or sees messages at its next prompt.
fn channels(settings: &Value, variable: impl Fn(&str) -> Option<String>) -> Finding {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let against = channel_blockers(|name| settings["env"].get(name).map(text).or_else(|| variable(name)));
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
    use std::io;

    use serde_json::json;

    use super::*;
    use crate::service::Finished;

    #[test]
    fn the_plugin_is_enabled_disabled_outdated_or_not_there() {
        let enabled = json!({"enabledPlugins": {PLUGIN: true}});
        let installed =
            |version: &str| json!({"version": 2, "plugins": {PLUGIN: [{"scope": "user", "version": version}]}});
        assert_eq!(plugin(&enabled, &Value::Null).state, State::Ok);
        assert_eq!(plugin(&enabled, &installed(env!("CARGO_PKG_VERSION"))).state, State::Ok);
        let outdated = plugin(&enabled, &installed("0.0.1"));
        assert_eq!(outdated.cure.as_deref(), Some("claude plugin update relay@claude-relay"));
        let disabled = plugin(&json!({"enabledPlugins": {PLUGIN: false}}), &Value::Null);
        assert_eq!(disabled.cure.as_deref(), Some("claude plugin enable relay@claude-relay"));
        assert!(plugin(&Value::Null, &Value::Null).what.contains("not enabled"));
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
        assert_eq!(channels(&Value::Null, |_| None).state, State::Ok);
        let found = channels(&json!({"env": {"DISABLE_TELEMETRY": 1}}), |_| None);
        assert!(found.what.starts_with("DISABLE_TELEMETRY switches channels off"), "{}", found.what);
        let set = |name: &str| name.starts_with("CLAUDE_CODE_USE").then(|| "true".to_owned());
        assert_eq!(channels(&Value::Null, set).state, State::Note);
        let cleared = json!({"env": {"DISABLE_TELEMETRY": "0"}});
        assert_eq!(channels(&cleared, |_| None).state, State::Ok);
    }

    #[test]
    fn a_version_is_too_old_only_if_it_is_known_to_be() {
        assert!(is_too_old("2.1.196 (Claude Code)") && is_too_old("1.9.999 (Claude Code)"));
        assert!(!is_too_old("2.1.197 (Claude Code)") && !is_too_old("3.0.0") && !is_too_old("nightly"));
    }

    struct Says(&'static str);

    impl Commands for Says {
        fn run(&mut self, _argv: &[String]) -> io::Result<Finished> {
            Ok(Finished { code: Some(0), stdout: self.0.to_owned(), ..Finished::default() })
        }
    }

    #[test]
    fn the_server_is_what_claude_code_says_of_it() {
        let head = "Checking MCP server health…\n\nrelay-two: /x - ✔ Connected\n";
        let server = |line: &'static str| server("claude", &mut Says(line));
        assert_eq!(server("plugin:relay:relay: /opt/relay/bin/launch  - ✔ Connected\n").state, State::Ok);
        assert_eq!(server("relay: relay-channel  - ✔ Connected\n").state, State::Ok);
        let failed = server("plugin:relay:relay: /opt/a - b/launch  - ✘ Failed to connect — ENOENT\n");
        assert_eq!(failed.what, "plugin:relay:relay: ✘ Failed to connect — ENOENT");
        assert_eq!(server(head).cure.as_deref(), Some(SETUP));
    }

    #[test]
    fn a_channel_flag_that_does_not_help_is_named() {
        let session = |command: &str, wake| (command.split(' ').map(str::to_owned).collect(), wake);
        let plain = session("claude -c", Wake::Waiter);
        let flagged = |wake| session(&format!("claude {CHANNEL_FLAG} plugin:relay@claude-relay"), wake);
        assert_eq!(channel_flag(std::slice::from_ref(&plain)).state, State::Note);
        let both = channel_flag(&[plain.clone(), flagged(Wake::Channel)]);
        assert_eq!((both.state, both.what.as_str()), (State::Ok, "started with the channel flag: 1 of 2"));
        let deaf = channel_flag(&[flagged(Wake::Channel), flagged(Wake::Waiter)]);
        assert!(deaf.what.ends_with("take no channel events: 1"), "{}", deaf.what);
        let in_vain = channel_flag(&[plain, session("claude --channels plugin:relay@claude-relay", Wake::Waiter)]);
        assert!(in_vain.cure.is_some_and(|cure| cure.starts_with("claude --dangerously")));
    }

    #[test]
    fn a_dialog_that_would_stand_in_the_way_is_told_of() {
        let plugin = json!({"enabledPlugins": {PLUGIN: true}});
        assert_eq!(permissions(&plugin, |_| None).state, State::Ok);
        assert_eq!(permissions(&plugin, |_| Some("off".to_owned())).state, State::Note);
        assert_eq!(permissions(&Value::Null, |_| None).state, State::Note);
        let rule = |kind: &str| json!({"permissions": {kind: ["mcp__plugin_relay_relay"]}});
        assert_eq!(permissions(&rule("allow"), |_| None).state, State::Ok);
        assert!(permissions(&rule("deny"), |_| None).what.contains("denies"));
    }

    #[test]
    fn files_of_the_plugin_that_are_gone_are_named() {
        let known = |path: &str| json!({"claude-relay": {"source": {"source": "directory", "path": path}}});
        assert_eq!(marketplace(&known("/")), None);
        assert_eq!(marketplace(&Value::Null), None);
        assert_eq!(marketplace(&known("/nonexistent/clone")).unwrap().cure.as_deref(), Some(SETUP));
    }

    #[test]
    fn hooks_that_are_off_are_named() {
        assert_eq!(hooks(&json!({"disableAllHooks": false})), None);
        assert!(hooks(&json!({"disableAllHooks": true})).is_some());
    }
}
