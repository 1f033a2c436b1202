//! The JavaScript end of a session's socket, which the plugins of Copilot, opencode and pi share: run by a real node.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::skip::needs;

/// How often the channel comes.
const TIMES: u32 = 1500;

/// How many different pauses there are between the moment when its socket is made and the one when it gets its name.
const MOMENTS: u32 = 400;

/// For how long the plugin has waited for its channel, in milliseconds, when something happens to the directory.
const WAITED: [u64; 5] = [0, 1, 5, 50, 300];

/// A node that has joined the session of its own process, and where it looks for the channel.
struct Plugin {
    process: Child,
    directory: PathBuf,
    address: PathBuf,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Makes a directory of sessions' sockets, as a channel does.
fn make(directory: &Path) {
    std::fs::DirBuilder::new().mode(0o700).create(directory).unwrap();
}

fn wait_for(path: &Path, what: &str) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(Instant::now() < patience, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a plugin that shows nothing, and returns where it will look for its channel.
fn joined(root: &Path) -> Plugin {
    joined_with(root, Path::new(env!("CARGO_BIN_EXE_relay-channel")).parent().unwrap())
}

/// The same, where `relay-channel` is looked for in `programs` first.
fn joined_with(root: &Path, programs: &Path) -> Plugin {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/plugin/extensions/relay/session.mjs");
    let directory = root.join("s");
    make(&directory);
    let script = format!(
        "import {{ join }} from {:?}; join({{ pid: process.pid, deliver: async () => {{}} }}); setInterval(() => {{}}, 1e6)",
        module.display().to_string()
    );
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let process = Command::new("node")
        .args(["--input-type=module", "--eval", &script])
        .env("PATH", path)
        .env("HOME", root)
        .env("RELAY_SOCKET", root.join("hub.sock"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let told = Command::new(env!("CARGO_BIN_EXE_relay-channel"))
        .args(["socket", &process.id().to_string()])
        .env("RELAY_SOCKET", root.join("hub.sock"))
        .output()
        .unwrap();
    let address = PathBuf::from(String::from_utf8(told.stdout).unwrap().trim());
    Plugin { process, directory, address }
}

impl Plugin {
    /// A channel comes as channels do: its socket has another name until it listens. Returns the connection of the plugin, and
    /// what it says first.
    fn meet(&self, pause: Duration) -> (UnixStream, String) {
        let unnamed = self.directory.join("new");
        let listener = UnixListener::bind(&unnamed).unwrap();
        let until = Instant::now() + pause;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        std::fs::rename(&unnamed, &self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        let mut socket = loop {
            match listener.accept() {
                Ok((socket, _)) => break socket,
                Err(_) if Instant::now() < patience => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => panic!("nobody comes to a channel whose socket got its name {pause:?} after it was made"),
            }
        };
        socket.set_nonblocking(false).unwrap();
        let mut line = String::new();
        BufReader::new(&socket).read_line(&mut line).unwrap();
        // A channel that has said nothing is taken for one that sends the plugin away, and left alone for a while.
        socket.write_all(b"\n").unwrap();
        std::fs::remove_file(&self.address).unwrap();
        (socket, line)
    }
}

#[test]
fn a_plugin_finds_its_channel_at_whatever_moment_it_comes() {
    needs!("node");
    let root = tempfile::tempdir().unwrap();
    let plugin = joined(root.path());
    for n in 0..TIMES {
        let (_gone_at_once, hello) = plugin.meet(Duration::from_micros(5) * (n % MOMENTS));
        assert_eq!(hello, "{\"type\":\"hello\",\"role\":\"plugin\"}\n");
    }
}

#[test]
fn a_plugin_whose_directory_was_removed_has_it_made_again() {
    needs!("node");
    let root = tempfile::tempdir().unwrap();
    let plugin = joined(root.path());
    let (connected, _) = plugin.meet(Duration::ZERO);
    std::fs::remove_dir(&plugin.directory).unwrap();
    drop(connected);
    wait_for(&plugin.directory, "nobody makes the directory again");
    plugin.meet(Duration::ZERO);
}

/// Removes a plugin's directory while it waits for a channel, at several moments, and has `then` done each time.
fn remove_while_it_waits(plugin: &Plugin, then: impl Fn()) {
    for waited in WAITED {
        drop(plugin.meet(Duration::ZERO));
        std::thread::sleep(Duration::from_millis(waited));
        std::fs::remove_dir(&plugin.directory).unwrap();
        then();
    }
    plugin.meet(Duration::ZERO);
}

#[test]
fn a_plugin_that_waits_when_its_directory_is_removed_has_it_made_again() {
    needs!("node");
    let root = tempfile::tempdir().unwrap();
    let plugin = joined(root.path());
    remove_while_it_waits(&plugin, || wait_for(&plugin.directory, "nobody makes the directory again"));
}

#[test]
fn a_plugin_that_waits_when_its_directory_is_made_anew_finds_its_channel_there() {
    needs!("node");
    let root = tempfile::tempdir().unwrap();
    let plugin = joined(root.path());
    remove_while_it_waits(&plugin, || make(&plugin.directory));
}

#[test]
fn a_plugin_whose_program_cannot_be_run_yet_asks_it_again() {
    needs!("node");
    let root = tempfile::tempdir().unwrap();
    let program = root.path().join("bin/relay-channel");
    std::fs::create_dir(root.path().join("bin")).unwrap();
    // A program that is being written cannot be started.
    let mut file = File::options().write(true).create_new(true).mode(0o755).open(&program).unwrap();
    let plugin = joined_with(root.path(), &root.path().join("bin"));
    file.write_all(b"#!/bin/sh\n: >\"$0.asked\"; exit 1\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    drop(file);
    wait_for(&root.path().join("bin/relay-channel.asked"), "nobody asks a program that could not be started");
    let new = root.path().join("bin/new");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_relay-channel"), &new).unwrap();
    std::fs::rename(&new, &program).unwrap();
    plugin.meet(Duration::ZERO);
}
