//! A real terminal, of tmux, in which a program runs, whose keys are pressed and whose screen is read.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long a test waits for what must be on the screen.
const SOON: Duration = Duration::from_secs(10);

/// A terminal with a server of its own, which ends when it is dropped.
pub(crate) struct Terminal {
    directory: tempfile::TempDir,
}

impl Terminal {
    /// Runs a line of the shell in a terminal of this size, with the hub at this socket.
    pub(crate) fn run(line: &str, socket: &Path, (width, height): (u16, u16)) -> Self {
        let terminal = Self { directory: tempfile::tempdir().unwrap() };
        let (width, height) = (width.to_string(), height.to_string());
        let socket = format!("RELAY_SOCKET={}", socket.display());
        let session = ["new-session", "-d", "-x", &width, "-y", &height, "-e", &socket, line];
        // What a program copies goes into a buffer of tmux that can be read.
        let always = ["set-option", "-s", "set-clipboard", "on", ";"];
        terminal.tmux(&[&always[..], &session[..]].concat());
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("tmux is installed");
        assert!(status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.directory.path().join("tmux")).args(["-u", "-f", "/dev/null"]);
        command.args(arguments).env_remove("TMUX").env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
        command
    }

    /// Returns a directory that goes with the terminal.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns what is on the screen.
    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen is as wanted and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + SOON;
        loop {
            let screen = self.screen();
            if is_wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "{what} does not come:\n{screen}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the screen has this text and returns it.
    #[track_caller]
    pub(crate) fn wait_for_text(&self, text: &str) -> String {
        self.wait_for(text, |screen| screen.contains(text))
    }

    /// Presses keys, by their names of tmux.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a text.
    pub(crate) fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, (width, height): (u16, u16)) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Returns the text that was last copied.
    pub(crate) fn copied(&self) -> String {
        self.tmux(&["show-buffer"])
    }

    /// Returns what tmux says of the terminal, such as `alternate_on`, `cursor_flag`, `pane_pid`.
    pub(crate) fn is(&self, flag: &str) -> String {
        self.tmux(&["display-message", "-p", &format!("#{{{flag}}}")]).trim_end().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _already_ended = self.command(&["kill-server"]).output();
    }
}
