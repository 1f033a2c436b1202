//! What a real `systemd --user` makes of the units and of the plans that install and remove them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use relay::paths::{Environment, Platform};
use relay::service::{self, Commands, Effect, Finished, Manager};

use crate::support::program_copy::copy_program;
use crate::support::user_manager::{UserManager, user_manager};

const HUB: &str = env!("CARGO_BIN_EXE_relay-hub");

/// Performs plans for the user of a private manager: commands run as the user, and the files that this process writes
/// are given to the user before each.
struct AsUser<'a>(&'a UserManager);

impl AsUser<'_> {
    fn environment(&self) -> Environment {
        Environment {
            platform: Platform::Linux,
            relay_socket: None,
            home: Some(self.0.home().to_owned()),
            config_home: None,
            runtime_dir: Some(self.0.outside(self.0.runtime_dir())),
            uid: self.0.uid(),
            ..Environment::of_process()
        }
    }

    fn give_home(&self) {
        let owner = format!("{0}:{0}", self.0.uid());
        assert!(Command::new("chown").args(["-R", &owner]).arg(self.0.home()).status().unwrap().success());
    }

    /// Installs, and returns the steps that did something.
    fn install(&mut self, bindir: &Path) -> Vec<String> {
        let plan = service::install(&Manager::Systemd, &self.environment(), bindir).unwrap();
        self.perform(&plan)
    }

    fn uninstall(&mut self) -> Vec<String> {
        let plan = service::uninstall(&Manager::Systemd, &self.environment()).unwrap();
        self.perform(&plan)
    }

    fn perform(&mut self, plan: &service::Plan) -> Vec<String> {
        let mut done = Vec::new();
        let changed = plan.perform(self, |step, effect| {
            if effect != Effect::Unchanged {
                done.push(step.headline());
            }
        });
        assert_eq!(changed.unwrap(), !done.is_empty());
        self.give_home();
        done
    }
}

impl Commands for AsUser<'_> {
    fn run(&mut self, argv: &[String]) -> io::Result<Finished> {
        self.give_home();
        self.0.command(&argv[0]).args(&argv[1..]).output().map(Finished::from)
    }
}

/// Returns every path below `root`, with what a link leads to.
fn files(root: &Path) -> BTreeMap<PathBuf, Option<PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).into_iter().flatten().map(Result::unwrap) {
        let path = entry.path();
        found.insert(path.clone(), fs::read_link(&path).ok());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn systemd_has_no_word_of_criticism_for_the_units() {
    let manager = user_manager!();
    let bindir = manager.install_programs(&[HUB]);
    AsUser(&manager).install(&bindir);
    let units = manager.home().join(".config/systemd/user");
    for unit in ["relay.socket", "relay.service"] {
        let output =
            manager.command("systemd-analyze").args(["--user", "verify"]).arg(units.join(unit)).output().unwrap();
        // An unknown key is a warning only, so the exit code alone says nothing.
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{unit}");
        assert!(output.status.success());
    }
}

#[test]
fn an_installed_socket_listens_now_and_after_the_next_login_and_only_for_its_user() {
    let manager = user_manager!();
    let bindir = manager.install_programs(&[HUB]);
    AsUser(&manager).install(&bindir);

    let units = service::status(&Manager::Systemd, &mut AsUser(&manager)).unwrap();
    let [socket, hub] = &units[..] else { panic!("{units:?}") };
    assert_eq!((socket.name.as_str(), socket.load.as_str()), (service::SOCKET_UNIT, "loaded"));
    assert_eq!((socket.active.as_str(), socket.sub.as_str()), ("active", "listening"));
    assert_eq!((socket.enabled.as_str(), socket.result.as_str()), ("enabled", "success"));
    assert_eq!((hub.name.as_str(), hub.load.as_str()), (service::SERVICE_UNIT, "loaded"));
    // Nobody has connected: no process waits for nothing.
    assert_eq!((hub.active.as_str(), hub.enabled.as_str(), hub.pid), ("inactive", "static", None));

    let path = manager.outside(&manager.runtime_dir().join("relay/hub.sock"));
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
    assert_eq!(fs::metadata(&path).unwrap().uid(), manager.uid());
    assert!(manager.journal("relay.socket").contains("Listening on relay.socket"));
}

#[test]
fn installing_again_changes_nothing_and_uninstalling_leaves_nothing() {
    let manager = user_manager!();
    let bindir = manager.install_programs(&[HUB]);
    let runtime_dir = manager.outside(manager.runtime_dir());
    let (home_before, runtime_before) = (files(manager.home()), files(&runtime_dir));
    let mut user = AsUser(&manager);

    assert!(!user.install(&bindir).is_empty());
    assert_eq!(user.install(&bindir), [""; 0]);

    assert!(!user.uninstall().is_empty());
    let mut home_after = files(manager.home());
    // The user's own directory of configuration stays, as programs expect it.
    home_after.remove(&manager.home().join(".config"));
    assert_eq!(home_after, home_before);
    assert_eq!(files(&runtime_dir), runtime_before);
    let units = manager.systemctl("list-units --all --plain --no-legend relay.*");
    assert_eq!(units, "");

    assert_eq!(user.uninstall(), [""; 0]);
}

#[test]
fn an_install_repairs_a_socket_that_was_stopped_disabled_or_edited() {
    let manager = user_manager!();
    let bindir = manager.install_programs(&[HUB]);
    let mut user = AsUser(&manager);
    user.install(&bindir);
    let works = || {
        manager.property("relay.socket", "ActiveState") == "active"
            && manager.property("relay.socket", "UnitFileState") == "enabled"
            && manager.property("relay.socket", "NeedDaemonReload") == "no"
            && manager.property("relay.socket", "Backlog") != "7"
    };
    assert!(works());

    manager.systemctl("stop relay.socket");
    assert!(!works());
    user.install(&bindir);
    assert!(works());

    manager.systemctl("disable relay.socket");
    assert!(!works());
    user.install(&bindir);
    assert!(works());

    let unit = manager.home().join(".config/systemd/user/relay.socket");
    let edited = fs::read_to_string(&unit).unwrap().replace("[Socket]", "[Socket]\nBacklog=7");
    fs::write(&unit, edited).unwrap();
    manager.systemctl("daemon-reload");
    manager.systemctl("restart relay.socket");
    assert!(!works());
    user.install(&bindir);
    assert!(works());
}

#[test]
fn a_folder_with_blanks_dollar_and_percent_signs_can_hold_the_programs() {
    let manager = user_manager!();
    let bindir = manager.home().join("50% of $HOME é");
    fs::create_dir(&bindir).unwrap();
    copy_program(HUB, bindir.join("relay-hub"));
    AsUser(&manager).install(&bindir);
    let exec = manager.property("relay.service", "ExecStart");
    assert!(exec.starts_with(&format!("{{ path={}/relay-hub ;", bindir.display())), "{exec}");
}

#[test]
fn the_users_manager_is_found_and_its_absence_is_explained() {
    let manager = user_manager!();
    let mut user = AsUser(&manager);
    let environment = user.environment();
    assert_eq!(service::detect(&environment, &mut user).unwrap(), Manager::Systemd);
    struct Nobody<'a>(&'a UserManager);
    impl Commands for Nobody<'_> {
        fn run(&mut self, argv: &[String]) -> io::Result<Finished> {
            self.0.command(&argv[0]).args(&argv[1..]).env_remove("XDG_RUNTIME_DIR").output().map(Finished::from)
        }
    }
    let error = service::detect(&environment, &mut Nobody(&manager)).unwrap_err().to_string();
    assert!(error.starts_with("no service manager answers for you (") && error.contains("No medium found"), "{error}");
}
