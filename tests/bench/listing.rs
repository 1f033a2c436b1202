//! How long `relayctl status` and `relayctl peers` take with 100 peers: `cargo bench --bench listing`, as root.
//!
//! Everything is real: a private `systemd --user` with the installed service, the release build of the programs, and 100
//! connections that said hello as sessions. `/bin/true` is timed in the same rounds: the floor that starting any program
//! has on this machine at that moment. Times are taken by the shell that starts them, from start to end.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on fails, and prints")]
#![allow(dead_code, unused_imports, unused_macros, reason = "the support of the tests has more than is used here")]
#![allow(unreachable_pub, reason = "one binary: what a module offers is for the others")]

#[cfg(target_os = "linux")]
#[path = "../it/support"]
mod support {
    pub mod hub_process;
    pub mod installed;
    pub mod mcp;
    pub mod program_copy;
    pub mod user_manager;
}

fn main() {
    #[cfg(target_os = "linux")]
    listing::measure();
    #[cfg(not(target_os = "linux"))]
    println!("this needs systemd");
}

#[cfg(target_os = "linux")]
mod listing {
    use serde_json::json;

    use crate::support::hub_process::RawClient;
    use crate::support::installed::Installed;
    use crate::support::user_manager::UserManager;

    const PEERS: usize = 100;
    const ROUNDS: usize = 100;

    /// Prints the microseconds of each program in each round. Bash reads its clock without starting anything.
    const SCRIPT: &str = r#"
took() { local from=$EPOCHREALTIME; "$@" >/dev/null; local to=$EPOCHREALTIME; printf '%s ' $((${to/./} - ${from/./})); }
for ((round = 0; round < $1; round++)); do took /bin/true; took "$2" status; took "$2" peers; echo; done
"#;

    pub fn measure() {
        let relay = match UserManager::start() {
            Ok(manager) => Installed::with(manager),
            Err(why) => panic!("no service manager: {why}"),
        };
        let sessions: Vec<RawClient> = (0..PEERS).map(|number| session(&relay, number)).collect();
        assert_eq!(relay.peers().len(), PEERS);
        // A hub that has just started says so in each listing.
        std::thread::sleep(relay::hub::GRACE + std::time::Duration::from_secs(1));
        let mut command = relay.manager.command("bash");
        let program = relay.program("relayctl").display().to_string();
        let output = command.args(["-c", SCRIPT, "bash", &ROUNDS.to_string(), &program]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let rounds: Vec<Vec<u64>> =
            text.lines().map(|line| line.split_whitespace().map(|number| number.parse().unwrap()).collect()).collect();
        assert_eq!(rounds.len(), ROUNDS);

        let load = std::fs::read_to_string("/proc/loadavg").unwrap();
        println!("{PEERS} peers, {ROUNDS} rounds, load {}", load.split_whitespace().next().unwrap());
        println!("{:<16} {:>8} {:>8} {:>8} {:>8}  times /bin/true", "ms", "min", "median", "p90", "max");
        let floor = sorted(&rounds, 0)[ROUNDS / 2];
        for (column, name) in ["/bin/true", "relayctl status", "relayctl peers"].iter().enumerate() {
            let times = sorted(&rounds, column);
            let [min, median, p90, max] = [0, ROUNDS / 2, ROUNDS * 9 / 10, ROUNDS - 1].map(|at| millis(times[at]));
            let ratio = millis(times[ROUNDS / 2]) / millis(floor);
            println!("{name:<16} {min:>8.1} {median:>8.1} {p90:>8.1} {max:>8.1}  {ratio:.1}");
        }
        drop(sessions);
    }

    fn session(relay: &Installed, number: usize) -> RawClient {
        let mut client = RawClient::over(relay.connect().unwrap());
        client.say(&json!({
            "type": "hello", "id": 1, "versions": relay::protocol::VERSIONS, "kind": "session",
            "program": concat!("relay-channel ", env!("CARGO_PKG_VERSION")), "agent": "claude-code",
            "session": {"pid": std::process::id(), "start": 1, "thread": number.to_string()},
            "client": "claude-code 2.1.330", "cwd": format!("/home/me/projects/service-{number}"), "branch": "main",
            "status": "idle", "wakes_by": "waiter",
        }));
        assert_eq!(client.hear()["type"], "welcome");
        client
    }

    fn sorted(rounds: &[Vec<u64>], column: usize) -> Vec<u64> {
        let mut times: Vec<u64> = rounds.iter().map(|round| round[column]).collect();
        times.sort_unstable();
        times
    }

    /// Returns microseconds as milliseconds, for people.
    fn millis(micros: u64) -> f64 {
        std::time::Duration::from_micros(micros).as_secs_f64() * 1000.0
    }
}
