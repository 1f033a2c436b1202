//! `relayctl setup` where something is broken.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::installed::PROGRAMS;
use crate::support::user_manager::user_manager;

#[test]
fn an_agent_that_is_broken_does_not_keep_the_others_from_being_set_up() {
    let manager = user_manager!();
    let bindir = manager.install_programs(&PROGRAMS);
    let outside = manager.outside(&bindir);
    for (agent, script) in [("qwen", "echo it is broken >&2; exit 3"), ("pi", "exit 0")] {
        fs::write(outside.join(agent), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(outside.join(agent), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut setup = manager.command(bindir.join("relayctl"));
    setup.args(["setup", "qwen", "pi"]).env("PATH", format!("{}:/usr/bin:/bin", bindir.display()));
    let output = setup.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("failed with code 3: it is broken\n"), "{said}");
    let end = "error: not set up: Qwen Code";
    assert!(
        said.contains(end) && said.ends_with("next: # mend what failed above, then run: relayctl setup qwen pi\n"),
        "{said}"
    );
    assert!(manager.outside(&manager.home().join(".pi/agent/extensions/relay.js")).exists(), "{said}");
}
