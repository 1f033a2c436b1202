//! Receipts: the ids of the messages of ours in a text that Claude Code is about to put before its model. Pure.
//!
//! `UserPromptSubmit` has in `prompt` the exact text of a channel event, or of the turn that a waiter started (seen in
//! 2.1.197 and 2.1.330). A message's text cannot hold an opening tag of either envelope: it is disarmed.

use serde::Deserialize;

use super::frame::IDS_MAX;

/// How the envelope of a message begins that does not come as a channel event.
pub const ENVELOPE: &str = "<relay-message ";

/// How a channel event of ours begins: from the plugin's server, and from a project's.
const CHANNEL_TAGS: [&str; 2] = ["<channel source=\"plugin:relay:relay\"", "<channel source=\"relay\""];

/// How a turn begins that a waiter started: in 2.1.197, and in 2.1.330 behind a preamble.
const WAKE_BEGINNINGS: [&str; 2] = ["<task-notification>", "[SYSTEM NOTIFICATION"];

/// Returns the ids in this prompt: none where its user typed it, whatever it holds.
pub fn of_prompt(prompt: &str) -> Vec<String> {
    if CHANNEL_TAGS.iter().any(|tag| prompt.starts_with(tag)) {
        return of_tag(prompt).into_iter().collect();
    }
    if !WAKE_BEGINNINGS.iter().any(|beginning| prompt.starts_with(beginning)) {
        return Vec::new();
    }
    prompt.match_indices(ENVELOPE).filter_map(|(at, _)| of_tag(&prompt[at..])).take(IDS_MAX).collect()
}

/// Returns the ids of the channel events that this piece of a transcript says were put into a turn.
///
/// In the middle of a turn no hook runs for an event in 2.1.197. Both versions then write a line of the type `attachment`
/// some 0.1 s after the request that has the event, so the next hook finds it. A line of the type `queue-operation` says
/// only that an event waits.
pub fn of_transcript(lines: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let record: Record = serde_json::from_str(line).ok()?;
        let attached = record.attachment.filter(|attached| record.kind == "attachment" && attached.kind == QUEUED)?;
        attached.origin.filter(|origin| origin.kind == "channel").map(|_| of_prompt(&attached.prompt))
    };
    let candidates = lines.lines().rev().filter(|line| line.contains(QUEUED) && line.contains("<channel source="));
    candidates.filter_map(of_line).flatten().take(IDS_MAX).collect()
}

/// What kind of attachment a message is that came in the middle of a turn.
const QUEUED: &str = "queued_command";

/// A line of a transcript, as far as it matters.
#[derive(Debug, Deserialize)]
struct Record {
    #[serde(rename = "type")]
    kind: String,
    attachment: Option<Attachment>,
}

#[derive(Debug, Deserialize)]
struct Attachment {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    prompt: String,
    origin: Option<Origin>,
}

#[derive(Debug, Deserialize)]
struct Origin {
    kind: String,
}

/// Returns the id of the message whose opening tag stands at the text's start.
fn of_tag(text: &str) -> Option<String> {
    let tag = text.split_once('>')?.0;
    let value = |key: &str| Some(tag.split_once(&format!(" {key}=\""))?.1.split_once('"')?.0.to_owned());
    ["ask_id", "tell_id", "broadcast_id"].into_iter().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_event_is_known_by_its_opening_tag() {
        let prompt = "<channel source=\"plugin:relay:relay\" kind=\"ask\" from=\"b\" ask_id=\"k3v9-x2mq-7bd4\" timeout_s=\"600\">\nhi <b> kind=\"reply\"\n</channel>";
        assert_eq!(of_prompt(prompt), ["k3v9-x2mq-7bd4"]);
        let tell = "<channel source=\"relay\" kind=\"tell\" from=\"b\" tell_id=\"t-1\">\nhi\n</channel>";
        assert_eq!(of_prompt(tell), ["t-1"]);
        let tally = "<channel source=\"relay\" kind=\"tally\" asked=\"1\" broadcast_id=\"b-1\">\nover\n</channel>";
        assert_eq!(of_prompt(tally), ["b-1"]);
    }

    #[test]
    fn wake_has_all_its_messages_known() {
        let prompt = "<task-notification>\n<summary>relay: message from another session</summary>\n</task-notification>\n<system-reminder>\nMessages: two\n<relay-message kind=\"ask\" from=\"b\" ask_id=\"1\" timeout_s=\"9\">\nx\n</relay-message>\n<relay-message kind=\"failed\" from=\"b\" ask_id=\"2\" code=\"timeout\">\ny\n</relay-message>\n</system-reminder>";
        let both = ["1", "2"];
        assert_eq!(of_prompt(prompt), both);
        assert_eq!(of_prompt(&format!("[SYSTEM NOTIFICATION - NOT USER INPUT]\n{prompt}")), both);
    }

    #[test]
    fn transcript_says_which_events_were_put_into_a_turn() {
        let event = r#"<channel source=\"plugin:relay:relay\" kind=\"ask\" from=\"b\" ask_id=\"1\">\nhi\n</channel>"#;
        let line = |kind: &str, origin: &str| {
            format!(
                r#"{{"type":"attachment","attachment":{{"type":"{kind}","prompt":"{event}","origin":{{"kind":"{origin}"}}}}}}"#
            )
        };
        let waits = format!(r#"{{"type":"queue-operation","operation":"enqueue","content":"{event}"}}"#);
        assert_eq!(of_transcript(&format!("cut\"}}\n{waits}\n{}\n", line("queued_command", "channel"))), ["1"]);
        for none in [
            waits,
            line("queued_command", "human"),
            line("file", "channel"),
            "queued_command <channel source=".to_owned(),
        ] {
            assert!(of_transcript(&none).is_empty(), "{none}");
        }
    }

    #[test]
    fn prompt_that_a_user_types_is_no_receipt() {
        for prompt in [
            "",
            "see <relay-message kind=\"ask\" ask_id=\"1\">",
            " <channel source=\"relay\" kind=\"ask\" ask_id=\"1\">",
            "<channel source=\"other\" kind=\"ask\" ask_id=\"1\">\n<channel source=\"relay\" kind=\"ask\" ask_id=\"2\">",
            "<channel source=\"relay\" kind=\"ask\"",
            "<channel source=\"relay\" kind=\"ask\">",
        ] {
            assert!(of_prompt(prompt).is_empty(), "{prompt}");
        }
    }
}
