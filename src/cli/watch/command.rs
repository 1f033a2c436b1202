//! `relayctl watch --exec`: a command that reads a change on its standard input.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs a command of the shell, which reads this line.
///
/// # Errors
/// It cannot be run, or ends with another code than 0, in words.
pub(super) async fn run(command: &str, line: &str) -> Result<(), String> {
    let cannot = |error| format!("the command cannot be run: {error}");
    let mut shell = Command::new("sh");
    let mut child = shell.args(["-c", command]).stdin(Stdio::piped()).spawn().map_err(cannot)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read it.
        let _unread = stdin.write_all(format!("{line}\n").as_bytes()).await;
    }
    let status = child.wait().await.map_err(cannot)?;
    if status.success() { Ok(()) } else { Err(format!("the command ended with {status}")) }
}
