//! What the plans of the service show, for either manager on any machine.

use std::path::Path;

use relay::paths::{Environment, Platform};
use relay::service::{self, Manager};

fn environment(platform: Platform, home: &str) -> Environment {
    Environment {
        platform,
        socket_option: None,
        relay_socket: None,
        runtime_dir: Some("/run/user/1000".into()),
        run_user: "/run/user".into(),
        home: Some(home.into()),
        config_home: None,
        uid: 1000,
    }
}

#[test]
fn what_a_dry_run_shows_for_systemd() {
    let environment = environment(Platform::Linux, "/home/ada");
    let install = service::install(&Manager::Systemd, &environment, Path::new("/home/ada/.local/bin")).unwrap();
    insta::assert_snapshot!("systemd_install", install);
    insta::assert_snapshot!("systemd_uninstall", service::uninstall(&Manager::Systemd, &environment).unwrap());
}

#[test]
fn what_a_dry_run_shows_for_launchd() {
    let environment = environment(Platform::MacOs, "/Users/ada");
    let manager = Manager::Launchd { domain: "gui/501".to_owned() };
    let install = service::install(&manager, &environment, Path::new("/opt/homebrew/bin")).unwrap();
    insta::assert_snapshot!("launchd_install", install);
    insta::assert_snapshot!("launchd_uninstall", service::uninstall(&manager, &environment).unwrap());
}
