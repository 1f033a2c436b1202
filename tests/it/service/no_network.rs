//! The hub speaks over Unix sockets and nothing else: seen from inside its own process, under load, in its unit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::installed::{Installed, soon};
use crate::support::stage::{ask, reply};
use crate::support::user_manager::user_manager;

/// Every file of `/proc/PID/net` that lists sockets, of any family but Unix.
const FAMILIES: [&str; 12] =
    ["tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6", "netlink", "packet"];

/// Returns the numbers of the sockets that a process holds.
fn sockets(pid: u32) -> BTreeSet<u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// Returns the numbers of all sockets that a process can see, by family.
fn families(pid: u32) -> BTreeMap<&'static str, BTreeSet<u64>> {
    let listed = |family: &str| {
        let path = format!("/proc/{pid}/net/{family}");
        // A kernel without the family has no file.
        let text = fs::read_to_string(Path::new(&path)).unwrap_or_default();
        text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect::<BTreeSet<u64>>()
    };
    FAMILIES.into_iter().chain(["unix"]).map(|family| (family, listed(family))).collect()
}

#[test]
fn a_busy_hub_holds_unix_sockets_only() {
    let relay = Installed::with(user_manager!());
    let [web, backend] = ["web", "backend"].map(|folder| relay.session(folder));
    soon("both sessions", || (relay.peers().len() == 2).then_some(()));
    let hub = relay.hub();
    let clients: Vec<_> = (0..20).map(|_| relay.client()).collect();
    for n in 0..10 {
        ask(&web, "backend", &format!("{n}?"), 60);
        reply(&backend, &backend.event(), "yes");
        web.event();
        let held = sockets(hub);
        let families = families(hub);
        assert!(held.len() > clients.len(), "{held:?}");
        assert!(held.is_subset(&families["unix"]), "{held:?} {:?}", families["unix"]);
        for family in FAMILIES {
            let shared: Vec<_> = held.intersection(&families[family]).collect();
            assert!(shared.is_empty(), "{family}: {shared:?}");
        }
    }
    web.call("relay_broadcast", json!({"question": "And now?"})).ok();
    backend.event();
    // The channels of the sessions as well, which nothing but their program keeps from it.
    for session in [&web, &backend] {
        assert!(sockets(session.pid).is_subset(&families(session.pid)["unix"]), "{:?}", sockets(session.pid));
    }
}

#[test]
fn a_socket_of_another_family_would_be_seen() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let own = std::process::id();
    assert!(!sockets(own).is_subset(&families(own)["unix"]));
    assert!(sockets(own).intersection(&families(own)["tcp"]).next().is_some());
    drop(listener);
}
