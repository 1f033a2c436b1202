//! What happens in the demo, step by step, and what has to come of it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::session::{Broken, PATIENCE, Session, Shown, ToolResult};
use super::stage::Stage;
use super::transcript::Transcript;
use crate::cli::error::CliError;

const TOOLS: [&str; 6] = ["relay_ask", "relay_broadcast", "relay_peers", "relay_rename", "relay_reply", "relay_tell"];
/// How often the list of peers is asked for until everybody has joined.
const RETRY: Duration = Duration::from_millis(50);

/// A demo in progress.
pub(super) struct Play<'a> {
    stage: &'a mut Stage,
    transcript: Transcript<'a>,
    n_steps: usize,
    step: &'static str,
}

impl<'a> Play<'a> {
    /// Prepares the demo.
    pub(super) const fn new(stage: &'a mut Stage, transcript: Transcript<'a>) -> Self {
        Self { stage, transcript, n_steps: 0, step: "" }
    }

    /// Plays every step.
    ///
    /// # Errors
    /// A step does not happen as it has to: the error names it.
    pub(super) async fn perform(mut self) -> Result<(), CliError> {
        self.steps().await.map_err(|broken| broken.at(self.step))
    }

    async fn steps(&mut self) -> Result<(), Broken> {
        self.sessions_join().await?;
        self.sessions_see_each_other().await?;
        self.a_question_is_answered().await?;
        self.everybody_is_asked().await?;
        self.a_session_is_renamed().await?;
        self.nobody_answers_in_time().await?;
        self.the_asked_session_dies().await?;
        self.nobody_has_the_name().await?;
        self.the_shell_asks().await?;
        self.everybody_leaves().await
    }

    fn begin(&mut self, step: &'static str) -> Result<(), Broken> {
        self.n_steps += 1;
        self.step = step;
        self.transcript.step(self.n_steps, step)
    }

    async fn sessions_join(&mut self) -> Result<(), Broken> {
        self.begin("three sessions start, each in its folder")?;
        for session in [&mut self.stage.frontend, &mut self.stage.backend, &mut self.stage.docs] {
            let mut greeting = session.initialize().await?;
            greeting.tools.sort();
            if greeting.tools != TOOLS {
                return Err(session.unexpected(&format!("the tools {}", TOOLS.join(", ")), &json!(greeting.tools)));
            }
            self.transcript.joined(session.name(), &greeting).await?;
        }
        Ok(())
    }

    async fn sessions_see_each_other(&mut self) -> Result<(), Broken> {
        self.begin("they see each other")?;
        let session = &mut self.stage.frontend;
        let deadline = Instant::now() + PATIENCE;
        let wanted = json!({ "you": "frontend", "peers": ["backend", "docs"] });
        loop {
            let result = session.call("relay_peers", &json!({})).await?;
            let peers = result.value["peers"].as_array().into_iter().flatten();
            let names: Vec<&Value> = peers.filter_map(|peer| peer.get("name")).collect();
            if wanted == json!({ "you": result.value["you"], "peers": names }) {
                return self.transcript.called(session.name(), "relay_peers", &json!({}), &result).await;
            }
            if Instant::now() > deadline {
                return Err(session.unexpected(&wanted.to_string(), &result.value));
            }
            sleep(RETRY).await;
        }
    }

    async fn a_question_is_answered(&mut self) -> Result<(), Broken> {
        self.begin("a question is answered")?;
        let Stage { frontend, backend, .. } = &mut *self.stage;
        let told = &mut self.transcript;
        let ask = ask(told, frontend, "backend", json!({ "question": "Which port does the API listen on?" })).await?;
        is_shown(told, backend, &[("kind", "ask"), ("from", "frontend"), ("ask_id", &ask)]).await?;
        reply(told, backend, &ask, "8080; it is set in config/api.toml").await?;
        let wanted = [("kind", "reply"), ("from", "backend"), ("ask_id", &ask)];
        let answer = is_shown(told, frontend, &wanted).await?;
        contains(frontend, &answer, "config/api.toml")
    }

    async fn everybody_is_asked(&mut self) -> Result<(), Broken> {
        self.begin("everybody is asked")?;
        let Stage { frontend, backend, docs, .. } = &mut *self.stage;
        let told = &mut self.transcript;
        let question = json!({ "question": "What are you working on?" });
        let result = succeeds(told, frontend, "relay_broadcast", question).await?;
        let broadcast = result.text("/broadcast_id").to_owned();
        if result.value["asks"].as_array().map(Vec::len) != Some(2) {
            return Err(frontend.unexpected("two asks", &result.value));
        }
        for (session, text) in [(backend, "the login endpoint"), (docs, "the chapter on deployment")] {
            let wanted = [("kind", "ask"), ("from", "frontend"), ("broadcast_id", &broadcast)];
            let asked = is_shown(told, session, &wanted).await?;
            reply(told, session, asked.meta("ask_id"), text).await?;
            let wanted = [("kind", "reply"), ("from", session.name()), ("broadcast_id", &broadcast)];
            let answer = is_shown(told, frontend, &wanted).await?;
            contains(frontend, &answer, text)?;
        }
        let counts = [("asked", "2"), ("replied", "2"), ("timed_out", "0"), ("gone", "0"), ("refused", "0")];
        let wanted = [&[("kind", "tally"), ("broadcast_id", &broadcast)], &counts[..]].concat();
        is_shown(told, frontend, &wanted).await.map(|_| ())
    }

    async fn a_session_is_renamed(&mut self) -> Result<(), Broken> {
        self.begin("a session is renamed and asked by its new name")?;
        let Stage { backend, docs, .. } = &mut *self.stage;
        let told = &mut self.transcript;
        let result = succeeds(told, docs, "relay_rename", json!({ "name": "handbook" })).await?;
        if result.text("/name") != "handbook" {
            return Err(docs.unexpected("the name handbook", &result.value));
        }
        docs.rename("handbook");
        let ask = ask(told, backend, "handbook", json!({ "question": "Is the login documented?" })).await?;
        is_shown(told, docs, &[("kind", "ask"), ("from", "backend"), ("ask_id", &ask)]).await?;
        reply(told, docs, &ask, "not yet").await?;
        is_shown(told, backend, &[("kind", "reply"), ("from", "handbook"), ("ask_id", &ask)]).await.map(|_| ())
    }

    async fn nobody_answers_in_time(&mut self) -> Result<(), Broken> {
        self.begin("a question times out, and a late reply is refused")?;
        let Stage { frontend, backend, .. } = &mut *self.stage;
        let told = &mut self.transcript;
        let question = json!({ "question": "Are the tests green?", "timeout_seconds": 1 });
        let ask = ask(told, frontend, "backend", question).await?;
        is_shown(told, backend, &[("kind", "ask"), ("from", "frontend"), ("ask_id", &ask)]).await?;
        let wanted = [("kind", "failed"), ("from", "backend"), ("ask_id", &ask), ("code", "timeout")];
        is_shown(told, frontend, &wanted).await?;
        fails(told, backend, "relay_reply", json!({ "ask_id": ask, "text": "yes" })).await.map(|_| ())
    }

    async fn the_asked_session_dies(&mut self) -> Result<(), Broken> {
        self.begin("a session is killed while it is asked")?;
        let Stage { frontend, docs, .. } = &mut *self.stage;
        let told = &mut self.transcript;
        let ask = ask(told, frontend, "handbook", json!({ "question": "Is the chapter ready?" })).await?;
        is_shown(told, docs, &[("kind", "ask"), ("from", "frontend"), ("ask_id", &ask)]).await?;
        let status = docs.kill().await?;
        told.did(docs.name(), &format!("is killed ({status})")).await?;
        let wanted = [("kind", "failed"), ("from", "handbook"), ("ask_id", &ask), ("code", "peer_gone")];
        is_shown(told, frontend, &wanted).await.map(|_| ())
    }

    async fn nobody_has_the_name(&mut self) -> Result<(), Broken> {
        self.begin("a question to nobody is refused")?;
        let session = &mut self.stage.frontend;
        let question = json!({ "to": "nobody", "question": "Are you there?" });
        let result = fails(&mut self.transcript, session, "relay_ask", question).await?;
        if result.text("/error/code") == "peer_not_found" {
            return Ok(());
        }
        Err(session.unexpected("peer_not_found", &result.value))
    }

    async fn the_shell_asks(&mut self) -> Result<(), Broken> {
        self.begin("a person asks from the shell")?;
        let question = "Is the build green?";
        let mut relayctl = self.stage.shell().args(["ask", "backend", question, "--timeout", "30s"]).spawn()?;
        let backend = &mut self.stage.backend;
        let told = &mut self.transcript;
        told.did("shell", &format!("$ relayctl ask backend \"{question}\"")).await?;
        let shown = tokio::select! {
            shown = is_shown(told, backend, &[("kind", "ask"), ("from", "shell")]) => Some(shown?),
            _ = relayctl.wait() => None,
        };
        if let Some(shown) = shown {
            reply(told, backend, shown.meta("ask_id"), "yes, since this morning").await?;
        }
        let late = |_| Broken::Late { who: "shell", awaited: "the answer".into() };
        let ended = timeout(PATIENCE, relayctl.wait_with_output()).await.map_err(late)??;
        let said = String::from_utf8_lossy(&ended.stdout).trim_end().to_owned();
        if !ended.status.success() || said != "yes, since this morning" {
            let complaint = String::from_utf8_lossy(&ended.stderr).into_owned();
            let got = format!("{}: {said}{}", ended.status, complaint.trim_end());
            return Err(Broken::Unexpected { who: "shell", expected: "the answer and exit code 0".into(), got });
        }
        told.did("shell", &format!("{said}\n({})", ended.status)).await
    }

    async fn everybody_leaves(&mut self) -> Result<(), Broken> {
        self.begin("everybody leaves, and so does the hub")?;
        for session in [&mut self.stage.frontend, &mut self.stage.backend] {
            let rest = session.leave().await?;
            if let Some(shown) = rest.first() {
                return Err(
                    session.unexpected("nothing more", &json!({ "content": shown.content, "meta": shown.meta }))
                );
            }
            self.transcript.did(session.name(), "leaves").await?;
        }
        self.stage.stop_hub().await?;
        self.transcript.did("hub", "ends").await
    }
}

/// Asks, and returns the ask's id.
async fn ask(
    told: &mut Transcript<'_>,
    session: &mut Session,
    to: &str,
    mut arguments: Value,
) -> Result<String, Broken> {
    arguments["to"] = to.into();
    let result = succeeds(told, session, "relay_ask", arguments).await?;
    let asked = matches!(result.text("/state"), "accepted" | "held") && result.text("/to") == to;
    if asked {
        Ok(result.text("/ask_id").to_owned())
    } else {
        Err(session.unexpected("an accepted ask", &result.value))
    }
}

/// Answers an ask.
async fn reply(told: &mut Transcript<'_>, session: &mut Session, ask: &str, text: &str) -> Result<(), Broken> {
    let result = succeeds(told, session, "relay_reply", json!({ "ask_id": ask, "text": text })).await?;
    let replied = result.text("/state") == "accepted" && result.text("/ask_id") == ask;
    if replied { Ok(()) } else { Err(session.unexpected("an accepted reply", &result.value)) }
}

/// Calls a tool that has to succeed.
async fn succeeds(
    told: &mut Transcript<'_>,
    session: &mut Session,
    tool: &str,
    arguments: Value,
) -> Result<ToolResult, Broken> {
    let result = called(told, session, tool, &arguments).await?;
    if result.is_error { Err(session.unexpected(&format!("{tool} to succeed"), &result.value)) } else { Ok(result) }
}

/// Calls a tool that has to fail.
async fn fails(
    told: &mut Transcript<'_>,
    session: &mut Session,
    tool: &str,
    arguments: Value,
) -> Result<ToolResult, Broken> {
    let result = called(told, session, tool, &arguments).await?;
    if result.is_error { Ok(result) } else { Err(session.unexpected(&format!("{tool} to be refused"), &result.value)) }
}

/// Calls a tool and shows the call.
async fn called(
    told: &mut Transcript<'_>,
    session: &mut Session,
    tool: &str,
    arguments: &Value,
) -> Result<ToolResult, Broken> {
    let result = session.call(tool, arguments).await?;
    told.called(session.name(), tool, arguments, &result).await?;
    Ok(result)
}

/// Waits for the next thing that the session is shown, which has to have these attributes.
async fn is_shown(told: &mut Transcript<'_>, session: &mut Session, wanted: &[(&str, &str)]) -> Result<Shown, Broken> {
    let expected = wanted.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join("; ");
    let shown = session.next_shown(&expected).await?;
    told.shown(session.name(), &shown).await?;
    if wanted.iter().all(|(key, value)| shown.meta(key) == *value) {
        return Ok(shown);
    }
    Err(session.unexpected(&expected, &json!(shown.meta)))
}

fn contains(session: &Session, shown: &Shown, text: &str) -> Result<(), Broken> {
    if shown.content.contains(text) {
        return Ok(());
    }
    Err(session.unexpected(text, &json!(shown.content)))
}
