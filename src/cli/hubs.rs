//! The hubs that this user runs, wherever they listen, as the system shows its processes.

use std::path::PathBuf;

/// A process of `relay-hub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HubProcess {
    /// Its process id.
    pub(super) pid: u32,
    /// Where it listens; none where the system does not tell.
    pub(super) socket: Option<PathBuf>,
    /// Whether its program was replaced or removed since it was started.
    pub(super) is_outdated: bool,
}

/// Returns the hubs of this user.
#[cfg(target_os = "linux")]
pub(super) fn of_user(uid: u32) -> Vec<HubProcess> {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    let listeners = fs::read_to_string("/proc/net/unix").map(|text| listeners(&text)).unwrap_or_default();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let hub = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        entry.metadata().ok().filter(|found| found.uid() == uid)?;
        let program = fs::read_link(entry.path().join("exe")).ok()?;
        let is_outdated = match program.file_name()?.to_str()? {
            "relay-hub" => false,
            // What the kernel puts behind the path of a program whose file has gone (proc_pid_exe(5)).
            "relay-hub (deleted)" => true,
            _ => return None,
        };
        let descriptors = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        let inode = |fd: fs::DirEntry| Some(fs::read_link(fd.path()).ok()?.to_str()?.to_owned());
        let socket = descriptors
            .filter_map(inode)
            .find_map(|fd| Some(listeners.iter().find(|(name, _)| *name == fd)?.1.clone()));
        Some(HubProcess { pid, socket, is_outdated })
    };
    processes.filter_map(hub).collect()
}

/// Returns the hubs of this user.
#[cfg(not(target_os = "linux"))]
pub(super) const fn of_user(_uid: u32) -> Vec<HubProcess> {
    Vec::new()
}

/// Reads what listens, with the path that it was bound to: the name of a descriptor in `/proc/PID/fd`, and the path.
#[cfg(target_os = "linux")]
fn listeners(text: &str) -> Vec<(String, PathBuf)> {
    /// `__SO_ACCEPTCON` of linux/net.h: a socket that listens.
    const LISTENS: &str = "00010000";
    let listener = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [_, _, _, LISTENS, _, _, inode, path] => Some((format!("socket:[{inode}]"), PathBuf::from(path))),
            _ => None,
        }
    };
    text.lines().filter_map(listener).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_known_by_its_inode() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01 4711 /run/user/1/relay/hub.sock\n\
                    0000000000000000: 00000003 00000000 00000000 0001 03 4712 /run/user/1/relay/hub.sock\n\
                    0000000000000000: 00000003 00000000 00000000 0001 03 4713\n";
        assert_eq!(listeners(text), [("socket:[4711]".to_owned(), "/run/user/1/relay/hub.sock".into())]);
    }

    #[test]
    fn what_is_no_hub_is_not_listed() {
        let own = std::process::id();
        assert!(of_user(rustix::process::geteuid().as_raw()).iter().all(|hub| hub.pid != own));
    }
}
