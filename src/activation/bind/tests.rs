use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::io::FdFlags;

use super::*;

/// A private directory, and the path of a socket in a directory of it that does not exist yet.
fn place() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("relay/hub.sock");
    (root, path)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn the_directory_is_0700_and_the_socket_0600() {
    let (_root, path) = place();
    let (listener, guard) = bind(&path).unwrap();
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(guard.path(), path);
    assert!(rustix::io::fcntl_getfd(&listener).unwrap().contains(FdFlags::CLOEXEC));
    assert!(rustix::fs::fcntl_getfl(&listener).unwrap().contains(OFlags::NONBLOCK));
}

#[cfg(target_os = "linux")]
#[test]
fn the_socket_is_0600_from_its_creation_on_not_only_after_it_was_protected() {
    let (root, _) = place();
    let path = root.path().join("s");
    let _listener = listen(&path).unwrap();
    assert_eq!(mode(&path) & 0o177, 0);
}

#[test]
fn the_path_goes_with_the_guard_and_a_later_hub_can_bind_it() {
    let (_root, path) = place();
    drop(bind(&path).unwrap());
    assert!(!path.exists());
    assert!(path.parent().unwrap().is_dir());
    bind(&path).unwrap();
}

#[test]
fn a_second_hub_is_told_that_one_is_running_and_does_not_disturb_it() {
    let (_root, path) = place();
    let (listener, _guard) = bind(&path).unwrap();
    let refused = bind(&path);
    assert!(matches!(&refused, Err(BindError::AlreadyRunning { path: at }) if *at == path), "{refused:?}");
    UnixStream::connect(&path).unwrap();
    listener.accept().unwrap();
}

#[test]
fn a_hub_whose_backlog_is_full_is_running_too() {
    let (_root, path) = place();
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let mut clients = Vec::new();
    loop {
        let client = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::io::ioctl_fionbio(&client, true).unwrap();
        if rustix::net::connect(&client, &SocketAddrUnix::new(&path).unwrap()).is_err() {
            break;
        }
        clients.push(client);
    }
    assert!(matches!(bind(&path), Err(BindError::AlreadyRunning { .. })));
}

#[test]
fn a_socket_left_by_a_killed_hub_is_replaced() {
    let (_root, path) = place();
    let (listener, guard) = bind(&path).unwrap();
    let dead = path.with_extension("dead");
    fs::rename(&path, &dead).unwrap();
    drop((guard, listener));
    fs::rename(&dead, &path).unwrap();

    let (listener, _guard) = bind(&path).unwrap();
    UnixStream::connect(&path).unwrap();
    listener.accept().unwrap();
}

#[test]
fn what_is_not_a_dead_socket_is_left_alone() {
    let (root, path) = place();
    drop(bind(&path).unwrap());
    fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path), Err(BindError::InTheWay { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    let datagram = root.path().join("relay/datagram.sock");
    let _socket = UnixDatagram::bind(&datagram).unwrap();
    assert!(matches!(bind(&datagram), Err(BindError::InTheWay { .. })));
    assert!(datagram.exists());
}

#[test]
fn the_guard_leaves_a_file_that_took_its_place() {
    let (_root, path) = place();
    let bound = bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let (_other, _other_guard) = bind(&path).unwrap();
    drop(bound);
    assert!(path.exists());
}

#[test]
fn a_directory_that_others_can_enter_is_refused() {
    for open in [0o750, 0o701, 0o777, 0o1777] {
        let (_root, path) = place();
        let directory = path.parent().unwrap();
        fs::create_dir(directory).unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(open)).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(error.to_string().ends_with(&format!("has mode {open:04o}, so others can enter it")), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn a_symbolic_link_to_a_private_directory_is_refused() {
    let (root, path) = place();
    let real = root.path().join("real");
    DirBuilder::new().mode(0o700).create(&real).unwrap();
    symlink(&real, path.parent().unwrap()).unwrap();
    assert!(matches!(bind(&path), Err(BindError::LinkedDirectory { .. })));
    assert_eq!(fs::read_dir(real).unwrap().count(), 0);
}

#[test]
fn a_directory_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make one; the system's own is foreign to everybody else.
        assert!(matches!(bind(Path::new("/usr/hub.sock")), Err(BindError::ForeignDirectory { owner: 0, .. })));
        return;
    }
    let (_root, path) = place();
    let directory = path.parent().unwrap();
    DirBuilder::new().mode(0o700).create(directory).unwrap();
    std::os::unix::fs::chown(directory, Some(12345), None).unwrap();
    assert!(matches!(bind(&path), Err(BindError::ForeignDirectory { owner: 12345, uid: 0, .. })));
}

#[test]
fn a_directory_that_others_could_replace_is_refused() {
    let (root, path) = place();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = bind(&path).unwrap_err();
    assert!(
        matches!(&error, BindError::MovableDirectory { ancestor, .. } if *ancestor
        == root.path().canonicalize().unwrap()),
        "{error}"
    );
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    bind(&path).unwrap();
}

#[test]
fn a_group_that_is_not_the_users_own_may_not_write_above_the_directory() {
    let (me, root, other) = (1000, 0, 1001);
    for (mode, owner, open) in [
        (0o755, root, false),
        (0o775, root, true),
        (0o2775, root, true),
        (0o1775, root, false),
        (0o775, me, false),
        (0o777, me, true),
        (0o1777, root, false),
        (0o700, other, true),
    ] {
        assert_eq!(is_open_to_others(mode, owner, me), open, "{mode:o} of {owner}");
    }
}

#[test]
fn a_lock_that_somebody_keeps_is_named_and_not_waited_for_for_ever() {
    let (_root, path) = place();
    let directory = path.parent().unwrap();
    DirBuilder::new().mode(0o700).create(directory).unwrap();
    let kept = File::open(directory).unwrap();
    rustix::fs::flock(&kept, FlockOperation::LockExclusive).unwrap();
    let error = bind(&path).unwrap_err();
    assert!(matches!(&error, BindError::Locked { path } if path == directory), "{error}");
    drop(kept);
    bind(&path).unwrap();
}

#[test]
fn too_long_and_relative_paths_are_named_and_create_nothing() {
    let (root, _) = place();
    let long = root.path().join("d".repeat(100)).join("hub.sock");
    let error = bind(&long).unwrap_err();
    assert!(error.to_string().contains(&long.display().to_string()), "{error}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    assert!(matches!(bind(Path::new("hub.sock")), Err(BindError::Path(PathError::NotAbsolute { .. }))));
}

#[test]
fn of_two_hubs_that_start_at_once_beside_a_dead_socket_exactly_one_wins() {
    for _ in 0..50 {
        let (_root, path) = place();
        DirBuilder::new().mode(0o700).create(path.parent().unwrap()).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        let start = std::sync::Barrier::new(4);
        let hubs: Vec<_> = thread::scope(|scope| {
            let starting: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        bind(&path)
                    })
                })
                .collect();
            starting.into_iter().map(|hub| hub.join().unwrap()).collect()
        });
        assert_eq!(hubs.iter().filter(|hub| hub.is_ok()).count(), 1);
        UnixStream::connect(&path).unwrap();
    }
}
