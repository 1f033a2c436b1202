//! The programs as other versions of the package have them: the same source with a feature, and a version of its own.
//!
//! They are built when the first test wants them, into the target directory of the tests, so that the dependencies are
//! shared; their files have names of their own.

use crate::support::program_copy::copy_program;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Another version of the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Other {
    /// Speaks one protocol version more than these programs.
    Later,
    /// Speaks only versions that have nothing in common with these programs.
    Foreign,
}

impl Other {
    /// Returns the version that its programs say they have.
    pub(crate) const fn version(self) -> &'static str {
        match self {
            Self::Later => "8.0.0",
            Self::Foreign => "9.0.0",
        }
    }

    const fn feature(self) -> &'static str {
        match self {
            Self::Later => "later-protocol",
            Self::Foreign => "foreign-protocol",
        }
    }

    /// Returns the path of one of its programs.
    pub(crate) fn program(self, name: &str) -> PathBuf {
        static LATER: OnceLock<PathBuf> = OnceLock::new();
        static FOREIGN: OnceLock<PathBuf> = OnceLock::new();
        let built = match self {
            Self::Later => &LATER,
            Self::Foreign => &FOREIGN,
        };
        built.get_or_init(|| self.build()).join(name)
    }

    /// Builds the programs and returns the directory that has them under their usual names.
    fn build(self) -> PathBuf {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.feature());
        fs::create_dir_all(&place).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        write(&place.join("Cargo.toml"), &self.manifest(source));
        let lock = fs::read_to_string(source.join("Cargo.lock")).unwrap();
        write(
            &place.join("Cargo.lock"),
            &lock.replace(&own_entry(env!("CARGO_PKG_VERSION")), &own_entry(self.version())),
        );
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--locked", "--offline", "--bins", "--features", self.feature()]);
        command.arg("--manifest-path").arg(place.join("Cargo.toml")).arg("--target-dir").arg(target);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for name in ["relay-hub", "relay-channel", "relay-bridge", "relayctl"] {
            let _of_an_earlier_run = fs::remove_file(place.join(name));
            copy_program(target.join("debug").join(self.file_name(name)), place.join(name));
        }
        // It speaks no protocol of ours, and is looked for beside the others.
        #[cfg(feature = "nats")]
        {
            let _of_an_earlier_run = fs::remove_file(place.join("relay-nats"));
            copy_program(env!("CARGO_BIN_EXE_relay-nats"), place.join("relay-nats"));
        }
        place
    }

    fn file_name(self, program: &str) -> String {
        format!("{}-{program}", self.feature())
    }

    /// Returns the package's manifest with this version, for a package that lies elsewhere.
    fn manifest(self, source: &Path) -> String {
        let manifest = fs::read_to_string(source.join("Cargo.toml")).unwrap();
        let own = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
        let elsewhere = |path: &str| format!("path = \"{}/{path}", source.display());
        [
            (own, format!("version = \"{}\"", self.version())),
            ("build = \"".to_owned(), format!("build = \"{}/", source.display())),
            ("path = \"src/".to_owned(), elsewhere("src/")),
            ("path = \"tests/".to_owned(), elsewhere("tests/")),
            ("name = \"relay-".to_owned(), format!("name = \"{}", self.file_name("relay-"))),
            ("name = \"relayctl".to_owned(), format!("name = \"{}", self.file_name("relayctl"))),
        ]
        .iter()
        .fold(format!("{manifest}\n[workspace]\n"), |text, (from, to)| {
            assert!(text.contains(from.as_str()), "Cargo.toml has no {from}");
            text.replace(from, to)
        })
    }
}

/// Returns how the package stands in its lock file.
fn own_entry(version: &str) -> String {
    format!("name = \"claude-relay\"\nversion = \"{version}\"\n")
}

/// Writes what is not there yet: cargo looks at times.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).unwrap();
    }
}
