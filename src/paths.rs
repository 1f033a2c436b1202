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
            runtime_dir: variable("XDG_RUNTIME_DIR").filter(|path| path.is_absolute()),
            run_user: PathBuf::from("/run/user"),
            home: BaseDirs::new().map(|dirs| dirs.home_dir().to_owned()),
            config_home: variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute()),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// Returns where the hub listens and where its clients look for it.
    ///
    /// In this order: the command line's; `RELAY_SOCKET`; `$XDG_RUNTIME_DIR/relay/hub.sock`; `/run/user/UID/relay/hub.sock` if that
    /// directory is ours and 0700, since cron has no `XDG_RUNTIME_DIR`. On macOS, after `RELAY_SOCKET`,
    /// `~/Library/Application Support/relay/hub.sock`.
    ///
    /// # Errors
    /// `RELAY_SOCKET` is no absolute path, no default place is there, or the path is too long for a Unix socket.
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
    /// No default place is there, or the path is too long for a Unix socket.
    pub fn service_socket(&self) -> Result<PathBuf, PathError> {
        let path = self.default_socket()?;
        check_length(self.platform, &path)?;
        Ok(path)
    }

    /// Returns the user's runtime directory: `$XDG_RUNTIME_DIR`, else `/run/user/UID` if that is ours and 0700.
    pub fn user_runtime_dir(&self) -> Option<PathBuf> {
        self.runtime_dir.clone().or_else(|| {
            let directory = self.run_user.join(self.uid.to_string());
            is_private(&directory, self.uid).then_some(directory)
        })
    }

    /// Returns the directory of the user's unit files: `$XDG_CONFIG_HOME/systemd/user`, by default below `~/.config`
    /// (systemd.unit(5)).
    ///
    /// # Errors
    /// The home directory is not known.
    pub fn unit_dir(&self) -> Result<PathBuf, PathError> {
        let config = match &self.config_home {
            Some(config) => config.clone(),
            None => self.home()?.join(".config"),
        };
        Ok(config.join("systemd/user"))
    }

    /// Returns the directory of the user's launchd jobs, `~/Library/LaunchAgents` (launchd.plist(5)).
    ///
    /// # Errors
    /// The home directory is not known.
    pub fn launch_agents(&self) -> Result<PathBuf, PathError> {
        Ok(self.home()?.join("Library/LaunchAgents"))
    }

    /// Returns the directory of the hub's log files on macOS, `~/Library/Logs/relay`.
    ///
    /// # Errors
    /// The home directory is not known.
    pub fn log_dir(&self) -> Result<PathBuf, PathError> {
        Ok(self.home()?.join("Library/Logs").join(DIRECTORY))
    }

    fn default_socket(&self) -> Result<PathBuf, PathError> {
        let base = match self.platform {
            Platform::Linux => self
                .user_runtime_dir()
                .ok_or_else(|| PathError::NoRuntimeDir { tried: self.run_user.join(self.uid.to_string()) })?,
            Platform::MacOs => self.home()?.join("Library/Application Support"),
        };
        Ok(base.join(DIRECTORY).join(SOCKET))
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
    /// There is no private directory that ends with the user's session.
    #[error(
        "there is no place for the hub's socket: XDG_RUNTIME_DIR is not set and {} is not a directory of yours with \
         mode 0700",
        tried.display()
    )]
    NoRuntimeDir {
        /// The directory that was looked at.
        tried: PathBuf,
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

/// Whether `directory` is a real directory of `uid` that nobody else can enter.
fn is_private(directory: &Path, uid: u32) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == uid && metadata.mode() & 0o7777 == 0o700)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn environment() -> Environment {
        Environment {
            platform: Platform::Linux,
            socket_option: None,
            relay_socket: None,
            runtime_dir: Some("/run/user/1000".into()),
            run_user: "/nonexistent".into(),
            home: Some("/home/ada".into()),
            config_home: None,
            uid: 1000,
        }
    }

    #[test]
    fn relay_socket_wins_over_every_default() {
        let environment = Environment { relay_socket: Some("/srv/ci/hub.sock".into()), ..environment() };
        assert_eq!(environment.socket(), Ok("/srv/ci/hub.sock".into()));
        assert_eq!(environment.service_socket(), Ok("/run/user/1000/relay/hub.sock".into()));
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
    fn linux_uses_the_runtime_directory_and_macos_the_library() {
        assert_eq!(environment().socket(), Ok("/run/user/1000/relay/hub.sock".into()));
        let mac = Environment { platform: Platform::MacOs, home: Some("/Users/ada".into()), ..environment() };
        assert_eq!(mac.socket(), Ok("/Users/ada/Library/Application Support/relay/hub.sock".into()));
        assert_eq!(mac.launch_agents(), Ok("/Users/ada/Library/LaunchAgents".into()));
        assert_eq!(mac.log_dir(), Ok("/Users/ada/Library/Logs/relay".into()));
    }

    #[test]
    fn without_xdg_runtime_dir_the_systems_directory_is_used_only_if_it_is_private() {
        let run_user = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let own = run_user.path().join(uid.to_string());
        fs::create_dir(&own).unwrap();
        let environment = Environment { runtime_dir: None, run_user: run_user.path().to_owned(), uid, ..environment() };

        fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(environment.socket(), Ok(own.join("relay/hub.sock")));

        fs::set_permissions(&own, fs::Permissions::from_mode(0o750)).unwrap();
        let error = environment.socket().unwrap_err();
        assert_eq!(error, PathError::NoRuntimeDir { tried: own });
    }

    #[test]
    fn a_foreign_or_linked_runtime_directory_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert!(is_private(directory.path(), uid));
        assert!(!is_private(directory.path(), uid + 1));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path(), &link).unwrap();
        assert!(!is_private(&link, uid));
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
    fn unit_files_follow_xdg_config_home() {
        assert_eq!(environment().unit_dir(), Ok("/home/ada/.config/systemd/user".into()));
        let moved = Environment { config_home: Some("/home/ada/etc".into()), ..environment() };
        assert_eq!(moved.unit_dir(), Ok("/home/ada/etc/systemd/user".into()));
        let homeless = Environment { home: None, ..environment() };
        assert_eq!(homeless.unit_dir(), Err(PathError::NoHome));
    }
}
