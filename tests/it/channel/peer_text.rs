//! What peers write and what arrives of it, for a reader to see: `peer_text/` has a file for each class of break-outs and
//! of ordinary text. A new way out is a new pair of lines.
//!
//! `writes` and `arrives` stand before the two texts of a case. In both, `\n`, `\t`, `\r`, `\\` and `\u{…}` stand for what
//! could not be seen.

use std::path::{Path, PathBuf};

use relay::channel::{envelope, neutralise, notification};
use relay::protocol::{AskId, Asked, Chain};

struct Case {
    place: String,
    writes: String,
    arrives: String,
}

/// Returns the classes of a folder by name, each with its cases.
fn classes(folder: &str) -> Vec<(String, Vec<Case>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/channel/peer_text").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| (file.file_stem().unwrap().to_string_lossy().into_owned(), cases(file))).collect()
}

fn cases(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with("# "));
    let mut cases = Vec::new();
    while let Some((n, writes)) = lines.next() {
        let place = format!("{}:{}", file.display(), n + 1);
        let (_, arrives) = lines.next().expect(&place);
        let writes = unescaped(writes.strip_prefix("writes  ").expect(&place));
        cases.push(Case { writes, arrives: unescaped(arrives.strip_prefix("arrives ").expect(&place)), place });
    }
    cases
}

fn unescaped(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '\\' => match rest.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('\\') => '\\',
                Some('u') => {
                    let hex: String = rest.by_ref().take_while(|c| *c != '}').skip(1).collect();
                    char::from_u32(u32::from_str_radix(&hex, 16).expect(line)).expect(line)
                }
                other => panic!("{other:?} after a backslash in {line}"),
            },
            c => c,
        });
    }
    out
}

#[test]
fn nothing_that_a_peer_writes_breaks_out() {
    let classes = classes("break_outs");
    let n: usize = classes.iter().map(|(_, cases)| cases.len()).sum();
    assert!(classes.len() >= 15 && n >= 300, "{} classes with {n} cases", classes.len());
    for case in classes.iter().flat_map(|(_, cases)| cases) {
        assert_eq!(neutralise::text(&case.writes), case.arrives, "{}", case.place);
        assert_eq!(neutralise::text(&case.arrives), case.arrives, "{}: twice is once", case.place);
    }
}

#[test]
fn ordinary_text_arrives_readable() {
    for (class, cases) in classes("ordinary") {
        for case in cases {
            assert_eq!(neutralise::text(&case.writes), case.arrives, "{}", case.place);
            let pays = class == "code-that-pays";
            assert_eq!(case.writes != case.arrives, pays, "{}", case.place);
            let reads = ["&lt;", "&#x2264;", "&#xAB;"].iter().zip(["<", "≤", "«"]);
            let read = reads.fold(case.arrives.clone(), |text, (entity, bracket)| text.replace(entity, bracket));
            assert!(!pays || read == case.writes, "{}: more than a bracket was changed", case.place);
        }
    }
}

/// Every text of a class in one question, as a session is shown it: one envelope, whose end is the end.
#[test]
fn every_class_stays_inside_one_envelope() {
    for (class, cases) in classes("break_outs") {
        let question = cases.iter().map(|case| case.writes.as_str()).collect::<Vec<_>>().join("\n");
        let event = Asked {
            ask_id: AskId::from_bits(1),
            from: question.chars().take(64).collect(),
            question,
            timeout_ms: 1000,
            broadcast_id: None,
            from_tag: None,
            chain: Chain::default(),
        };
        let wrapped = envelope::wrap(&notification::ask(&event, "relay_reply"));
        let inside = wrapped.strip_prefix("<relay-message kind=\"ask\" from=\"").expect(&class);
        let inside = inside.strip_suffix("\n</relay-message>").expect(&class);
        for tag in ["<relay-message", "</relay-message", "<channel", "</channel", "<system", "</system"] {
            assert!(!inside.to_lowercase().contains(tag), "{class}: {tag}");
        }
        let attributes = inside.split_once(">\n").expect(&class).0;
        assert_eq!(attributes.matches('"').count(), 5, "{class}: {attributes}");
    }
}
