//! Every file of the fuzzer's corpus, through the same functions that the fuzzer calls. Each holds a case that matters.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::Path;

use self::targets::ALL;

#[test]
fn every_file_of_the_corpus_keeps_the_promises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, target) in ALL {
        let mut n = 0;
        for entry in std::fs::read_dir(root.join(name)).expect(name) {
            let path = entry.expect(name).path();
            let bytes = std::fs::read(&path).expect(name);
            assert!(std::panic::catch_unwind(|| target(&bytes)).is_ok(), "{} breaks a promise", path.display());
            n += 1;
        }
        assert!(n >= 3, "the corpus of {name} has {n} files");
        // And a little beyond them, without a fuzzer: cut short, and with one byte changed.
        for entry in std::fs::read_dir(root.join(name)).expect(name).filter(|_| name != "listen_fds") {
            let mut bytes = std::fs::read(entry.expect(name).path()).expect(name);
            for at in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
                target(&bytes[..at]);
                bytes[at] ^= 0x15;
                target(&bytes);
                bytes[at] ^= 0x15;
            }
        }
    }
}

#[test]
fn every_target_has_a_program_and_every_corpus_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let names = |directory: &str| {
        let mut names: Vec<String> = std::fs::read_dir(root.join(directory))
            .expect(directory)
            .map(|entry| entry.expect(directory).path().file_stem().expect(directory).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let mut wanted: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    wanted.sort_unstable();
    assert_eq!(names("fuzz_targets"), wanted);
    assert_eq!(names("corpus"), wanted);
}
