//! Gemini CLI: an extension, which it loads from a folder, and a policy that lets our own tools run without a dialog, which
//! an extension cannot have. Seen in 0.61.0.

use std::path::{Path, PathBuf};

use super::files;
use super::recipe::{Agent, program};
use crate::agent::gemini_cli::PROFILE;
use crate::paths::Environment;
use crate::service::{Plan, Step};

pub(super) const AGENT: Agent = Agent {
    name: "gemini",
    shown: PROFILE.shown,
    restart: "your Gemini CLI sessions",
    wakes: "nothing: they see messages in a turn that runs anyway, or when their user says \"check relay\"",
    find: |environment| program(environment, "gemini", &[".local/bin", ".npm-global/bin", ".bun/bin"]),
    install: |_, environment, bindir| Ok(install(environment, bindir)),
    remove: |_| Ok(remove(&Environment::of_process())),
};

/// The policy: all tools of the server `relay`. A rule that names no tool makes Gemini CLI skip the whole file.
const POLICY: &str = "[[rule]]\nmcpName = \"relay\"\ntoolName = \"*\"\ndecision = \"allow\"\npriority = 100\n";

/// What the extension's files are below, in the repository.
const SOURCE: &str = "packaging/gemini";

fn directory(environment: &Environment) -> PathBuf {
    environment.home.as_deref().unwrap_or(Path::new("/")).join(".gemini")
}

fn extension(environment: &Environment) -> PathBuf {
    directory(environment).join("extensions/relay")
}

fn policy(environment: &Environment) -> PathBuf {
    directory(environment).join("policies/relay.toml")
}

fn install(environment: &Environment, bindir: &Path) -> Plan {
    let mut steps = Vec::new();
    let mut write = |path: PathBuf, content: String| {
        steps.extend(path.parent().map(|parent| Step::MakeDirectory { path: parent.to_owned(), mode: 0o755 }));
        steps.push(Step::WriteFile { path, content, mode: 0o644 });
    };
    for file in files::GEMINI {
        let below = file.path.strip_prefix(SOURCE).unwrap_or(file.path).trim_start_matches('/');
        write(extension(environment).join(below), file.content(bindir));
    }
    // A word that switches every agent's permission of our tools off switches this one off too.
    if crate::agent::claude_code::allows_tools(std::env::var("RELAY_ALLOW_TOOLS").ok().as_deref()) {
        write(policy(environment), POLICY.to_owned());
    }
    Plan { steps }
}

fn remove(environment: &Environment) -> Plan {
    let extension = extension(environment);
    let files = files::GEMINI.iter().map(|file| {
        let below = file.path.strip_prefix(SOURCE).unwrap_or(file.path).trim_start_matches('/');
        Step::RemoveFile { path: extension.join(below) }
    });
    let mut steps: Vec<Step> = files.collect();
    steps.push(Step::RemoveFile { path: policy(environment) });
    let directory = directory(environment);
    let empty = [extension.join("hooks"), extension, directory.join("extensions"), directory.join("policies")];
    steps.extend(empty.map(|path| Step::RemoveEmptyDirectory { path }));
    Plan { steps }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::SystemCommands;

    #[test]
    fn extension_and_policy_are_written_once_and_go_without_a_trace() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".gemini")).unwrap();
        let environment = Environment { home: Some(home.path().to_owned()), ..Environment::of_process() };
        let mut none = SystemCommands::default();
        assert!(install(&environment, Path::new("/opt/bin")).perform(&mut none, |_, _| {}).unwrap());
        assert!(!install(&environment, Path::new("/opt/bin")).perform(&mut none, |_, _| {}).unwrap());
        assert!(home.path().join(".gemini/extensions/relay/gemini-extension.json").is_file());
        remove(&environment).perform(&mut none, |_, _| {}).unwrap();
        assert_eq!(std::fs::read_dir(home.path().join(".gemini")).unwrap().count(), 0);
    }
}
