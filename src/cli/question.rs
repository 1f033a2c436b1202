//! What asks, broadcasts and tells share: a text as an argument or from standard input, and how long to wait.

use std::io::{self, Read};
use std::time::Duration;

use clap::{Args, ValueHint};

use super::error::CliError;
use crate::protocol::{BODY_MAX_BYTES, ErrorCode, Refusal, TIMEOUT_MAX_S};

/// How long a question from the shell waits where nothing else is said.
const TIMEOUT_DEFAULT: &str = "120s";

/// How much of a text that is too large is read only to say how large it is, in bytes: it may never end.
const COUNTED_BYTES: u64 = 16 * 1024 * 1024;

/// How long something may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct TimeoutArgs {
    /// Wait this long: 90s, 5m, 2h; a plain number is seconds; at most 1day
    #[arg(long, value_name = "DURATION", default_value = TIMEOUT_DEFAULT, value_parser = parse_timeout, value_hint = ValueHint::Other)]
    pub(super) timeout: Duration,
}

/// Returns the text of these words, read from `input` where there is only a `-`. `noun`: what the text is called.
///
/// # Errors
/// The input cannot be read, is no text, is over [`BODY_MAX_BYTES`], or there is nothing in it.
pub(super) fn text(words: &[String], noun: &str, input: impl Read) -> Result<String, CliError> {
    let text = if words == ["-"] { read_text(noun, input)? } else { words.join(" ") };
    if text.len() > BODY_MAX_BYTES {
        return Err(too_large(noun, text.len() as u64, false).into());
    }
    if text.trim().is_empty() {
        let next = "write it as an argument; with - it is read from standard input";
        return Err(Refusal::new(ErrorCode::BadArgs, format!("the {noun} is empty"), next).into());
    }
    Ok(text)
}

/// Reads a text whose size is bounded; the newline that ends it is not part of it.
fn read_text(noun: &str, mut input: impl Read) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    input.by_ref().take(BODY_MAX_BYTES as u64 + 2).read_to_end(&mut bytes).map_err(CliError::Input)?;
    if bytes.len() > BODY_MAX_BYTES + 1 {
        let rest = io::copy(&mut input.take(COUNTED_BYTES), &mut io::sink()).map_err(CliError::Input)?;
        return Err(too_large(noun, bytes.len() as u64 + rest, rest == COUNTED_BYTES).into());
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| CliError::InputNotText)
}

fn too_large(noun: &str, bytes: u64, and_more: bool) -> Refusal {
    let amount = if and_more { "more than " } else { "" };
    Refusal::new(
        ErrorCode::TooLarge,
        format!("the {noun} has {amount}{bytes} bytes and may have {BODY_MAX_BYTES}"),
        "put the text into a file and send its path; to another machine send less, or use git or scp",
    )
}

/// Reads a duration with a unit, or a plain number of seconds.
pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let wrong = || "it has to be like 90s, 1.5m, 2h, or a number of seconds".to_owned();
    // A fraction of its own: humantime takes none.
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let timeout = match (number.parse::<f64>(), unit) {
        (Ok(seconds), "") => Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?,
        (Ok(number), unit) if text.contains('.') => {
            let unit = humantime::parse_duration(&format!("1{unit}")).map_err(|_| wrong())?;
            Duration::try_from_secs_f64(unit.as_secs_f64() * number).map_err(|_| wrong())?
        }
        _ => humantime::parse_duration(text).map_err(|_| wrong())?,
    };
    let bounds = Duration::from_secs(1)..=Duration::from_secs(TIMEOUT_MAX_S);
    if bounds.contains(&timeout) { Ok(timeout) } else { Err("it has to be from 1s to 1day".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::Exit;

    #[test]
    fn a_timeout_has_a_unit_or_is_in_seconds() {
        assert_eq!(parse_timeout("120s"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_timeout("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_timeout("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_timeout("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_timeout("0.5h"), Ok(Duration::from_secs(1800)));
        assert_eq!(parse_timeout("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_timeout("86400"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "soon", "0", "999ms", "86401", "2days", "-5s"] {
            assert!(parse_timeout(wrong).is_err(), "{wrong}");
        }
    }

    fn question(argument: &str, input: impl Read) -> Result<String, CliError> {
        text(&[argument.to_owned()], "question", input)
    }

    #[test]
    fn only_a_hyphen_reads_standard_input() {
        assert_eq!(question("is it green?", &b"ignored"[..]).unwrap(), "is it green?");
        assert_eq!(question("-", &b"is it green?\n"[..]).unwrap(), "is it green?");
        assert_eq!(question("-", &b"two\nlines\n\n"[..]).unwrap(), "two\nlines\n");
    }

    #[test]
    fn standard_input_is_bounded_and_the_refusal_names_both_numbers() {
        let longest = [b'x'; BODY_MAX_BYTES];
        assert_eq!(question("-", &longest[..]).unwrap().len(), BODY_MAX_BYTES);
        let with_newline = [&longest[..], b"\n"].concat();
        assert_eq!(question("-", &with_newline[..]).unwrap().len(), BODY_MAX_BYTES);
        let one_more = [&longest[..], b"x"].concat();
        assert_eq!(question("-", &one_more[..]).unwrap_err().code(), Some(ErrorCode::TooLarge));
        let error = question("-", &vec![b'x'; 100_000][..]).unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::TooLarge));
        assert_eq!(error.to_string(), "the question has 100000 bytes and may have 65536");
        let error = question("-", io::repeat(b'x')).unwrap_err();
        assert!(error.to_string().starts_with("the question has more than 16"), "{error}");
    }

    #[test]
    fn a_question_that_asks_nothing_is_wrong_usage_wherever_it_comes_from() {
        for error in [question(" ", io::empty()).unwrap_err(), question("-", &b"\n"[..]).unwrap_err()] {
            assert_eq!((error.exit(), error.to_string().as_str()), (Exit::Usage, "the question is empty"));
        }
        let error = question(&"x".repeat(BODY_MAX_BYTES + 1), io::empty()).unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::TooLarge));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(matches!(question("-", &[0xff, 0xfe][..]), Err(CliError::InputNotText)));
    }
}
