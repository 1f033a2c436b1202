//! One place for the hub, and one hub: nobody becomes a second one unawares, and one that lost its place leaves.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::installed::{Installed, PROGRAMS, soon, within};
use crate::support::user_manager::{UserManager, user_manager};

/// Runs a line of the shell as the user, and returns its exit code and what it said.
fn shell(manager: &UserManager, bindir: &Path, line: &str) -> (Option<i32>, String) {
    let path = format!("{}:/usr/bin:/bin", bindir.display());
    let output = manager.command("sh").args(["-c", line]).env("PATH", path).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

fn ended(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_some()
}

#[test]
fn a_hub_that_lost_its_path_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("relay/hub.sock");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay-hub"));
        let hub = command.arg("--socket").arg(&socket).stderr(Stdio::null()).spawn().unwrap();
        soon("the socket", || socket.exists().then_some(()));
        hub
    };
    let mut first = start();
    fs::remove_file(&socket).unwrap();
    let mut second = start();
    soon("the end of the first hub", || ended(&mut first).then_some(()));
    assert!(first.wait().unwrap().success());
    assert!(socket.exists() && !ended(&mut second), "the place is the second's");
    second.kill().unwrap();
    second.wait().unwrap();
}

#[test]
fn installing_beside_a_hub_that_was_started_by_hand_is_refused() {
    let manager = user_manager!();
    let bindir = manager.install_programs(&PROGRAMS);
    let mut hub = manager.command(bindir.join("relay-hub")).stderr(Stdio::null()).spawn().unwrap();
    let socket = manager.outside(&manager.runtime_dir().join("relay/hub.sock"));
    soon("the socket", || socket.exists().then_some(()));
    for command in ["install-service", "setup"] {
        let (code, said) = shell(&manager, &bindir, &format!("relayctl {command}"));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.ends_with("next: relayctl hub stop && relayctl setup\n"), "{said}");
    }
    let (code, said) = shell(&manager, &bindir, "relayctl hub stop && relayctl setup && relayctl hub start");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a hub runs already") || said.contains("is there to start the hub"), "{said}");
    assert!(hub.wait().unwrap().success());
    let (code, said) = shell(&manager, &bindir, "relayctl status && relayctl hub stop");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("relay works") && said.contains("the service manager has started this hub"), "{said}");
    let (code, said) = shell(&manager, &bindir, "relayctl setup --undo && relayctl setup --undo");
    assert!(code == Some(0) && said.ends_with("nothing was set up\n"), "{said}");
    assert!(!manager.home().join(".config/systemd").exists());
}

#[test]
fn a_hub_that_cannot_start_is_paced_and_says_why() {
    let relay = Installed::with(user_manager!());
    relay.drop_in("Environment=RELAY_LIMITS=conections=5");
    let refused = relay.relayctl("peers --json");
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let said: Value = serde_json::from_slice(&refused.stdout).unwrap();
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("the hub cannot start: RELAY_LIMITS: no limit is named \"conections\""), "{message}");
    for command in ["status", "doctor"] {
        let output = relay.relayctl(command);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("no limit is named \"conections\""), "{command}: {said}");
    }
    relay.drop_in(&format!("ExecStart=\nExecStart={} --no-such", relay.program("relay-hub").display()));
    within(Duration::from_secs(20), "the wrong option", || {
        let said = String::from_utf8_lossy(&relay.relayctl("peers").stderr).into_owned();
        said.starts_with("error: the hub cannot start: unexpected argument '--no-such' found").then_some(())
    });
    relay.drop_in("Environment=RELAY_LIMITS=conections=5");
    // A client waits all the time.
    let _waiting = relay.connect().unwrap();
    std::thread::sleep(Duration::from_secs(12));
    let restarts: u32 = relay.manager.property("relay.service", "NRestarts").parse().unwrap();
    assert!((1..=4).contains(&restarts), "{restarts} restarts in some 12 s");
    // What is mended is served, to whoever has waited as well.
    relay.drop_in("");
    within(Duration::from_secs(20), "a hub", || relay.relayctl("peers").status.success().then_some(()));
}
