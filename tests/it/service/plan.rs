//! What the plans of the service show, for either manager on any machine.

use std::path::Path;

use relay::paths::{Environment, Platform};
use relay::service::{self, Manager};

/// A user whose runtime directory is below `run_user`.
fn environment(platform: Platform, home: &str, run_user: &Path) -> Environment {
    Environment {
        platform,
        socket_option: None,
        relay_socket: None,
        runtime_dir: None,
        run_user: run_user.to_owned(),
        home: Some(home.into()),
        config_home: None,
        state_home: None,
        data_home: None,
        uid: rustix::process::geteuid().as_raw(),
    }
}

#[test]
fn what_a_dry_run_shows_for_systemd() {
    let run_user = tempfile::tempdir().unwrap();
    let environment = environment(Platform::Linux, "/home/ada", run_user.path());
    let own = run_user.path().join(environment.uid.to_string());
    std::fs::create_dir(&own).unwrap();
    let install = service::install(&Manager::Systemd, &environment, Path::new("/home/ada/.local/bin")).unwrap();
    let uninstall = service::uninstall(&Manager::Systemd, &environment).unwrap();
    let shown = |plan: service::Plan| plan.to_string().replace(own.to_str().unwrap(), "/run/user/1000");
    insta::assert_snapshot!("systemd_install", shown(install));
    insta::assert_snapshot!("systemd_uninstall", shown(uninstall));
    let desktop = service::install_desktop(&Manager::Systemd, &environment, Path::new("/home/ada/.local/bin")).unwrap();
    insta::assert_snapshot!("systemd_desktop", shown(desktop));
    let bridge = service::uninstall_bridge(&Manager::Systemd, &environment).unwrap();
    insta::assert_snapshot!("systemd_bridge_uninstall", shown(bridge));
}

#[test]
fn what_a_dry_run_shows_for_launchd() {
    let environment = environment(Platform::MacOs, "/Users/ada", Path::new("/nonexistent"));
    let manager = Manager::Launchd { domain: "gui/501".to_owned() };
    let install = service::install(&manager, &environment, Path::new("/opt/homebrew/bin")).unwrap();
    insta::assert_snapshot!("launchd_install", install);
    let desktop = service::install_desktop(&manager, &environment, Path::new("/opt/homebrew/bin")).unwrap();
    insta::assert_snapshot!("launchd_desktop", desktop);
    let programs = tempfile::tempdir().unwrap();
    let program = programs.path().join("relay-bridge");
    let missing = service::install_bridge(&manager, &environment, programs.path()).unwrap_err();
    assert!(matches!(missing, service::ServiceError::NoBridge { .. }), "{missing}");
    std::os::unix::fs::symlink("/bin/sh", program).unwrap();
    let bridge = service::install_bridge(&manager, &environment, programs.path()).unwrap().to_string();
    insta::assert_snapshot!("launchd_bridge", bridge.replace(programs.path().to_str().unwrap(), "/opt/homebrew/bin"));
    insta::assert_snapshot!("launchd_bridge_uninstall", service::uninstall_bridge(&manager, &environment).unwrap());
    insta::assert_snapshot!("launchd_uninstall", service::uninstall(&manager, &environment).unwrap());
}
