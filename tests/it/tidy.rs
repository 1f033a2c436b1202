//! Conventions that the compiler does not know: which layer may know which, how large a file may be, what names say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a layer may use of this crate, and which words must not appear in its code.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    must_not_say: &'static [&'static str],
}

/// Words of the world outside: a pure layer has none of them.
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
    Layer { name: "client/ledger", may_use: &["protocol", "deadlines", "client"], must_not_say: WORLD },
    Layer { name: "client/outgoing", may_use: &["protocol", "client"], must_not_say: WORLD },
    Layer { name: "client/call", may_use: &["protocol", "client"], must_not_say: WORLD },
    Layer { name: "client/sent", may_use: &["protocol", "deadlines", "client"], must_not_say: WORLD },
    Layer { name: "client/received", may_use: &["protocol", "deadlines", "client"], must_not_say: WORLD },
    Layer { name: "channel/inbox", may_use: &["protocol", "client", "channel"], must_not_say: WORLD },
    Layer { name: "channel/neutralise", may_use: &["protocol", "confusables", "channel"], must_not_say: WORLD },
    Layer { name: "channel/notification", may_use: &["protocol", "client", "channel"], must_not_say: WORLD },
    Layer { name: "client", may_use: &["protocol", "deadlines", "client", "fault", "watched"], must_not_say: &[] },
    Layer { name: "fault", may_use: &[], must_not_say: &["tokio"] },
    Layer { name: "activation/acceptor", may_use: &["watched"], must_not_say: &[] },
    Layer { name: "activation", may_use: &["activation", "paths"], must_not_say: &["tokio"] },
    Layer { name: "arguments", may_use: &[], must_not_say: &["tokio"] },
    Layer { name: "claude_code", may_use: &[], must_not_say: &["tokio"] },
    Layer { name: "paths", may_use: &[], must_not_say: &["tokio"] },
    Layer { name: "runtime", may_use: &[], must_not_say: &[] },
    Layer { name: "watched", may_use: &[], must_not_say: &[] },
    Layer { name: "process", may_use: &["protocol"], must_not_say: &["tokio", "Command"] },
    Layer { name: "logging", may_use: &["paths", "logging"], must_not_say: &["tokio"] },
    Layer { name: "service", may_use: &["activation", "paths", "service"], must_not_say: &["tokio"] },
    Layer {
        name: "daemon",
        may_use: &["activation", "protocol", "deadlines", "hub", "daemon", "process", "fault", "runtime", "watched"],
        must_not_say: &[],
    },
    Layer {
        name: "channel",
        may_use: &["protocol", "client", "channel", "claude_code", "paths", "process", "fault", "runtime", "watched"],
        must_not_say: &["std::process::Command"],
    },
    Layer {
        name: "cli",
        may_use: &[
            "protocol",
            "client",
            "hub",
            "activation",
            "arguments",
            "claude_code",
            "cli",
            "paths",
            "service",
            "logging",
            "runtime",
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

fn is_test_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn a_layer_knows_only_the_layers_below_it() {
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
fn every_module_of_the_source_is_of_a_layer() {
    let layers: BTreeSet<&str> = LAYERS.iter().map(|layer| layer.name).collect();
    for path in rust_files(&root().join("src")) {
        let place = path.strip_prefix(root().join("src")).unwrap();
        let top = place.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        assert!(layers.contains(top) || top == "lib" || top == "bin", "{} is of no layer", path.display());
    }
}

#[test]
fn a_file_is_one_noun_of_readable_size() {
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
const UNSAFE: [&str; 3] = ["activation/launchd.rs", "activation/systemd.rs", "watched.rs"];

#[test]
fn unsafe_code_is_where_foreign_functions_are_called_and_nowhere_else() {
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
    let main = std::fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    for path in rust_files(&root().join("tests/it")) {
        if path.parent().unwrap() == root().join("tests/it") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(name == "main" || main.contains(&format!("mod {name};")), "tests/it/main.rs lacks {name}");
        }
    }
}
