//! What `.config/deny.toml` forbids, checked without cargo-deny, which takes longer to install than all tests to run: its
//! licences, bans and sources. Known faults of dependencies take its own database, and are looked for by the workflow
//! `audit`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

const RULES: &str = include_str!("../../.config/deny.toml");

/// Returns the texts of the list that a line of the rules begins, in this section.
fn list(section: &str, name: &str) -> BTreeSet<&'static str> {
    let (_, section) = RULES.split_once(&format!("\n[{section}]\n")).unwrap();
    let section = section.split("\n[").next().unwrap();
    let (_, list) = section.split_once(&format!("{name} = [")).unwrap();
    let list = list.split("]").next().unwrap();
    list.split('"').skip(1).step_by(2).collect()
}

/// Returns whether an SPDX expression without nested alternatives is met by these licences.
fn is_met(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let plain = expression.replace('/', " OR ").replace(['(', ')'], "");
    plain.split(" AND ").all(|part| part.split(" OR ").any(|licence| allowed.contains(licence.trim())))
}

#[test]
fn what_is_linked_keeps_the_rules_for_licences_bans_and_sources() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--locked", "--format-version", "1"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "{}", packages.len());

    let (licences, banned) = (list("licenses", "allow"), list("bans", "deny"));
    let sources = list("sources", "allow-registry");
    let exception = ("option-ext", "MPL-2.0");
    assert!(RULES.contains(&format!("{{ crate = \"{}\", allow = [\"{}\"] }}", exception.0, exception.1)));
    for package in packages {
        let name = package["name"].as_str().unwrap();
        assert!(!banned.contains(name), "{name} is banned");
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_met(licence, &licences) || (name, licence) == exception, "{name} has the licence {licence}");
        if let Some(source) = package["source"].as_str() {
            assert!(
                source.strip_prefix("registry+").is_some_and(|source| sources.contains(source)),
                "{name}: {source}"
            );
        }
    }
}

#[test]
fn a_licence_is_met_by_one_of_each_alternative() {
    let allowed = BTreeSet::from(["MIT", "Zlib"]);
    for (expression, met) in [
        ("MIT", true),
        ("Apache-2.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("(MIT OR Apache-2.0) AND Zlib", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
        ("GPL-3.0", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
