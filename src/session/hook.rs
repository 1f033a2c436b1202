//! `relay-channel hook`: runs at a prompt and after each tool call, tells which messages go before the model, and adds
//! those that wait.
//!
//! Claude Code waits for it (hooks `UserPromptSubmit` and `PostToolUse`), and Gemini CLI (`BeforeAgent`, `AfterTool` and, for
//! the receipt, `BeforeModel`), so it has a moment only, and it is silent whenever there is nothing to say: no channel, no
//! messages.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::address::address;
use super::frame::{ChannelMessage, Hello, IDS_MAX, ReaderMessage, Role, Stage};
use super::reader::Reader;
use super::receipt;
use crate::process;
use crate::protocol::SessionId;

/// How long the session's channel may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most bytes of the client's input that are looked at: a prompt can be of any length.
const INPUT_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How much of a transcript's end is looked at: what was written since the last hook, and a large tool result.
const TRANSCRIPT_BYTES: u64 = 256 * 1024;

/// What the agent says of the event, as far as it matters.
#[derive(Debug, Deserialize)]
struct Input {
    hook_event_name: String,
    #[serde(default)]
    prompt: String,
    transcript_path: Option<PathBuf>,
    /// The subagent that the event is of.
    agent_id: Option<String>,
}

/// Returns the end of a transcript; none where it cannot be read.
fn last_lines(transcript: &Path) -> Option<String> {
    let mut file = File::open(transcript).ok()?;
    let length = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TRANSCRIPT_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(TRANSCRIPT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Does what is to be done at this event. Always a success: an error would be shown to the user.
pub fn run(hub_socket: Option<PathBuf>) -> ExitCode {
    let mut bytes = Vec::new();
    if io::stdin().take(INPUT_MAX_BYTES).read_to_end(&mut bytes).is_err() {
        return ExitCode::SUCCESS;
    }
    let (Some(hub_socket), Ok(input), Some(parent)) =
        (hub_socket, serde_json::from_slice::<Input>(&bytes), process::parent())
    else {
        return ExitCode::SUCCESS;
    };
    drop(bytes);
    let session = SessionId { pid: parent.pid, start: parent.start, thread: None };
    if let Some(text) = converse(&address(&hub_socket, &session), hello(&input)) {
        let output = json!({"hookSpecificOutput": {
            "hookEventName": input.hook_event_name,
            "additionalContext": text,
        }});
        let _client_has_gone = writeln!(io::stdout(), "{output}");
    }
    ExitCode::SUCCESS
}

fn hello(input: &Input) -> Hello {
    let showing = receipt::of_prompt(&input.prompt);
    let lines = input.transcript_path.as_deref().and_then(last_lines);
    let mut shown = lines.map(|lines| receipt::of_transcript(&lines)).unwrap_or_default();
    shown.truncate(IDS_MAX - showing.len().min(IDS_MAX));
    // A subagent's requests say nothing of the session's.
    let stage = if input.agent_id.is_some() { None } else { stage(&input.hook_event_name) };
    // What is put into a subagent's context its session never sees, and before a request nothing can be added.
    let receipts_only = input.agent_id.is_some() || stage == Some(Stage::Request);
    Hello { role: Role::Hook, shown, showing, receipts_only, stage }
}

/// Returns where in a turn of Gemini CLI this event is. After Esc `AfterTool` fires and no `BeforeModel` follows (seen in
/// 0.61.0).
fn stage(event: &str) -> Option<Stage> {
    match event {
        "BeforeAgent" => Some(Stage::Begin),
        "AfterTool" => Some(Stage::Tool),
        "BeforeModel" => Some(Stage::Request),
        _ => None,
    }
}

/// Returns the text that the session's channel gives, which is then this process's to show.
fn converse(address: &Path, hello: Hello) -> Option<String> {
    let mut reader = Reader::connect(address, ReaderMessage::Hello(hello)).ok()?;
    match reader.receive(PATIENCE).ok()? {
        ChannelMessage::Deliver(deliver) => reader.take(deliver).ok(),
        ChannelMessage::End | ChannelMessage::Result(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello_of(input: serde_json::Value) -> Hello {
        hello(&serde_json::from_value(input).unwrap())
    }

    #[test]
    fn hook_of_a_subagent_takes_no_messages() {
        let main = json!({"hook_event_name": "PostToolUse", "tool_name": "Bash"});
        let subagent = json!({"hook_event_name": "PostToolUse", "agent_id": "abf9", "agent_type": "general-purpose"});
        assert!(!hello_of(main).receipts_only);
        assert!(hello_of(subagent).receipts_only);
    }

    #[test]
    fn hook_before_a_request_takes_no_messages_and_says_where_it_runs() {
        let of = |event: &str| hello_of(json!({"hook_event_name": event}));
        assert_eq!((of("BeforeModel").stage, of("BeforeModel").receipts_only), (Some(Stage::Request), true));
        assert_eq!((of("BeforeAgent").stage, of("BeforeAgent").receipts_only), (Some(Stage::Begin), false));
        assert_eq!(of("PostToolUse").stage, None);
    }

    #[test]
    fn hook_brings_what_goes_before_the_model_now() {
        let prompt = "<channel source=\"relay\" kind=\"ask\" ask_id=\"k3v9-x2mq-7bd4\">\nhi\n</channel>";
        let hello = hello_of(json!({"hook_event_name": "UserPromptSubmit", "prompt": prompt}));
        assert_eq!((hello.showing, hello.shown), (vec!["k3v9-x2mq-7bd4".to_owned()], Vec::new()));
    }

    #[test]
    fn hook_without_a_channel_shows_nothing() {
        assert_eq!(converse(Path::new("/nonexistent/s/1-1.sock"), Hello::new(Role::Hook)), None);
    }
}
