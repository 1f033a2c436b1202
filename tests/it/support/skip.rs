//! Tests that are skipped where the machine lacks what they need, and say so.

use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Says that a test is skipped, in a line that begins with `SKIPPED` and that the test harness does not capture.
pub fn skipped(test: &str, why: &dyn std::fmt::Display) {
    // One write: tests that run beside each other must not mix their lines.
    let _ = io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes());
}

/// Returns whether this program can be run.
pub fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

/// Skips the test that calls it where one of these programs is not installed.
macro_rules! needs {
    ($($program:literal),+) => {
        for program in [$($program),+] {
            if !$crate::support::skip::is_installed(program) {
                fn here() {}
                let test = std::any::type_name_of_val(&here).trim_end_matches("::here");
                return $crate::support::skip::skipped(test, &format!("it needs {program}"));
            }
        }
    };
}
pub(crate) use needs;
