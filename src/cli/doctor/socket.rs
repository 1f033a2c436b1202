//! The socket: where it is looked for, who may enter its directory, whether somebody listens.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::Examined;
use super::finding::Finding;
use crate::advice::startup::next_for_path;
use crate::advice::{REPAIR, give_back, quoted};
use crate::cli::diagnosis;
use crate::cli::service_view::Fix;
use crate::cli::service_view::Reach;

pub(super) fn check(examined: &Examined) -> Vec<Finding> {
    let socket = match &examined.socket {
        Ok(socket) => socket,
        Err(error) => {
            return vec![Finding::fail("socket-path", error.to_string(), next_for_path(error))];
        }
    };
    let uid = examined.environment.uid;
    let mut findings = vec![path(examined, socket)];
    if let Some(directory) = socket.parent() {
        if let Some(above) =
            directory.parent().filter(|above| Some(*above) == examined.environment.runtime_dir.as_deref())
        {
            findings.extend(runtime_directory(above, uid));
        }
        let is_services = examined.environment.socket_named_by().is_none();
        findings.extend(private_directory(directory, uid, (!is_services).then_some(socket)));
    }
    findings.extend(file(socket, uid));
    findings.extend(examined.reach.as_ref().map(|reach| reachable(reach, examined)));
    findings
}

fn path(examined: &Examined, socket: &Path) -> Finding {
    let (length, limit) = (socket.as_os_str().len(), examined.environment.platform.longest_socket_path());
    let shown = format!("{} ({length} of {limit} bytes)", socket.display());
    let Some(name) = examined.environment.socket_named_by() else { return Finding::ok("socket-path", shown) };
    let what = format!("{name} leads to {shown}, away from the service");
    // That nobody is reached there is told by the connect.
    Finding::note("socket-path", what)
}

/// The service's directory is ours to close, and so is that of a socket which was named, where it holds nothing else: one
/// that others use as well, such as /tmp or the home, is not.
fn private_directory(directory: &Path, uid: u32, named: Option<&Path>) -> Option<Finding> {
    let name = "socket-directory";
    let shown = directory.display();
    // Whether it has to be there is told by the connect.
    let found = fs::symlink_metadata(directory).ok()?;
    let mode = found.mode() & 0o7777;
    if !found.is_dir() {
        let cure = format!("rm {} && {REPAIR}", quoted(directory));
        return Some(Finding::fail(name, format!("{shown} is no directory"), cure));
    }
    if found.uid() != uid {
        let what = format!("{shown} belongs to uid {}, not to you", found.uid());
        return Some(Finding::fail(name, what, give_back(directory, found.uid())));
    }
    if mode & 0o077 == 0 && mode & 0o700 == 0o700 {
        return Some(Finding::ok(name, format!("{shown} is yours alone (mode {mode:04o})")));
    }
    let who = if mode & 0o077 == 0 { "you cannot enter it" } else { "others can enter it" };
    let what = format!("{shown} has mode {mode:04o}: {who}");
    let is_shared = named.is_some_and(|socket| {
        let holds_more =
            || fs::read_dir(directory).is_ok_and(|found| found.flatten().any(|entry| entry.path() != socket));
        mode & 0o1000 != 0 || holds_more()
    });
    if is_shared {
        let cure = "export RELAY_SOCKET=\"$HOME/.relay/hub.sock\"";
        return Some(Finding::fail(name, what, cure));
    }
    let fix = Fix::Close { path: directory.to_owned(), mode: 0o700 };
    Some(Finding::fail(name, what, format!("chmod 700 {}", quoted(directory))).with_fix(fix))
}

/// The runtime directory is the system's: it is told of and left alone. WSL makes it 0777.
fn runtime_directory(directory: &Path, uid: u32) -> Option<Finding> {
    let found = fs::symlink_metadata(directory).ok()?;
    let (mode, shown) = (found.mode() & 0o7777, directory.display());
    if found.uid() != uid {
        let what = format!("{shown} belongs to uid {}, not to you: sudo without -i?", found.uid());
        return Some(Finding::warn("runtime-directory", what, "unset XDG_RUNTIME_DIR"));
    }
    (mode & 0o077 != 0).then(|| {
        let what = format!("{shown} has mode {mode:04o}; the socket's own directory in it is what keeps others out");
        Finding::warn("runtime-directory", what, format!("chmod 700 {shown}"))
    })
}

fn file(socket: &Path, uid: u32) -> Option<Finding> {
    let found = fs::symlink_metadata(socket).ok()?;
    let (mode, shown) = (found.mode() & 0o7777, socket.display());
    if !found.file_type().is_socket() {
        let cure = format!("rm {} && {REPAIR}", quoted(socket));
        return Some(Finding::fail("socket-file", format!("{shown} is no socket"), cure));
    }
    if found.uid() != uid {
        let what = format!("{shown} belongs to uid {}, not to you", found.uid());
        return Some(Finding::fail("socket-file", what, give_back(socket, found.uid())));
    }
    if mode & 0o077 == 0 && mode & 0o600 == 0o600 {
        return Some(Finding::ok("socket-file", format!("yours alone (mode {mode:04o})")));
    }
    let fix = Fix::Close { path: socket.to_owned(), mode: 0o600 };
    let who = if mode & 0o077 == 0 { "you cannot connect" } else { "others can connect" };
    let what = format!("{shown} has mode {mode:04o}: {who}");
    Some(Finding::fail("socket-file", what, format!("chmod 600 {}", quoted(socket))).with_fix(fix))
}

fn reachable(reach: &Reach, examined: &Examined) -> Finding {
    let Err(seen) = reach else { return Finding::ok("socket-reachable", "somebody listens") };
    let (advice, fix) = diagnosis::explain(&examined.environment, seen, &examined.service);
    Finding { fix, ..Finding::fail("socket-reachable", advice.sentence, advice.next) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::doctor::finding::State;

    #[test]
    fn a_directory_that_others_can_enter_or_its_owner_cannot_is_named_with_its_cure() {
        let directory = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let look = |mode: u32| {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            private_directory(directory.path(), uid, Some(&directory.path().join("hub.sock"))).unwrap()
        };
        assert_eq!(look(0o700).state, State::Ok);
        for (mode, who) in [(0o777, "others can enter it"), (0o600, "you cannot enter it")] {
            let finding = look(mode);
            assert_eq!(finding.state, State::Fail);
            assert!(finding.what.ends_with(who), "{}", finding.what);
            assert!(finding.cure.unwrap().starts_with("chmod 700 /"));
            assert_eq!(finding.fix, Some(Fix::Close { path: directory.path().to_owned(), mode: 0o700 }));
        }
        let foreign = private_directory(directory.path(), uid + 1, None).unwrap();
        assert_eq!((foreign.state, foreign.fix), (State::Fail, None));
        fs::write(directory.path().join("letter"), "").unwrap();
        let shared = look(0o755);
        assert_eq!((shared.state, shared.fix), (State::Fail, None));
        assert!(!shared.cure.unwrap().contains("chmod"));
        assert!(private_directory(directory.path(), uid, None).unwrap().fix.is_some(), "the service's own");
    }

    #[test]
    fn what_is_no_socket_is_never_removed_without_asking() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hub.sock");
        assert_eq!(file(&path, 0), None);
        fs::write(&path, "").unwrap();
        let finding = file(&path, 0).unwrap();
        assert_eq!((finding.state, finding.fix), (State::Fail, None));
    }
}
