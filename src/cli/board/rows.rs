//! The rows of the board's lists: sessions, open asks, and how asks ended. Pure.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};

use super::model::{End, How, Open, Session};
use crate::agent;
use crate::cli::columns::{Column, NOTHING, Room, fit};
use crate::cli::output::visible_line;
use crate::cli::{peers, wording};
use crate::protocol::{Activity, AskOutcome, AskState};

/// Returns the sessions with their titles, within this width; nothing where there is none.
pub(super) fn sessions(
    sessions: &[&Session],
    now: Instant,
    home: Option<&Path>,
    width: Option<usize>,
) -> Vec<Line<'static>> {
    let branch = |session: &&Session| session.view.presence.branch.as_deref().map_or_else(nothing, visible_line);
    let folder = |session: &&Session| visible_line(&wording::folder(&session.view.presence.cwd, home));
    let columns = vec![
        Column::of("SESSION", Room::Whole, sessions, |session| session.view.name.to_string()),
        Column::of("STATE", Room::Whole, sessions, |session| state(session)),
        Column::of("SINCE", Room::LeftOut(2), sessions, |session| age(now, session.state_since)),
        Column::of("FOLDER", Room::Cut, sessions, folder),
        Column::of("BRANCH", Room::LeftOut(0), sessions, branch),
        Column::of("AGENT", Room::LeftOut(1), sessions, |session| visible_line(agent::shown(&session.view.agent))),
    ];
    let style = |row: usize| match sessions[row].view.presence.status {
        Activity::Waiting => Style::new().yellow().bold(),
        Activity::Busy => Style::new().green(),
        Activity::Idle | Activity::Unknown => Style::new(),
    };
    lines(columns, width, style)
}

/// Returns the open asks with their titles, within this width; nothing where there is none.
pub(super) fn asks(asks: &[Open], now: Instant, width: Option<usize>) -> Vec<Line<'static>> {
    let columns = vec![
        Column::of("OPEN ASK", Room::Whole, asks, |ask| who(&ask.from, &ask.to)),
        Column::of("AGE", Room::Whole, asks, |ask| age(now, ask.asked_at)),
        Column::of("STATE", Room::Whole, asks, |ask| ask.state.in_short().to_owned()),
        Column::of("ID", Room::LeftOut(0), asks, |ask| ask.ask_id.to_string()),
    ];
    lines(columns, width, |row| if asks[row].state == AskState::Held { Style::new().yellow() } else { Style::new() })
}

/// Returns how asks ended, with titles, within this width; nothing where none has.
pub(super) fn ends(ends: &VecDeque<End>, now: Instant, width: Option<usize>) -> Vec<Line<'static>> {
    let ends: Vec<&End> = ends.iter().collect();
    let columns = vec![
        Column::of("LAST OUTCOMES", Room::Whole, &ends, |end| who(&end.from, &end.to)),
        Column::of("AGO", Room::Whole, &ends, |end| age(now, Some(end.at))),
        Column::of("", Room::Whole, &ends, |end| how(end.how)),
    ];
    let style = |row: usize| match ends[row].how {
        How::Ended(AskOutcome::Reply | AskOutcome::Shown | AskOutcome::HandedOver | AskOutcome::Withdrawn, ..) => {
            Style::new()
        }
        How::Ended(AskOutcome::Timeout | AskOutcome::PeerGone | AskOutcome::Unconfirmed, ..) | How::Refused(_) => {
            Style::new().red()
        }
    };
    lines(columns, width, style)
}

/// Returns what is known of one session.
pub(super) fn facts(session: &Session, now: Instant, home: Option<&Path>) -> Vec<Line<'static>> {
    let view = &session.view;
    let facts = [
        ("state", state(session)),
        ("since", age(now, session.state_since)),
        ("folder", visible_line(&wording::folder(&view.presence.cwd, home))),
        ("branch", view.presence.branch.as_deref().map_or_else(nothing, visible_line)),
        ("agent", visible_line(view.client.as_deref().unwrap_or_else(|| agent::shown(&view.agent)))),
        ("process", view.pid.map_or_else(nothing, |pid| pid.to_string())),
        ("woken by", peers::wakes_by(view.presence.wakes_by).to_owned()),
        ("here for", age(now, session.came_at)),
    ];
    let line = |(what, fact)| Line::from(vec![Span::raw(format!("  {what:<11}")).dim(), Span::raw(fact)]);
    [Line::from(view.name.to_string().bold())].into_iter().chain(facts.into_iter().map(line)).collect()
}

/// Returns the titles and so many rows as fit, among them the chosen one; where some do not, the last line says how many.
pub(super) fn window(mut lines: Vec<Line<'static>>, chosen: Option<usize>, height: usize) -> Vec<Line<'static>> {
    if lines.len() <= height {
        return lines;
    }
    let n_rows = lines.len().saturating_sub(1);
    let has_last_line = height > 2;
    let room = height.saturating_sub(1 + usize::from(has_last_line));
    let first = chosen.map_or(0, |at| (at + 1).saturating_sub(room)).min(n_rows - room);
    lines.drain(1..=first);
    lines.truncate(1 + room);
    if has_last_line {
        lines.push(Line::from(format!("… {} more", n_rows - room).dim()));
    }
    lines.truncate(height);
    lines
}

fn lines(mut columns: Vec<Column>, width: Option<usize>, style: impl Fn(usize) -> Style) -> Vec<Line<'static>> {
    let n_rows = columns.first().map_or(0, |column| column.cells.len());
    if n_rows == 0 {
        return Vec::new();
    }
    fit(&mut columns, width);
    let line = |texts: Vec<String>| texts.concat().trim_end().to_owned();
    let titles = line(columns.iter().map(Column::padded_title).collect());
    let rows = (0..n_rows).map(|row| {
        let text = line(columns.iter().map(|column| column.padded_cell(row)).collect());
        Line::raw(text).style(style(row))
    });
    [Line::from(titles.dim())].into_iter().chain(rows).collect()
}

fn nothing() -> String {
    NOTHING.to_owned()
}

fn who(from: &str, to: &str) -> String {
    format!("{} → {}", visible_line(from), visible_line(to))
}

/// Returns what a session does, and whom it waits for.
fn state(session: &Session) -> String {
    match &session.view.presence.waiting_for {
        _ if session.view.reachable == Some(false) => "unreachable".to_owned(),
        _ if !session.waits_for_its_user() => peers::status(session.view.presence.status).to_owned(),
        Some(dialog) => format!("waits for you: {}", visible_line(dialog)),
        None => "waits for you".to_owned(),
    }
}

fn how(how: How) -> String {
    match how {
        How::Ended(outcome, state, took) => wording::ended(outcome, state, took),
        How::Refused(code) => format!("refused: {code}"),
    }
}

/// Returns an age in full minutes or more: it grows although nothing happens, and nobody looks each second.
fn age(now: Instant, since: Option<Instant>) -> String {
    match since.map(|since| now.saturating_duration_since(since)) {
        None => nothing(),
        Some(age) if age < Duration::from_secs(60) => "<1m".to_owned(),
        Some(age) => wording::rough(age.as_secs()),
    }
}
