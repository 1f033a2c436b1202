//! What the person at the board does: which session is chosen, what is typed, and what a key means. Pure.

#![expect(clippy::wildcard_enum_match_arm, reason = "most keys of a terminal mean nothing here")]

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::answers::{Answer, Answers};
use super::model::Board;
use crate::cli::wording;
use crate::protocol::{AskKind, AskState, PeerName};

/// What fills the screen and takes the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// The board itself.
    List,
    /// The board, while the filter is typed.
    Filter,
    /// One session.
    Session(PeerName),
    /// The board, while a question to a session or a message for it is typed.
    Message {
        /// Whether an answer is wanted.
        kind: AskKind,
        /// Whom.
        to: PeerName,
        /// What was typed so far.
        text: String,
    },
    /// An answer.
    Answer,
    /// The keys.
    Help,
}

/// What is to be done for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Nothing,
    /// The screen is drawn anew.
    Draw,
    /// The program ends.
    Quit,
    /// The program ends as if the terminal had sent it an interrupt.
    Interrupt,
    /// The program stops until its shell continues it.
    Suspend,
    /// The text is handed to the terminal's clipboard.
    Copy(String),
    /// A session is asked or told.
    Send {
        /// Whether an answer is wanted.
        kind: AskKind,
        /// Whom.
        to: PeerName,
        /// What.
        text: String,
    },
}

/// The state of the person's side.
#[derive(Debug)]
pub(super) struct Input {
    /// What takes the keys.
    pub(super) mode: Mode,
    /// What the sessions must have in them.
    pub(super) filter: String,
    /// One line for the person, until the next key that is not typed text.
    pub(super) note: Option<String>,
    /// The answers.
    pub(super) answers: Answers,
    /// How many own questions and messages are open.
    pub(super) n_open: usize,
    chosen: Option<PeerName>,
    /// A text that was refused, until one is typed again.
    refused: Option<String>,
    /// The text that was sent last.
    sent: String,
    is_warned: bool,
}

impl Input {
    /// Returns the state of a board that was just opened.
    pub(super) fn new() -> Self {
        let (mode, filter) = (Mode::List, String::new());
        let (note, answers, sent) = (None, Answers::default(), String::new());
        Self { mode, filter, note, answers, n_open: 0, chosen: None, refused: None, sent, is_warned: false }
    }

    /// Returns which of these sessions is chosen: the same one as long as it is there, else the first.
    pub(super) fn chosen(&self, board: &Board) -> Option<usize> {
        let sessions = board.sessions(&self.filter);
        let at = sessions.iter().position(|session| Some(&session.view.name) == self.chosen.as_ref());
        at.or_else(|| (!sessions.is_empty()).then_some(0))
    }

    /// Takes what the terminal tells.
    pub(super) fn handle_event(&mut self, board: &Board, event: &Event) -> Action {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.handle_key(board, *key),
            Event::Paste(text) => {
                let typed = self.typed();
                typed.map_or(Action::Nothing, |typed| {
                    typed.push_str(text);
                    Action::Draw
                })
            }
            Event::Resize(..) => Action::Draw,
            Event::Key(_) | Event::FocusGained | Event::FocusLost | Event::Mouse(_) => Action::Nothing,
        }
    }

    /// Takes an answer: it is shown when the person wants it, and does not take the place of what is typed.
    pub(super) fn handle_answer(&mut self, answer: Answer) {
        self.n_open = self.n_open.saturating_sub(1);
        self.note = Some(format!("{} has answered: r to read", answer.of));
        self.answers.add(answer);
    }

    /// Takes it that a session has another name.
    pub(super) fn handle_rename(&mut self, former: &PeerName, name: &PeerName) {
        let shown = match &mut self.mode {
            Mode::Session(shown) | Mode::Message { to: shown, .. } => Some(shown),
            Mode::List | Mode::Filter | Mode::Answer | Mode::Help => None,
        };
        for known in shown.into_iter().chain(&mut self.chosen).filter(|known| *known == former) {
            known.clone_from(name);
        }
    }

    /// Takes it that what was sent last was refused: its text is there when one is typed again.
    pub(super) fn handle_refusal(&mut self, why: String) {
        self.refused = Some(std::mem::take(&mut self.sent));
        self.handle_failure(why);
    }

    /// Takes it that an own message has arrived.
    pub(super) fn handle_arrival(&mut self, to: &PeerName, state: AskState) {
        self.n_open = self.n_open.saturating_sub(1);
        self.note = Some(state.told(to.as_str()));
    }

    /// Takes it that an own question or message has failed.
    pub(super) fn handle_failure(&mut self, why: String) {
        self.n_open = self.n_open.saturating_sub(1);
        self.note = Some(why);
    }

    /// Returns the text that is being typed.
    fn typed(&mut self) -> Option<&mut String> {
        match &mut self.mode {
            Mode::Filter => Some(&mut self.filter),
            Mode::Message { text, .. } => Some(text),
            Mode::List | Mode::Session(_) | Mode::Answer | Mode::Help => None,
        }
    }

    fn handle_key(&mut self, board: &Board, key: KeyEvent) -> Action {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Action::Interrupt,
            KeyCode::Char('z') if control => return Action::Suspend,
            _ => {}
        }
        if self.typed().is_some() {
            return self.edit(key.code, control);
        }
        self.note = None;
        let (is_list, is_answer) = (self.mode == Mode::List, self.mode == Mode::Answer);
        let is_warned = std::mem::take(&mut self.is_warned);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc if is_list => {
                // Escape clears the filter first.
                if key.code == KeyCode::Esc && !self.filter.is_empty() {
                    self.filter.clear();
                    return Action::Draw;
                }
                if self.n_open > 0 && !is_warned {
                    self.note = Some("leaving withdraws what is open of yours: once more to leave".to_owned());
                    self.is_warned = true;
                    return Action::Draw;
                }
                Action::Quit
            }
            KeyCode::Char('q') | KeyCode::Esc | KeyCode::Backspace => self.enter(Mode::List),
            KeyCode::Char('?') | KeyCode::F(1) => self.enter(Mode::Help),
            KeyCode::Char('r') if self.answers.read_next() => self.enter(Mode::Answer),
            KeyCode::Up | KeyCode::Char('k') if is_answer => self.scroll(-1),
            KeyCode::Down | KeyCode::Char('j') if is_answer => self.scroll(1),
            KeyCode::PageUp if is_answer => self.scroll(-10),
            KeyCode::PageDown | KeyCode::Char(' ') if is_answer => self.scroll(10),
            KeyCode::Char('/') => self.enter(Mode::Filter),
            KeyCode::Up | KeyCode::Char('k') if is_list => self.choose(board, |at, _| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') if is_list => self.choose(board, |at, last| (at + 1).min(last)),
            KeyCode::PageUp if is_list => self.choose(board, |at, _| at.saturating_sub(10)),
            KeyCode::PageDown if is_list => self.choose(board, |at, last| (at + 10).min(last)),
            KeyCode::Home | KeyCode::Char('g') if is_list => self.choose(board, |_, _| 0),
            KeyCode::End | KeyCode::Char('G') if is_list => self.choose(board, |_, last| last),
            KeyCode::Enter | KeyCode::Char('a' | 't' | 'c' | 'y') => self.act(board, key.code),
            _ => Action::Nothing,
        }
    }

    /// Does what concerns the chosen session.
    fn act(&mut self, board: &Board, key: KeyCode) -> Action {
        let name = match &self.mode {
            Mode::Session(name) => Some(name.clone()),
            Mode::List => self.name_at(board, self.chosen(board)),
            Mode::Filter | Mode::Message { .. } | Mode::Answer | Mode::Help => None,
        };
        match (name, key) {
            (None, _) => self.enter(Mode::List),
            (Some(name), KeyCode::Enter) => self.enter(Mode::Session(name)),
            (Some(to), KeyCode::Char(key @ ('a' | 't'))) => {
                let kind = if key == 'a' { AskKind::Ask } else { AskKind::Tell };
                let text = self.refused.take().unwrap_or_default();
                self.enter(Mode::Message { kind, to, text })
            }
            (Some(name), _) => {
                // Whether the terminal takes it is not told.
                self.note = Some(format!("{name} was sent to the terminal's clipboard"));
                Action::Copy(name.to_string())
            }
        }
    }

    fn edit(&mut self, key: KeyCode, control: bool) -> Action {
        match key {
            KeyCode::Esc => {
                if self.mode == Mode::Filter {
                    self.filter.clear();
                }
                return self.enter(Mode::List);
            }
            KeyCode::Enter => {
                return match std::mem::replace(&mut self.mode, Mode::List) {
                    Mode::Message { kind, to, text } if !text.trim().is_empty() => {
                        self.n_open += 1;
                        self.note = Some(format!("{} {to}", wording::sent(kind)));
                        self.sent.clone_from(&text);
                        Action::Send { kind, to, text }
                    }
                    Mode::Message { kind, .. } => {
                        self.note = Some(format!("nothing was {}", wording::sent(kind)));
                        Action::Draw
                    }
                    Mode::Filter | Mode::List | Mode::Session(_) | Mode::Answer | Mode::Help => Action::Draw,
                };
            }
            _ => {}
        }
        let Some(text) = self.typed() else { return Action::Nothing };
        match key {
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char('u') if control => text.clear(),
            KeyCode::Char(c) if !control => text.push(c),
            _ => return Action::Nothing,
        }
        Action::Draw
    }

    fn enter(&mut self, mode: Mode) -> Action {
        self.mode = mode;
        Action::Draw
    }

    fn scroll(&mut self, lines: i32) -> Action {
        self.answers.scroll_by(lines);
        Action::Draw
    }

    fn choose(&mut self, board: &Board, to: impl FnOnce(usize, usize) -> usize) -> Action {
        if let Some(at) = self.chosen(board) {
            let last = board.sessions(&self.filter).len() - 1;
            self.chosen = self.name_at(board, Some(to(at, last)));
        }
        Action::Draw
    }

    fn name_at(&self, board: &Board, at: Option<usize>) -> Option<PeerName> {
        board.sessions(&self.filter).get(at?).map(|session| session.view.name.clone())
    }
}
