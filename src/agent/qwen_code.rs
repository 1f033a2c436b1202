//! Qwen Code: its session has an inbox of its own, whose address and token it gives to the servers that it starts.
//!
//! It documents the inbox ("Inbox authentication and scripted injection"). Seen in 0.24.4.

mod inbox;
mod transcript;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::inbox::{Inbox, OwnAddress};
use self::transcript::Transcript;
use super::kind::{Kind, Profile, State, Surroundings, has_flag};
use super::route::Route;
use crate::process::Process;
use crate::protocol::Activity;

/// What is the same in all its sessions.
pub const PROFILE: Profile = Profile { id: "qwen-code", shown: "Qwen Code" };

/// How the name of its MCP client begins; the server's name follows.
const CLIENT: &str = "qwen-cli-mcp-client";

/// How our tools are called in it: server `relay`.
const TOOLS: &str = "mcp__relay__";

/// What a model does that was not shown our tools: before its user's first prompt it is told of none.
const TOOL_HINT: &str = "if that tool is not listed, call tool_call with its name and arguments";

/// The subcommands and flags that start servers without a session.
const SUBCOMMANDS: [&str; 3] = ["mcp", "extensions", "channel"];
const ONE_PROMPT: [&str; 4] = ["-p", "--prompt", "--output-format", "--input-format"];

/// What it says of a session in `sessions/PID.json` in its directory, as far as it matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    session_id: String,
    cwd: Option<PathBuf>,
}

/// Qwen Code, as its process and its environment show it.
#[derive(Debug)]
pub struct QwenCode {
    process: Process,
    has_person: bool,
    record: Option<PathBuf>,
    inbox: Option<Inbox>,
}

impl QwenCode {
    /// Returns what is known of it, if it is the one that started this process.
    pub fn recognise(seen: &Surroundings<'_>) -> Option<Box<dyn Kind>> {
        if !seen.client.name.starts_with(CLIENT) {
            return None;
        }
        let is_program =
            |argument: &str| argument.contains("/qwen-code/") || argument.ends_with("/qwen") || argument == "qwen";
        let arguments = seen.arguments(is_program);
        let is_subcommand = arguments.first().is_some_and(|first| SUBCOMMANDS.contains(&first.as_str()));
        let has_person = !is_subcommand && !has_flag(arguments, &ONE_PROMPT) && seen.terminal != Some(false);
        // `projects/FOLDER` in its directory.
        let project = (seen.value_of)("QWEN_CODE_PROJECT_DIR").map(PathBuf::from);
        let directory = project.as_deref().and_then(Path::parent).and_then(Path::parent);
        let record = directory.map(|directory| directory.join("sessions").join(format!("{}.json", seen.parent.pid)));
        let socket = (seen.value_of)("QWEN_CODE_MESSAGING_SOCKET").map(PathBuf::from);
        let token = (seen.value_of)("QWEN_CODE_MESSAGING_TOKEN");
        let own = seen.sockets.and_then(|sockets| OwnAddress::new(sockets, seen.parent));
        let inbox = match (socket, token, own, project) {
            (Some(socket), Some(token), Some(own), Some(project)) if has_person => {
                let session = (seen.value_of)("QWEN_CODE_SESSION_ID").unwrap_or_default();
                Some(Inbox::new(socket, token, own, Transcript::new(&project, session)))
            }
            _ => None,
        };
        Some(Box::new(Self { process: seen.parent, has_person, record, inbox }))
    }
}

impl Kind for QwenCode {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn process(&self) -> Process {
        self.process
    }

    fn is_interactive(&self) -> bool {
        self.has_person
    }

    fn file(&self) -> Option<&Path> {
        self.record.as_deref()
    }

    /// It says where the session works, and not what it does. After `/clear` it is another conversation.
    fn look(&mut self, _folder: &Path) -> Option<State> {
        let record: Record = serde_json::from_str(&fs::read_to_string(self.record.as_deref()?).ok()?).ok()?;
        if let Some(inbox) = &mut self.inbox {
            inbox.handle_conversation(&record.session_id);
        }
        Some(State { activity: Activity::Unknown, waiting_for: None, cwd: record.cwd, name: None })
    }

    fn route(&mut self) -> Option<&mut dyn Route> {
        self.inbox.as_mut().map(|inbox| inbox as &mut dyn Route)
    }

    fn tool_prefix(&self) -> &'static str {
        TOOLS
    }

    /// Of a result of more than 25,000 characters its model is shown the first 2,000.
    fn repeats_failed_calls(&self) -> bool {
        true
    }

    fn tool_hint(&self) -> Option<&'static str> {
        Some(TOOL_HINT)
    }
}
