//! `relay-channel hook`: runs at a prompt and after each tool call, tells which messages go before the model, and adds
//! those that wait.
//!
//! Claude Code waits for it (hooks `UserPromptSubmit` and `PostToolUse`), so it has a moment only, and it is silent
//! whenever there is nothing to say: no hub, no channel, no messages.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::client_process;
use super::companion::{Companion, Role};
use super::receipt;

/// How long the session's channel may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most bytes of the client's input that are looked at: a prompt can be of any length.
const INPUT_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What Claude Code says of the event, as far as it matters.
#[derive(Debug, Deserialize)]
struct Input {
    hook_event_name: String,
    #[serde(default)]
    prompt: String,
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
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::SUCCESS;
    };
    let hook = Companion::new(Role::Hook, socket, client, receipt::of_prompt(&input.prompt), PATIENCE);
    if let Some(text) = runtime.block_on(hook.run()) {
        let output = json!({"hookSpecificOutput": {
            "hookEventName": input.hook_event_name,
            "additionalContext": text,
        }});
        let _client_has_gone = writeln!(io::stdout(), "{output}");
    }
    ExitCode::SUCCESS
}
