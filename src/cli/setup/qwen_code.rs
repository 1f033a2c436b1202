//! Qwen Code: the plugin from the marketplace of files, which Qwen Code makes an extension of and copies. Seen in 0.24.4.

use std::fs;
use std::path::Path;

use super::recipe::{Agent, program, run};
use super::{files, shown};
use crate::agent::qwen_code::PROFILE;
use crate::paths::Environment;
use crate::service::{Plan, ServiceError};

pub(super) const AGENT: Agent = Agent {
    name: "qwen",
    shown: PROFILE.shown,
    restart: "your Qwen Code sessions",
    wakes: "its own inbox",
    find: |environment| program(environment, "qwen", &[".local/bin", ".npm-global/bin", ".bun/bin"]),
    install: |program, environment, bindir| install(program, environment, bindir, &Kept::read(environment)),
    remove: |program| {
        let environment = Environment::of_process();
        remove(program, &environment, &Kept::read(&environment))
    },
};

/// Where Qwen Code copies the extension, below the home directory.
const COPY: &str = ".qwen/extensions/relay";

/// What of the extension's copy tells whether it is ours of now, below the copy and in the repository.
const MANIFEST: &str = ".claude-plugin/plugin.json";
const MANIFEST_PATH: &str = "packaging/plugin/.claude-plugin/plugin.json";

/// What Qwen Code keeps of our extension.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Kept {
    is_there: bool,
    manifest: Option<String>,
    bindir: Option<String>,
}

impl Kept {
    fn read(environment: &Environment) -> Self {
        let copy = environment.home.as_deref().unwrap_or(Path::new("/")).join(COPY);
        let read = |name: &str| fs::read_to_string(copy.join(name)).ok();
        Self { is_there: copy.exists(), manifest: read(MANIFEST), bindir: read("bindir") }
    }

    fn is_current(&self, bindir: &Path) -> bool {
        self.manifest.is_some()
            && self.manifest == files::content(MANIFEST_PATH, bindir)
            && self.bindir.as_deref().map(str::trim_end) == bindir.to_str()
    }
}

fn install(program: &Path, environment: &Environment, bindir: &Path, kept: &Kept) -> Result<Plan, ServiceError> {
    let (program, data) = (shown(program)?, environment.data_dir()?);
    let mut steps = files::write(&data, files::PLUGIN, bindir);
    if kept.is_current(bindir) {
        return Ok(Plan { steps });
    }
    if kept.is_there {
        steps.push(run(&program, UNINSTALL));
    }
    let source = format!("{}:relay", shown(&data)?);
    steps.push(run(&program, &["extensions", "install", "--consent", &source]));
    Ok(Plan { steps })
}

const UNINSTALL: &[&str] = &["extensions", "uninstall", "relay"];

fn remove(program: &Path, environment: &Environment, kept: &Kept) -> Result<Plan, ServiceError> {
    let mut steps = if kept.is_there { vec![run(&shown(program)?, UNINSTALL)] } else { Vec::new() };
    let data = environment.data_dir()?;
    let names =
        fs::read_dir(&data).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| is_leftover(name)) {
        steps.extend(files::remove_copy(&data.join(name)));
    }
    Ok(Plan { steps })
}

/// Returns whether this is the name of a folder that Qwen Code makes beside ours while it installs the plugin, and leaves:
/// the name of the plugin's folder and a digest.
fn is_leftover(name: &str) -> bool {
    let digest = name.strip_prefix("plugin").unwrap_or_default();
    digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Step;

    fn installs(kept: &Kept) -> Vec<String> {
        let environment = Environment { home: Some("/home/ada".into()), data_home: None, ..Environment::of_process() };
        let plan = install(Path::new("/bin/qwen"), &environment, Path::new("/opt/bin"), kept).unwrap();
        plan.steps.iter().filter(|step| matches!(step, Step::Run(_))).map(Step::headline).collect()
    }

    #[test]
    fn extension_is_installed_anew_where_its_copy_is_old() {
        let source = "/home/ada/.local/share/claude-relay:relay";
        let install = format!("run /bin/qwen extensions install --consent {source}");
        assert_eq!(installs(&Kept::default()), std::slice::from_ref(&install));
        let manifest = files::content(MANIFEST_PATH, Path::new("/opt/bin"));
        let here = Kept { is_there: true, manifest, bindir: Some("/opt/bin\n".to_owned()) };
        assert_eq!(installs(&here), [""; 0]);
        let uninstall = "run /bin/qwen extensions uninstall relay".to_owned();
        assert_eq!(installs(&Kept { bindir: None, ..here }), [uninstall, install]);
    }

    #[test]
    fn what_qwen_code_leaves_beside_our_files_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let data_home = Some(home.path().to_owned());
        let environment = Environment { data_home, ..Environment::of_process() };
        let data = environment.data_dir().unwrap();
        let copy = data.join(format!("plugin{}", "0a".repeat(32)));
        fs::create_dir_all(copy.join("skills/relay-ask")).unwrap();
        fs::write(copy.join("skills/relay-ask/SKILL.md"), "").unwrap();
        fs::create_dir(data.join("plugin-of-mine")).unwrap();
        let plan = remove(Path::new("/bin/qwen"), &environment, &Kept::default()).unwrap();
        plan.perform(&mut crate::service::SystemCommands::default(), |_, _| {}).unwrap();
        assert!(!copy.exists() && data.join("plugin-of-mine").exists());
    }
}
