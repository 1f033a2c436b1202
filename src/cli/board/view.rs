//! How the board looks in a given room: lines of text in the colours of the terminal. Pure.

use std::path::Path;
use std::time::Instant;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget, Wrap};
use unicode_width::UnicodeWidthStr;

use super::input::{Input, Mode};
use super::model::{Board, Session};
use super::rows;
use crate::cli::columns::cut;
use crate::cli::output::visible_line;
use crate::cli::wording;
use crate::protocol::{AskKind, PeerName};

/// What the keys do, in one line.
const KEYS: &str = "? keys  q leave  ⏎ look  a ask  t tell  c copy name  / filter  ↑↓ choose";

/// What the keys do.
const HELP: &[(&str, &str)] = &[
    ("↑ ↓ k j", "choose a session; PgUp, PgDn, Home, End go further"),
    ("Enter", "look at the session and what is open of it"),
    ("a", "ask the session; the answer is announced below"),
    ("t", "tell the session something that wants no answer"),
    ("r", "read the next answer, or the last one again; ↑ ↓ PgUp PgDn move in it"),
    ("c, y", "hand the session's name to the terminal's clipboard"),
    ("/", "show only sessions with a text in name, folder, branch, agent or state"),
    ("Esc", "back; in the list, no filter any more"),
    ("q, Ctrl-C", "leave"),
    ("Ctrl-Z", "stop; fg goes on"),
];

/// What is drawn, besides what the person does.
pub(super) struct View<'a> {
    /// What is known.
    pub(super) board: &'a Board,
    /// The time that ages are told at.
    pub(super) now: Instant,
    /// The home directory, which is written as `~`.
    pub(super) home: Option<&'a Path>,
}

impl View<'_> {
    /// Draws all of it and returns where the cursor is, if anywhere.
    pub(super) fn draw(&self, input: &Input, area: Rect, buffer: &mut Buffer) -> Option<Position> {
        if area.height < 3 {
            self.header().render(area, buffer);
            return None;
        }
        let [head, body, foot] = [
            Rect { height: 1, ..area },
            Rect { y: area.y + 1, height: area.height - 2, ..area },
            Rect { y: area.bottom() - 1, height: 1, ..area },
        ];
        self.header().render(head, buffer);
        match &input.mode {
            Mode::List | Mode::Filter | Mode::Message { .. } => self.lists(input, body, buffer),
            Mode::Session(name) => render(self.session(name), body, buffer),
            Mode::Answer => answer(input).render(body, buffer),
            Mode::Help => {
                let line = |(key, what): &(&'static str, &'static str)| {
                    Line::from(vec![format!("  {key:<11}").bold(), Span::raw(*what)])
                };
                render(HELP.iter().map(line).collect(), body, buffer);
            }
        }
        footer(input, foot, buffer)
    }

    /// Returns the lines of all that there is, as they are printed once.
    pub(super) fn lines(&self, width: Option<u16>) -> Vec<Line<'static>> {
        let width = width.map(usize::from);
        let parts = [self.session_rows(&self.board.sessions(""), width), self.ask_rows(width), self.end_rows(width)];
        let parts =
            parts.into_iter().filter(|rows| !rows.is_empty()).flat_map(|rows| [vec![Line::raw("")], rows].concat());
        [self.header()].into_iter().chain(parts).collect()
    }

    fn header(&self) -> Line<'static> {
        let sessions = self.board.sessions("");
        let n_waiting = sessions.iter().filter(|session| session.waits_for_its_user()).count();
        let mut spans = vec!["relay  ".bold(), Span::raw(wording::count(sessions.len(), "session"))];
        if n_waiting > 0 {
            let wait = if n_waiting == 1 { "waits" } else { "wait" };
            spans.extend([Span::raw(", "), format!("{n_waiting} {wait} for you").yellow().bold()]);
        }
        let n_asks = self.board.asks().len();
        if n_asks > 0 {
            spans.push(Span::raw(format!(", {}", wording::count(n_asks, "open ask"))));
        }
        if self.board.is_away() {
            spans.push("  the hub is away: this is what it told last".yellow());
        } else if self.board.settles_at().is_some_and(|at| at > self.now) {
            spans.push("  the hub has just started: more may come back in a moment".dim());
        }
        Line::from(spans)
    }

    /// Draws the three lists, each with as much room as the others leave it.
    fn lists(&self, input: &Input, area: Rect, buffer: &mut Buffer) {
        let width = Some(usize::from(area.width));
        let sessions = self.board.sessions(&input.filter);
        let mut parts = [self.session_rows(&sessions, width), self.ask_rows(width), self.end_rows(width)];
        if parts[0].is_empty() {
            let is_filtered = !input.filter.is_empty();
            let nobody = if is_filtered { "no session has this text" } else { "no session has joined" };
            parts[0] = vec![Line::raw(""), Line::from(nobody.dim())];
        }
        let chosen = input.chosen(self.board);
        if let Some(row) = chosen.and_then(|at| parts[0].get_mut(at + 1)) {
            *row = std::mem::take(row).reversed();
        }
        let heights = share(usize::from(area.height), [0, 1, 2].map(|at| parts[at].len()));
        // A list that is not the first has an empty line before it.
        let mut y = area.y;
        for (at, (rows, height)) in parts.into_iter().zip(heights).enumerate() {
            let chosen = chosen.filter(|_| at == 0);
            let gap = u16::from(at > 0 && height > 0);
            let height = u16::try_from(height).unwrap_or(u16::MAX);
            let part = Rect { y: y + gap, height: height.saturating_sub(gap), ..area };
            render(rows::window(rows, chosen, usize::from(part.height)), part, buffer);
            y += height;
        }
    }

    fn session_rows(&self, sessions: &[&Session], width: Option<usize>) -> Vec<Line<'static>> {
        rows::sessions(sessions, self.now, self.home, width)
    }

    fn ask_rows(&self, width: Option<usize>) -> Vec<Line<'static>> {
        rows::asks(self.board.asks(), self.now, width)
    }

    fn end_rows(&self, width: Option<usize>) -> Vec<Line<'static>> {
        rows::ends(self.board.ends(), self.now, width)
    }

    fn session(&self, name: &PeerName) -> Vec<Line<'static>> {
        let Some(session) = self.board.session(name) else {
            let may_return = self.board.settles_at().is_some_and(|at| at > self.now);
            let where_it_is = if may_return { "is not back yet" } else { "has gone" };
            return vec![Line::from(format!("{name} {where_it_is}").dim())];
        };
        let mut lines = rows::facts(session, self.now, self.home);
        let of_it = |from: &str, to: &str| from == name.as_str() || to == name.as_str();
        let asks: Vec<_> = self.board.asks().iter().filter(|ask| of_it(&ask.from, &ask.to)).cloned().collect();
        let ends = self.board.ends().iter().filter(|end| of_it(&end.from, &end.to)).cloned().collect();
        for part in [rows::asks(&asks, self.now, None), rows::ends(&ends, self.now, None)] {
            if !part.is_empty() {
                lines.push(Line::raw(""));
                lines.extend(part);
            }
        }
        lines
    }
}

fn answer(input: &Input) -> Paragraph<'static> {
    let Some((answer, scroll)) = input.answers.reading() else { return Paragraph::new("no answer has come") };
    let mut lines = vec![Line::from(format!("{} answers", visible_line(&answer.of)).bold()), Line::raw("")];
    lines.extend(answer.text.lines().map(|line| Line::raw(format!("  {}", visible_line(line)))));
    Paragraph::new(lines).wrap(Wrap { trim: false }).scroll((scroll, 0))
}

/// Draws the last line: what is typed, what is said, or what the keys do.
fn footer(input: &Input, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    let (before, typed) = match &input.mode {
        Mode::Filter => ("/".to_owned(), &input.filter),
        Mode::Message { kind: AskKind::Ask, to, text } => (format!("ask {to}: "), text),
        Mode::Message { kind: AskKind::Tell, to, text } => (format!("tell {to}: "), text),
        Mode::List | Mode::Session(_) | Mode::Answer | Mode::Help => {
            let line = match &input.note {
                Some(note) => Line::from(visible_line(note).cyan()),
                None if input.answers.n_unread() > 0 => {
                    let unread = wording::count(input.answers.n_unread(), "unread answer");
                    Line::from(vec![format!("{unread}: r to read  ").cyan(), KEYS.dim()])
                }
                None if !input.filter.is_empty() => {
                    Line::from(format!("/{}  {KEYS}", visible_line(&input.filter)).dim())
                }
                None => Line::from(KEYS.dim()),
            };
            line.render(area, buffer);
            return None;
        }
    };
    let room = usize::from(area.width).saturating_sub(before.width() + 1).max(1);
    let shown = cut(&visible_line(typed), room);
    let x = area.x + u16::try_from(before.width() + shown.width()).unwrap_or(u16::MAX).min(area.width - 1);
    Line::from(vec![before.bold(), Span::raw(shown)]).render(area, buffer);
    Some(Position { x, y: area.y })
}

fn render(lines: Vec<Line<'static>>, area: Rect, buffer: &mut Buffer) {
    for (line, y) in lines.into_iter().zip(area.top()..area.bottom()) {
        let row = Rect { y, height: 1, ..area };
        // What is marked is marked over the whole width.
        buffer.set_style(row, Style::new().patch(line.style));
        line.render(row, buffer);
    }
}

/// Shares this many lines among three lists that want so many, each with an empty line before it but the first. Each of the
/// later ones has a quarter for certain; what is left goes to the first, then to the others.
fn share(height: usize, wanted: [usize; 3]) -> [usize; 3] {
    let [sessions, asks, ends] = wanted;
    let with_gap = |n: usize| if n == 0 { 0 } else { n + 1 };
    let (asks, ends) = (with_gap(asks), with_gap(ends));
    // Fewer than three lines are a gap and titles.
    let certain = |n: usize| if height / 4 < 3 { 0 } else { n.min(height / 4) };
    let sessions = sessions.min(height - certain(asks) - certain(ends));
    let asks = asks.min(height - sessions - certain(ends));
    let ends = ends.min(height - sessions - asks);
    let visible = |n: usize| if n < 3 { 0 } else { n };
    [sessions, visible(asks), visible(ends)]
}
