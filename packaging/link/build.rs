//! Has the linker place the functions that an ask runs through next to each other.
//!
//! After a pause an ask finds neither code nor the tables of its pages in the processor's caches, and in a broadcast each
//! session's channel finds the tables of its own. So it counts in how many pages that code lies. What `tests/bench/order` saw a
//! program run through stands in a linker script beside this file; a name that it has and the program has not changes nothing.

use std::env;
use std::path::Path;

/// The programs that an ask runs through.
const PROGRAMS: [&str; 2] = ["relay-hub", "relay-channel"];

fn main() {
    let variable = |name| env::var(name).unwrap_or_default();
    println!("cargo::rerun-if-changed=packaging/link");
    // The scripts are for the linkers of Linux that a compiler comes with; who has chosen another may have one that knows none.
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let has_own_linker = !variable("RUSTC_LINKER").is_empty() || flags.contains("link");
    if variable("CARGO_CFG_TARGET_OS") != "linux" || variable("PROFILE") != "release" || has_own_linker {
        return;
    }
    let here = Path::new(&variable("CARGO_MANIFEST_DIR")).join("packaging/link");
    for program in PROGRAMS {
        let script = here.join(program).with_extension("ld");
        println!("cargo::rustc-link-arg-bin={program}=-T{}", script.display());
    }
}
