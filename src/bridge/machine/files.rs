//! The files of the other machines: one each, in a directory that nobody else can write to.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Machine, TextError};
use crate::paths::{Environment, PathError};
use crate::protocol::MachineName;

/// What a file's name ends with.
const EXTENSION: &str = "toml";

/// The most bytes of a file.
const MAX_BYTES: u64 = 64 * 1024;

/// Where the files are, and whose they have to be.
#[derive(Debug, Clone)]
pub struct MachineFiles {
    directory: PathBuf,
    uid: u32,
}

/// All files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The machines, by name.
    pub machines: Vec<Machine>,
    /// What is wrong with those that cannot be used.
    pub faults: Vec<MachineError>,
}

/// Why a machine's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Its place is not known.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Its text is wrong.
    #[error("{}, {source}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TextError,
    },
    /// Its name is no machine's.
    #[error("{} is named after no machine: 1 to 32 of a-z, 0-9 and -", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// It or its directory is of another user.
    #[error("{} belongs to uid {owner}: what it says is not taken for yours", path.display())]
    Foreign {
        /// What is of another user.
        path: PathBuf,
        /// The user's id.
        owner: u32,
    },
    /// Others can write to it or its directory.
    #[error("{} can be written to by others (mode {mode:04o})", path.display())]
    Open {
        /// What is open.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// There is none.
    #[error("there is no machine {name}")]
    Unknown {
        /// The machine.
        name: MachineName,
    },
    /// The file system refused.
    #[error("could not {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl MachineError {
    /// Returns what to do now.
    pub fn next(&self) -> String {
        match self {
            Self::Path(_) => "set HOME to your home directory".to_owned(),
            Self::Text { path, .. } => format!("edit {}", path.display()),
            Self::Name { path } => format!("rename or remove {}", path.display()),
            Self::Foreign { path, .. } => format!("remove {}, then: relayctl machines add", path.display()),
            Self::Open { path, .. } => format!("chmod go-w '{}'", path.display()),
            Self::Unknown { .. } => "relayctl machines".to_owned(),
            Self::File { path, .. } => format!("see to it that you can read and write {}", path.display()),
        }
    }

    /// Returns the machine whose file it is about, if it is about one.
    pub fn machine(&self) -> Option<MachineName> {
        match self {
            Self::Text { path, .. }
            | Self::Foreign { path, .. }
            | Self::Open { path, .. }
            | Self::File { path, .. } => MachineName::parse(path.file_stem()?.to_str()?).ok(),
            Self::Path(_) | Self::Name { .. } | Self::Unknown { .. } => None,
        }
    }
}

impl MachineFiles {
    /// Returns the files of this user.
    ///
    /// # Errors
    /// The home directory is not known.
    pub fn of(environment: &Environment) -> Result<Self, MachineError> {
        Ok(Self { directory: environment.machines_dir()?, uid: environment.uid })
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the file of a machine.
    pub fn path(&self, name: &MachineName) -> PathBuf {
        self.directory.join(format!("{name}.{EXTENSION}"))
    }

    /// Reads all files. One that cannot be used is no reason to leave the others out.
    ///
    /// # Errors
    /// The directory is another user's or open to others, or cannot be read.
    pub fn load(&self) -> Result<Loaded, MachineError> {
        let mut loaded = Loaded::default();
        if !self.is_there()? {
            return Ok(loaded);
        }
        let failed = |source| file_error("read", &self.directory, source);
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            paths.push(entry.map_err(failed)?.path());
        }
        paths.sort();
        for path in paths {
            // A hidden one is on its way to be another.
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if is_hidden || path.extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let read = match MachineName::parse(stem) {
                Ok(name) if name.as_str() == stem => self.read(name),
                Ok(_) | Err(_) => Err(MachineError::Name { path }),
            };
            match read {
                Ok(machine) => loaded.machines.push(machine),
                Err(error) => loaded.faults.push(error),
            }
        }
        Ok(loaded)
    }

    /// Reads one file.
    ///
    /// # Errors
    /// There is none, it cannot be used, or its directory cannot.
    pub fn load_one(&self, name: &MachineName) -> Result<Machine, MachineError> {
        if self.is_there()? { self.read(name.clone()) } else { Err(MachineError::Unknown { name: name.clone() }) }
    }

    /// Writes a machine's file, all or nothing.
    ///
    /// # Errors
    /// The directory is another user's or open to others, or the file cannot be written.
    pub fn save(&self, machine: &Machine) -> Result<(), MachineError> {
        if !self.is_there()? {
            let made = || {
                if let Some(parent) = self.directory.parent() {
                    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
                }
                DirBuilder::new().mode(0o700).create(&self.directory)
            };
            made().map_err(|source| file_error("make", &self.directory, source))?;
        }
        let path = self.path(&machine.name);
        let written = || {
            let mut file = tempfile::Builder::new().prefix(".machine-").tempfile_in(&self.directory)?;
            file.write_all(machine.to_text().as_bytes())?;
            file.as_file().set_permissions(Permissions::from_mode(0o600))?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        written().map_err(|source| file_error("write", &path, source))
    }

    /// Removes a machine's file; with the last one its directories, as far as they are empty.
    ///
    /// # Errors
    /// There is none, or it cannot be removed.
    pub fn remove(&self, name: &MachineName) -> Result<(), MachineError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => {
                // Not empty is as good.
                let _ = fs::remove_dir(&self.directory);
                let _ = self.directory.parent().map(fs::remove_dir);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(MachineError::Unknown { name: name.clone() }),
            Err(source) => Err(file_error("remove", &path, source)),
        }
    }

    /// Returns whether the directory is there, and is ours alone.
    fn is_there(&self) -> Result<bool, MachineError> {
        match fs::metadata(&self.directory) {
            Ok(found) => self.check(&self.directory, &found).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(file_error("read", &self.directory, source)),
        }
    }

    fn check(&self, path: &Path, found: &fs::Metadata) -> Result<(), MachineError> {
        let (path, mode) = (path.to_owned(), found.mode() & 0o7777);
        if found.uid() != self.uid {
            Err(MachineError::Foreign { path, owner: found.uid() })
        } else if mode & 0o022 != 0 {
            Err(MachineError::Open { path, mode })
        } else {
            Ok(())
        }
    }

    fn read(&self, name: MachineName) -> Result<Machine, MachineError> {
        let path = self.path(&name);
        let failed = |source| file_error("read", &path, source);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(MachineError::Unknown { name }),
            opened => opened.map_err(failed)?,
        };
        // Of what was opened, not of what has the name by now.
        self.check(&path, &file.metadata().map_err(failed)?)?;
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
        Machine::parse(name, &text).map_err(|source| MachineError::Text { path, source })
    }
}

fn file_error(what: &'static str, path: &Path, source: io::Error) -> MachineError {
    MachineError::File { what, path: path.to_owned(), source }
}
