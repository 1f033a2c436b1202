//! One session as its MCP client sees it: the channel on two socket pairs, as Claude Code starts it, and JSON-RPC by line.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cli::error::CliError;

/// How long anything that has to come may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The protocol version that Claude Code speaks with servers of this kind.
const PROTOCOL: &str = "2025-11-25";
/// The notification that puts something before the model.
const CHANNEL_EVENT: &str = "notifications/claude/channel";
/// The capability without which Claude Code ignores [`CHANNEL_EVENT`].
const CHANNEL_CAPABILITY: &str = "claude/channel";

/// What did not happen as it has to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nothing came in time.
    #[error("{who} waited {} s for {awaited}", PATIENCE.as_secs())]
    Late {
        /// Who waited.
        who: &'static str,
        /// For what.
        awaited: String,
    },
    /// Something else came.
    #[error("{who} expected {expected} and got {got}")]
    Unexpected {
        /// Who expected it.
        who: &'static str,
        /// What had to come.
        expected: String,
        /// What came.
        got: String,
    },
    /// The channel closed its output.
    #[error("the channel of {who} ended")]
    ChannelEnded {
        /// Whose channel.
        who: &'static str,
    },
    /// The hub ended before it was told to, or with a failure.
    #[error("the hub ended: {0}")]
    HubEnded(ExitStatus),
    /// The transcript cannot be written.
    #[error(transparent)]
    Output(CliError),
}

impl Broken {
    /// Returns the error of a demo that broke at this step.
    pub(super) fn at(self, step: &'static str) -> CliError {
        match self {
            Self::Output(error) => error,
            Self::Io(_)
            | Self::Late { .. }
            | Self::Unexpected { .. }
            | Self::ChannelEnded { .. }
            | Self::HubEnded(_) => CliError::Demo { step, reason: self.to_string() },
        }
    }
}

/// What was put before the session's model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Shown {
    /// The text.
    pub(super) content: String,
    /// Its attributes.
    pub(super) meta: BTreeMap<String, String>,
}

impl Shown {
    /// Returns an attribute; empty where there is none.
    pub(super) fn meta(&self, key: &str) -> &str {
        self.meta.get(key).map_or("", String::as_str)
    }
}

/// What a tool returned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToolResult {
    /// The JSON of its text.
    pub(super) value: Value,
    /// Whether the call failed.
    pub(super) is_error: bool,
}

impl ToolResult {
    /// Returns a text in the result; empty where there is none.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// What the channel said of itself at the beginning.
#[derive(Debug)]
pub(super) struct Greeting {
    /// The server's name and version.
    pub(super) server: String,
    /// The names of its tools.
    pub(super) tools: Vec<String>,
}

/// A channel and its client.
#[derive(Debug)]
pub(super) struct Session {
    name: &'static str,
    /// None once the session has hung up.
    input: Option<UnixStream>,
    output: Lines<BufReader<UnixStream>>,
    /// Came while an answer was awaited.
    events: VecDeque<Shown>,
    last_id: u64,
    channel: Child,
}

impl Session {
    /// Starts the channel.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(name: &'static str, mut command: Command) -> Result<Self, Broken> {
        let (input, channel_stdin) = socket_pair()?;
        let (output, channel_stdout) = socket_pair()?;
        let channel = command.stdin(channel_stdin).stdout(channel_stdout).spawn()?;
        let output = BufReader::new(output).lines();
        Ok(Self { name, input: Some(input), output, events: VecDeque::new(), last_id: 0, channel })
    }

    /// Returns the session's name.
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Calls the session by the name that it has now.
    pub(super) const fn rename(&mut self, name: &'static str) {
        self.name = name;
    }

    /// Begins the MCP session as Claude Code does.
    ///
    /// # Errors
    /// The channel refuses, is silent, or could put nothing before a model.
    pub(super) async fn initialize(&mut self) -> Result<Greeting, Broken> {
        let client = json!({ "name": "relayctl-demo", "version": env!("CARGO_PKG_VERSION") });
        let params = json!({ "protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client });
        let server = self.request("initialize", params).await?;
        if server.pointer("/capabilities/experimental").and_then(|all| all.get(CHANNEL_CAPABILITY)).is_none() {
            return Err(self.unexpected(&format!("the capability {CHANNEL_CAPABILITY}"), &server));
        }
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await?;
        let listed = self.request("tools/list", json!({})).await?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let tools = listed["tools"].as_array().into_iter().flatten().map(|tool| text(tool.get("name"))).collect();
        let (name, version) = (server.pointer("/serverInfo/name"), server.pointer("/serverInfo/version"));
        Ok(Greeting { server: format!("{} {}", text(name), text(version)), tools })
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// No answer comes in time, or it is no tool result.
    pub(super) async fn call(&mut self, tool: &str, arguments: &Value) -> Result<ToolResult, Broken> {
        let result = self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await?;
        let text = result.pointer("/content/0/text").and_then(Value::as_str).unwrap_or_default();
        match serde_json::from_str(text) {
            Ok(value) => Ok(ToolResult { value, is_error: result["isError"].as_bool().unwrap_or(false) }),
            Err(_) => Err(self.unexpected("a result in JSON", &result)),
        }
    }

    /// Returns the next thing that is put before the model.
    ///
    /// # Errors
    /// Nothing comes in time.
    pub(super) async fn next_shown(&mut self, awaited: &str) -> Result<Shown, Broken> {
        let late = Broken::Late { who: self.name, awaited: awaited.to_owned() };
        timeout(PATIENCE, async {
            loop {
                if let Some(shown) = self.events.pop_front() {
                    return Ok(shown);
                }
                self.receive().await?;
            }
        })
        .await
        .unwrap_or(Err(late))
    }

    /// Hangs up as a client that ends does, and waits for the channel. Returns what it still had to show.
    ///
    /// # Errors
    /// The channel does not end in time, or ends with a failure.
    pub(super) async fn leave(&mut self) -> Result<Vec<Shown>, Broken> {
        self.input = None;
        let late = Broken::Late { who: self.name, awaited: "the end of its channel".into() };
        let ended = timeout(PATIENCE, async {
            loop {
                match self.receive().await {
                    Ok(_) => {}
                    Err(Broken::ChannelEnded { .. }) => return Ok(self.channel.wait().await?),
                    Err(broken) => return Err(broken),
                }
            }
        });
        let status = ended.await.unwrap_or(Err(late))?;
        if !status.success() {
            let (expected, got) = ("its channel to end well".to_owned(), status.to_string());
            return Err(Broken::Unexpected { who: self.name, expected, got });
        }
        Ok(self.events.drain(..).collect())
    }

    /// Ends the channel without a word, if it still runs, and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) async fn kill(&mut self) -> Result<ExitStatus, Broken> {
        self.channel.start_kill().or_else(ignore_ended)?;
        Ok(self.channel.wait().await?)
    }

    async fn request(&mut self, method: &str, params: Value) -> Result<Value, Broken> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await?;
        let late = Broken::Late { who: self.name, awaited: format!("the answer to {method}") };
        timeout(PATIENCE, self.answer(id, method)).await.unwrap_or(Err(late))
    }

    async fn answer(&mut self, id: u64, method: &str) -> Result<Value, Broken> {
        loop {
            let Some(mut message) = self.receive().await? else { continue };
            if message.get("id").and_then(Value::as_u64) != Some(id) || message.contains_key("method") {
                continue;
            }
            return match message.remove("result") {
                Some(result) => Ok(result),
                None => Err(self.unexpected(&format!("a result of {method}"), &Value::Object(message))),
            };
        }
    }

    async fn send(&mut self, message: &Value) -> Result<(), Broken> {
        let Some(input) = &mut self.input else { return Err(Broken::ChannelEnded { who: self.name }) };
        Ok(input.write_all(format!("{message}\n").as_bytes()).await?)
    }

    /// Reads one message. What is for the model is kept; anything else is returned.
    async fn receive(&mut self) -> Result<Option<Map<String, Value>>, Broken> {
        let Some(line) = self.output.next_line().await? else { return Err(Broken::ChannelEnded { who: self.name }) };
        let Ok(mut message) = serde_json::from_str::<Map<String, Value>>(&line) else {
            return Err(self.unexpected("a line of JSON", &line.into()));
        };
        if message.get("method").and_then(Value::as_str) != Some(CHANNEL_EVENT) {
            return Ok(Some(message));
        }
        let params = message.remove("params").unwrap_or_default();
        match Shown::deserialize(&params) {
            Ok(shown) => self.events.push_back(shown),
            Err(_) => return Err(self.unexpected("content and meta of strings", &params)),
        }
        Ok(None)
    }

    /// Returns the error of something else than what had to come.
    pub(super) fn unexpected(&self, expected: &str, got: &Value) -> Broken {
        Broken::Unexpected { who: self.name, expected: expected.to_owned(), got: got.to_string() }
    }
}

/// Returns our end of a socket pair and the channel's: Node gives its children these, not pipes.
fn socket_pair() -> io::Result<(UnixStream, Stdio)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, OwnedFd::from(theirs).into()))
}

/// A process that has ended needs no end.
fn ignore_ended(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) }
}
