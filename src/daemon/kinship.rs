//! Whether the client process that a hello names really started the process that says so.

use std::iter;

use crate::hub::Kinship;
use crate::process;
use crate::protocol::ClientProcess;

/// How many generations are looked at: nobody nests programs so deep.
const GENERATIONS_MAX: usize = 64;

/// Looks how the process that made a connection stands to the one that its hello names.
///
/// `connected`: the process as it was when the connection was accepted; none where the kernel does not tell a pid, which
/// is so for a process in a pid namespace that this one cannot see.
pub(super) fn look(connected: Option<ClientProcess>, named: ClientProcess) -> Kinship {
    let Some(connected) = connected else { return Kinship::Unknown };
    if !process::shares_ids(connected.pid) {
        return Kinship::Unknown;
    }
    let generations = iter::successors(process::descent(connected.pid), |child| process::descent(child.parent));
    let mut line = generations.take(GENERATIONS_MAX).map(|generation| generation.process).peekable();
    // The process that connected has ended, and another has its id or none: who speaks now cannot be told.
    if line.peek() != Some(&connected) {
        return Kinship::Refuted { pid: connected.pid };
    }
    if line.any(|process| process == named) { Kinship::Proven } else { Kinship::Refuted { pid: connected.pid } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_kin_to_itself_and_to_those_that_started_it_and_to_nobody_else() {
        let own = process::descent(std::process::id()).unwrap();
        let (pid, parent) = (own.process.pid, process::of(own.parent).unwrap());
        for ancestor in [own.process, parent] {
            assert_eq!(look(Some(own.process), ancestor), Kinship::Proven);
            let later = ClientProcess { start: ancestor.start + 1, ..ancestor };
            assert_eq!(look(Some(own.process), later), Kinship::Refuted { pid }, "a later process with its id");
        }
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let stranger = process::of(child.id()).unwrap();
        assert_eq!(look(Some(own.process), stranger), Kinship::Refuted { pid });
        assert_eq!(look(Some(stranger), own.process), Kinship::Proven);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(look(Some(stranger), own.process), Kinship::Unknown, "nothing is known of one that has ended");
        assert_eq!(look(None, own.process), Kinship::Unknown);
    }
}
