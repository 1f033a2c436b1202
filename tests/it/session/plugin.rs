//! The Claude Code plugin as far as it can be tested without Claude Code: its launcher, and what its files promise.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

fn plugin() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/plugin")
}

fn read(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(plugin().join(path)).unwrap()).unwrap()
}

/// Runs the launcher of a plugin in `home` where relay-channel is only in `home`, if at all. Returns its answers.
fn launch(home: &Path, arguments: &[&str], input: &[Value]) -> Vec<Value> {
    // The machine's own places may have one.
    let script = std::fs::read_to_string(plugin().join("launch")).unwrap();
    let script = ["/usr/local/bin/", "/usr/bin/", "/opt/homebrew/bin/"]
        .iter()
        .fold(script, |script, place| script.replace(&format!("{place}relay-channel"), "/nonexistent/relay-channel"));
    let plugin = home.join("packaging/plugin");
    std::fs::create_dir_all(&plugin).unwrap();
    let launcher = plugin.join("launch");
    std::fs::write(&launcher, script).unwrap();
    let tools = home.join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    let sed = ["/bin/sed", "/usr/bin/sed"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    let _is_there = std::os::unix::fs::symlink(sed, tools.join("sed"));
    let mut child = Command::new("/bin/sh")
        .arg(&launcher)
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("PATH", tools)
        .env("RELAY_SOCKET", home.join("hub.sock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for message in input {
        writeln!(stdin, "{message}").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the two versions of Claude Code say first, with the id at the start and at the end.
fn conversation() -> [Value; 6] {
    [
        json!({"id": "server-discover-probe-1", "method": "server/discover", "params": {"_meta": {"id": 3}}}),
        json!({"method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}, "jsonrpc": "2.0", "id": 0}),
        json!({"method": "notifications/initialized", "jsonrpc": "2.0"}),
        json!({"method": "tools/list", "jsonrpc": "2.0", "id": 1}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}),
        json!({"method": "tools/call", "params": {"name": "relay_setup"}, "jsonrpc": "2.0", "id": 3}),
    ]
}

#[test]
fn without_relay_channel_the_launcher_says_how_to_install_it() {
    let home = tempfile::tempdir().unwrap();
    let answers = launch(home.path(), &[], &conversation());
    let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
    assert_eq!(json!(ids), json!(["server-discover-probe-1", 0, 1, 2, 3]));
    assert_eq!(answers[0]["error"]["code"], -32601);
    assert_eq!(answers[1]["result"]["protocolVersion"], "2025-11-25");
    let advice = "install the package claude-relay again, the way it was installed before, and run, in a terminal: relayctl setup";
    assert!(answers[1]["result"]["instructions"].as_str().unwrap().contains(advice), "{}", answers[1]);
    assert_eq!(answers[2]["result"]["tools"][0]["name"], "relay_setup");
    assert!(answers[4]["result"]["content"][0]["text"].as_str().unwrap().contains(advice), "{}", answers[4]);
    assert_eq!(answers[4]["result"]["isError"], true);
}

#[test]
fn in_a_checkout_the_launcher_says_how_to_install_from_it() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("Cargo.toml"), "").unwrap();
    let answers = launch(home.path(), &[], &conversation()[1..2]);
    let advice = format!("cargo install --locked --path '{}' --root ~/.local &&", home.path().display());
    assert!(answers[0]["result"]["instructions"].as_str().unwrap().contains(&advice), "{}", answers[0]);
}

#[test]
fn nothing_of_the_plugin_gets_into_the_path_of_the_sessions_shell() {
    // Claude Code puts a plugin's bin folder there.
    assert!(!plugin().join("bin").exists());
}

#[test]
fn without_relay_channel_hooks_are_silent() {
    let home = tempfile::tempdir().unwrap();
    for hook in ["wait", "hook"] {
        assert_eq!(launch(home.path(), &[hook], &[]), [] as [Value; 0]);
    }
}

#[test]
fn the_launcher_becomes_the_relay_channel_that_it_finds() {
    let home = tempfile::tempdir().unwrap();
    let programs = home.path().join(".cargo/bin");
    std::fs::create_dir_all(&programs).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_relay-channel"), programs.join("relay-channel")).unwrap();
    let answers = launch(home.path(), &[], &conversation()[1..4]);
    assert_eq!(answers[1]["result"]["tools"].as_array().unwrap().len(), 6);
    assert_eq!(launch(home.path(), &["hook"], &[json!({"hook_event_name": "UserPromptSubmit"})]), [] as [Value; 0]);
}

#[test]
fn the_plugins_files_say_what_the_documents_promise() {
    let marketplace: Value = serde_json::from_str(
        &std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".claude-plugin/marketplace.json"))
            .unwrap(),
    )
    .unwrap();
    assert_eq!((&marketplace["name"], &marketplace["plugins"][0]["name"]), (&json!("claude-relay"), &json!("relay")));
    assert_eq!(read(".claude-plugin/plugin.json")["version"], env!("CARGO_PKG_VERSION"));
    // Qwen Code takes the server only from here.
    assert_eq!(read(".claude-plugin/plugin.json")["mcpServers"]["relay"]["alwaysLoad"], true);
    let codex = read(".codex-plugin/plugin.json");
    assert_eq!(codex["version"], env!("CARGO_PKG_VERSION"));
    // Else Codex asks its user to trust hooks that do nothing there.
    assert_eq!(codex["hooks"], json!({"hooks": {}}));
    let server = &read(".codex-plugin/mcp.json")["mcpServers"]["relay"];
    assert_eq!(server["default_tools_approval_mode"], "approve");
    let hooks = read("hooks/hooks.json");
    for event in ["SessionStart", "Stop"] {
        let hook = &hooks["hooks"][event][0]["hooks"][0];
        // 2.1.197 kills a waiter at once whose timeout is longer: it does not fit into 32 bits of milliseconds.
        assert!(hook["asyncRewake"] == true && hook["timeout"].as_u64().unwrap() <= 2_147_483, "{hook}");
    }
    for (event, actions) in hooks["hooks"].as_object().unwrap() {
        let hook = &actions[0]["hooks"][0];
        // With arguments there is no shell in between: it would cost each prompt a process, and the parent of what is
        // started must be Claude Code.
        assert_eq!(hook["command"], "${CLAUDE_PLUGIN_ROOT}/launch", "{event}");
        let role = match event.as_str() {
            "SessionStart" | "Stop" => "wait",
            "PreToolUse" => "allow",
            _ => "hook",
        };
        // Without its own words Claude Code calls a message an error of a hook, on the screen and to the model.
        assert_eq!(hook["rewakeSummary"].is_string() && hook["rewakeMessage"].is_string(), role == "wait", "{event}");
        assert_eq!(hook["args"], json!([role]), "{event}");
    }
    for skill in ["relay-ask", "relay-broadcast", "relay-peers", "relay-rename", "relay-status", "relay-tell"] {
        let text = std::fs::read_to_string(plugin().join("skills").join(skill).join("SKILL.md")).unwrap();
        assert!(text.starts_with(&format!("---\nname: {skill}\n")), "{skill}: only a name gives the bare command");
    }
}

#[test]
fn hooks_written_by_hand_as_documented_are_the_plugins() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/claude-code.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split_once("```json").unwrap().1.split_once("```").unwrap().0;
    let written = example.replace("/home/me/.local/bin/relay-channel", "${CLAUDE_PLUGIN_ROOT}/launch");
    let mut plugin = read("hooks/hooks.json")["hooks"].clone();
    // It is about the plugin's own tools: a server without the plugin has others.
    plugin.as_object_mut().unwrap().remove("PreToolUse");
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap()["hooks"], plugin);
}
