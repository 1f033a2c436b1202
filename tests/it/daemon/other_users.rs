//! Other users of the machine: whoever they are and whatever they put in the hub's way, they get nothing and change nothing.
//!
//! The other user is a real one: a thread or a process of the tests with another uid, which takes root to make.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::support::hub_process::{HubProcess, RawClient, SOON};
use crate::support::program_copy::copy_program;
use crate::support::skip::skipped;

/// The neighbour; outside the ranges of people, packages, systemd, and the user managers of other tests.
const NEIGHBOUR: u32 = 61_100;

/// A user whose hub it is where root is the neighbour.
const OWNER: u32 = 61_101;

const HELLO: &[u8] = b"{\"type\":\"hello\",\"id\":1,\"versions\":{\"min\":1,\"max\":1},\
\"key\":\"000102030405060708090a0b0c0d0e0f\",\"program\":\"neighbour 1\",\"kind\":\"control\"}\n";

/// Returns from a test that is called by this name where there is no root.
macro_rules! root_only {
    () => {{
        fn here() {}
        if !rustix::process::geteuid().is_root() {
            let test = std::any::type_name_of_val(&here).trim_end_matches("::here");
            return skipped(test, &"only root can be two users");
        }
    }};
}

/// Does something as another user, in a thread of its own.
fn as_user<T: Send>(uid: u32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(group, group, group).unwrap();
            set_thread_res_uid(user, user, user).unwrap();
            act()
        });
        thread.join().unwrap()
    })
}

/// Opens a hub's directory and socket up to everybody, as no hub does.
fn open_up(hub: &HubProcess) {
    let run = hub.socket().parent().unwrap().to_owned();
    for directory in [run.parent().unwrap(), &run] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(hub.socket(), Permissions::from_mode(0o666)).unwrap();
}

/// Says hello, and returns everything that comes back.
fn greet(socket: &Path) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // The hub may have closed it already.
    let _broken = stream.write_all(HELLO);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    answer
}

#[test]
fn another_user_who_reaches_the_socket_is_turned_away_unread_and_logged() {
    root_only!();
    let hub = HubProcess::start(&[]);
    open_up(&hub);
    let mut own = hub.session("own");
    for _ in 0..20 {
        let socket = hub.socket();
        assert_eq!(as_user(NEIGHBOUR, || greet(&socket)), b"");
    }
    hub.wait_for_log("turned a connection away");
    hub.wait_for_log(&format!("it belongs to uid {NEIGHBOUR} and this hub serves uid 0 only"));
    assert!(!hub.log().contains("neighbour 1"), "something of it was read: {}", hub.log());
    own.say(&serde_json::json!({"type": "status", "id": 2}));
    let status = own.hear();
    assert_eq!((&status["connections"], &status["peers"]), (&1.into(), &1.into()), "{status}");
}

#[test]
fn another_user_does_not_even_reach_a_socket_that_is_as_the_hub_made_it() {
    root_only!();
    let hub = HubProcess::start(&[]);
    let (socket, parent) = (hub.socket(), hub.socket().parent().unwrap().parent().unwrap().to_owned());
    fs::set_permissions(parent, Permissions::from_mode(0o755)).unwrap();
    let refused = as_user(NEIGHBOUR, || UnixStream::connect(&socket).unwrap_err().kind());
    assert_eq!(refused, io::ErrorKind::PermissionDenied);
}

/// A place where several users have directories, with a copy of the hub that all of them can run.
struct Street {
    root: tempfile::TempDir,
    hub: PathBuf,
}

impl Street {
    fn new() -> Self {
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let hub = root.path().join("relay-hub");
        copy_program(env!("CARGO_BIN_EXE_relay-hub"), &hub);
        fs::set_permissions(&hub, Permissions::from_mode(0o755)).unwrap();
        Self { root, hub }
    }

    /// Makes a directory that belongs to a user.
    fn house(&self, name: &str, owner: u32, mode: u32) -> PathBuf {
        let path = self.root.path().join(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn start(&self, uid: u32, socket: &Path, log: Stdio) -> Child {
        let mut command = Command::new(&self.hub);
        command.arg("--socket").arg(socket).uid(uid).gid(uid).env_clear().current_dir("/");
        command.env("RELAY_LOG", "debug").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Runs a hub that has to refuse its place, and returns what it says.
    fn refusal(&self, uid: u32, socket: &Path) -> String {
        let before = census(self.root.path());
        let mut hub = self.start(uid, socket, Stdio::piped());
        let end = Instant::now() + SOON;
        while hub.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                hub.kill().unwrap();
                panic!("a hub runs at {}", socket.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let Output { status, stderr, .. } = hub.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(1), "{said}");
        assert_eq!(census(self.root.path()), before, "a hub that refused its place changed something: {said}");
        said
    }
}

/// Returns everything below a directory: what it is, whose, since when, and what is in it.
fn census(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let found = fs::symlink_metadata(&path).unwrap();
        let changed = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
        let content = if found.is_file() { fs::read(&path).unwrap().len() } else { 0 };
        let what = format!("{:o} {}:{} {} {changed:?} {content}", found.mode(), found.uid(), found.gid(), found.ino());
        if found.is_dir() {
            all.extend(census(&path));
        }
        all.insert(path, what);
    }
    all
}

#[test]
fn root_is_turned_away_by_the_hub_of_another_user() {
    root_only!();
    let street = Street::new();
    let run = street.house("run", OWNER, 0o700);
    let (socket, log) = (run.join("hub.sock"), street.root.path().join("log"));
    let mut hub = street.start(OWNER, &socket, fs::File::create(&log).unwrap().into());
    let end = Instant::now() + SOON;
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < end, "the hub does not listen: {}", fs::read_to_string(&log).unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(greet(&socket), b"", "root of all users is not the hub's user");
    let served = as_user(OWNER, || {
        let mut client = RawClient::connect(&socket);
        client.write(HELLO).unwrap();
        client.hear()["type"].clone()
    });
    assert_eq!(served, "welcome");
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains(&format!("it belongs to uid 0 and this hub serves uid {OWNER} only")), "{said}");
    hub.kill().unwrap();
    hub.wait().unwrap();
}

#[test]
fn a_directory_that_a_neighbour_planted_is_refused_with_nothing_changed() {
    root_only!();
    let street = Street::new();
    let theirs = street.house("theirs", NEIGHBOUR, 0o700);
    let open = street.house("open", NEIGHBOUR, 0o777);
    // Neither the directory of a neighbour, nor one of our own inside it.
    for uid in [0, OWNER] {
        for directory in [&theirs, &open] {
            let said = street.refusal(uid, &directory.join("hub.sock"));
            assert!(said.contains("belongs to user") || said.contains("ermission denied"), "{said}");
        }
    }
    let inside = street.house("open/ours", OWNER, 0o700);
    assert!(street.refusal(OWNER, &inside.join("hub.sock")).contains("others can replace"));
    // Nor a link of a neighbour to a directory of ours, or the other way round.
    let ours = street.house("ours", OWNER, 0o700);
    as_user(NEIGHBOUR, || symlink(&ours, open.join("link")).unwrap());
    assert!(street.refusal(OWNER, &open.join("link/hub.sock")).contains("symbolic link"));
    symlink(&theirs, street.root.path().join("link")).unwrap();
    assert!(street.refusal(OWNER, &street.root.path().join("link/hub.sock")).contains("symbolic link"));
    // Nor one that its group can enter.
    let shared = street.house("shared", OWNER, 0o750);
    assert!(street.refusal(OWNER, &shared.join("hub.sock")).contains("has mode 0750, so others can enter it"));
}

#[test]
fn whatever_lies_at_the_sockets_path_is_left_as_it_is() {
    root_only!();
    let street = Street::new();
    let run = street.house("run", OWNER, 0o700);
    let socket = run.join("hub.sock");

    fs::write(&socket, "somebody's notes").unwrap();
    chown(&socket, Some(OWNER), Some(OWNER)).unwrap();
    assert!(street.refusal(OWNER, &socket).contains("is not a socket of ours"), "a file");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "somebody's notes");
    fs::remove_file(&socket).unwrap();

    symlink("/etc/passwd", &socket).unwrap();
    assert!(street.refusal(OWNER, &socket).contains("is not a socket of ours"), "a link");
    fs::remove_file(&socket).unwrap();

    symlink(street.root.path().join("nothing"), &socket).unwrap();
    assert!(street.refusal(OWNER, &socket).contains("is not a socket of ours"), "a link to nothing");
    fs::remove_file(&socket).unwrap();

    drop(UnixListener::bind(&socket).unwrap());
    chown(&socket, Some(NEIGHBOUR), Some(NEIGHBOUR)).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o777)).unwrap();
    assert!(street.refusal(OWNER, &socket).contains("is not a socket of ours"), "a dead socket of a neighbour");
}
