//! How `relay-hub`, `relay-channel` and `relay-nats` are told their arguments, and tell why they cannot go on: as `relayctl` does.

use std::process::ExitCode;

use clap::Parser;

use super::error::CliError;
use super::explain_usage;
use super::output::{Line, Output};
use crate::logging::Log;

pub use super::error::ProgramError;

/// Returns the arguments of this process. `wrong` is told what is wrong with them, in a line.
///
/// # Errors
/// It was asked for help or its version, which are printed, or the arguments are wrong, which is said. The program is to
/// end with this code.
pub fn arguments<P: Parser>(wrong: impl FnOnce(&str)) -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        if error.use_stderr() {
            let said = error.to_string();
            let line = said.lines().next().unwrap_or_default();
            wrong(line.strip_prefix("error: ").unwrap_or(line));
        }
        let next = format!("{} --help", P::command().get_name());
        explain_usage(&error, &next, &mut Output::standard()).into()
    })
}

/// Tells why the program ends, to whoever has started it and to whoever reads the log, and returns its exit code.
pub fn fail(error: ProgramError, log: Log) -> ExitCode {
    let error = CliError::from(error);
    if !log.is_standard_error() {
        tracing::error!(next = %error.next(), "{}", error.message());
    }
    // The journal has it with its fields, unless the filter keeps it out.
    let is_told = log.is_the_journal() && tracing::enabled!(tracing::Level::ERROR);
    // What was logged before is written before.
    drop(log);
    if is_told { error.exit().into() } else { Output::standard().fail(&error).into() }
}

/// Prints what the program was asked for, and returns its exit code.
pub fn print(text: &str) -> ExitCode {
    let mut out = Output::standard();
    match out.print(&Line::of(text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out.fail(&error).into(),
    }
}

/// Tells of something that the program does without.
pub fn warn(error: ProgramError) {
    Output::standard().warn_of(&error.into());
}
