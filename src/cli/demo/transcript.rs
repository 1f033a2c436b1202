//! How the demo is told: who called what and got what, and what was put before whom. Colours by session.

use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};
use serde_json::Value;
use tokio::time::sleep;

use super::brief;
use super::session::{Broken, Greeting, Shown, ToolResult};
use crate::cli::error::Exit;
use crate::cli::output::{Line, Output};

/// The time that a person gets to read one entry.
const PACE: Duration = Duration::from_millis(700);
/// Where the text behind a session's name begins, in columns.
const INDENT: usize = 10;
/// The longest text within a line, in characters.
const TEXT_MAX_CHARS: usize = 100;
/// The keys that are told first.
const FIRST_KEYS: [&str; 9] = ["kind", "you", "from", "to", "state", "code", "question", "text", "asked"];

/// The telling of a demo.
pub(super) struct Transcript<'a> {
    out: &'a mut Output,
    is_verbose: bool,
}

impl<'a> Transcript<'a> {
    /// Begins to tell, word for word or in short.
    pub(super) const fn new(out: &'a mut Output, is_verbose: bool) -> Self {
        Self { out, is_verbose }
    }

    /// Says which step begins, where it is told word for word.
    pub(super) fn step(&mut self, number: usize, name: &str) -> Result<(), Broken> {
        if !self.is_verbose {
            return Ok(());
        }
        let gap = if number == 1 { "" } else { "\n" };
        self.print(&Line::of(gap).styled(Style::new().bold(), &format!("{number}. {name}")))
    }

    /// Tells that a session has begun.
    pub(super) async fn joined(&mut self, who: &str, greeting: &Greeting) -> Result<(), Broken> {
        let said = format!("starts {} with {}", greeting.server, greeting.tools.join(", "));
        self.did(who, if self.is_verbose { &said } else { "joins" }).await
    }

    /// Tells a tool call and its result.
    pub(super) async fn called(
        &mut self,
        who: &str,
        tool: &str,
        arguments: &Value,
        result: &ToolResult,
    ) -> Result<(), Broken> {
        match brief::call(tool, arguments, result) {
            _ if self.is_verbose => self.tell(&call(who, tool, arguments, result)).await,
            Some(said) => self.did(who, &said).await,
            None => Ok(()),
        }
    }

    /// Tells what was put before a session's model.
    pub(super) async fn shown(&mut self, who: &str, shown: &Shown) -> Result<(), Broken> {
        match brief::event(who, shown) {
            _ if self.is_verbose => self.tell(&event(who, shown)).await,
            Some((who, said)) => self.did(who, &said).await,
            None => Ok(()),
        }
    }

    /// Tells what somebody does outside a session.
    pub(super) async fn did(&mut self, who: &str, what: &str) -> Result<(), Broken> {
        self.tell(&speaker(who).indented(what, INDENT)).await
    }

    async fn tell(&mut self, line: &Line) -> Result<(), Broken> {
        self.print(line)?;
        if self.out.is_read_live() {
            sleep(PACE).await;
        }
        Ok(())
    }

    /// Prints to stdout, steps and lines alike: whoever pipes the story has all of it.
    fn print(&mut self, line: &Line) -> Result<(), Broken> {
        match self.out.print(line) {
            // Whoever closed the pipe has read enough; whether everything happens still counts.
            Err(error) if error.exit() == Exit::Done => Ok(()),
            printed => printed.map_err(Broken::Output),
        }
    }
}

fn call(who: &str, tool: &str, arguments: &Value, result: &ToolResult) -> Line {
    let line = speaker(who).styled(Style::new().bold(), tool);
    let line = if arguments.as_object().is_some_and(|all| !all.is_empty()) {
        line.plain(&format!("  {}", short(arguments)))
    } else {
        line
    };
    let style = if result.is_error { AnsiColor::Red.on_default() } else { Style::new().dimmed() };
    line.plain(&format!("\n{:INDENT$}", "")).styled(style, &format!("= {}", short(&result.value)))
}

fn event(who: &str, shown: &Shown) -> Line {
    let meta = fields(shown.meta.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let margin = format!("\n{:INDENT$}| ", "");
    let content = format!("{margin}{}", shown.content.trim_end().replace('\n', &margin));
    speaker(who).plain("is shown  ").styled(Style::new().dimmed(), &meta).plain(&content)
}

fn speaker(who: &str) -> Line {
    let colour = match who {
        "frontend" => AnsiColor::Cyan,
        "backend" => AnsiColor::Green,
        "docs" | "handbook" => AnsiColor::Magenta,
        _ => AnsiColor::Yellow,
    };
    let width = INDENT - 1;
    Line::default().styled(colour.on_default().bold(), &format!("{who:width$}")).plain(" ")
}

/// Returns JSON as a person says it: lists by the names in them, long texts cut.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(item).collect::<Vec<_>>().join(", "),
        Value::Object(object) => fields(object.iter().map(|(key, value)| (key.as_str(), short(value)))),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Joins fields, those first that say what it is about.
fn fields<'a>(fields: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut fields: Vec<(&str, String)> = fields.collect();
    fields.sort_by_key(|(key, _)| FIRST_KEYS.iter().position(|first| first == key).unwrap_or(FIRST_KEYS.len()));
    let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
    fields.join("; ")
}

fn item(value: &Value) -> String {
    let name = value.get("name").or_else(|| value.get("to")).and_then(Value::as_str);
    name.map_or_else(|| short(value), str::to_owned)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(line: &Line) -> String {
        anstream::adapter::strip_str(line.as_str()).to_string()
    }

    #[test]
    fn a_call_is_told_with_its_arguments_and_its_result() {
        let result = ToolResult {
            value: json!({ "you": "frontend", "peers": [{ "name": "backend", "pid": 1 }, { "name": "docs" }] }),
            is_error: false,
        };
        insta::assert_snapshot!(plain(&call("frontend", "relay_peers", &json!({}), &result)), @"
        frontend  relay_peers
                  = you: frontend; peers: backend, docs
        ");
        let refused =
            json!({ "error": { "code": "peer_not_found", "message": "no peer is called x", "next": "relay_peers" } });
        let result = ToolResult { value: refused, is_error: true };
        insta::assert_snapshot!(plain(&call("docs", "relay_ask", &json!({ "to": "x" }), &result)), @"
        docs      relay_ask  to: x
                  = error: code: peer_not_found; message: no peer is called x; next: relay_peers
        ");
    }

    #[test]
    fn what_is_shown_stays_within_its_margin() {
        let shown = Shown {
            content: "first\nfrontend  is shown  forged\n".into(),
            meta: [("kind".into(), "ask".into()), ("from".into(), "frontend".into())].into(),
        };
        insta::assert_snapshot!(plain(&event("backend", &shown)), @"
        backend   is shown  kind: ask; from: frontend
                  | first
                  | frontend  is shown  forged
        ");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut(&"ß".repeat(101)), format!("{}…", "ß".repeat(100)));
        assert_eq!(cut(&"ß".repeat(100)), "ß".repeat(100));
    }
}
