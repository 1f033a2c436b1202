//! What is decided about the machines, as the bridge reads it: their files, and what Claude Code's settings say.

use std::path::Path;

use super::machine::{Machine, MachineFiles, TheyMay, Via};
use super::policy::MachineRights;
use super::{Setup, Start};
use crate::agent::claude_code;
use crate::paths::Environment;
use crate::protocol::{ErrorCode, MachineName, Refusal};

/// Reads the files of all machines. A machine whose file cannot be used may do nothing, which is said in the log: what its
/// person has decided may be that.
///
/// # Errors
/// Their directory cannot be read, or is not this user's alone.
pub fn load(environment: &Environment, programs: &Path) -> Result<Vec<Setup>, Refusal> {
    let loaded = MachineFiles::of(environment).and_then(|files| files.load());
    let loaded = loaded.map_err(|error| Refusal::new(ErrorCode::BadArgs, error.to_string(), error.next()))?;
    let mut machines = loaded.machines;
    for fault in loaded.faults {
        tracing::error!(next = fault.next(), "a machine's file cannot be used: {fault}");
        let refused = |name| Machine { they_may: TheyMay::Nothing, ..Machine::new(name, None) };
        machines.extend(fault.machine().map(refused));
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(machines.into_iter().map(|machine| setup(machine, true, &host, programs)).collect())
}

/// Returns what holds of a machine that comes by itself and is in no file.
pub fn guest(name: &MachineName) -> Setup {
    setup(Machine::new(name.clone(), None), false, "", Path::new(""))
}

fn setup(machine: Machine, is_in_a_file: bool, host: &str, programs: &Path) -> Setup {
    let start = |via: &Via| Start {
        argv: via.command(&machine.own_name(host), programs),
        is_shared: matches!(via, Via::Nats(_)),
    };
    Setup {
        name: machine.name.clone(),
        start: machine.via.as_ref().map(start),
        is_paused: machine.is_paused,
        is_in_a_file,
        rights: Box::new(MachineRights::new(machine, claude_code::inbound())),
    }
}
