//! The ways to break an installation: `doctor` names each, and its one command or `--fix` cures it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::hub_process::HubProcess;
use crate::support::installed::PROGRAMS;
use crate::support::other_versions::Other;
use crate::support::program_copy::copy_program;
use crate::support::user_manager::{UserManager, user_manager};

const HUB: &str = env!("CARGO_BIN_EXE_relay-hub");
const CHANNEL: &str = env!("CARGO_BIN_EXE_relay-channel");
const RELAYCTL: &str = env!("CARGO_BIN_EXE_relayctl");

const SOON: Duration = Duration::from_secs(20);

/// A user who has installed the programs and the service.
struct Installed<'a> {
    manager: &'a UserManager,
    bindir: PathBuf,
}

/// What `doctor` said.
#[derive(Debug)]
struct Report {
    code: Option<i32>,
    checks: Vec<Value>,
    stderr: String,
}

impl Report {
    fn of(output: &Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let checks = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { code: output.status.code(), checks, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// Returns the first check of this name that is not as it should be.
    fn ailing(&self, name: &str) -> Option<&Value> {
        self.checks
            .iter()
            .find(|check| check["name"] == name && matches!(check["state"].as_str(), Some("warn" | "fail")))
    }

    #[track_caller]
    fn expect_healthy(&self) {
        assert_eq!(self.code, Some(0), "{self:#?}");
        assert!(self.checks.iter().any(|check| check["name"] == "loop-back" && check["state"] == "ok"), "{self:#?}");
    }

    #[track_caller]
    fn cure_of(&self, name: &str) -> String {
        let check = self.ailing(name).unwrap_or_else(|| panic!("nothing ails {name}: {self:#?}"));
        check["cure"].as_str().unwrap().to_owned()
    }
}

impl<'a> Installed<'a> {
    fn new(manager: &'a UserManager) -> Self {
        let bindir = manager.install_programs(&PROGRAMS);
        let installed = Self { manager, bindir };
        let output = installed.relayctl(&["install-service"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        installed
    }

    fn relayctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.manager.command(self.bindir.join("relayctl"));
        command.args(arguments).env("PATH", self.path());
        command
    }

    fn path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.bindir.display())
    }

    fn doctor(&self, arguments: &[&str]) -> Report {
        Report::of(&self.relayctl(&[&["doctor", "--json"], arguments].concat()).output().unwrap())
    }

    /// Does what a person does who copies the cure into a shell.
    #[track_caller]
    fn shell(&self, line: &str) {
        let output = self.manager.command("sh").args(["-c", line]).env("PATH", self.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }

    fn socket(&self) -> PathBuf {
        self.manager.outside(&self.manager.runtime_dir().join("relay/hub.sock"))
    }

    fn hub_pid(&self) -> Option<i32> {
        self.manager.property("relay.service", "MainPID").parse().ok().filter(|pid| *pid != 0)
    }

    /// Breaks something twice: the one command cures it the first time and `--fix` the second.
    #[track_caller]
    fn breaks(&self, check: &str, break_it: impl Fn()) {
        self.doctor(&[]).expect_healthy();
        break_it();
        let cure = self.doctor(&[]).cure_of(check);
        self.shell(&cure);
        let cured = self.doctor(&[]);
        cured.expect_healthy();
        assert!(cured.ailing(check).is_none(), "{cured:#?}");

        break_it();
        let fixed = self.doctor(&["--fix"]);
        assert!(fixed.stderr.contains("fixed: "), "{fixed:#?}");
        fixed.expect_healthy();
        assert!(fixed.ailing(check).is_none(), "{fixed:#?}");
    }
}

#[test]
fn nothing_fails_after_an_install_and_a_question_comes_back() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    let report = installed.doctor(&[]);
    report.expect_healthy();
    for name in ["programs", "program-versions", "programs-in-path", "unit-files", "service", "socket-directory"] {
        assert!(
            report.checks.iter().any(|check| check["name"] == name && check["state"] == "ok"),
            "{name}: {report:#?}"
        );
    }
    let again = installed.doctor(&["--fix"]);
    again.expect_healthy();
    assert!(again.stderr.contains("nothing to repair"), "{again:#?}");
}

#[test]
fn a_deleted_socket_is_made_anew() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    installed.breaks("service", || fs::remove_file(installed.socket()).unwrap());
}

#[test]
fn a_socket_unit_that_was_stopped_is_started() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    installed.breaks("service", || {
        manager.systemctl("stop relay.socket relay.service");
    });
}

#[test]
fn a_socket_that_hit_its_trigger_limit_is_started_again() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    let dropin = manager.home().join(".config/systemd/user/relay.socket.d");
    installed.breaks("service", || {
        fs::create_dir_all(&dropin).unwrap();
        fs::write(dropin.join("limit.conf"), "[Socket]\nTriggerLimitIntervalSec=1h\nTriggerLimitBurst=1\n").unwrap();
        manager.systemctl("daemon-reload");
        manager.systemctl("restart relay.socket");
        let end = Instant::now() + SOON;
        while manager.property("relay.socket", "Result") != "trigger-limit-hit" {
            assert!(Instant::now() < end, "the limit is not hit");
            manager.systemctl("stop relay.service");
            // A connect is what triggers; whether it is served does not matter here.
            drop(UnixStream::connect(installed.socket()));
            std::thread::sleep(Duration::from_millis(50));
        }
        fs::remove_dir_all(&dropin).unwrap();
        manager.systemctl("daemon-reload");
    });
}

#[test]
fn a_directory_that_is_open_to_others_or_closed_to_its_owner_is_repaired() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    let directory = installed.socket().parent().unwrap().to_owned();
    for mode in [0o777, 0o000] {
        installed.breaks("socket-directory", || {
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        });
    }
}

#[test]
fn a_unit_file_of_another_version_is_replaced() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    let unit = manager.home().join(".config/systemd/user/relay.service");
    let text = fs::read_to_string(&unit).unwrap();
    installed.breaks("unit-files", || fs::write(&unit, text.replace("WatchdogSec=30s\n", "")).unwrap());
    let gone = text.replace("/relay-hub\"", "/old/relay-hub\"");
    installed.breaks("unit-files", || fs::write(&unit, &gone).unwrap());
}

#[test]
fn a_hub_that_is_killed_again_and_again_comes_back_and_the_report_says_that_it_was() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    let kill_it_often = || {
        for _ in 0..5 {
            let end = Instant::now() + SOON;
            let pid = loop {
                drop(UnixStream::connect(installed.socket()));
                match installed.hub_pid() {
                    Some(pid) => break pid,
                    None => assert!(Instant::now() < end, "no hub comes"),
                }
                std::thread::sleep(Duration::from_millis(20));
            };
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
                .unwrap();
            while installed.hub_pid() == Some(pid) {
                assert!(Instant::now() < end, "the hub does not end");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    kill_it_often();
    let report = installed.doctor(&[]);
    report.expect_healthy();
    assert_eq!(report.cure_of("service"), "relayctl logs --since 1h");
    installed.shell("relayctl logs --since 1h | grep -q 'the hub has started'");
    let fixed = installed.doctor(&["--fix"]);
    fixed.expect_healthy();
    assert!(fixed.ailing("service").is_none(), "{fixed:#?}");
}

#[test]
fn a_hub_that_hangs_is_replaced() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    installed.breaks("hub", || {
        let pid = rustix::process::Pid::from_raw(installed.hub_pid().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    });
    let pid = rustix::process::Pid::from_raw(installed.hub_pid().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let output = installed.relayctl(&["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.ends_with("next: systemctl --user restart relay.service\n"), "{said}");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
}

#[test]
fn programs_of_which_one_is_of_another_version_are_named() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    let channel = installed.bindir.join("relay-channel");
    fs::remove_file(&channel).unwrap();
    fs::write(&channel, "#!/bin/sh\necho relay-channel 0.0.1\n").unwrap();
    fs::set_permissions(&channel, fs::Permissions::from_mode(0o755)).unwrap();
    let report = installed.doctor(&[]);
    assert_eq!(report.code, Some(1));
    assert!(report.cure_of("program-versions").starts_with("# install the whole package"));
    manager.install_programs(&[CHANNEL]);
    installed.doctor(&[]).expect_healthy();

    fs::remove_file(&channel).unwrap();
    assert!(installed.doctor(&[]).cure_of("programs").starts_with("# install the whole package"));
}

#[test]
fn a_relay_socket_that_leads_nowhere_is_named() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    let wrong = |value: &str| {
        let output = installed.relayctl(&["doctor", "--json"]).env("RELAY_SOCKET", value).output().unwrap();
        Report::of(&output)
    };
    let report = wrong("/proc/none/hub.sock");
    assert_eq!(report.code, Some(1));
    assert_eq!(report.cure_of("socket-reachable"), "relayctl hub start --socket /proc/none/hub.sock");
    assert_eq!(wrong("hub.sock").cure_of("socket-path"), "unset RELAY_SOCKET");
    installed.doctor(&[]).expect_healthy();
}

#[test]
fn a_hub_of_an_older_version_is_named_by_the_doctor_and_by_the_status() {
    let hub = HubProcess::start_program(&Other::Later.program("relay-hub"), &[]);
    let relayctl = |arguments: &[&str]| {
        let mut command = Command::new(RELAYCTL);
        command.args(arguments).env("RELAY_SOCKET", hub.socket()).env_remove("XDG_RUNTIME_DIR").output().unwrap()
    };
    let report = Report::of(&relayctl(&["doctor", "--json"]));
    report.expect_healthy();
    let cure = report.cure_of("hub");

    let status = relayctl(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    let said = String::from_utf8_lossy(&status.stderr);
    assert!(said.contains(&format!("the hub has version {} and relayctl has", Other::Later.version())), "{said}");
    assert!(said.trim_end().lines().last().unwrap().starts_with("next: "), "{said}");

    let directory = tempfile::tempdir().unwrap();
    let path = format!("{}:/usr/bin:/bin", std::path::Path::new(RELAYCTL).parent().unwrap().display());
    let shell = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env("RELAY_SOCKET", hub.socket()).env("PATH", &path);
        assert!(shell.env("XDG_STATE_HOME", directory.path()).status().unwrap().success(), "{line}");
    };
    shell(&cure);
    let end = Instant::now() + SOON;
    let cured = loop {
        let report = Report::of(&relayctl(&["doctor", "--json"]));
        if report.code == Some(0) && report.ailing("hub").is_none() {
            break report;
        }
        assert!(Instant::now() < end, "{report:#?}");
    };
    cured.expect_healthy();
    shell("relayctl hub stop");
}

#[test]
fn a_hub_that_an_upgrade_left_behind_is_named_with_the_command_that_ends_it() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    let (program, socket) = (manager.home().join("old/relay-hub"), manager.runtime_dir().join("old/hub.sock"));
    fs::create_dir(program.parent().unwrap()).unwrap();
    copy_program(HUB, &program);
    let mut left = manager.command(&program).arg("--socket").arg(&socket).spawn().unwrap();
    let end = Instant::now() + SOON;
    while !manager.outside(&socket).exists() {
        assert!(Instant::now() < end, "the hub does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(installed.doctor(&[]).ailing("other-hubs").is_none(), "a hub of one's own is nobody's business");
    fs::remove_file(&program).unwrap();
    let report = installed.doctor(&[]);
    report.expect_healthy();
    installed.shell(&report.cure_of("other-hubs"));
    assert!(left.wait().unwrap().success());
    assert!(installed.doctor(&[]).ailing("other-hubs").is_none());
}

/// Puts a program into the user's PATH that says what Claude Code says.
fn claude_says(installed: &Installed<'_>, version: &str, servers: &str) {
    let script =
        format!("case \"$*\" in --version) echo '{version} (Claude Code)';; 'mcp list') echo '{servers}';; esac");
    let path = installed.bindir.join("claude");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_keeps_claude_code_from_using_relay_is_named_with_its_cure() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    let plugins = manager.home().join(".claude/plugins");
    fs::create_dir_all(&plugins).unwrap();
    let settings = |settings: Value| {
        fs::write(manager.home().join(".claude/settings.json"), settings.to_string()).unwrap();
    };
    let enabled = || json!({"enabledPlugins": {"relay@claude-relay": true}});
    let version = |version: &str| {
        let record = json!({"version": 2, "plugins": {"relay@claude-relay": [{"scope": "user", "version": version}]}});
        fs::write(plugins.join("installed_plugins.json"), record.to_string()).unwrap();
    };
    let connected = "plugin:relay:relay: /x/bin/launch  - ✔ Connected";
    let cure = |check: &str| {
        let report = installed.doctor(&[]);
        report.expect_healthy();
        report.cure_of(check)
    };
    assert_eq!(cure("claude-code"), "# install Claude Code, then run: relayctl setup");
    claude_says(&installed, "2.0.14", connected);
    assert_eq!(cure("claude-code"), "claude update");
    claude_says(&installed, "2.1.330", "No MCP servers configured. Use `claude mcp add` to add a server.");
    assert_eq!(cure("claude-server"), "relayctl setup");
    claude_says(&installed, "2.1.330", "plugin:relay:relay: /x/bin/launch  - ✘ Failed to connect");
    assert!(cure("claude-server").contains("/mcp, reconnect"));
    claude_says(&installed, "2.1.330", connected);

    assert_eq!(cure("claude-plugin"), "relayctl setup");
    settings(json!({"enabledPlugins": {"relay@claude-relay": false}}));
    assert_eq!(cure("claude-plugin"), "claude plugin enable relay@claude-relay");
    settings(enabled());
    version("0.0.1");
    assert_eq!(cure("claude-plugin"), "claude plugin update relay@claude-relay");
    version(env!("CARGO_PKG_VERSION"));

    let mut obstacles = enabled();
    obstacles["disableAllHooks"] = true.into();
    obstacles["env"] = json!({"RELAY_SOCKET": "/srv/hub.sock"});
    settings(obstacles);
    assert_eq!(cure("claude-hooks"), "# take disableAllHooks out of settings.json");
    assert!(cure("claude-socket").starts_with("# take RELAY_SOCKET out of settings.json"));
    settings(enabled());
    let told = |report: Report| {
        let found = report.checks.iter().find(|check| check["name"] == "claude-channels").unwrap().clone();
        (found["state"].as_str().unwrap().to_owned(), found["what"].as_str().unwrap().to_owned())
    };
    let mut with_variable = installed.relayctl(&["doctor", "--json"]);
    let (state, what) = told(Report::of(&with_variable.env("DISABLE_TELEMETRY", "1").output().unwrap()));
    assert!(state == "note" && what.starts_with("DISABLE_TELEMETRY switches channels off"), "{what}");
    let well = installed.doctor(&[]);
    for check in ["claude-code", "claude-plugin", "claude-server", "claude-channels"] {
        assert!(well.checks.iter().any(|found| found["name"] == check && found["state"] == "ok"), "{check}: {well:#?}");
    }
}

#[test]
fn a_full_disk_for_logs_is_named_and_costs_nothing_but_log_lines() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    let data = manager.home().join("data");
    fs::create_dir(&data).unwrap();
    let Some(_mounted) = manager.mount_memory(&data, "size=4k,mode=777") else {
        return crate::support::skip::skipped("a_full_disk_for_logs", &"no file system can be mounted here");
    };
    let with_data = |arguments: &[&str]| {
        let mut command = installed.relayctl(arguments);
        command.env("CLAUDE_PLUGIN_DATA", &data);
        command
    };
    let report = Report::of(&with_data(&["doctor", "--json"]).output().unwrap());
    report.expect_healthy();
    let cure = report.cure_of("log-room");
    assert!(cure.starts_with("df -h ") && cure.contains("make room"), "{cure}");

    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
    let channel = format!("{{ echo '{initialize}'; sleep 1; }} | relay-channel");
    let mut command = manager.command("sh");
    command.args(["-c", &channel]).env("PATH", installed.path()).env("CLAUDE_PLUGIN_DATA", &data);
    let output = command.env("RELAY_LOG", "trace").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("serverInfo"), "{output:?}");

    manager.mount_memory(&data, "remount,size=16m").unwrap();
    let cured = Report::of(&with_data(&["doctor", "--json"]).output().unwrap());
    cured.expect_healthy();
    assert!(cured.ailing("log-room").is_none(), "{cured:#?}");
}

#[test]
fn the_report_for_people_can_be_pasted_and_ends_in_what_to_do() {
    let manager = user_manager!();
    let installed = Installed::new(&manager);
    manager.systemctl("stop relay.socket relay.service");
    let output = installed.relayctl(&["doctor"]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("FAIL  service            relay.socket is inactive"), "{stdout}");
    assert!(!stdout.contains('\x1b'), "{stdout}");
    assert!(stderr.ends_with("next: systemctl --user start relay.socket\n"), "{stderr}");
}
