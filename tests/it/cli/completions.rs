//! What shells complete for `relayctl`: in a real bash, and what the program answers the others.

use std::path::Path;
use std::process::Command;

use crate::support::hub_process::HubProcess;
use crate::support::skip::needs;
use crate::support::terminal::Terminal;

const RELAYCTL: &str = env!("CARGO_BIN_EXE_relayctl");

#[test]
fn bash_completes_the_names_of_sessions() {
    needs!("tmux", "bash");
    let hub = HubProcess::start(&[]);
    let _sessions = (hub.session("backend"), hub.session("web"));
    let directory = Path::new(RELAYCTL).parent().unwrap().display().to_string();
    let shell = format!("PATH={directory}:$PATH PS1='ready to type: ' exec bash --norc -i");
    let terminal = Terminal::run(&shell, &hub.socket(), (100, 24));
    terminal.wait_for_text("ready to type:");
    terminal.type_text("source <(relayctl completions bash); echo ready");
    terminal.press(&["Enter"]);
    terminal.wait_for_text("\nready");
    terminal.type_text("relayctl ask ba");
    terminal.press(&["Tab"]);
    terminal.wait_for_text("relayctl ask backend");
    terminal.press(&["C-u"]);
    terminal.type_text("relayctl ask ");
    terminal.press(&["Tab", "Tab"]);
    let screen = terminal.wait_for("both names", |screen| {
        screen.lines().any(|line| line.starts_with("backend ") && line.contains("web"))
    });
    // A question is no file.
    assert!(!screen.contains("Cargo.toml"), "{screen}");
    terminal.press(&["C-u"]);
    terminal.type_text("relayctl boa");
    terminal.press(&["Tab"]);
    terminal.wait_for_text("relayctl board");
}

#[test]
fn a_shell_is_told_where_each_session_works() {
    let hub = HubProcess::start(&[]);
    let _sessions = (hub.session("backend"), hub.session("web"));
    let complete = |word: &str, socket: &Path| {
        let mut command = Command::new(RELAYCTL);
        command.args(["--", "relayctl", "ask", word]).env("COMPLETE", "fish").env("RELAY_SOCKET", socket);
        let output = command.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete("we", &hub.socket()), "web\t/test/web\n");
    assert_eq!(complete("web,ba", &hub.socket()), "web,backend\t/test/backend\n");
    // Where no hub is, there is nothing to say.
    assert!(!complete("we", Path::new("/nowhere/hub.sock")).contains("web"));
}
