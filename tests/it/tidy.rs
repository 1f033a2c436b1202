//! Conventions that the compiler does not know: which layer may know which, how large a file may be, what names say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

mod imports;

use self::imports::{Sources, between_siblings, circles};

/// What a layer may use of this crate, and which words must not appear in its code.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    must_not_say: &'static [&'static str],
}

/// Words of the world outside: a pure file has none of them.
const WORLD: &[&str] = &[
    "tokio",
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "HashMap",
    "HashSet",
    "async ",
    ".await",
];

const LAYERS: &[Layer] = &[
    Layer { name: "protocol", may_use: &["protocol"], must_not_say: WORLD },
    Layer { name: "deadlines", may_use: &[], must_not_say: WORLD },
    Layer { name: "confusables", may_use: &["protocol"], must_not_say: WORLD },
    Layer { name: "hub", may_use: &["protocol", "deadlines", "confusables", "hub"], must_not_say: WORLD },
    Layer {
        name: "client",
        may_use: &["alarm", "protocol", "deadlines", "client", "fault", "watched"],
        must_not_say: &[],
    },
    Layer {
        name: "session",
        may_use: &["protocol", "session", "agent", "object", "process", "watched"],
        must_not_say: &[],
    },
    Layer { name: "agent", may_use: &["protocol", "agent", "object", "watched", "process"], must_not_say: &[] },
    Layer { name: "advice/observation", may_use: &["advice"], must_not_say: &["tokio"] },
    Layer { name: "advice/startup", may_use: &["advice", "activation", "paths", "service"], must_not_say: WORLD },
    Layer { name: "advice", may_use: &["advice"], must_not_say: WORLD },
    Layer { name: "fault", may_use: &[], must_not_say: &["tokio"] },
    Layer { name: "activation/path_watch", may_use: &["activation", "watched"], must_not_say: &["tokio"] },
    Layer { name: "activation", may_use: &["activation", "paths", "watched"], must_not_say: &[] },
    Layer { name: "arguments", may_use: &[], must_not_say: &["tokio"] },
    Layer { name: "paths", may_use: &[], must_not_say: &["tokio"] },
    Layer { name: "runtime", may_use: &[], must_not_say: &[] },
    Layer { name: "alarm", may_use: &["watched"], must_not_say: &[] },
    Layer { name: "object", may_use: &[], must_not_say: WORLD },
    Layer { name: "watched", may_use: &["process", "watched"], must_not_say: &[] },
    Layer { name: "process", may_use: &[], must_not_say: &["tokio", "Command"] },
    Layer { name: "ready", may_use: &[], must_not_say: &["tokio"] },
    Layer {
        name: "bridge",
        may_use: &["alarm", "protocol", "client", "hub", "agent", "bridge", "paths", "ready", "runtime", "watched"],
        must_not_say: &[],
    },
    Layer { name: "nats/carry", may_use: &["nats", "runtime"], must_not_say: &[] },
    Layer { name: "nats/stdio", may_use: &["nats", "watched"], must_not_say: &[] },
    Layer { name: "nats", may_use: &["nats", "advice"], must_not_say: &[] },
    Layer { name: "logging", may_use: &["paths", "logging"], must_not_say: &["tokio"] },
    Layer { name: "service", may_use: &["activation", "paths", "service"], must_not_say: &["tokio"] },
    Layer {
        name: "daemon",
        may_use: &[
            "activation",
            "alarm",
            "protocol",
            "deadlines",
            "hub",
            "daemon",
            "process",
            "fault",
            "ready",
            "watched",
        ],
        must_not_say: &[],
    },
    Layer {
        name: "channel",
        may_use: &[
            "alarm",
            "confusables",
            "protocol",
            "client",
            "session",
            "agent",
            "channel",
            "object",
            "paths",
            "ready",
            "fault",
            "runtime",
            "watched",
        ],
        must_not_say: &["std::process::Command"],
    },
    Layer {
        name: "cli",
        may_use: &[
            "advice",
            "alarm",
            "protocol",
            "client",
            "hub",
            "activation",
            "agent",
            "arguments",
            "bridge",
            "cli",
            "paths",
            "process",
            "service",
            "logging",
            "runtime",
            "watched",
        ],
        must_not_say: &[],
    },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The part of a file that is shipped: without comments and without the tests at its end.
fn shipped_code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns whether the module's documentation says that it is pure.
fn calls_itself_pure(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap();
    let doc: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    doc.join(" ").split(|c: char| !c.is_alphabetic()).any(|word| word == "Pure")
}

fn is_test_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn layer_knows_only_the_layers_below_it() {
    let source = root().join("src");
    let mut met = BTreeSet::new();
    for path in rust_files(&source) {
        let place = path.strip_prefix(&source).unwrap().with_extension("");
        // The first layer that fits is the narrowest: they are listed so.
        let Some(layer) = LAYERS.iter().find(|layer| place.starts_with(layer.name)) else { continue };
        met.insert(layer.name);
        if is_test_file(place.as_path()) {
            continue;
        }
        let code = shipped_code(&path);
        let is_pure = calls_itself_pure(&path);
        for word in WORLD.iter().filter(|_| is_pure) {
            assert!(!code.contains(word), "{} is pure and says {word:?}", path.display());
        }
        for used in code.split("crate::").skip(1) {
            let module: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(layer.may_use.contains(&module.as_str()), "{} uses {module}", path.display());
        }
        for word in layer.must_not_say {
            assert!(!code.contains(word), "{} says {word:?}", path.display());
        }
    }
    assert_eq!(met.len(), LAYERS.len(), "a layer has gone: {met:?}");
}

#[test]
fn module_of_the_source_is_of_a_layer() {
    let layers: BTreeSet<&str> = LAYERS.iter().map(|layer| layer.name).collect();
    for path in rust_files(&root().join("src")) {
        let place = path.strip_prefix(root().join("src")).unwrap();
        let top = place.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        assert!(layers.contains(top) || top == "lib" || top == "bin", "{} is of no layer", path.display());
    }
}

#[test]
fn files_of_the_source_do_not_use_each_other_in_circles() {
    let sources = Sources::read(&root().join("src"));
    let arrows = sources.arrows();
    let n: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(n > 200, "only {n} arrows were found");
    assert_eq!(circles(&arrows), [].map(|(): ()| BTreeSet::<&Path>::new()));
    assert_eq!(circles(&between_siblings(&arrows)), [].map(|(): ()| BTreeSet::<&Path>::new()));
}

#[test]
fn architecture_page_names_every_file_of_the_source() {
    let page = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let source = root().join("src");
    let shipped = || rust_files(&source).into_iter().filter(|path| !is_test_file(path));
    for path in shipped() {
        let place = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let lines = page.lines().filter(|line| line.starts_with(&format!("| `{place}` |"))).count();
        assert_eq!(lines, 1, "docs/architecture.md has {lines} lines for {place}");
    }
    for line in page.lines().filter(|line| line.starts_with("| `src/")) {
        let place = line.split('`').nth(1).unwrap();
        assert!(root().join(place).exists(), "docs/architecture.md names {place}, which is not there");
    }
}

#[test]
fn file_is_one_noun_of_readable_size() {
    for path in rust_files(&root().join("src")).into_iter().chain(rust_files(&root().join("tests"))) {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines: it is two nouns", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap();
        for vague in ["util", "utils", "helper", "helpers", "common", "misc", "core", "mod", "handler"] {
            assert_ne!(name, vague, "{}", path.display());
        }
    }
}

/// The files with unsafe code: they call foreign functions or take bare descriptors.
const UNSAFE: [&str; 4] = ["activation/launchd.rs", "activation/systemd.rs", "watched/kernel_queue.rs", "watched.rs"];

#[test]
fn unsafe_code_is_only_where_it_is_listed() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"deny\""), "the compiler allows it where nobody says so");
    let has_unsafe = |path: &PathBuf| {
        let code = shipped_code(path);
        ["unsafe {", "unsafe fn", "unsafe extern", "unsafe impl", "(unsafe_code"].iter().any(|word| code.contains(word))
    };
    let source = root().join("src");
    let found: Vec<PathBuf> = rust_files(&source).into_iter().filter(has_unsafe).collect();
    let found: Vec<&Path> = found.iter().map(|path| path.strip_prefix(&source).unwrap()).collect();
    assert_eq!(found, UNSAFE.map(Path::new));
}

#[test]
fn every_test_file_is_part_of_the_binary() {
    let tests = root().join("tests/it");
    for path in rust_files(&tests) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let parent = path.parent().unwrap();
        let listed_in = if parent == tests { tests.join("main.rs") } else { parent.with_extension("rs") };
        let list = std::fs::read_to_string(&listed_in).unwrap();
        assert!(name == "main" || list.contains(&format!("mod {name};")), "{} lacks {name}", listed_in.display());
    }
}

/// Returns the names by which a text chooses tests of this binary.
fn chosen_tests(text: &str) -> impl Iterator<Item = &str> {
    let commands = text.split("--test it -- ").skip(1).map(|rest| rest.split(['`', '\n', '#']).next().unwrap_or(rest));
    commands.flat_map(|command| command.split_whitespace().take_while(|word| !word.starts_with('-')))
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let listed = std::process::Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let tests = String::from_utf8(listed.stdout).unwrap();
    let pages = std::fs::read_dir(root().join("docs")).unwrap().map(|page| page.unwrap().path());
    let documents = pages.chain([root().join("README.md")]).filter(|path| path.is_file());
    let texts: Vec<String> = documents.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let chosen: BTreeSet<&str> = texts.iter().flat_map(|text| chosen_tests(text)).collect();
    let missing: Vec<_> = chosen.iter().filter(|name| !tests.lines().any(|test| test.contains(**name))).collect();
    assert!(!chosen.is_empty() && missing.is_empty(), "no test has a name with {missing:?}");
}
