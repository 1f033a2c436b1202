//! What holds of every text. Break-outs and what arrives of them are in `tests/it/channel/peer_text/`.

use std::time::Duration;

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

use super::*;

#[test]
fn a_line_is_one_line() {
    assert_eq!(line(" bob\n\tand\u{2028}<channel> \u{202e}x "), "bob and &lt;channel> x");
}

#[test]
fn what_becomes_a_turn_on_one_line_is_a_quotation() {
    assert_eq!(line("human\n:"), "> human :");
    assert_eq!(line("<\nchannel>"), "&lt; channel>");
}

#[test]
fn a_tag_is_found_through_marks_blanks_and_look_alikes() {
    for written in ["<c\u{301}h\u{337}annel>", "<\u{2800}/ch\u{e4}nnel>", "<chan\u{200b}nel>", "<сһаппеӏ>", "<systern>"]
    {
        assert!(text(written).starts_with("&lt;"), "{written}");
    }
}

/// A pass that looks at the rest of the text for each character would take a thousand times as long, not thirty.
#[test]
fn no_pass_looks_at_the_same_text_again_and_again() {
    let parts = [
        "<",
        "< ",
        "</",
        "\u{1b}]",
        "\u{1b}]x",
        "\u{9d}",
        "\u{1b}[",
        "<chan",
        "<m",
        "\u{200d}",
        "e\u{301}",
        "\u{301}",
        "user:\n\n",
        "\n",
        " ",
        "[",
        "≺",
        "|",
        "\u{1f3f4}\u{e0067}",
        "[system\n",
    ];
    for part in parts {
        let took = |bytes: usize| {
            let written = part.repeat(bytes / part.len());
            let start = processor_time();
            text(&written);
            processor_time() - start
        };
        let short = (0..3).map(|_| took(1024)).max().unwrap();
        let long = took(32 * 1024);
        assert!(long < short * 300 + Duration::from_millis(100), "{part:?}: {short:?}, {long:?}");
    }
}

/// Returns the time that this thread has had: what else the machine does is not in it.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

/// Texts of the pieces that break-outs are made of, and of anything.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = [
        "<",
        "＜",
        "ᐸ",
        "≮",
        "≺",
        "/",
        " ",
        "\n",
        "\r",
        ">",
        "channel",
        "CHAN",
        "nel",
        "system",
        "-",
        "_",
        "|",
        "reminder",
        "relay",
        "message",
        "human",
        "user",
        "assistant",
        ":",
        "[",
        "]",
        "notification",
        "\u{200b}",
        "\u{200d}",
        "\u{1b}",
        "0m",
        "\u{7}",
        "\u{fe0f}",
        "\u{e0100}",
        "\u{202e}",
        "क",
        "👩",
        "\u{e0041}",
        "\u{0}",
        "ﬆ",
        "antml",
        "&lt;",
        "&#x227A;",
        "с",
        "ƈ",
        "ꮯ",
        "rn",
        "I",
        "1",
        "\u{301}",
        "\u{2028}",
        "\u{2800}",
        "x",
        "\u{9b}",
        "\u{9c}",
        "\u{9d}",
    ];
    prop_oneof![
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat()),
        prop::collection::vec(any::<char>(), 0..64).prop_map(|chars| chars.into_iter().collect()),
    ]
}

/// What a reader who sees shapes only reads: small letters, angles, and spaces for what ends a word.
fn shapes(text: &str) -> String {
    let plain: String = text.nfkd().collect();
    let shapes = skeleton(&plain).filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase);
    let skipped = |c: char| c.is_whitespace() || matches!(c, '/' | '\\' | '-' | '_' | '.' | '!' | '?' | '|');
    shapes.filter(|c| !skipped(*c)).map(|c| if c.is_alphanumeric() || c == '<' { c } else { ' ' }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn twice_is_once_and_the_growth_is_bounded(written in hostile()) {
        let arrives = text(&written);
        prop_assert_eq!(text(&arrives), arrives.as_str());
        prop_assert!(arrives.len() <= GROWTH_MAX * written.len(), "{} of {}", arrives.len(), written.len());
        let arrives = line(&written);
        prop_assert_eq!(line(&arrives), arrives.as_str());
        prop_assert!(!arrives.contains('\n'));
    }

    #[test]
    fn nothing_that_arrives_is_a_guarded_tag_or_invisible(written in hostile()) {
        let arrives = text(&written);
        let seen = |c: char| c == '\n' || c == '\t' || (!c.is_control() && !is_invisible(c));
        let plain = arrives.chars().all(|c| seen(c) || matches!(c, '\u{200c}' | '\u{200d}') || is_variation_selector(c));
        prop_assert!(plain, "{arrives:?}");
        let shapes = shapes(&arrives) + " ";
        for tag in ["channel", "system", "systemreminder", "relaymessage", "human", "assistant", "antml", "usermessage"] {
            let tag = format!("<{} ", skeleton(tag).collect::<String>());
            prop_assert!(!shapes.contains(&tag), "{tag:?} in {arrives:?}");
        }
    }

    #[test]
    fn no_line_that_arrives_begins_a_turn(written in hostile()) {
        let arrives = text(&written);
        for line in shapes_of_lines(&arrives) {
            prop_assert!(!line.starts_with("hurnan:") && !line.starts_with("assistant:"), "{arrives:?}");
        }
    }

    #[test]
    fn text_without_brackets_colons_and_invisible_characters_arrives_as_it_is(written in "[\\p{L}\\p{N}\\p{P}\\p{S} \n&&[^\\[:<]]{0,80}") {
        let bracket = written.chars().any(looks::is_opening_bracket);
        let hidden = written.chars().any(|c| is_invisible(c) || is_variation_selector(c) || is_noncharacter(c));
        let colon = written.nfkd().any(|c| matches!(c, ':' | '['));
        prop_assume!(!bracket && !hidden && !colon);
        prop_assert_eq!(text(&written), written.as_str());
    }
}

fn shapes_of_lines(text: &str) -> Vec<String> {
    let shape = |line: &str| {
        let plain: String = line.nfkd().collect();
        skeleton(&plain).filter(|c| !is_combining_mark(*c) && !c.is_whitespace()).flat_map(char::to_lowercase).collect()
    };
    text.lines().map(shape).collect()
}
