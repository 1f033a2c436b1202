//! A network of our own between machines: one network namespace for each, and links that `network.py` rules.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The network; it ends with this.
pub(super) struct Network {
    child: Child,
    input: Mutex<ChildStdin>,
    namespaces: Vec<PathBuf>,
}

impl Network {
    /// Makes a network of so many machines.
    ///
    /// # Errors
    /// Why there can be none here: it needs root, and the kernel's TUN devices.
    pub(super) fn start(machines: usize) -> Result<Self, String> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/bridge/network.py");
        let mut command = Command::new("python3");
        command.arg(program).arg(machines.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("it needs python3: {error}"))?;
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        let Some(descriptors) = line.strip_prefix("ready ") else {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            let _reaped = child.wait();
            return Err(format!("it needs root and TUN devices: {}", said.lines().last().unwrap_or_default()));
        };
        let path = |descriptor: &str| PathBuf::from(format!("/proc/{}/fd/{descriptor}", child.id()));
        let namespaces = descriptors.split_whitespace().map(path).collect();
        Ok(Self { child, input: Mutex::new(input), namespaces })
    }

    /// Returns the namespace of a machine.
    pub(super) fn namespace(&self, machine: usize) -> &Path {
        &self.namespaces[machine]
    }

    /// Returns the address of a machine.
    pub(super) fn address(machine: usize) -> String {
        format!("10.78.0.{}", machine + 1)
    }

    /// Lets the packets of one machine reach another, or loses them all.
    pub(super) fn pass(&self, from: usize, to: usize, passes: bool) {
        self.say(&format!("pass {from} {to} {}", if passes { "yes" } else { "no" }));
    }

    /// Sets what holds of all links: how many of a hundred packets are lost, and how long one takes, one way.
    pub(super) fn set(&self, loss_percent: u64, delay_ms: u64) {
        self.say(&format!("loss {}.{:02}\ndelay {delay_ms}", loss_percent / 100, loss_percent % 100));
    }

    fn say(&self, line: &str) {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Returns a program that is to be started in this namespace, if there is one, and has the process id that is then known.
pub(crate) fn program_in(namespace: Option<&Path>, program: &Path) -> Command {
    let Some(namespace) = namespace else { return Command::new(program) };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.display())).arg("--").arg(program);
    command
}
