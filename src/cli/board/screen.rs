//! The terminal of the board: taken over, drawn on, and given back as it was, however the program ends.

use std::io::{self, stdout};
use std::panic;
use std::thread;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::clipboard::CopyToClipboard;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use ratatui::layout::{Position, Rect};
use tokio::sync::mpsc::{Receiver, channel};

/// How many events of the terminal may wait.
const EVENTS: usize = 64;

/// The terminal, for as long as the board has it.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
}

impl Screen {
    /// Takes the terminal over: raw, on its second screen. What a panic prints comes after it was given back.
    ///
    /// # Errors
    /// Standard output is no terminal, or does not do as it is told.
    pub(super) fn enter() -> io::Result<Self> {
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            leave();
            print(info);
        }));
        // From here on it is given back, also where a step of taking it over fails.
        let screen = Self { terminal };
        take()?;
        Ok(screen)
    }

    /// Draws what has changed. `draw` is given the whole screen and says where the cursor is, if anywhere.
    ///
    /// # Errors
    /// The terminal cannot be written to.
    pub(super) fn draw(&mut self, draw: impl FnOnce(Rect, &mut Buffer) -> Option<Position>) -> io::Result<()> {
        // Terminals that know it show all of it at once.
        execute!(stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| {
            let cursor = draw(frame.area(), frame.buffer_mut());
            if let Some(cursor) = cursor {
                frame.set_cursor_position(cursor);
            }
        })?;
        execute!(stdout(), EndSynchronizedUpdate)
    }

    /// Hands a text to the terminal's clipboard (OSC 52).
    ///
    /// # Errors
    /// The terminal cannot be written to.
    pub(super) fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(stdout(), CopyToClipboard::to_clipboard_from(text))
    }

    /// Gives the terminal back, lets `stop` stop the program, and takes the terminal over again when it goes on.
    ///
    /// # Errors
    /// The terminal does not do as it is told.
    pub(super) fn suspend(&mut self, stop: impl FnOnce()) -> io::Result<()> {
        leave();
        stop();
        take()?;
        // One that has drawn nothing yet: clearing the old one would read the cursor's place where keys are read.
        self.terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Takes the terminal over.
fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste)
}

/// Gives the terminal back. One that has gone needs nothing.
fn leave() {
    let _gone = execute!(stdout(), EndSynchronizedUpdate, DisableBracketedPaste, LeaveAlternateScreen, Show);
    let _gone = disable_raw_mode();
}

/// Returns what the terminal tells: keys, pasted text, another size.
///
/// A thread of its own reads it, since the library waits for the end of a sequence that has begun.
///
/// # Errors
/// The system has no room for a thread.
pub(super) fn events() -> io::Result<Receiver<Event>> {
    let (told, events) = channel(EVENTS);
    let read = move || {
        while let Ok(event) = event::read()
            && told.blocking_send(event).is_ok()
        {}
    };
    thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(events)
}
