//! What messages and sessions cost: `cargo bench --bench costs`, or a part of it:
//! `cargo bench --bench costs -- messages`, `sessions`, `resources`, `machines`.
//!
//! Everything is the release build. Times are compared in the same run, in turn, with two floors: a ping-pong of as many bytes
//! with one process that only sends back what it reads (two wake-ups), and the null path, which has the same processes and
//! does nothing in them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on fails, and prints")]
#![allow(unreachable_pub, reason = "one binary: what a module offers is for the others")]

#[path = "costs/machines.rs"]
mod machines;
#[path = "costs/messages.rs"]
mod messages;
#[path = "costs/null_path.rs"]
mod null_path;
#[path = "costs/resources.rs"]
mod resources;
#[path = "costs/same_crates.rs"]
mod same_crates;
#[path = "costs/sessions.rs"]
mod sessions;
#[path = "costs/stage.rs"]
mod stage;

fn main() {
    if null_path::is_part() || same_crates::is_part() {
        return;
    }
    let parts: [(&str, fn()); 4] = [
        ("messages", messages::measure),
        ("sessions", sessions::measure),
        ("resources", resources::measure),
        ("machines", machines::measure),
    ];
    // Cargo gives `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, measure) in parts {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            println!("== {name}, load {}", stage::load());
            measure();
        }
    }
}
