//! `relay-channel hook`: runs at a prompt and after each tool call, tells which messages go before the model, and adds
//! those that wait.
//!
//! Claude Code waits for it (hooks `UserPromptSubmit` and `PostToolUse`), so it has a moment only, and it is silent
//! whenever there is nothing to say: no hub, no channel, no messages.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::client_process;
use super::companion::{Companion, Role};
use super::receipt;
use crate::protocol::RECEIPTS_MAX;
use crate::runtime;

/// How long the session's channel may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most bytes of the client's input that are looked at: a prompt can be of any length.
const INPUT_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How much of a transcript's end is looked at: what was written since the last hook, and a large tool result.
const TRANSCRIPT_BYTES: u64 = 256 * 1024;

/// What Claude Code says of the event, as far as it matters.
#[derive(Debug, Deserialize)]
struct Input {
    hook_event_name: String,
    #[serde(default)]
    prompt: String,
    transcript_path: Option<PathBuf>,
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
pub fn run(socket: Option<PathBuf>) -> ExitCode {
    let mut bytes = Vec::new();
    if io::stdin().take(INPUT_MAX_BYTES).read_to_end(&mut bytes).is_err() {
        return ExitCode::SUCCESS;
    }
    let (Some(socket), Ok(input), Some(client)) =
        (socket, serde_json::from_slice::<Input>(&bytes), client_process::parent())
    else {
        return ExitCode::SUCCESS;
    };
    drop(bytes);
    let mut receipts = receipt::of_prompt(&input.prompt);
    if let Some(lines) = input.transcript_path.as_deref().and_then(last_lines) {
        receipts.extend(receipt::of_transcript(&lines));
        receipts.truncate(RECEIPTS_MAX);
    }
    let hook = Companion::new(Role::Hook, socket, client, receipts, PATIENCE);
    if let Ok(Some(text)) = runtime::run(hook.run()) {
        let output = json!({"hookSpecificOutput": {
            "hookEventName": input.hook_event_name,
            "additionalContext": text,
        }});
        let _client_has_gone = writeln!(io::stdout(), "{output}");
    }
    ExitCode::SUCCESS
}
