//! GitHub Copilot CLI: the same plugin from the same marketplace of files as Claude Code's. Its commands, and what it keeps of
//! them, were seen in 1.0.102: the plugin is loaded from where it lies.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::recipe::{Agent, program, run, uninstall};
use super::{files, shown};
use crate::agent::copilot::PROFILE;
use crate::paths::Environment;
use crate::service::{Plan, ServiceError};

pub(super) const AGENT: Agent = Agent {
    name: "copilot",
    shown: PROFILE.shown,
    restart: "your Copilot sessions",
    wakes: "the extension in its plugin",
    find: |environment| program(environment, "copilot", &PLACES),
    install: |program, environment, bindir| install(program, environment, bindir, &Kept::read(environment)),
    remove: |program| remove(program, &Kept::read(&Environment::of_process())),
};

const MARKETPLACE: &str = "claude-relay";
const PLUGIN: &str = "relay@claude-relay";

/// Where its own installers put it, below the home directory.
const PLACES: [&str; 2] = [".local/bin", ".npm-global/bin"];

/// What Copilot keeps of our marketplace and plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Kept {
    /// The folder that the marketplace is read from; empty where it is not a folder.
    marketplace: Option<PathBuf>,
    enabled: bool,
}

impl Kept {
    fn read(environment: &Environment) -> Self {
        let set = std::env::var_os("COPILOT_HOME").map(PathBuf::from);
        let home = set.or_else(|| Some(environment.home.as_ref()?.join(".copilot"))).unwrap_or_default();
        let text = fs::read_to_string(home.join("settings.json")).unwrap_or_default();
        Self::of(&serde_json::from_str(&text).unwrap_or_default())
    }

    fn of(settings: &Value) -> Self {
        let known = settings["extraKnownMarketplaces"].get(MARKETPLACE);
        let folder = |known: &Value| PathBuf::from(known["source"]["path"].as_str().unwrap_or_default());
        Self { marketplace: known.map(folder), enabled: settings["enabledPlugins"][PLUGIN] == true }
    }
}

fn install(program: &Path, environment: &Environment, bindir: &Path, kept: &Kept) -> Result<Plan, ServiceError> {
    let (program, data) = (shown(program)?, environment.data_dir()?);
    let mut steps = files::write(&data, files::PLUGIN, bindir);
    if kept.marketplace.as_ref() != Some(&data) {
        if kept.marketplace.is_some() {
            steps.push(run(&program, &["plugin", "marketplace", "remove", MARKETPLACE]));
        }
        steps.push(run(&program, &["plugin", "marketplace", "add", &shown(&data)?]));
    }
    if !kept.enabled {
        steps.push(run(&program, &["plugin", "install", PLUGIN]));
    }
    Ok(Plan { steps })
}

fn remove(program: &Path, kept: &Kept) -> Result<Plan, ServiceError> {
    uninstall(program, kept.enabled.then_some(PLUGIN), kept.marketplace.is_some().then_some(MARKETPLACE))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::service::Step;

    fn commands(plan: &Plan) -> Vec<String> {
        plan.steps.iter().filter(|step| matches!(step, Step::Run(_))).map(Step::headline).collect()
    }

    #[test]
    fn only_what_is_missing_is_installed_and_only_what_is_there_removed() {
        let environment = Environment { home: Some("/h".into()), data_home: None, ..Environment::of_process() };
        let data = "/h/.local/share/claude-relay";
        let installs = |kept: &Kept| {
            commands(&install(Path::new("/bin/copilot"), &environment, Path::new("/opt/bin"), kept).unwrap())
        };
        assert_eq!(
            installs(&Kept::default()),
            [
                format!("run /bin/copilot plugin marketplace add {data}"),
                "run /bin/copilot plugin install relay@claude-relay".to_owned(),
            ]
        );
        let here = Kept { marketplace: Some(data.into()), enabled: true };
        assert_eq!(installs(&here), [""; 0]);
        assert_eq!(installs(&Kept { marketplace: Some("/clone".into()), enabled: true }).len(), 2);
        let removes = |kept: &Kept| commands(&remove(Path::new("/bin/copilot"), kept).unwrap());
        assert_eq!((removes(&here).len(), removes(&Kept::default()).len()), (2, 0));
    }

    #[test]
    fn what_copilot_keeps_is_read() {
        let settings = json!({
            "extraKnownMarketplaces": {"claude-relay": {"source": {"source": "directory", "path": "/d"}}},
            "enabledPlugins": {PLUGIN: true},
        });
        assert_eq!(Kept::of(&settings), Kept { marketplace: Some("/d".into()), enabled: true });
        assert_eq!(Kept::of(&Value::Null), Kept::default());
    }
}
