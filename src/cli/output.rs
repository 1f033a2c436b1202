//! Everything that is printed. Data goes to stdout, talk to stderr; nothing else in this crate prints.
//!
//! # Text
//!
//! What other sessions wrote is untrusted: a terminal obeys control characters (clipboard, cursor, title), and
//! bidirectional controls make a text look like another. A [`Line`] is the only thing that can be printed, and it shows
//! such characters as visible escapes; newline and tab stay. Colours are this module's own, and only where stdout or
//! stderr is a terminal and `NO_COLOR` is not set.
//!
//! # JSON
//!
//! `--json` prints one object a line, in schema 1: `"schema": 1` and `"type"`, then by type
//!
//! | type | printed by | keys |
//! | --- | --- | --- |
//! | `peers` | `peers` | `settling`, `peers`: as in the tool `relay_peers`; where there are other machines `machines` (`name`, `reachable`, `since_s`, `sessions`) |
//! | `peer` | `wait` | the session: as in `peers` |
//! | `status` | `status` | `socket`, `reachable`; where a hub is reached `hub` (version), `versions` (`min`, `max`), `pid`, `uptime_s`, `settling`, `connections`, `peers`, `open_asks`, `programs` (program to count), `activated` (started by a service manager), `replaced` (its program was), `refused` (limit to count), `machines` as in `peers`; always `names` (of the peers), `service`: null, or `manager` and `units` (`name`, `load`, `active`, `sub`, `enabled`), `warnings` (`what`, `next`) |
//! | `watching` | `watch` | the whole state: `at`, `restarted` (the hub was), `hub`, `pid`, `settling`, `peers` and `machines` as in `peers`, `asks` (`ask_id`, `from`, `to`, `broadcast_id`, `state`, `age_ms`, `timeout_ms`, `question`) |
//! | `watched` | `watch` | one change: `at`, `what` (`peer_came`, `peer_left`, `peer_renamed`, `peer_changed`, `machine_changed`, `machine_left`, `ask_opened`, `ask_advanced`, `ask_refused`, `ask_ended`), and what the protocol's event of that name has |
//! | `board` | `board` | `settling`, `peers` as in `peers`, those first that wait for their user, `asks` as in `watching` |
//! | `history` | `history` | one ask or tell: `ask_id`, `kind` (`ask` or `tell`), `from`, `to`, `asked_at`, `outcome` (`reply`, `shown`, `handed_over`, `timeout`, `peer_gone`, `withdrawn`, `unconfirmed`, `open`, or `unrecorded` where no hub has logged its end); of an ended one `state` and `took_ms`; where texts are logged `question`, `reply` |
//! | `history_day` | `history` | one day: `day`, `asks`, `tells`, and how many of them `replied`, `shown`, `handed_over`, `timed_out`, `gone`, `withdrawn`, `unconfirmed`, `open`, `unrecorded`; `median_ms` of the answers (may be null); `pairs`: the same for each `from` and `to` |
//! | `machines` | `machines` | `bridge` (`version`, `pid`, `hub`: whether it is connected to the hub; null where none runs), `machines` (`name`, `via`, `they_may`, `sessions_allowed`: patterns, or null for all, `paused`; where a bridge runs `link` (`state`: `up`, `connecting`, `down` with `why`, and with `next` where this machine can do something, `paused`, `awaited`), `since_s`, `round_trip_ms`, `version`, `we_may`, `sessions`, `open_asks`, `held` (`ask_id`, `from`, `to`, `left_s`)), `faults` (`what`, `next`) |
//! | `machine_step` | `machines test` | `step`, `ok`, `what`, `next` |
//! | `log` | `logs` | `at`, `level`, `program`, `message`, `fields` |
//! | `check` | `doctor` | `name`, `state` (`ok`, `note`, `warn` or `fail`), `what`, `cure` (may be null) |
//! | `outcome` | `ask`, `broadcast`, `tell` | `ask_id` or `tell_id`, `to`, `outcome` (`reply`, `timeout` or `peer_gone`; of a tell `shown` or `handed_over` instead of `reply`); of a reply `from` and `text`; of a failure `state` (`accepted`, `held`, `handed_over` or `shown`) and, where the session waits for its user, `waiting_for` |
//! | `refused` | `broadcast` | `to`, `error`: a session that could not be asked, or a name that is none's |
//! | `audience` | `broadcast --list` | `names`, `refused` (`to`, `error`), `settling`: who would be asked |
//! | `tally` | `broadcast` | `asked`, `replied`, `timed_out`, `gone`, `refused`: the last line |
//! | `error` | all | `error`: `code` (may be null), `message`, `next`; the command failed |
//!
//! Keys may be added within a schema; a key that goes or changes its meaning makes a new number.

use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;
use clap::Args;
use clap::builder::StyledStr;
use clap::builder::styling::Style;
use serde::Serialize;

use super::error::{CliError, Exit};
use crate::advice::pasteable;
use crate::protocol::ErrorCode;
use crate::watched;

/// The version of the JSON that is printed.
const SCHEMA: u32 = 1;

/// How the data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct Format {
    /// Print JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Text that is safe to print: whatever it was made of, a terminal shows it and obeys none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line(String);

impl Line {
    /// Returns a line, or several, of this text.
    pub(super) fn of(text: &str) -> Self {
        Self::default().plain(text)
    }

    /// Adds text.
    pub(super) fn plain(mut self, text: &str) -> Self {
        self.0.push_str(&visible(text));
        self
    }

    /// Adds text in a style of ours.
    pub(super) fn styled(mut self, style: Style, text: &str) -> Self {
        self.0.push_str(&format!("{style}{}{style:#}", visible(text)));
        self
    }

    /// Adds text whose further lines are indented, so that none of them can pass for a line of ours.
    pub(super) fn indented(self, text: &str, indent: usize) -> Self {
        let deeper = format!("\n{}", " ".repeat(indent));
        self.plain(&text.trim_end_matches('\n').replace('\n', &deeper))
    }

    /// Adds text whose further lines begin with `border`, for the same reason.
    pub(super) fn bordered(self, text: &str, border: &str) -> Self {
        self.plain(&text.trim_end_matches('\n').replace('\n', &format!("\n{border}")))
    }

    /// Returns the text with its styles, for tests.
    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The two streams, and what is known about them.
pub(super) struct Output {
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
    json: bool,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
}

impl Output {
    /// Returns the output of this process.
    pub(super) fn standard() -> Self {
        Self {
            stdout: Box::new(AutoStream::auto(io::stdout())),
            stderr: Box::new(AutoStream::auto(io::stderr())),
            json: false,
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Chooses between JSON and text for the data.
    pub(super) const fn use_json(&mut self, json: bool) {
        self.json = json;
    }

    /// Returns whether the data is JSON.
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// Returns whether a person reads the data as it comes.
    pub(super) const fn is_read_live(&self) -> bool {
        self.stdout_is_terminal
    }

    /// Returns whether a person can be shown a screen, and its keys read.
    pub(super) fn is_a_terminal(&self) -> bool {
        self.stdout_is_terminal
            && io::stdin().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Returns how many columns the data may fill; none where it does not go to a terminal.
    pub(super) fn width(&self) -> Option<u16> {
        let size = self.stdout_is_terminal.then(|| rustix::termios::tcgetwinsize(io::stdout()).ok())??;
        (size.ws_col > 0).then_some(size.ws_col)
    }

    /// Prints data as text.
    ///
    /// # Errors
    /// stdout is closed or cannot be written.
    pub(super) fn print(&mut self, line: &Line) -> Result<(), CliError> {
        writeln!(self.stdout, "{}", line.0)?;
        Ok(self.stdout.flush()?)
    }

    /// Prints data as text in the place of what was printed before, where a terminal shows it; else after it.
    ///
    /// # Errors
    /// stdout is closed or cannot be written.
    pub(super) fn print_anew(&mut self, line: &Line) -> Result<(), CliError> {
        if self.stdout_is_terminal {
            // Cursor home, erase below (ECMA-48 CUP and ED).
            write!(self.stdout, "\x1b[H\x1b[J")?;
        }
        self.print(line)
    }

    /// Prints data as one JSON object on one line.
    ///
    /// # Errors
    /// stdout is closed or cannot be written.
    pub(super) fn print_json(&mut self, kind: &'static str, body: &impl Serialize) -> Result<(), CliError> {
        writeln!(self.stdout, "{}", json_line(kind, body)?)?;
        Ok(self.stdout.flush()?)
    }

    /// Tells the person something that is not data. A stderr that is gone is no reason to fail.
    pub(super) fn say(&mut self, line: &Line) {
        let _ = writeln!(self.stderr, "{}", line.0).and_then(|()| self.stderr.flush());
    }

    /// Tells the person of something that the command does without, and what to do about it.
    pub(super) fn warn(&mut self, what: &str, next: &str) {
        self.say(&Line::of(&format!("warning: {what}")));
        self.say(&Line::of(&format!("next: {}", visible_line(&pasteable(next)))));
    }

    /// Tells the person of an error that the command does without.
    pub(super) fn warn_of(&mut self, error: &CliError) {
        self.warn(&error.message(), &error.next());
    }

    /// Tells the person what is being waited for, where a person is looking.
    pub(super) fn say_progress(&mut self, line: &Line) {
        if self.stderr_is_terminal && !self.json {
            self.say(line);
        }
    }

    /// Prints wrong usage as JSON.
    pub(super) fn print_usage_error(&mut self, message: &str, next: &str) {
        let first = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let body = Failure { error: FailureBody { code: Some(ErrorCode::BadArgs), message: first, next } };
        // The exit code and stderr still tell where stdout is gone.
        let _ = self.print_json("error", &body);
    }

    /// Returns when nobody reads the data any more, where that can be told.
    pub(super) fn unread(&self) -> impl Future<Output = ()> + 'static {
        let stdout = rustix::io::dup(io::stdout());
        async {
            match stdout {
                Ok(stdout) => watched::abandoned(&stdout).await,
                Err(_closed) => std::future::pending().await,
            }
        }
    }

    /// Prints clap's help or version.
    ///
    /// # Errors
    /// stdout is closed or cannot be written.
    pub(super) fn help(&mut self, text: &StyledStr) -> Result<(), CliError> {
        write!(self.stdout, "{}", text.ansi())?;
        Ok(self.stdout.flush()?)
    }

    /// Tells that the command failed and what to do next. Returns the exit code.
    pub(super) fn fail(&mut self, error: &CliError) -> Exit {
        let exit = error.exit();
        if exit == Exit::Done {
            return exit;
        }
        let (message, next) = (error.message(), error.next());
        if self.json && !error.is_told_as_data() {
            let body = Failure { error: FailureBody { code: error.code(), message: &message, next: &next } };
            // The exit code and stderr still tell where stdout is gone.
            let _ = self.print_json("error", &body);
        }
        let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
        self.say(&Line::of(&format!("error: {message}{code}")));
        self.say(&Line::of(&format!("next: {}", visible_line(&next))));
        exit
    }
}

/// Returns data as one JSON object on one line, as it is printed.
///
/// # Errors
/// The data has no JSON form.
pub(super) fn json_line(kind: &'static str, body: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string(&Envelope { schema: SCHEMA, kind, body })?;
    Ok(escape_json(&text))
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Serialize)]
struct Failure<'a> {
    error: FailureBody<'a>,
}

#[derive(Serialize)]
struct FailureBody<'a> {
    code: Option<ErrorCode>,
    message: &'a str,
    next: &'a str,
}

/// Shows what a terminal would obey; newline and tab stay.
fn visible(text: &str) -> String {
    escape(text, |c| !matches!(c, '\n' | '\t') && commands_terminal(c))
}

/// Shows what a terminal would obey, newline and tab as well: for what has to stay on one line.
pub(super) fn visible_line(text: &str) -> String {
    escape(text, commands_terminal)
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Whether a terminal acts on the character instead of showing it: C0, DEL, C1, line separators, bidirectional controls.
fn commands_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes what `serde_json` leaves as it is and a terminal would obey. The JSON means the same.
fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if commands_terminal(c) { escaped.push_str(&format!("\\u{:04x}", u32::from(c))) } else { escaped.push(c) }
    }
    escaped
}

#[cfg(test)]
pub(super) mod capture {
    //! An output that a test can read.

    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[derive(Clone, Default)]
    struct Stream(Rc<RefCell<Vec<u8>>>);

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What was printed.
    pub(in crate::cli) struct Captured {
        stdout: Stream,
        stderr: Stream,
    }

    impl Captured {
        /// Returns both streams as a reader sees them.
        pub(in crate::cli) fn text(&self) -> String {
            let read = |stream: &Stream| String::from_utf8(stream.0.borrow().clone()).unwrap();
            format!("--- stdout\n{}--- stderr\n{}", read(&self.stdout), read(&self.stderr))
        }
    }

    /// Returns an output to no terminal, and what it prints.
    pub(in crate::cli) fn output(json: bool) -> (Output, Captured) {
        let captured = Captured { stdout: Stream::default(), stderr: Stream::default() };
        let output = Output {
            stdout: Box::new(captured.stdout.clone()),
            stderr: Box::new(captured.stderr.clone()),
            json,
            stdout_is_terminal: false,
            stderr_is_terminal: false,
        };
        (output, captured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Refusal;

    const HOSTILE: &str = "a\x1b]52;c;cm0=\x07b\rc\u{9b}2Jd\u{202e}e\u{2028}f\tg\nh";

    #[test]
    fn a_peers_text_cannot_command_the_terminal() {
        let shown = Line::of(HOSTILE);
        insta::assert_snapshot!(shown.as_str(), @r#"
        a\u{1b}]52;c;cm0=\u{7}b\rc\u{9b}2Jd\u{202e}e\u{2028}f	g
        h
        "#);
        assert!(!visible_line(HOSTILE).contains(['\t', '\n']));
    }

    #[test]
    fn text_of_any_script_is_shown_as_it_is() {
        let text = "größe プロジェクト हिन्दी 👩\u{200d}💻 שלום";
        assert_eq!(visible(text), text);
    }

    #[test]
    fn json_carries_the_exact_text_and_no_terminal_command() {
        let (mut out, captured) = capture::output(true);
        out.print_json("outcome", &serde_json::json!({ "text": HOSTILE })).unwrap();
        let text = captured.text();
        insta::assert_snapshot!(text, @r#"
        --- stdout
        {"schema":1,"type":"outcome","text":"a\u001b]52;c;cm0=\u0007b\rc\u009b2Jd\u202ee\u2028f\tg\nh"}
        --- stderr
        "#);
        let line = text.lines().nth(1).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap()["text"], HOSTILE);
    }

    #[test]
    fn a_reply_of_several_lines_cannot_pass_for_another_peer() {
        let line = Line::of("backend: ").indented("no\nfrontend: yes\n", 2);
        assert_eq!(line.as_str(), "backend: no\n  frontend: yes");
    }

    #[test]
    fn an_error_ends_in_one_line_that_says_what_to_do() {
        let (mut out, captured) = capture::output(false);
        let refusal = Refusal::new(ErrorCode::HubUnreachable, "no hub answers", "relayctl\ninstall-service");
        assert_eq!(out.fail(&refusal.into()), Exit::HubUnreachable);
        insta::assert_snapshot!(captured.text(), @r#"
        --- stdout
        --- stderr
        error: no hub answers (hub_unreachable)
        next: # relayctl\ninstall-service
        "#);
    }

    #[test]
    fn an_error_is_data_as_well_where_the_data_is_json() {
        let (mut out, captured) = capture::output(true);
        out.fail(&Refusal::new(ErrorCode::HubUnreachable, "no hub answers", "relayctl install-service").into());
        insta::assert_snapshot!(captured.text(), @r#"
        --- stdout
        {"schema":1,"type":"error","error":{"code":"hub_unreachable","message":"no hub answers","next":"relayctl install-service"}}
        --- stderr
        error: no hub answers (hub_unreachable)
        next: relayctl install-service
        "#);
    }

    #[test]
    fn a_closed_pipe_is_silent() {
        let (mut out, captured) = capture::output(true);
        assert_eq!(out.fail(&CliError::Output(io::ErrorKind::BrokenPipe.into())), Exit::Done);
        assert_eq!(captured.text(), "--- stdout\n--- stderr\n");
    }
}
