//! Some thirty broken states, each cured by its own advice: a shell asks, pastes what `next:` says, at most twice, and asks
//! again. Where no command helps the advice says so: it is a comment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::installed::{Installed, PROGRAMS};
use crate::support::mcp::{Builder, Session};
use crate::support::user_manager::{UserManager, user_manager};

/// Asks and obeys. A hub that knows nobody is a hub that is reached (6).
const OBEY: &str = r#"
for n in 1 2 3; do
    relayctl ask backend '?' >/dev/null 2>"$T/said"; code=$?
    [ $code = 6 ] && { echo cured; exit; }
    next=$(sed -n 's/^next: //p' "$T/said" | tail -n 1)
    echo "exit $code: $(grep '^error: ' "$T/said")"
    echo "$next"
    case $next in '#'* | '') echo by hand; exit;; esac
    [ $n = 3 ] || eval "$next" >"$T/done" 2>&1
    # A command that fails says what to do instead, and that is what is done next.
    if [ $? != 0 ]; then
        next=$(sed -n 's/^next: //p' "$T/done" | tail -n 1)
        echo "it fails: $(grep '^error: ' "$T/done")"
        echo "$next"
        case $next in '#'*) echo by hand; exit;; esac
        eval "$next" >"$T/done" 2>&1
        n=3
    fi
    [ $n != 3 ] || { relayctl ask backend '?' >/dev/null 2>&1; [ $? = 6 ] && echo cured || echo "not cured"; exit; }
done
echo "not cured"
"#;

/// What a state comes to.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The advice cures it.
    Cured,
    /// Nothing is broken for who asks.
    Well,
    /// The advice says what a person has to do.
    ByHand(&'static str),
}

use End::{ByHand, Cured, Well};

/// A state: what breaks, and what is true of the shell that asks.
struct State {
    name: &'static str,
    breaks: &'static str,
    shell: &'static str,
    end: End,
}

const fn state(name: &'static str, breaks: &'static str, end: End) -> State {
    State { name, breaks, shell: "", end }
}

const fn in_a_shell(name: &'static str, shell: &'static str, end: End) -> State {
    State { name, breaks: "", shell, end }
}

/// Of the service: `$S` is the socket, `$D` its directory, `$U` that of the units, `$B` that of the programs, `$T`
/// where this test keeps what was said.
const SERVICE: &[State] = &[
    state("not installed", "relayctl uninstall-service", Cured),
    state("socket unit stopped", "systemctl --user stop relay.socket relay.service", Cured),
    state("socket unit disabled", "systemctl --user disable --now relay.socket", Cured),
    state("socket removed", "rm $S", Cured),
    state("directory removed", "rm -r $D", Cured),
    state("file in place of the directory", "rm -r $D; touch $D", Cured),
    state("directory behind a link", "mv $D $D.real; ln -s $D.real $D; systemctl --user restart relay.socket", Well),
    state("file in place of the socket", "rm $S; touch $S", Cured),
    state("socket without mode", "chmod 000 $S", Cured),
    state("directory without mode", "chmod 000 $D", Cured),
    state(
        "unit masked",
        "rm $U/relay.service; systemctl --user mask relay.service; systemctl --user stop relay.service",
        Cured,
    ),
    state(
        "socket unit masked",
        "systemctl --user stop relay.socket; rm $U/relay.socket; systemctl --user mask relay.socket",
        Cured,
    ),
];

const UNITS: &[State] = &[
    state(
        "unit is garbage",
        "systemctl --user stop relay.service; echo '[Service]' > $U/relay.service; systemctl --user daemon-reload",
        Cured,
    ),
    state(
        "drop-in is garbage",
        "systemctl --user stop relay.service; mkdir $U/relay.service.d; printf '[Service]\\nExecStart=\\n' > $U/relay.service.d/a.conf; systemctl --user daemon-reload",
        Cured,
    ),
    state(
        "drop-in starts what is not there",
        "systemctl --user stop relay.service; mkdir $U/relay.service.d; printf '[Service]\\nExecStart=\\nExecStart=%s/none\\n' $B > $U/relay.service.d/a.conf; systemctl --user daemon-reload",
        ByHand("relay.service.d/a.conf"),
    ),
    state(
        "limit that is not there",
        "mkdir $U/relay.service.d; printf '[Service]\\nEnvironment=RELAY_LIMITS=conections=5\\n' > $U/relay.service.d/a.conf; systemctl --user daemon-reload; systemctl --user stop relay.service",
        ByHand("conections"),
    ),
    state("hub not executable", "systemctl --user stop relay.service; chmod -x $B/relay-hub", Cured),
    state("hub removed", "systemctl --user stop relay.service; rm $B/relay-hub", ByHand("install the whole package")),
    state(
        "unit starts what is not there",
        "systemctl --user stop relay.service; sed -i 's,^ExecStart=.*,ExecStart=/nonexistent/relay-hub,' $U/relay.service; systemctl --user daemon-reload",
        Cured,
    ),
    state("unit files deleted while it runs", "rm -r $U; systemctl --user daemon-reload", Well),
    state(
        "unit files deleted",
        "rm -r $U; systemctl --user daemon-reload; systemctl --user stop relay.socket relay.service",
        Cured,
    ),
    state(
        "hub stopped by a signal",
        "relayctl peers; kill -STOP $(systemctl --user show relay.service -P MainPID)",
        Cured,
    ),
];

/// Of the environment: the service is well.
const ENVIRONMENTS: &[State] = &[
    in_a_shell("XDG_RUNTIME_DIR of a snap", "export XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR/snap.code", Well),
    in_a_shell("XDG_RUNTIME_DIR of WSLg", "mkdir -p -m 777 $HOME/wslg; export XDG_RUNTIME_DIR=$HOME/wslg", Well),
    in_a_shell("XDG_RUNTIME_DIR of another user", "export XDG_RUNTIME_DIR=/run/user/0", Well),
    in_a_shell("no XDG_RUNTIME_DIR", "unset XDG_RUNTIME_DIR", Well),
    in_a_shell("relative RELAY_SOCKET", "export RELAY_SOCKET=hub.sock", Cured),
    in_a_shell("RELAY_SOCKET where nothing can be", "export RELAY_SOCKET=/proc/none/hub.sock", Cured),
    in_a_shell("RELAY_SOCKET where all can write", "export RELAY_SOCKET=/tmp/hub.sock", Cured),
    in_a_shell("RELAY_SOCKET is a file", "export RELAY_SOCKET=/etc/passwd", Cured),
    in_a_shell("RELAY_SOCKET of another user's hub", "export RELAY_SOCKET=/run/another/hub.sock", Cured),
    in_a_shell("RELAY_SOCKET where no hub is", "export RELAY_SOCKET=$HOME/own/hub.sock", Cured),
    in_a_shell("no HOME", "unset HOME", Well),
];

/// Without a service manager and a runtime directory.
const CONTAINER: &[State] = &[
    state("no hub", "", Cured),
    state(
        "hub killed",
        "relayctl hub start; kill -KILL $(relayctl status --json | sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p')",
        Cured,
    ),
    state(
        "hub stopped by a signal",
        "relayctl hub start; kill -STOP $(relayctl status --json | sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p')",
        Cured,
    ),
    state("socket removed", "relayctl hub start; rm ~/.relay/hub.sock", Cured),
    state("directory open to others", "mkdir -m 755 ~/.relay", Cured),
    state("file in place of the directory", "touch ~/.relay", Cured),
    State { name: "limit that is not there", breaks: "", shell: "export RELAY_LIMITS=conections=5", end: Cured },
    in_a_shell("HOME of another user, as by sudo -E", "export HOME=/run/somebody", ByHand("set HOME")),
    State {
        name: "XDG_RUNTIME_DIR of another user",
        breaks: "",
        shell: "export XDG_RUNTIME_DIR=/run/user/0",
        end: Cured,
    },
    state("hub removed", "rm $B/relay-hub", ByHand("install the whole package")),
    state("home directory open to others", "chmod 777 ~", Cured),
    state("home directory that cannot be written", "chmod 500 ~", ByHand("that you can write to")),
];

/// A user, with what the states need to know of the machine.
struct User<'a> {
    manager: &'a UserManager,
    bindir: &'a Path,
}

impl User<'_> {
    fn shell(&self, script: &str) -> Command {
        let mut command = self.manager.command("sh");
        command.args(["-c", script]).env("PATH", format!("{}:/usr/bin:/bin", self.bindir.display()));
        let directory = self.manager.runtime_dir().join("relay");
        command.env("S", directory.join("hub.sock")).env("D", directory).env("B", self.bindir);
        command.env("U", self.manager.home().join(".config/systemd/user"));
        command
    }

    fn run(&self, script: &str) -> String {
        let output = self.shell(script).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Breaks, asks and obeys; the end has to be this one.
    #[track_caller]
    fn expect(&self, state: &State) {
        let said = tempfile::tempdir().unwrap();
        fs::set_permissions(said.path(), fs::Permissions::from_mode(0o777)).unwrap();
        self.run(state.breaks);
        let told = self.run(&format!("T={}\n{}\n{OBEY}", said.path().display(), state.shell));
        let last = told.trim_end().lines().last().unwrap_or_default();
        let is_right = match state.end {
            Well => told.trim_end() == "cured",
            Cured => last == "cured" && told.trim_end() != "cured",
            ByHand(what) => last == "by hand" && told.contains(what),
        };
        assert!(is_right, "{}: {:?}\n{told}", state.name, state.end);
    }
}

/// Has a question answered, which a hub that is reached is for.
#[track_caller]
fn expect_an_answer(user: &User<'_>, session: &Session) {
    let child = user.shell("relayctl ask backend 'well?'").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let question = session.event();
    session.call("relay_reply", json!({"ask_id": question.get("ask_id"), "text": "well"})).ok();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"well\n".as_slice()));
}

#[track_caller]
fn expect_all(states: &[State]) {
    let relay = match UserManager::start() {
        Ok(manager) => Installed::with(manager),
        Err(why) => return crate::support::skip::skipped("broken_states", &why),
    };
    let bindir = relay.bindir();
    let user = User { manager: &relay.manager, bindir };
    foreign_hub(&relay.manager);
    own(&relay.manager, bindir);
    for state in states {
        user.expect(state);
        relay.upgrade();
        own(&relay.manager, bindir);
        let healed =
            user.run("rm -rf $U/*.d $D.old; [ ! -L $D ] || rm $D; systemctl --user daemon-reload; relayctl doctor --fix >/dev/null 2>&1; systemctl --user restart relay.service; relayctl doctor --fix >/dev/null 2>&1; relayctl doctor");
        assert!(!healed.contains("FAIL"), "{}: {healed}", state.name);
    }
    let session = relay.session("backend");
    expect_an_answer(&user, &session);
}

/// Gives the programs to the user, as where they are installed below the home directory.
fn own(manager: &UserManager, bindir: &Path) {
    let owner = format!("{0}:{0}", manager.uid());
    assert!(Command::new("chown").args(["-R", &owner]).arg(bindir).status().unwrap().success());
}

/// Has another user, root, listen where everybody may connect.
fn foreign_hub(manager: &UserManager) {
    let directory = manager.outside(Path::new("/run/another"));
    fs::create_dir_all(&directory).unwrap();
    let socket = directory.join("hub.sock");
    // Kept by nobody: the file of a listener that is leaked stays connectable.
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    std::mem::forget(listener);
}

/// Makes the home directory of a third user, which anybody may look into.
fn foreign_home(manager: &UserManager) {
    let home = manager.outside(Path::new("/run/somebody"));
    fs::create_dir_all(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(12345), None).unwrap();
}

#[test]
fn a_broken_service_is_cured_by_its_advice() {
    expect_all(SERVICE);
}

#[test]
fn broken_units_are_cured_by_their_advice() {
    expect_all(UNITS);
}

#[test]
fn a_misleading_environment_is_cured_by_its_advice() {
    expect_all(ENVIRONMENTS);
}

#[test]
fn a_container_is_cured_by_its_advice() {
    let manager = user_manager!();
    let bindir = manager.install_programs(&PROGRAMS);
    // What is below it is hidden: the user's runtime directory, and the manager with it.
    let Some(()) = manager.mount_memory(Path::new("/run/user"), "mode=755") else {
        return crate::support::skip::skipped("a_container", &"no file system can be mounted here");
    };
    own(&manager, &bindir);
    foreign_home(&manager);
    let user = User { manager: &manager, bindir: &bindir };
    for state in CONTAINER {
        user.expect(state);
        manager.install_programs(&PROGRAMS);
        own(&manager, &bindir);
        user.run("chmod 755 ~; relayctl hub stop; rm -rf ~/.relay ~/.relay.old");
    }
    user.run("relayctl hub start");
    let folder = manager.home().join("backend");
    fs::create_dir(&folder).unwrap();
    let channel = manager.command_in(&folder, bindir.join("relay-channel"));
    let session = Builder::of(channel).env("RELAY_CHANNEL", "on").start();
    expect_an_answer(&user, &session);
    let stopped = user.run("relayctl hub stop; relayctl peers");
    assert!(stopped.contains("the hub has stopped") && stopped.contains("next: relayctl hub start"), "{stopped}");
}

#[test]
fn a_sandbox_without_sockets_is_named_at_once() {
    let relay = Installed::with(user_manager!());
    let bindir = relay.bindir();
    let user = User { manager: &relay.manager, bindir };
    let said = user.run(
        "systemd-run --user --quiet --pipe --wait -p SystemCallFilter=~socket -p SystemCallErrorNumber=EPERM \
         $B/relayctl ask backend '?'",
    );
    assert!(said.contains("may not use Unix sockets") && said.contains("next: # run it outside the sandbox"), "{said}");
}
