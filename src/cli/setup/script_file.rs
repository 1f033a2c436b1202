//! Agents that load every script of a folder of the user's: opencode and pi. One line there names our part of it, which lies
//! with the other files, so that the paths between them hold.

use std::path::{Path, PathBuf};

use super::recipe::{Agent, program};
use super::{files, shown};
use crate::agent::{opencode, pi};
use crate::paths::Environment;
use crate::service::{Plan, ServiceError, Step};

pub(super) const OPENCODE: Agent = Agent {
    name: "opencode",
    shown: opencode::PROFILE.shown,
    restart: "your opencode sessions",
    wakes: "its plugin",
    find: |environment| program(environment, "opencode", &[".opencode/bin", ".local/bin", ".npm-global/bin"]),
    install: |_, environment, bindir| install(environment, bindir, &OPENCODE_SCRIPT),
    remove: |_| remove(&Environment::of_process(), &OPENCODE_SCRIPT),
};

pub(super) const PI: Agent = Agent {
    name: "pi",
    shown: pi::PROFILE.shown,
    restart: "your pi sessions",
    wakes: "its extension",
    find: |environment| program(environment, "pi", &[".local/bin", ".npm-global/bin"]),
    install: |_, environment, bindir| install(environment, bindir, &PI_SCRIPT),
    remove: |_| remove(&Environment::of_process(), &PI_SCRIPT),
};

/// Where the script of an agent is, and what it says.
struct Script {
    /// The variable that names the agent's directory, and what of it the variable is.
    variable: &'static str,
    below_variable: &'static str,
    /// The agent's directory below the home directory, without the variable.
    below_home: &'static str,
    /// The folder of scripts in it, which the agent loads.
    folder: &'static str,
    /// Our part of it, below the data directory.
    part: &'static str,
    /// What is taken over from it.
    exports: &'static str,
}

const OPENCODE_SCRIPT: Script = Script {
    variable: "XDG_CONFIG_HOME",
    below_variable: "opencode",
    below_home: ".config/opencode",
    folder: "plugins",
    part: "packaging/opencode/relay.js",
    exports: "{ Relay }",
};

const PI_SCRIPT: Script = Script {
    variable: "PI_CODING_AGENT_DIR",
    below_variable: "",
    below_home: ".pi/agent",
    folder: "extensions",
    part: "packaging/pi/relay.js",
    exports: "{ default }",
};

/// The script's name.
const NAME: &str = "relay.js";

impl Script {
    /// Returns the folder that the agent loads; none where the home directory is not known.
    fn folder(&self, environment: &Environment) -> Option<PathBuf> {
        let set = std::env::var_os(self.variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let directory = set.map(|path| path.join(self.below_variable));
        let directory = directory.or_else(|| Some(environment.home.as_ref()?.join(self.below_home)))?;
        Some(directory.join(self.folder))
    }
}

fn install(environment: &Environment, bindir: &Path, script: &Script) -> Result<Plan, ServiceError> {
    let data = environment.data_dir()?;
    let mut steps = files::write(&data, files::PLUGIN, bindir);
    if let Some(folder) = script.folder(environment) {
        let part = shown(&data.join(script.part))?;
        let content = format!("export {} from {}\n", script.exports, serde_json::Value::from(part));
        steps.push(Step::MakeDirectory { path: folder.clone(), mode: 0o755 });
        steps.push(Step::WriteFile { path: folder.join(NAME), content, mode: 0o644 });
    }
    Ok(Plan { steps })
}

fn remove(environment: &Environment, script: &Script) -> Result<Plan, ServiceError> {
    let steps = script
        .folder(environment)
        .map(|folder| vec![Step::RemoveFile { path: folder.join(NAME) }, Step::RemoveEmptyDirectory { path: folder }]);
    Ok(Plan { steps: steps.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::SystemCommands;

    #[test]
    fn script_names_our_part_and_goes_without_a_trace() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment {
            home: Some(home.path().to_owned()),
            data_home: Some(home.path().join("data")),
            ..Environment::of_process()
        };
        let script = Script { variable: "RELAY_TEST_UNSET", ..PI_SCRIPT };
        std::fs::create_dir_all(home.path().join(".pi/agent")).unwrap();
        let mut none = SystemCommands::default();
        let install = || install(&environment, Path::new("/opt/bin"), &script).unwrap();
        assert!(install().perform(&mut none, |_, _| {}).unwrap());
        assert!(!install().perform(&mut none, |_, _| {}).unwrap(), "a second time changes nothing");
        let written = std::fs::read_to_string(home.path().join(".pi/agent/extensions/relay.js")).unwrap();
        let part = written.strip_prefix("export { default } from \"").unwrap().strip_suffix("\"\n").unwrap();
        assert!(Path::new(part).is_file(), "{part}");
        remove(&environment, &script).unwrap().perform(&mut none, |_, _| {}).unwrap();
        assert!(!home.path().join(".pi/agent/extensions").exists());
    }
}
