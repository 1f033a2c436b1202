//! The list of sessions as a table that fits: a column that says nothing is left out, then those that matter least, then
//! folders are cut. A name is always whole: it is what one copies.

use std::path::Path;

use unicode_width::UnicodeWidthStr;

use super::{doing, open_asks, reachable};
use crate::agent;
use crate::cli::output::visible_line;
use crate::cli::wording;
use crate::protocol::PeerView;

/// What is between two columns.
const GAP: usize = 2;

/// The narrowest that a folder is cut to.
const FOLDER_MIN: usize = 10;

/// What a cell without content shows.
const NOTHING: &str = "-";

struct Column {
    title: &'static str,
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.width()).chain([self.title.width()]).max().unwrap_or(0)
    }

    fn says_nothing(&self) -> bool {
        self.cells.iter().all(|cell| cell == NOTHING)
    }
}

/// Returns a table of at most `width` columns, as far as names allow.
pub(super) fn table(peers: &[PeerView], home: Option<&Path>, width: Option<u16>) -> String {
    let mut peers: Vec<&PeerView> = peers.iter().collect();
    peers.sort_by_cached_key(|peer| natural(peer.name.as_str()));
    let column = |title, cell: &dyn Fn(&PeerView) -> String| Column {
        title,
        cells: peers.iter().map(|peer| cell(peer)).collect(),
    };
    let branch = |peer: &PeerView| peer.presence.branch.as_deref().map_or_else(|| NOTHING.to_owned(), visible_line);
    let mut columns = vec![
        column("NAME", &|peer| peer.name.to_string()),
        column("AGENT", &|peer| visible_line(agent::shown(&peer.agent))),
        column("FOLDER", &|peer| visible_line(&wording::folder(&peer.presence.cwd, home))),
        column("BRANCH", &branch),
        column("STATUS", &|peer| doing(&peer.presence)),
        column("REACHABLE", &|peer| reachable(peer.presence.wakes_by).to_owned()),
        column("OPEN ASKS", &|peer| open_asks(peer.open_asks)),
        column("SINCE", &|peer| wording::rough(peer.connected_s)),
    ];
    columns.retain(|column| !column.says_nothing());
    if let Some(width) = width.map(usize::from) {
        fit(&mut columns, width);
    }
    let lines = (0..=peers.len()).map(|row| {
        let cell = |column: &Column| {
            let text = row.checked_sub(1).map_or(column.title, |row| &column.cells[row]);
            format!("{text}{}", " ".repeat(column.width() + GAP - text.width()))
        };
        columns.iter().map(cell).collect::<String>().trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn fit(columns: &mut Vec<Column>, width: usize) {
    let total = |columns: &[Column]| columns.iter().map(|column| column.width() + GAP).sum::<usize>() - GAP;
    for least in ["SINCE", "BRANCH", "AGENT"] {
        if total(columns) > width {
            columns.retain(|column| column.title != least);
        }
    }
    let over = total(columns).saturating_sub(width);
    if let Some(folder) = columns.iter_mut().find(|column| column.title == "FOLDER") {
        let room = folder.width().saturating_sub(over).max(FOLDER_MIN);
        for cell in &mut folder.cells {
            *cell = cut(cell, room);
        }
    }
}

/// Returns the end of a text that is too wide: the end of a folder says more than its beginning.
fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let end = text.char_indices().map(|(at, _)| &text[at..]).find(|end| end.width() < room).unwrap_or_default();
    format!("…{end}")
}

/// Returns a key by which `project-2` comes before `project-10`.
fn natural(name: &str) -> (String, u64, String) {
    let head = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (head.to_owned(), name[head.len()..].parse().unwrap_or(0), name.to_owned())
}
