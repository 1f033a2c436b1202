//! Columns of text that fit: one that says nothing is left out, then those that matter least, then the one that can be cut.

use unicode_width::UnicodeWidthStr;

/// What is between two columns.
const GAP: usize = 2;

/// The narrowest that a column is cut to.
const CUT_MIN: usize = 10;

/// What a cell without content shows.
pub(super) const NOTHING: &str = "-";

/// What may happen to a column where all of them do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Nothing: it is what one copies.
    Whole,
    /// It is left out, the lowest number first.
    LeftOut(u8),
    /// Its texts lose their beginnings.
    Cut,
}

/// One column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Its title.
    pub(super) title: &'static str,
    /// Its texts, one a row.
    pub(super) cells: Vec<String>,
    /// What may happen to it.
    pub(super) room: Room,
}

impl Column {
    /// Returns a column with this text for each of these things.
    pub(super) fn of<T>(title: &'static str, room: Room, things: &[T], cell: impl Fn(&T) -> String) -> Self {
        Self { title, room, cells: things.iter().map(cell).collect() }
    }

    /// Returns its title, as wide as the column and the gap behind it.
    pub(super) fn padded_title(&self) -> String {
        self.padded(self.title)
    }

    /// Returns its text in this row, as wide as the column and the gap behind it.
    pub(super) fn padded_cell(&self, row: usize) -> String {
        self.padded(&self.cells[row])
    }

    fn padded(&self, text: &str) -> String {
        format!("{text}{}", " ".repeat(self.width() + GAP - text.width()))
    }

    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.width()).chain([self.title.width()]).max().unwrap_or(0)
    }

    fn says_nothing(&self) -> bool {
        self.cells.iter().all(|cell| cell == NOTHING)
    }
}

/// Makes the columns fit into this width, as far as what is whole allows.
pub(super) fn fit(columns: &mut Vec<Column>, width: Option<usize>) {
    columns.retain(|column| !column.says_nothing());
    let Some(width) = width else { return };
    let total =
        |columns: &[Column]| (columns.iter().map(|column| column.width() + GAP).sum::<usize>()).saturating_sub(GAP);
    while total(columns) > width {
        let order = |room| if let Room::LeftOut(order) = room { Some(order) } else { None };
        let Some(least) = columns.iter().filter_map(|column| order(column.room)).min() else { break };
        columns.retain(|column| order(column.room) != Some(least));
    }
    let over = total(columns).saturating_sub(width);
    if let Some(column) = columns.iter_mut().find(|column| column.room == Room::Cut) {
        let room = column.width().saturating_sub(over).max(CUT_MIN);
        for cell in &mut column.cells {
            *cell = cut(cell, room);
        }
    }
}

/// Returns the end of a text that is too wide: the end of a folder says more than its beginning.
pub(super) fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let end = text.char_indices().map(|(at, _)| &text[at..]).find(|end| end.width() < room).unwrap_or_default();
    format!("…{end}")
}
