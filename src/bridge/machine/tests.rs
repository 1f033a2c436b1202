use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::paths::Environment;

fn name(text: &str) -> MachineName {
    MachineName::parse(text).unwrap()
}

fn parse(text: &str) -> Result<Machine, TextError> {
    Machine::parse(name("desk"), text)
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn usual_rights_follow_the_way() {
    let usual = |text: &str| {
        let machine = parse(text).unwrap();
        assert_eq!((machine.share, machine.sessions, machine.is_paused), (Share::Names, None, false));
        machine.they_may
    };
    assert_eq!(usual(r#"via = { ssh = "me@desk" }"#), TheyMay::Reply);
    assert_eq!(usual(r#"via = { exec = ["docker", "exec", "-i", "ct", "relay-bridge", "stdio"] }"#), TheyMay::Reply);
    assert_eq!(usual(""), TheyMay::Ask);
    let nats = r#"via = { nats = { server = "tls://nats.lan", creds = "/c", as = "laptop" } }"#;
    assert_eq!(usual(nats), TheyMay::Nothing);
}

#[test]
fn a_file_says_everything_and_is_written_as_it_was_read() {
    let text = r#"
        via = { ssh = "me@desk" }
        they_may = "hold"
        sessions = ["backend", "docs-*"]
        share = "all"
        paused = true
        as = "laptop"
    "#;
    let machine = parse(text).unwrap();
    insta::assert_snapshot!(machine.to_text(), @r#"
    # Written by relayctl machines; docs/machines.md says what each line means.
    via = { ssh = "me@desk" }
    they_may = "hold"
    sessions = ["backend", "docs-*"]
    share = "all"
    paused = true
    as = "laptop"
    "#);
    assert_eq!(parse(&machine.to_text()).unwrap(), machine);
}

#[test]
fn every_way_survives_its_file() {
    let ways = [
        None,
        Some(Via::Ssh(SshHost::parse("ssh://ada@[::1]:2222").unwrap())),
        Some(Via::exec(["docker", "exec", "-i", "größe \"x\" \\ 'y'", "stdio"].map(str::to_owned).into()).unwrap()),
        Some(Via::Nats(Nats::new("tls://n:4222".into(), Identity::NKey("/k \"1\"".into()), name("a")).unwrap())),
    ];
    for via in ways {
        let machine = Machine::new(name("desk"), via);
        assert_eq!(parse(&machine.to_text()).as_ref(), Ok(&machine), "{}", machine.to_text());
    }
}

#[test]
fn a_wrong_file_is_refused_with_its_line_and_what_is_allowed() {
    let texts = [
        "they_may = \"all\"",
        "\nthey_can = \"ask\"",
        "share = \"names\"\nsessions = [\n  \"a@b\",\n]",
        "via = { ssh = \"-oProxyCommand=reboot\" }",
        "via = { ssh = \"me@desk\\nx\" }",
        "via = { rsh = \"desk\" }",
        "via = { exec = [] }",
        "via = { nats = { server = \"http://x\", creds = \"/c\", as = \"a\" } }",
        "via = { nats = { server = \"tls://x\", as = \"a\" } }",
        "via = { nats = { server = \"tls://x\", creds = \"c\", as = \"a\" } }",
        "via = { nats = { server = \"tls://x\", creds = \"/c\" } }",
        "as = \"a.b\"",
        "paused = 1",
        "they_may =",
    ];
    let said: Vec<String> = texts.iter().map(|text| error(text)).collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    line 1: unknown variant `all`, expected one of `ask`, `hold`, `reply`, `nothing`
    line 2: unknown field `they_can`, expected one of `via`, `they_may`, `sessions`, `share`, `paused`, `as`
    line 2: a pattern is a session's name in which * stands for any characters and ? for one, at most 128 of them
    line 1: "-oProxyCommand=reboot" is no host for ssh: HOST, USER@HOST or ssh://USER@HOST:PORT, of letters, digits and . _ - @ : % [ ] /, no part with - before it
    line 1: "me@desk\nx" is no host for ssh: HOST, USER@HOST or ssh://USER@HOST:PORT, of letters, digits and . _ - @ : % [ ] /, no part with - before it
    line 1: unknown variant `rsh`, expected one of `ssh`, `exec`, `nats`
    line 1: exec wants a program and its arguments, none of them with a control character
    line 1: "http://x" is no NATS server: nats://HOST:PORT or tls://HOST:PORT
    line 1: nats wants creds = "FILE" or nkey = "FILE", an absolute path
    line 1: nats wants creds = "FILE" or nkey = "FILE", an absolute path
    line 1: missing field `as`
    line 1: a machine's name is 1 to 32 of a-z, 0-9 and -, without -- and with none at its ends
    line 1: invalid type: integer `1`, expected a boolean
    line 1: string values must be quoted, expected literal string
    "#);
}

#[test]
fn a_host_is_nothing_else_to_ssh() {
    for host in ["desk", "me@desk", "me@10.0.0.7", "ssh://me@desk:2222", "fe80::1%eth0", "desk-2.lan"] {
        assert!(SshHost::parse(host).is_ok(), "{host}");
    }
    for host in [
        "",
        "-oProxyCommand=x",
        "me@-oProxyCommand=x",
        "ssh://-oProxyCommand=x",
        "-p22",
        "desk -p 22",
        "desk\n",
        "desk\u{0}",
        "d;reboot",
        "$(reboot)",
        "`reboot`",
        "a'b",
        "größe",
        &"x".repeat(256),
    ] {
        assert!(SshHost::parse(host).is_err(), "{host:?}");
    }
}

#[test]
fn the_way_is_a_command() {
    let own = name("laptop");
    let told = |text: &str| {
        let via = parse(text).unwrap().via.unwrap();
        let all = [Some(via.command(&own, Path::new("/opt/bin"))), via.version_command(), via.login_command()];
        let line = |argv: &Option<Vec<String>>| format!("{argv:?}");
        all.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(told(r#"via = { ssh = "me@desk" }"#), @r#"
    Some(["ssh", "-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "ConnectTimeout=10", "--", "me@desk", "exec sh -c 'PATH=\"$PATH:$HOME/.local/bin:$HOME/.cargo/bin:/usr/local/bin:/opt/homebrew/bin\"; exec relay-bridge stdio --as laptop'"])
    Some(["ssh", "-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "ConnectTimeout=10", "--", "me@desk", "exec sh -c 'PATH=\"$PATH:$HOME/.local/bin:$HOME/.cargo/bin:/usr/local/bin:/opt/homebrew/bin\"; exec relay-bridge --version'"])
    Some(["ssh", "-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "ConnectTimeout=10", "--", "me@desk", "true"])
    "#);
    insta::assert_snapshot!(told(r#"via = { exec = ["docker", "exec", "-i", "ct", "relay-bridge", "stdio"] }"#), @r#"
    Some(["docker", "exec", "-i", "ct", "relay-bridge", "stdio", "--as", "laptop"])
    Some(["docker", "exec", "-i", "ct", "relay-bridge", "--version"])
    None
    "#);
    insta::assert_snapshot!(told(r#"via = { exec = ["./carry", "it all"] }"#), @r#"
    Some(["./carry", "it all"])
    None
    None
    "#);
    insta::assert_snapshot!(told(r#"via = { nats = { server = "tls://n", nkey = "/k", as = "l" } }"#), @r#"
    Some(["/opt/bin/relay-nats", "--server", "tls://n", "--nkey", "/k", "--as", "l"])
    None
    None
    "#);
}

/// What ssh gives the login's shell: whichever that is, `sh` gets one word and finds a program of the user's own.
#[test]
fn a_login_shell_passes_the_command_on() {
    let home = tempfile::tempdir().unwrap();
    let programs = home.path().join(".local/bin");
    std::fs::create_dir_all(&programs).unwrap();
    let program = programs.join("relay-bridge");
    std::fs::write(&program, "#!/bin/sh\necho \"$@\"\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let via = Via::Ssh(SshHost::parse("desk").unwrap());
    let line = via.command(&name("laptop"), Path::new("/")).pop().unwrap();
    let mut tried = 0;
    for shell in ["sh", "bash", "dash", "zsh", "fish", "tcsh", "ksh"] {
        let run = std::process::Command::new(shell).args(["-c", &line]).env("HOME", home.path()).output();
        let Ok(output) = run else { continue };
        assert_eq!(String::from_utf8_lossy(&output.stdout), "stdio --as laptop\n", "{shell}: {output:?}");
        tried += 1;
    }
    assert!(tried > 0);
}

#[test]
fn a_host_name_becomes_a_machines_name() {
    for (host, expected) in [
        ("laptop", "laptop"),
        ("Adas-MacBook-Pro.local", "adas-macbook-pro"),
        ("ip_10_0_0_7.ec2.internal", "ip-10-0-0-7"),
        ("hub", "host-hub"),
        ("größe", "gr-e"),
        ("", "host"),
        ("a23456789-123456789-123456789-123456789", "a23456789-123456789-123456789-12"),
        ("123456789-123456789-1234567890--x", "123456789-123456789-1234567890-x"),
    ] {
        assert_eq!(own_name(host).as_str(), expected, "{host}");
    }
}

proptest! {
    #[test]
    fn every_host_name_becomes_some_name(host in "\\PC{0,70}|[A-Za-z0-9.-]{0,70}") {
        let _name = own_name(&host);
    }

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,80}|[a-z_ =\"\\[\\]{},\n]{0,80}") {
        let _read = parse(&text);
    }
}

fn files(config: &Path) -> MachineFiles {
    MachineFiles::of(&Environment { config_home: Some(config.to_owned()), ..Environment::of_process() }).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_are_ours_alone_and_leave_no_trace() {
    let config = tempfile::tempdir().unwrap();
    let files = files(config.path());
    assert!(files.load().unwrap().machines.is_empty());
    assert!(matches!(files.load_one(&name("desk")), Err(MachineError::Unknown { .. })));
    let machine = Machine::new(name("desk"), Some(Via::Ssh(SshHost::parse("desk").unwrap())));
    files.save(&machine).unwrap();
    assert_eq!((mode(files.directory()), mode(&files.path(&machine.name))), (0o700, 0o600));
    files.save(&Machine { is_paused: true, ..machine.clone() }).unwrap();
    assert!(files.load_one(&machine.name).unwrap().is_paused);
    files.remove(&machine.name).unwrap();
    assert!(matches!(files.remove(&machine.name), Err(MachineError::Unknown { .. })));
    assert_eq!(std::fs::read_dir(config.path()).unwrap().count(), 0);
}

#[test]
fn one_bad_file_leaves_the_others_in() {
    let config = tempfile::tempdir().unwrap();
    let files = files(config.path());
    for good in ["a", "b"] {
        files.save(&Machine::new(name(good), None)).unwrap();
    }
    let write = |file: &str, text: &str| std::fs::write(files.directory().join(file), text).unwrap();
    write("wrong.toml", "they_may = 1");
    write("Big.toml", "");
    write("not-a.machine.toml", "");
    write(".machine-x.toml", "broken");
    write("notes.txt", "broken");
    write("open.toml", "");
    set_mode(&files.directory().join("open.toml"), 0o666);
    let loaded = files.load().unwrap();
    let names: Vec<&str> = loaded.machines.iter().map(|machine| machine.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let place = files.directory().display().to_string();
    let said = |fault: &MachineError| format!("{fault} -> {}", fault.next()).replace(&place, "DIR");
    let faults: Vec<String> = loaded.faults.iter().map(said).collect();
    insta::assert_snapshot!(faults.join("\n"), @"
    DIR/Big.toml is named after no machine: 1 to 32 of a-z, 0-9 and - -> rename or remove DIR/Big.toml
    DIR/not-a.machine.toml is named after no machine: 1 to 32 of a-z, 0-9 and - -> rename or remove DIR/not-a.machine.toml
    DIR/open.toml can be written to by others (mode 0666) -> chmod go-w 'DIR/open.toml'
    DIR/wrong.toml, line 1: wanted string or table -> edit DIR/wrong.toml
    ");
}

#[test]
fn what_others_can_write_or_own_is_not_taken_for_ours() {
    let config = tempfile::tempdir().unwrap();
    let files = files(config.path());
    let machine = Machine::new(name("desk"), None);
    files.save(&machine).unwrap();
    let file: PathBuf = files.path(&machine.name);
    set_mode(&file, 0o660);
    assert!(matches!(files.load_one(&machine.name), Err(MachineError::Open { mode: 0o660, .. })));
    set_mode(&file, 0o644);
    assert!(files.load_one(&machine.name).is_ok());
    set_mode(files.directory(), 0o777);
    assert!(matches!(files.load_one(&machine.name), Err(MachineError::Open { mode: 0o777, .. })));
    assert!(matches!(files.load(), Err(MachineError::Open { .. })));
    assert!(matches!(files.save(&machine), Err(MachineError::Open { .. })));
    set_mode(files.directory(), 0o700);
    let environment =
        Environment { config_home: Some(config.path().to_owned()), uid: 4242, ..Environment::of_process() };
    let another = MachineFiles::of(&environment).unwrap();
    assert!(matches!(another.load(), Err(MachineError::Foreign { .. })));
}
