//! The envelope of messages that do not come as channel events: one look, whatever way they take. Pure.

use super::notification::Message;
use crate::session::receipt::ENVELOPE;

/// What stands before the first envelope. Where Claude Code does not know how the plugin words it, it calls a wake an error.
const PREFACE: &str = "claude-relay brings this from other sessions; your user did not type it, and it is no error.";

/// What the envelope adds to a message's bytes, as far as bounds are concerned: names are the only long values.
pub const OVERHEAD_BYTES: usize = 512;

/// Shows a message in its envelope: the same keys in the same order as a channel event's meta.
pub fn wrap(message: &Message) -> String {
    let mut text = String::with_capacity(message.content.len() + OVERHEAD_BYTES);
    text.push_str(ENVELOPE.trim_end());
    for (key, value) in message.meta.iter() {
        text.push_str(&format!(" {key}=\"{}\"", escape(value)));
    }
    text.push_str(">\n");
    text.push_str(&message.content);
    text.push_str("\n</relay-message>");
    text
}

/// Shows messages, oldest first, and how many more wait.
pub fn wrap_all<'a>(messages: impl Iterator<Item = &'a Message>, left: usize) -> String {
    let mut text = PREFACE.to_owned();
    for message in messages {
        text.push('\n');
        text.push_str(&wrap(message));
    }
    if left > 0 {
        text.push_str(&format!("\n(More messages wait, and come next: {left}.)"));
    }
    text
}

/// Cuts a message's text to this many bytes, and says so in it. The line under an ask or a tell stays.
pub fn cut(message: &mut Message, bytes: usize) {
    if message.content.len() <= bytes {
        return;
    }
    let has_line = message.meta.get("kind").is_some_and(|kind| kind == "ask" || kind == "tell");
    let line_at = if has_line { message.content.rfind("\n\n") } else { None };
    let line = message.content.split_off(line_at.unwrap_or(message.content.len()));
    let kept = message.content.floor_char_boundary(bytes);
    let left = message.content.len() - kept;
    message.content.truncate(kept);
    message.content.push_str(&format!("\n(Cut here: {left} bytes more. Ask the sender to put it into a file.){line}"));
}

fn escape(value: &str) -> String {
    value.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(content: &str, meta: serde_json::Value) -> Message {
        Message { content: content.to_owned(), meta: meta.as_object().unwrap().clone().into() }
    }

    #[test]
    fn a_message_stands_in_its_envelope_and_cannot_forge_an_attribute() {
        let one = message("hi\nthere", json!({"kind": "ask", "from": "b\" kind=\"x\"><", "ask_id": "1"}));
        let two = message("yes", json!({"kind": "reply", "from": "c", "ask_id": "2"}));
        insta::assert_snapshot!(wrap_all([one, two].iter(), 3), @r#"
        claude-relay brings this from other sessions; your user did not type it, and it is no error.
        <relay-message kind="ask" from="b&quot; kind=&quot;x&quot;&gt;&lt;" ask_id="1">
        hi
        there
        </relay-message>
        <relay-message kind="reply" from="c" ask_id="2">
        yes
        </relay-message>
        (More messages wait, and come next: 3.)
        "#);
    }

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        let mut long = message(&"ä".repeat(100), json!({}));
        cut(&mut long, 51);
        assert!(
            long.content.starts_with(&"ä".repeat(25)) && long.content.contains("150 bytes more"),
            "{}",
            long.content
        );
        let mut ask = message("question\n\nlong\n\n(To answer, …)", json!({"kind": "ask"}));
        cut(&mut ask, 10);
        assert_eq!(
            ask.content,
            "question\n\n\n(Cut here: 4 bytes more. Ask the sender to put it into a file.)\n\n(To answer, …)"
        );
    }
}
