//! Where things are: the hub's socket, the service manager's files, the logs.
//!
//! Every function is pure in an [`Environment`], so that a test needs neither this machine nor the variables of its own
//! process. Nothing here creates anything.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use directories::BaseDirs;

/// The variable that says where the hub listens. It wins over every default, in every program.
pub const SOCKET_VARIABLE: &str = "RELAY_SOCKET";

/// The option of `relay-hub` and `relayctl` that does the same, and wins over the variable.
const SOCKET_OPTION: &str = "--socket";

/// The directory below the user's runtime directory that holds the socket alone.
const DIRECTORY: &str = "relay";
const SOCKET: &str = "hub.sock";

/// The bridge's socket, beside the hub's.
const BRIDGE_SOCKET: &str = "bridge.sock";

/// The directory below the home directory that does the same where there is no runtime directory.
const HOME_DIRECTORY: &str = ".relay";

/// The conventions that decide where a user's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// XDG directories and `/run/user`.
    Linux,
    /// `~/Library`.
    MacOs,
}

impl Platform {
    /// The platform that this program was built for; whatever is not macOS follows XDG.
    pub const HERE: Self = if cfg!(target_os = "macos") { Self::MacOs } else { Self::Linux };

    /// Returns how many bytes the path of a Unix socket may have, its closing NUL not counted.
    ///
    /// `sun_path` has 108 bytes on Linux (unix(7)) and 104 on macOS (unix(4)), the NUL included.
    pub const fn longest_socket_path(self) -> usize {
        match self {
            Self::Linux => 107,
            Self::MacOs => 103,
        }
    }
}

/// What decides where things are: the variables that count, and who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Whose conventions hold.
    pub platform: Platform,
    /// The socket that the program was told on its command line, an absolute path. It wins over `RELAY_SOCKET`.
    pub socket_option: Option<PathBuf>,
    /// `RELAY_SOCKET`, unless empty.
    pub relay_socket: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`, if it is an absolute path.
    pub runtime_dir: Option<PathBuf>,
    /// The directory of the users' runtime directories, which the system makes: `/run/user`.
    pub run_user: PathBuf,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`, if it is an absolute path.
    pub config_home: Option<PathBuf>,
    /// `XDG_STATE_HOME`, if it is an absolute path.
    pub state_home: Option<PathBuf>,
    /// `XDG_DATA_HOME`, if it is an absolute path.
    pub data_home: Option<PathBuf>,
    /// Our user id.
    pub uid: u32,
}

impl Environment {
    /// Returns the environment of this process.
    pub fn of_process() -> Self {
        Self {
            platform: Platform::HERE,
            socket_option: None,
            relay_socket: variable(SOCKET_VARIABLE),
            runtime_dir: directory("XDG_RUNTIME_DIR"),
            run_user: PathBuf::from("/run/user"),
            home: BaseDirs::new().map(|dirs| dirs.home_dir().to_owned()),
            config_home: directory("XDG_CONFIG_HOME"),
            state_home: directory("XDG_STATE_HOME"),
            data_home: directory("XDG_DATA_HOME"),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// Returns where the hub listens and where its clients look for it.
    ///
    /// In this order: the command line's; `RELAY_SOCKET`; `/run/user/UID/relay/hub.sock` if `/run/user/UID` is ours, since a
    /// user manager's sockets are there, whatever a snap, WSLg, `su` or `sudo` made of `XDG_RUNTIME_DIR`;
    /// `$XDG_RUNTIME_DIR/relay/hub.sock` if that directory is ours and nobody else can write to it; `~/.relay/hub.sock`. On
    /// macOS, after `RELAY_SOCKET`, `~/Library/Application Support/relay/hub.sock`.
    ///
    /// # Errors
    /// `RELAY_SOCKET` is no absolute path, the home directory is wanted and not known, or the path is too long for a Unix
    /// socket.
    pub fn socket(&self) -> Result<PathBuf, PathError> {
        let path = match self.socket_option.as_ref().or(self.relay_socket.as_ref()) {
            Some(path) if path.is_absolute() => path.clone(),
            Some(path) => return Err(PathError::NotAbsolute { path: path.clone() }),
            None => self.default_socket()?,
        };
        check_length(self.platform, &path)?;
        Ok(path)
    }

    /// Returns what names the socket, `--socket` or `RELAY_SOCKET`; none where it is the service's.
    pub fn socket_named_by(&self) -> Option<&'static str> {
        let by_variable = || self.relay_socket.is_some().then_some(SOCKET_VARIABLE);
        let named_by = self.socket_option.as_ref().map(|_| SOCKET_OPTION).or_else(by_variable)?;
        (self.service_socket() != self.socket()).then_some(named_by)
    }

    /// Returns where the service manager listens for the hub: [`Environment::socket`] where nothing names another one.
    ///
    /// # Errors
    /// The home directory is wanted and not known, or the path is too long for a Unix socket.
    pub fn service_socket(&self) -> Result<PathBuf, PathError> {
        let path = self.default_socket()?;
        check_length(self.platform, &path)?;
        Ok(path)
    }

    /// Returns where the bridge to other machines listens: `bridge.sock` beside the hub's socket.
    ///
    /// # Errors
    /// There is no place for the hub's socket, or the path is too long for a Unix socket.
    pub fn bridge_socket(&self) -> Result<PathBuf, PathError> {
        let path = self.socket()?.with_file_name(BRIDGE_SOCKET);
        check_length(self.platform, &path)?;
        Ok(path)
    }

    /// Returns where the service manager listens for the bridge: beside the hub's service.
    ///
    /// # Errors
    /// As for [`Environment::service_socket`].
    pub fn bridge_service_socket(&self) -> Result<PathBuf, PathError> {
        let path = self.service_socket()?.with_file_name(BRIDGE_SOCKET);
        check_length(self.platform, &path)?;
        Ok(path)
    }

    /// Returns the directory of the files about other machines: `$XDG_CONFIG_HOME/relay/machines`, by default below
    /// `~/.config`, on macOS as well.
    ///
    /// # Errors
    /// The home directory is not known.
    pub fn machines_dir(&self) -> Result<PathBuf, PathError> {
        Ok(self.config()?.join(DIRECTORY).join("machines"))
    }

    /// Returns the user's runtime directory: `/run/user/UID` if that is ours, else `$XDG_RUNTIME_DIR` if that is ours and
    /// nobody else can write to it.
    pub fn user_runtime_dir(&self) -> Option<PathBuf> {
        let system = self.run_user.join(self.uid.to_string());
        if is_own(&system, self.uid) {
            return Some(system);
        }
        self.runtime_dir.clone().filter(|directory| is_unshared(directory, self.uid))
    }

    /// Returns the directory of the user's unit files: `$XDG_CONFIG_HOME/systemd/user`, by default below `~/.config`
    /// (systemd.unit(5)).
    ///
    /// # Errors
    /// The home directory is not known.
    pub fn unit_dir(&self) -> Result<PathBuf, PathError> {
        Ok(self.config()?.join("systemd/user"))
    }

    /// Returns the directory of the user's launchd jobs, `~/Library/LaunchAgents` (launchd.plist(5)).
    ///
    /// # Errors
    /// The home directory is not known.
    pub fn launch_agents(&self) -> Result<PathBuf, PathError> {
        Ok(self.home()?.join("Library/LaunchAgents"))
    }

    /// Returns the directory of the log files of a hub that no journal takes: `~/Library/Logs/relay` on macOS, else
    /// `$XDG_STATE_HOME/relay`, by default below `~/.local/state`.
    ///
    /// # Errors
    /// The home directory is not known.
    pub fn log_dir(&self) -> Result<PathBuf, PathError> {
        let base = match (self.platform, &self.state_home) {
            (Platform::MacOs, _) => self.home()?.join("Library/Logs"),
            (Platform::Linux, Some(state)) => state.clone(),
            (Platform::Linux, None) => self.home()?.join(".local/state"),
        };
        Ok(base.join(DIRECTORY))
    }

    /// Returns the directory of the files that `relayctl setup` writes: `$XDG_DATA_HOME/claude-relay`, by default below
    /// `~/.local/share`, on macOS as well.
    ///
    /// # Errors
    /// The home directory is not known.
    pub fn data_dir(&self) -> Result<PathBuf, PathError> {
        let data = match &self.data_home {
            Some(data) => data.clone(),
            None => self.home()?.join(".local/share"),
        };
        Ok(data.join("claude-relay"))
    }

    fn default_socket(&self) -> Result<PathBuf, PathError> {
        let directory = match self.platform {
            Platform::Linux => match self.user_runtime_dir() {
                Some(directory) => directory.join(DIRECTORY),
                None => self.home()?.join(HOME_DIRECTORY),
            },
            Platform::MacOs => self.home()?.join("Library/Application Support").join(DIRECTORY),
        };
        Ok(directory.join(SOCKET))
    }

    fn config(&self) -> Result<PathBuf, PathError> {
        match &self.config_home {
            Some(config) => Ok(config.clone()),
            None => Ok(self.home()?.join(".config")),
        }
    }

    fn home(&self) -> Result<&Path, PathError> {
        self.home.as_deref().ok_or(PathError::NoHome)
    }
}

/// Checks that a Unix socket can be bound at `path`: the kernel cuts or refuses a longer one.
///
/// # Errors
/// The path is longer than [`Platform::longest_socket_path`].
pub fn check_length(platform: Platform, path: &Path) -> Result<(), PathError> {
    let (length, limit) = (path.as_os_str().as_bytes().len(), platform.longest_socket_path());
    if length > limit {
        return Err(PathError::TooLong { path: path.to_owned(), length, limit });
    }
    Ok(())
}

/// Why there is no path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A relative path would be another place for each program.
    #[error("RELAY_SOCKET is \"{}\", which is not an absolute path", path.display())]
    NotAbsolute {
        /// What it is.
        path: PathBuf,
    },
    /// Neither `HOME` nor the user database knows the home directory.
    #[error("your home directory is not known")]
    NoHome,
    /// The path does not fit into a socket's address.
    #[error(
        "the socket's path has {length} bytes and a Unix socket's may have {limit}: {}",
        path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// How many bytes it may have.
        limit: usize,
    },
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from)
}

/// Returns a variable's directory; none where it is no absolute path (XDG Base Directory Specification).
fn directory(name: &str) -> Option<PathBuf> {
    variable(name).filter(|path| path.is_absolute())
}

/// Returns whether `directory` is a real directory of `uid`.
fn is_own(directory: &Path, uid: u32) -> bool {
    fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir() && found.uid() == uid)
}

/// Returns whether `directory` is a real directory of `uid` that nobody else can write to.
fn is_unshared(directory: &Path, uid: u32) -> bool {
    is_own(directory, uid) && fs::metadata(directory).is_ok_and(|found| found.mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A machine whose `/run/user/UID` is `run_user/UID` below `root`, if a test makes it.
    fn environment_in(root: &Path) -> Environment {
        let uid = rustix::process::geteuid().as_raw();
        Environment {
            platform: Platform::Linux,
            socket_option: None,
            relay_socket: None,
            runtime_dir: None,
            run_user: root.join("run_user"),
            home: Some("/home/ada".into()),
            config_home: None,
            state_home: None,
            data_home: None,
            uid,
        }
    }

    fn environment() -> Environment {
        environment_in(Path::new("/nonexistent"))
    }

    fn make(path: &Path, mode: u32) -> PathBuf {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_owned()
    }

    #[test]
    fn relay_socket_wins_over_every_default() {
        let environment = Environment { relay_socket: Some("/srv/ci/hub.sock".into()), ..environment() };
        assert_eq!(environment.socket(), Ok("/srv/ci/hub.sock".into()));
        assert_eq!(environment.service_socket(), Ok("/home/ada/.relay/hub.sock".into()));
        assert_eq!(environment.socket_named_by(), Some("RELAY_SOCKET"));
        let told = Environment { socket_option: Some("/srv/x.sock".into()), ..environment };
        assert_eq!((told.socket(), told.socket_named_by()), (Ok("/srv/x.sock".into()), Some("--socket")));
    }

    #[test]
    fn a_variable_that_names_the_services_socket_leads_nowhere_else() {
        let environment = Environment { relay_socket: environment().socket().ok(), ..environment() };
        assert_eq!(environment.socket_named_by(), None);
    }

    #[test]
    fn a_relative_relay_socket_is_refused_since_each_program_would_look_elsewhere() {
        let environment = Environment { relay_socket: Some("hub.sock".into()), ..environment() };
        assert_eq!(environment.socket(), Err(PathError::NotAbsolute { path: "hub.sock".into() }));
    }

    #[test]
    fn bridge_is_beside_the_hub_and_its_machines_are_configuration() {
        let environment = Environment { relay_socket: Some("/srv/ci/hub.sock".into()), ..environment() };
        assert_eq!(environment.bridge_socket(), Ok("/srv/ci/bridge.sock".into()));
        assert_eq!(environment.bridge_service_socket(), Ok("/home/ada/.relay/bridge.sock".into()));
        assert_eq!(environment.machines_dir(), Ok("/home/ada/.config/relay/machines".into()));
        let moved = Environment { config_home: Some("/home/ada/etc".into()), ..environment };
        assert_eq!(moved.machines_dir(), Ok("/home/ada/etc/relay/machines".into()));
    }

    #[test]
    fn macos_uses_the_library() {
        let mac = Environment { platform: Platform::MacOs, home: Some("/Users/ada".into()), ..environment() };
        assert_eq!(mac.socket(), Ok("/Users/ada/Library/Application Support/relay/hub.sock".into()));
        assert_eq!(mac.launch_agents(), Ok("/Users/ada/Library/LaunchAgents".into()));
        assert_eq!(mac.log_dir(), Ok("/Users/ada/Library/Logs/relay".into()));
    }

    #[test]
    fn the_first_place_that_fits_is_the_default() {
        let root = tempfile::tempdir().unwrap();
        let own = environment_in(root.path());
        assert_eq!(own.socket(), Ok("/home/ada/.relay/hub.sock".into()));
        let homeless = Environment { home: None, ..own.clone() };
        assert_eq!(homeless.socket(), Err(PathError::NoHome));

        let xdg = make(&root.path().join("xdg"), 0o755);
        let with_xdg = Environment { runtime_dir: Some(xdg.clone()), ..own.clone() };
        assert_eq!(with_xdg.socket(), Ok(xdg.join("relay/hub.sock")));
        make(&xdg, 0o777);
        assert_eq!(with_xdg.socket(), Ok("/home/ada/.relay/hub.sock".into()), "as WSLg makes it");

        // A snap's, or what su has left: the system's own wins.
        let system = make(&root.path().join("run_user").join(own.uid.to_string()), 0o755);
        make(&xdg, 0o700);
        assert_eq!(with_xdg.socket(), Ok(system.join("relay/hub.sock")));
        assert_eq!(with_xdg.user_runtime_dir(), Some(system));
    }

    #[test]
    fn a_foreign_or_linked_directory_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let (directory, uid) = (make(&root.path().join("d"), 0o700), rustix::process::geteuid().as_raw());
        assert!(is_own(&directory, uid) && is_unshared(&directory, uid));
        assert!(!is_own(&directory, uid + 1));
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert!(!is_own(&link, uid) && !is_unshared(&link, uid));
    }

    #[test]
    fn a_path_of_the_longest_length_is_taken_and_one_byte_more_is_not() {
        for platform in [Platform::Linux, Platform::MacOs] {
            let limit = platform.longest_socket_path();
            let at = |length: usize| Environment {
                platform,
                relay_socket: Some(format!("/{}", "x".repeat(length - 1)).into()),
                ..environment()
            };
            assert!(at(limit).socket().is_ok());
            let error = at(limit + 1).socket().unwrap_err();
            assert!(error.to_string().contains(&format!("has {} bytes", limit + 1)), "{error}");
        }
    }

    #[test]
    fn files_follow_the_xdg_variables() {
        assert_eq!(environment().unit_dir(), Ok("/home/ada/.config/systemd/user".into()));
        let moved = Environment { config_home: Some("/home/ada/etc".into()), ..environment() };
        assert_eq!(moved.unit_dir(), Ok("/home/ada/etc/systemd/user".into()));
        let homeless = Environment { home: None, ..environment() };
        assert_eq!(homeless.unit_dir(), Err(PathError::NoHome));
        assert_eq!(environment().log_dir(), Ok("/home/ada/.local/state/relay".into()));
        assert_eq!(environment().data_dir(), Ok("/home/ada/.local/share/claude-relay".into()));
        let moved = Environment { state_home: Some("/s".into()), data_home: Some("/d".into()), ..environment() };
        assert_eq!((moved.log_dir(), moved.data_dir()), (Ok("/s/relay".into()), Ok("/d/claude-relay".into())));
    }
}
