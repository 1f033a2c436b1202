//! What an ask to another machine costs beyond one here: two hubs and two bridges on this host, linked by a pipe.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::stage::{Room, Times, Via, kib, print_row};

const ASKS: usize = 500;
const BRIDGE: &str = env!("CARGO_BIN_EXE_relay-bridge");

pub fn measure() {
    let mut laptop = Room::start(Via::Relay, 2);
    let alone = ask(&mut laptop, None);
    let mut desk = Room::start(Via::Relay, 1);
    let via = format!("[{BRIDGE:?}, \"--socket\", {:?}, \"stdio\"]", desk.socket().display().to_string());
    let decided = format!("via = {{ exec = {via} }}\nas = \"laptop\"\nthey_may = \"ask\"\n");
    let bridges = [Bridge::start(&desk, None), Bridge::start(&laptop, Some(("desk", &decided)))];
    let end = Instant::now() + Duration::from_secs(20);
    while !laptop.sessions[0].list().contains("s0@desk") {
        assert!(Instant::now() < end, "the machines are not linked");
        std::thread::sleep(Duration::from_millis(50));
    }
    let here = ask(&mut laptop, None);
    let across = ask(&mut laptop, Some(&mut desk));
    let here_again = ask(&mut laptop, None);

    println!("{ASKS} asks of 200 bytes each, microseconds");
    let mut rows = [alone, here, here_again, across];
    for (step, column) in [("shown", 0), ("answered", 1)] {
        let [alone, here, again, across] = rows.each_mut().map(|times| times[column].percentile(50));
        let here = f64::midpoint(here, again);
        print_row(&format!("  ask here until {step}, p50"), &[("linked", here), ("not linked", alone)]);
        print_row(&format!("  ask across until {step}, p50"), &[("across", across), ("here", here)]);
        println!("    {:.0} us more", across - here);
    }
    for (name, bridge) in ["desk", "laptop"].into_iter().zip(&bridges) {
        println!("the bridge of {name}: {} KiB (Pss)", kib(bridge.0.id(), "Pss:"));
    }
}

/// Asks a session here, or one there; returns the times until it was shown and until it was answered.
fn ask(here: &mut Room, there: Option<&mut Room>) -> [Times; 2] {
    let mut times = [Times::default(), Times::default()];
    let (asker, others) = here.sessions.split_first_mut().unwrap();
    let (name, asked) = match there {
        None => ("s1", &mut others[0]),
        Some(there) => ("s0@desk", &mut there.sessions[0]),
    };
    for _ in 0..ASKS {
        let begun = Instant::now();
        asker.ask(name, &"x".repeat(200));
        let ask = asked.hear_message();
        times[0].push(begun.elapsed());
        asked.reply("", &ask, "yes");
        asker.hear_message();
        times[1].push(begun.elapsed());
    }
    times
}

/// A machine's bridge. Dropping it ends it.
struct Bridge(Child);

impl Bridge {
    /// Starts it, with what its machine's person has decided of another machine.
    fn start(room: &Room, other: Option<(&str, &str)>) -> Self {
        let config = room.socket().with_file_name("config");
        let machines = config.join("relay/machines");
        fs::create_dir_all(&machines).unwrap();
        for directory in machines.ancestors().take(3) {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
        }
        if let Some((name, decided)) = other {
            let file = machines.join(format!("{name}.toml"));
            fs::write(&file, decided).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let mut command = Command::new(BRIDGE);
        command.env("RELAY_SOCKET", room.socket()).env("XDG_CONFIG_HOME", &config).env("HOME", &config);
        Self(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
