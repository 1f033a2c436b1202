//! Copies of programs that are executed at once.

use std::path::Path;
use std::process::Command;

/// Copies a program, by another process: what is open here to be written is inherited by what another test starts at this
/// moment, and cannot be executed for as long as that has it ("Text file busy").
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let status = Command::new("cp").arg("--").arg(from.as_ref()).arg(to.as_ref()).status().unwrap();
    assert!(status.success(), "cp: {status}");
}
