//! The programs: beside each other, of one version, and the ones that the shell finds.

use std::path::{Path, PathBuf};

use super::Examined;
use super::finding::Finding;
use crate::advice::quoted;
use crate::advice::startup::INSTALL_ALL as INSTALL;
use crate::cli::search_path::{self, PROGRAMS, is_program};
use crate::service::Commands;

pub(super) fn check(examined: &mut Examined) -> Vec<Finding> {
    let Some(bindir) = examined.bindir.clone() else {
        return vec![Finding::fail("programs", "this program's own file is not known", INSTALL)];
    };
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !is_program(&bindir.join(name))).collect();
    // One that is there and cannot be run is a mode away from being one.
    if let Some(file) = missing.iter().map(|name| bindir.join(name)).find(|file| file.is_file()) {
        let what = format!("{} cannot be executed", file.display());
        return vec![Finding::fail("programs", what, format!("chmod +x {}", quoted(&file)))];
    }
    let mut findings = vec![together(&bindir, &missing)];
    if missing.is_empty() {
        findings.push(one_version(&bindir, &mut examined.commands));
    }
    findings.push(in_path(&bindir, &search_path::directories()));
    findings
}

fn together(bindir: &Path, missing: &[&str]) -> Finding {
    if missing.is_empty() {
        Finding::ok(
            "programs",
            format!("relayctl, relay-hub, relay-channel and relay-bridge are in {}", bindir.display()),
        )
    } else {
        let what = format!("{} not in {}, where relayctl is", missing.join(" and "), bindir.display());
        Finding::fail("programs", what, INSTALL)
    }
}

fn one_version(bindir: &Path, commands: &mut dyn Commands) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    let mut strays = Vec::new();
    for name in &PROGRAMS[1..] {
        let argv = [bindir.join(name).display().to_string(), "--version".to_owned()];
        match commands.run(&argv) {
            Ok(said) if said.stdout.split_whitespace().last() == Some(own) => {}
            Ok(said) if said.success() => strays.push(format!("{} is here", said.stdout.trim())),
            Ok(said) => strays.push(format!("{name} does not run: {}", said.stderr.trim())),
            Err(error) => strays.push(format!("{name} does not run: {error}")),
        }
    }
    if strays.is_empty() {
        Finding::ok("program-versions", format!("all of version {own}"))
    } else {
        Finding::fail("program-versions", format!("relayctl is {own}, but {}", strays.join(", and ")), INSTALL)
    }
}

/// Looks for the programs as a shell does.
fn in_path(bindir: &Path, directories: &[PathBuf]) -> Finding {
    match search_path::obstacle(bindir, directories) {
        None => Finding::ok("programs-in-path", "the shell finds these"),
        Some((what, put_first)) => Finding::warn("programs-in-path", what, put_first),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::doctor::finding::State;
    use crate::service::Finished;

    fn programs(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(directory.path().join(name), "").unwrap();
            fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        directory
    }

    #[test]
    fn another_program_that_comes_first_in_path_is_named() {
        let (own, other) = (programs(&PROGRAMS), programs(&["relay-channel"]));
        let look = |path: &[&tempfile::TempDir]| {
            in_path(own.path(), &path.iter().map(|directory| directory.path().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(look(&[&own, &other]).state, State::Ok);
        let stray = look(&[&other, &own]);
        assert_eq!(stray.state, State::Warn);
        assert!(stray.what.ends_with("relay-channel"), "{}", stray.what);
        assert!(look(&[&other]).what.contains("relayctl is in no directory of PATH"));
    }

    struct Says(&'static str);

    impl Commands for Says {
        fn run(&mut self, argv: &[String]) -> io::Result<Finished> {
            let name = argv[0].rsplit('/').next().unwrap();
            Ok(Finished { code: Some(0), stdout: format!("{name} {}\n", self.0), ..Finished::default() })
        }
    }

    #[test]
    fn programs_of_another_version_are_named() {
        let one = one_version(Path::new("/opt"), &mut Says(env!("CARGO_PKG_VERSION")));
        assert_eq!(one.state, State::Ok);
        let mixed = one_version(Path::new("/opt"), &mut Says("0.0.1"));
        assert_eq!(mixed.state, State::Fail);
        assert!(
            mixed.what.contains("relay-hub 0.0.1 is here, and relay-channel 0.0.1 is here, and relay-bridge 0.0.1"),
            "{}",
            mixed.what
        );
    }
}
