//! Claude Code: the plugin from a marketplace of files. Its commands, and what it keeps of them, were seen in 2.1.197 and
//! 2.1.330.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::recipe::{Agent, program, run, uninstall};
use super::{files, shown};
use crate::agent::claude_code::{PROFILE, config_directory};
use crate::paths::Environment;
use crate::service::{Plan, ServiceError};

pub(super) const AGENT: Agent = Agent {
    name: "claude",
    shown: PROFILE.shown,
    restart: "your Claude Code sessions",
    wakes: "a channel event, where they were started with the flag, else the plugin's waiter",
    find,
    install: |program, environment, bindir| install(program, environment, bindir, &Kept::read()),
    remove: |program| remove(program, &Kept::read()),
};

const MARKETPLACE: &str = "claude-relay";
const PLUGIN: &str = "relay@claude-relay";

/// Where Claude Code's own installers put it, below the home directory.
const PLACES: [&str; 4] = [".local/bin", ".claude/local", ".npm-global/bin", ".bun/bin"];

/// Returns Claude Code's program.
pub(in crate::cli) fn find(environment: &Environment) -> Option<PathBuf> {
    program(environment, "claude", &PLACES)
}

/// What Claude Code keeps of our marketplace and plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Kept {
    /// The folder that the marketplace is read from; empty where it is not a folder.
    marketplace: Option<PathBuf>,
    /// Whether the plugin is enabled; none where it is not installed.
    enabled: Option<bool>,
}

impl Kept {
    fn read() -> Self {
        let directory = config_directory().unwrap_or_default();
        let json = |name: &str| -> Value {
            serde_json::from_str(&fs::read_to_string(directory.join(name)).unwrap_or_default()).unwrap_or_default()
        };
        Self::of(&json("plugins/known_marketplaces.json"), &json("settings.json"))
    }

    fn of(marketplaces: &Value, settings: &Value) -> Self {
        let known = marketplaces.get(MARKETPLACE);
        let folder = |known: &Value| PathBuf::from(known["source"]["path"].as_str().unwrap_or_default());
        let enabled = settings["enabledPlugins"].get(PLUGIN).map(|enabled| enabled == true);
        Self { marketplace: known.map(folder), enabled }
    }
}

fn install(program: &Path, environment: &Environment, bindir: &Path, kept: &Kept) -> Result<Plan, ServiceError> {
    let (program, data) = (shown(program)?, environment.data_dir()?);
    let mut steps = files::write(&data, files::PLUGIN, bindir);
    if kept.marketplace.as_ref() != Some(&data) {
        // One of the same name that is read from elsewhere is pointed here.
        steps.push(run(&program, &["plugin", "marketplace", "add", &shown(&data)?]));
    }
    match kept.enabled {
        None => steps.push(run(&program, &["plugin", "install", PLUGIN])),
        Some(false) => steps.push(run(&program, &["plugin", "enable", PLUGIN])),
        Some(true) => {}
    }
    Ok(Plan { steps })
}

fn remove(program: &Path, kept: &Kept) -> Result<Plan, ServiceError> {
    uninstall(program, kept.enabled.is_some().then_some(PLUGIN), kept.marketplace.is_some().then_some(MARKETPLACE))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::service::Step;

    fn environment() -> Environment {
        Environment { home: Some("/home/ada".into()), data_home: None, ..Environment::of_process() }
    }

    fn commands(plan: &Plan) -> Vec<String> {
        plan.steps.iter().filter(|step| matches!(step, Step::Run(_))).map(Step::headline).collect()
    }

    fn installs(kept: &Kept) -> Vec<String> {
        commands(&install(Path::new("/bin/claude"), &environment(), Path::new("/opt/bin"), kept).unwrap())
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let data = "/home/ada/.local/share/claude-relay";
        let add = format!("run /bin/claude plugin marketplace add {data}");
        assert_eq!(
            installs(&Kept::default()),
            [add.clone(), "run /bin/claude plugin install relay@claude-relay".to_owned()]
        );
        let here = Kept { marketplace: Some(data.into()), enabled: Some(true) };
        assert_eq!(installs(&here), [""; 0]);
        let old_clone = Kept { marketplace: Some("/tmp/clone".into()), enabled: Some(true) };
        assert_eq!(installs(&old_clone), [add]);
        let disabled = Kept { enabled: Some(false), ..here };
        assert_eq!(installs(&disabled), ["run /bin/claude plugin enable relay@claude-relay"]);
    }

    #[test]
    fn only_what_is_there_is_removed() {
        let removes = |kept: &Kept| commands(&remove(Path::new("/bin/claude"), kept).unwrap());
        assert_eq!(removes(&Kept::default()), [""; 0]);
        let here = Kept { marketplace: Some("/d".into()), enabled: Some(true) };
        assert_eq!(removes(&here).len(), 2);
    }

    #[test]
    fn what_claude_code_keeps_is_read() {
        let marketplaces = json!({"claude-relay": {"source": {"source": "directory", "path": "/d"}}});
        let settings = json!({"enabledPlugins": {PLUGIN: true}});
        assert_eq!(Kept::of(&marketplaces, &settings), Kept { marketplace: Some("/d".into()), enabled: Some(true) });
        assert_eq!(Kept::of(&Value::Null, &Value::Null), Kept::default());
    }
}
