//! Codex: the plugin from the marketplace of files, which Codex copies. Its commands, and what it keeps of them, were seen in
//! 0.171.0.

use std::fs;
use std::path::{Path, PathBuf};

use super::recipe::{Agent, program, run};
use super::{files, shown};
use crate::agent::codex::{self, directory};
use crate::paths::Environment;
use crate::service::{Plan, ServiceError, Step};

pub(super) const AGENT: Agent = Agent {
    name: "codex",
    shown: codex::PROFILE.shown,
    restart: "your Codex sessions",
    wakes: "its daemon (with --no-daemon nothing does)",
    find,
    install: |program, environment, bindir| {
        let directory = codex_directory();
        install(program, environment, bindir, &Kept::read(&directory))
    },
    remove: |program| {
        let directory = codex_directory();
        remove(program, &directory, &Kept::read(&directory))
    },
};

const MARKETPLACE: &str = "claude-relay";
const PLUGIN: &str = "relay@claude-relay";

/// Where Codex copies our plugin, below its directory; a folder for each version is in it.
const COPIES: &str = "plugins/cache/claude-relay/relay";

/// The file in which our plugin differs from one machine to the next.
const SERVER_FILE: &str = ".codex-plugin/mcp.json";

fn find(environment: &Environment) -> Option<PathBuf> {
    program(environment, "codex", &[".local/bin", ".npm-global/bin", ".bun/bin"])
}

fn codex_directory() -> PathBuf {
    directory(|name| std::env::var(name).ok().filter(|value| !value.is_empty())).unwrap_or_default()
}

/// What Codex keeps of our marketplace and plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Kept {
    /// Where the marketplace is read from.
    marketplace: Option<String>,
    /// Whether the plugin is enabled; none where it is not installed.
    enabled: Option<bool>,
    /// The server of the plugin's copy.
    server: Option<String>,
}

impl Kept {
    fn read(directory: &Path) -> Self {
        let config = fs::read_to_string(directory.join("config.toml")).unwrap_or_default();
        let copy = directory.join(COPIES).join(env!("CARGO_PKG_VERSION")).join(SERVER_FILE);
        Self { server: fs::read_to_string(copy).ok(), ..Self::of(&config) }
    }

    fn of(config: &str) -> Self {
        let marketplace = value(config, &format!("[marketplaces.{MARKETPLACE}]"), "source");
        let enabled = value(config, &format!("[plugins.\"{PLUGIN}\"]"), "enabled").map(|value| value == "true");
        Self { marketplace, enabled, server: None }
    }
}

/// Returns a value of a table, as Codex writes it: one line each.
fn value(config: &str, table: &str, key: &str) -> Option<String> {
    let mut lines = config.lines().map(str::trim).skip_while(|line| *line != table).skip(1);
    let lines = lines.by_ref().take_while(|line| !line.starts_with('['));
    let found = lines.filter_map(|line| line.split_once('=')).find(|(name, _)| name.trim() == key)?;
    Some(found.1.trim().trim_matches('"').to_owned())
}

fn install(program: &Path, environment: &Environment, bindir: &Path, kept: &Kept) -> Result<Plan, ServiceError> {
    let (program, data) = (shown(program)?, environment.data_dir()?);
    let mut steps = files::write(&data, files::PLUGIN, bindir);
    let source = shown(&data)?;
    if kept.marketplace.as_ref().is_some_and(|known| *known != source) {
        steps.push(run(&program, &["plugin", "marketplace", "remove", MARKETPLACE]));
    }
    if kept.marketplace.as_ref() != Some(&source) {
        steps.push(run(&program, &["plugin", "marketplace", "add", &source]));
    }
    let is_current = kept.server.is_some() && kept.server == files::content(SERVER_PATH, bindir);
    if kept.enabled != Some(true) || kept.marketplace.as_ref() != Some(&source) || !is_current {
        // It copies the files anew, also where the plugin is there.
        steps.push(run(&program, &["plugin", "add", PLUGIN]));
    }
    Ok(Plan { steps })
}

/// The same file in the repository.
const SERVER_PATH: &str = "packaging/plugin/.codex-plugin/mcp.json";

fn remove(program: &Path, directory: &Path, kept: &Kept) -> Result<Plan, ServiceError> {
    let program = shown(program)?;
    let mut steps = Vec::new();
    if kept.enabled.is_some() {
        steps.push(run(&program, &["plugin", "remove", PLUGIN]));
    }
    if kept.marketplace.is_some() {
        steps.push(run(&program, &["plugin", "marketplace", "remove", MARKETPLACE]));
    }
    // Codex leaves them.
    let left = [COPIES, "plugins/cache/claude-relay", "plugins/cache", "plugins"];
    let left = left.into_iter().filter(|_| !steps.is_empty()).collect::<Vec<_>>();
    steps.extend(left.into_iter().map(|path| Step::RemoveEmptyDirectory { path: directory.join(path) }));
    Ok(Plan { steps })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "model = \"x\"\n\n[marketplaces.claude-relay]\nsource_type = \"local\"\nsource = \"/data\"\n\n\
                          [plugins.\"other@x\"]\nenabled = true\n\n[plugins.\"relay@claude-relay\"]\nenabled = false\n";

    fn environment() -> Environment {
        Environment { home: Some("/home/ada".into()), data_home: None, ..Environment::of_process() }
    }

    fn installs(kept: &Kept) -> Vec<String> {
        let plan = install(Path::new("/bin/codex"), &environment(), Path::new("/opt/bin"), kept).unwrap();
        plan.steps.iter().filter(|step| matches!(step, Step::Run(_))).map(Step::headline).collect()
    }

    #[test]
    fn what_codex_keeps_is_read() {
        let kept = Kept { marketplace: Some("/data".to_owned()), enabled: Some(false), server: None };
        assert_eq!(Kept::of(CONFIG), kept);
        assert_eq!(Kept::of(""), Kept::default());
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let data = "/home/ada/.local/share/claude-relay";
        let add = "run /bin/codex plugin add relay@claude-relay".to_owned();
        let add_marketplace = format!("run /bin/codex plugin marketplace add {data}");
        assert_eq!(installs(&Kept::default()), [add_marketplace.clone(), add.clone()]);
        let server = files::content(SERVER_PATH, Path::new("/opt/bin"));
        let here = Kept { marketplace: Some(data.to_owned()), enabled: Some(true), server };
        assert_eq!(installs(&here), [""; 0]);
        let elsewhere = Kept { server: files::content(SERVER_PATH, Path::new("/usr/bin")), ..here.clone() };
        assert_eq!(installs(&elsewhere), std::slice::from_ref(&add));
        let old_clone = Kept { marketplace: Some("/tmp/clone".to_owned()), ..here };
        let remove = "run /bin/codex plugin marketplace remove claude-relay".to_owned();
        assert_eq!(installs(&old_clone), [remove, add_marketplace, add]);
    }

    #[test]
    fn only_what_is_there_is_removed() {
        let plan = |kept: &Kept| remove(Path::new("/bin/codex"), Path::new("/c"), kept).unwrap();
        let runs = |plan: &Plan| plan.steps.iter().filter(|step| matches!(step, Step::Run(_))).count();
        assert_eq!(runs(&plan(&Kept::default())), 0);
        assert_eq!(runs(&plan(&Kept::of(CONFIG))), 2);
    }
}
