//! A transport of `relay-bridge`: `relay::nats` on stdin and stdout.

use std::process::ExitCode;

use relay::cli::programs::{self, ProgramError};
use relay::logging::{self, Log, Program};
use relay::nats::{self, NatsArguments, NatsCommand, NatsError};

fn main() -> ExitCode {
    let arguments: NatsArguments = match programs::arguments(|_| ()) {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let carry = match arguments {
        NatsArguments { command: Some(NatsCommand::Permissions { machine }), .. } => {
            return programs::print(&nats::permissions(&machine));
        }
        NatsArguments { carry: Some(carry), .. } => carry,
        // Without a subcommand the options are required.
        NatsArguments { command: None, carry: None } => return ExitCode::FAILURE,
    };
    let log = match logging::init(Program::Transport) {
        Ok(log) => log,
        Err(error) => return programs::fail(error.into(), Log::default()),
    };
    match nats::run(&carry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => programs::fail(obstacle(&error), log),
    }
}

fn obstacle(error: &NatsError) -> ProgramError {
    ProgramError::Obstacle { what: error.to_string(), next: error.next() }
}
