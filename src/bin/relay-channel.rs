//! The MCP server that one Claude Code session starts: `relay::channel` on stdin and stdout.

use std::process::ExitCode;

use relay::arguments::{ChannelArguments, SidecarCommand};
use relay::channel;
use relay::cli::programs;
use relay::logging::{self, Log, Program};
use relay::paths::Environment;
use relay::session;

fn main() -> ExitCode {
    let arguments: ChannelArguments = match programs::arguments(|_| ()) {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let environment = Environment::of_process();
    match arguments.command {
        Some(SidecarCommand::Allow) => return channel::permission::run(),
        // They are silent: an agent would show what they log.
        Some(SidecarCommand::Wait) => return session::waiter::run(environment.socket().ok()),
        Some(SidecarCommand::Hook) => return session::hook::run(environment.socket().ok()),
        Some(SidecarCommand::Socket { pid, thread }) => {
            return session::address::run(environment.socket().ok(), pid, thread);
        }
        None => {}
    }
    let log = logging::init(Program::Channel).unwrap_or_else(|error| {
        // A wrong filter is no reason to leave a session without its tools.
        programs::warn(error.into());
        Log::default()
    });
    match channel::run(&environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => programs::fail(error.into(), log),
    }
}
