//! `relayctl`: the person's tool. Everything is in [`relay::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    relay::cli::main()
}
