//! The list of sessions as a table that fits.

use std::path::Path;

use super::{doing_there, open_asks, reachable};
use crate::agent;
use crate::cli::columns::{Column, NOTHING, Room, fit};
use crate::cli::output::visible_line;
use crate::cli::wording;
use crate::protocol::{MachineView, PeerView};

/// Returns a table of at most `width` columns, as far as names allow.
pub(super) fn table(peers: &[PeerView], machines: &[MachineView], home: Option<&Path>, width: Option<u16>) -> String {
    let mut peers: Vec<&PeerView> = peers.iter().collect();
    peers.sort_by_cached_key(|peer| natural(peer.name.as_str()));
    let machine = |peer: &&PeerView| peer.machine.as_ref().map_or_else(|| NOTHING.to_owned(), ToString::to_string);
    // Another machine may not tell where its sessions work.
    let folder = |peer: &&PeerView| match peer.presence.cwd.as_str() {
        "" => NOTHING.to_owned(),
        cwd if peer.machine.is_some() => visible_line(cwd),
        cwd => visible_line(&wording::folder(cwd, home)),
    };
    let branch = |peer: &&PeerView| peer.presence.branch.as_deref().map_or_else(|| NOTHING.to_owned(), visible_line);
    let mut columns = vec![
        Column::of("NAME", Room::Whole, &peers, |peer| peer.name.to_string()),
        Column::of("MACHINE", Room::LeftOut(2), &peers, machine),
        Column::of("AGENT", Room::LeftOut(3), &peers, |peer| visible_line(agent::shown(&peer.agent))),
        Column::of("FOLDER", Room::Cut, &peers, folder),
        Column::of("BRANCH", Room::LeftOut(2), &peers, branch),
        Column::of("STATUS", Room::Whole, &peers, |peer| doing_there(peer, machines)),
        Column::of("FOR", Room::LeftOut(1), &peers, |peer| wording::rough(peer.status_s)),
        Column::of("REACHABLE", Room::Whole, &peers, |peer| reachable(peer).to_owned()),
        Column::of("OPEN ASKS", Room::Whole, &peers, |peer| open_asks(peer.open_asks)),
        Column::of("SINCE", Room::LeftOut(0), &peers, |peer| wording::rough(peer.connected_s)),
    ];
    fit(&mut columns, width.map(usize::from));
    let titles = columns.iter().map(Column::padded_title).collect::<String>();
    let rows = (0..peers.len()).map(|row| columns.iter().map(|column| column.padded_cell(row)).collect());
    let lines: Vec<String> = [titles].into_iter().chain(rows).map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Returns a key by which `project-2` comes before `project-10`.
pub(in crate::cli) fn natural(name: &str) -> (String, u64, String) {
    let head = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (head.to_owned(), name[head.len()..].parse().unwrap_or(0), name.to_owned())
}
