use std::fs;
use std::io;

use super::*;

/// A user manager of a few lines: what is enabled, what is active, and every command that changed something.
#[derive(Default)]
struct FakeSystemd {
    enabled: bool,
    active: bool,
    changes: Vec<String>,
}

impl Commands for FakeSystemd {
    fn run(&mut self, argv: &[String]) -> io::Result<Finished> {
        let answer = |yes: bool| Finished { code: Some(i32::from(!yes)), ..Finished::default() };
        let line = argv.join(" ");
        let rest = line.strip_prefix("systemctl --user ").expect("every command is for the user's manager");
        match rest.split(' ').next().unwrap() {
            "is-enabled" => return Ok(answer(self.enabled)),
            "is-active" => return Ok(answer(self.active)),
            "is-failed" => return Ok(answer(false)),
            "enable" => (self.enabled, self.active) = (true, true),
            "disable" => (self.enabled, self.active) = (false, false),
            "stop" => self.active = false,
            _ => {}
        }
        self.changes.push(rest.to_owned());
        Ok(answer(true))
    }
}

struct Home {
    _root: tempfile::TempDir,
    environment: Environment,
}

fn home() -> Home {
    let root = tempfile::tempdir().unwrap();
    let environment = Environment {
        platform: Platform::Linux,
        socket_option: None,
        relay_socket: None,
        runtime_dir: Some(root.path().join("run")),
        run_user: "/nonexistent".into(),
        home: Some(root.path().join("home")),
        config_home: None,
        state_home: None,
        data_home: None,
        uid: 1000,
    };
    Home { _root: root, environment }
}

impl Home {
    fn install(&self, bindir: &str, manager: &mut FakeSystemd) -> bool {
        let plan = install(&Manager::Systemd, &self.environment, Path::new(bindir)).unwrap();
        plan.perform(manager, |_, _| {}).unwrap()
    }

    fn uninstall(&self, manager: &mut FakeSystemd) -> bool {
        uninstall(&Manager::Systemd, &self.environment).unwrap().perform(manager, |_, _| {}).unwrap()
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.environment.unit_dir().unwrap().join(name)
    }
}

#[test]
fn installing_twice_is_installing_once() {
    let (home, mut manager) = (home(), FakeSystemd::default());
    assert!(home.install("/opt/relay/bin", &mut manager));
    assert_eq!(manager.changes, ["daemon-reload", "enable --now relay.socket"]);
    assert!(
        fs::read_to_string(home.unit(SERVICE_UNIT)).unwrap().contains("\nExecStart=\"/opt/relay/bin/relay-hub\"\n")
    );

    manager.changes.clear();
    assert!(!home.install("/opt/relay/bin", &mut manager));
    assert_eq!(manager.changes, [""; 0]);
}

#[test]
fn programs_that_moved_are_reloaded_and_a_running_hub_is_replaced() {
    let (home, mut manager) = (home(), FakeSystemd::default());
    home.install("/opt/old", &mut manager);
    manager.changes.clear();
    assert!(home.install("/opt/new", &mut manager));
    assert_eq!(manager.changes, ["daemon-reload", "stop relay.socket relay.service", "enable --now relay.socket"]);
}

#[test]
fn a_socket_that_was_stopped_is_started_again_and_nothing_else_is_done() {
    let (home, mut manager) = (home(), FakeSystemd::default());
    home.install("/opt/relay/bin", &mut manager);
    manager.active = false;
    manager.changes.clear();
    assert!(home.install("/opt/relay/bin", &mut manager));
    assert_eq!(manager.changes, ["enable --now relay.socket"]);
}

#[test]
fn uninstalling_leaves_nothing_and_a_second_time_changes_nothing() {
    let (home, mut manager) = (home(), FakeSystemd::default());
    home.install("/opt/relay/bin", &mut manager);
    manager.changes.clear();
    assert!(home.uninstall(&mut manager));
    assert_eq!(manager.changes, ["disable --now relay.socket", "daemon-reload"]);
    let config = home.environment.home.clone().unwrap().join(".config");
    assert_eq!(fs::read_dir(config).unwrap().count(), 0);

    manager.changes.clear();
    assert!(!home.uninstall(&mut manager));
    assert_eq!(manager.changes, [""; 0]);
}

#[test]
fn uninstalling_leaves_other_units_alone() {
    let (home, mut manager) = (home(), FakeSystemd::default());
    home.install("/opt/relay/bin", &mut manager);
    fs::write(home.unit("other.service"), "").unwrap();
    home.uninstall(&mut manager);
    assert!(home.unit("other.service").exists());
}

#[test]
fn no_placeholder_is_left_and_a_percent_sign_in_a_path_is_itself() {
    let home = home();
    let plan = install(&Manager::Systemd, &home.environment, Path::new("/opt/100% é $HOME")).unwrap();
    let text = plan.to_string();
    assert!(text.contains(r#"ExecStart="/opt/100%% é $HOME/relay-hub""#), "{text}");
    assert!(!text.contains("bindir"), "{text}");
}

#[test]
fn a_path_that_cannot_stand_in_a_unit_is_refused() {
    for path in ["/opt/a\nExecStartPre=/bin/evil", "/opt/a\" /bin/evil", "/opt/a\\", "/opt/o'neil"] {
        let refused = install(&Manager::Systemd, &home().environment, Path::new(path));
        assert!(matches!(refused, Err(ServiceError::Unnameable { .. })), "{refused:?}");
    }
}

#[test]
fn the_shipped_property_list_is_exactly_what_the_installer_builds() {
    let template = include_str!("../../service/launchd/dev.claude-relay.hub.plist.in");
    let (bindir, socket, logs) = ("/opt/relay/bin", "/Users/ada/S/hub.sock", "/Users/ada/L");
    let filled = template.replace("@bindir@", bindir).replace("@socket@", socket).replace("@logdir@", logs);
    let shipped: plist::Value = plist::from_bytes(filled.as_bytes()).unwrap();
    let built = launchd::job(Path::new(bindir), Path::new(socket), Path::new(logs)).unwrap();
    assert_eq!(shipped, built);
}

#[test]
fn what_the_installer_writes_for_launchd_reads_back_as_the_same_job() {
    let mut home = home();
    home.environment.platform = Platform::MacOs;
    let manager = Manager::Launchd { domain: "gui/501".to_owned() };
    let bindir = Path::new("/opt/a & b/<bin>");
    let plan = install(&manager, &home.environment, bindir).unwrap();
    let contents: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| if let Step::WriteFile { content, .. } = step { Some(content) } else { None })
        .collect();
    let [content] = contents[..] else { panic!("one file") };
    let read: plist::Value = plist::from_bytes(content.as_bytes()).unwrap();
    let (socket, logs) = (home.environment.socket().unwrap(), home.environment.log_dir().unwrap());
    assert_eq!(read, launchd::job(bindir, &socket, &logs).unwrap());
}

#[test]
fn a_home_that_is_too_long_for_a_socket_is_refused_at_install() {
    let mut home = home();
    home.environment.platform = Platform::MacOs;
    home.environment.home = Some(format!("/Network/{}", "u".repeat(60)).into());
    let refused = install(&Manager::Launchd { domain: "gui/501".to_owned() }, &home.environment, Path::new("/opt"));
    assert!(matches!(refused, Err(ServiceError::Path(PathError::TooLong { .. }))), "{refused:?}");
}

#[test]
fn the_hub_must_be_beside_the_program_that_installs_it() {
    let root = tempfile::tempdir().unwrap();
    let program = root.path().join("relayctl");
    fs::write(&program, "").unwrap();
    assert!(matches!(bindir(&program), Err(ServiceError::NoHub { .. })));
    fs::write(root.path().join("relay-hub"), "").unwrap();
    fs::set_permissions(root.path().join("relay-hub"), fs::Permissions::from_mode(0o755)).unwrap();
    let link = root.path().join("elsewhere");
    std::os::unix::fs::symlink(&program, &link).unwrap();
    assert_eq!(bindir(&link).unwrap(), root.path().canonicalize().unwrap());
}

/// Answers every command alike.
struct Always(Finished);

impl Commands for Always {
    fn run(&mut self, _argv: &[String]) -> io::Result<Finished> {
        Ok(self.0.clone())
    }
}

#[test]
fn without_a_service_manager_the_error_says_how_to_do_without() {
    let said = "Failed to connect to bus: No medium found\n";
    let mut commands = Always(Finished { code: Some(1), stderr: said.to_owned(), ..Finished::default() });
    for platform in [Platform::Linux, Platform::MacOs] {
        let environment = Environment { platform, ..home().environment };
        let error = detect(&environment, &mut commands).unwrap_err().to_string();
        assert!(error.contains("No medium found"), "{error}");
    }
}

#[test]
fn a_look_where_no_manager_answers_says_why_in_few_words() {
    let said = "Failed to connect to bus: No medium found\n";
    let mut commands = Always(Finished { code: Some(1), stderr: said.to_owned(), ..Finished::default() });
    let environment = Environment { platform: Platform::Linux, ..home().environment };
    let Err(ServiceError::NoManager { reason }) = look(&environment, &mut commands) else { panic!("nobody answers") };
    assert_eq!(reason, "Failed to connect to bus: No medium found");
}

#[test]
fn a_job_is_found_in_the_domain_that_has_it() {
    struct Screenless;
    impl Commands for Screenless {
        fn run(&mut self, argv: &[String]) -> io::Result<Finished> {
            let is_there = argv.join(" ") == format!("launchctl print user/501/{LABEL}");
            let stdout = if is_there { "x = {\n\tstate = running\n}\n".to_owned() } else { String::new() };
            Ok(Finished { code: Some(if is_there { 0 } else { 113 }), stdout, ..Finished::default() })
        }
    }
    let environment = Environment { platform: Platform::MacOs, uid: 501, ..home().environment };
    let (manager, units) = look(&environment, &mut Screenless).unwrap();
    assert_eq!(manager, Manager::Launchd { domain: "user/501".to_owned() });
    assert_eq!(units[0].active, "running");
}

#[test]
fn the_state_of_both_units_is_read() {
    let stdout = "Id=relay.socket\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n\
                  Result=success\nFragmentPath=/home/ada/.config/systemd/user/relay.socket\n\n\
                  Id=relay.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=static\n\
                  Result=success\nFragmentPath=\nMainPID=42\nNRestarts=3\n";
    let mut commands = Always(Finished { code: Some(0), stdout: stdout.to_owned(), ..Finished::default() });
    let units = status(&Manager::Systemd, &mut commands).unwrap();
    assert_eq!(units.len(), 2);
    assert_eq!((units[0].name.as_str(), units[0].active.as_str(), units[0].pid), (SOCKET_UNIT, "active", None));
    assert_eq!((units[1].file.clone(), units[1].pid, units[1].restarts), (None, Some(42), Some(3)));
}

#[test]
fn the_state_of_the_job_is_read_from_its_own_lines() {
    let stdout = "gui/501/dev.claude-relay.hub = {\n\tactive count = 1\n\tpath = /Users/ada/x.plist\n\tstate = running\n\
                  \tpid = 42\n\tspawn = {\n\t\tstate = other\n\t}\n}\n";
    let mut commands = Always(Finished { code: Some(0), stdout: stdout.to_owned(), ..Finished::default() });
    let manager = Manager::Launchd { domain: "gui/501".to_owned() };
    let [job] = &status(&manager, &mut commands).unwrap()[..] else { panic!("one job") };
    assert_eq!((job.load.as_str(), job.active.as_str(), job.pid), ("loaded", "running", Some(42)));

    let mut commands = Always(Finished { code: Some(113), ..Finished::default() });
    assert_eq!(status(&manager, &mut commands).unwrap()[0].load, "not-found");
}
