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
}

#[test]
fn what_a_dry_run_shows_for_launchd() {
    let environment = environment(Platform::MacOs, "/Users/ada", Path::new("/nonexistent"));
    let manager = Manager::Launchd { domain: "gui/501".to_owned() };
    let install = service::install(&manager, &environment, Path::new("/opt/homebrew/bin")).unwrap();
    insta::assert_snapshot!("launchd_install", install);
    let desktop = service::install_desktop(&manager, &environment, Path::new("/opt/homebrew/bin")).unwrap();
    insta::assert_snapshot!("launchd_desktop", desktop);
    insta::assert_snapshot!("launchd_uninstall", service::uninstall(&manager, &environment).unwrap());
}
