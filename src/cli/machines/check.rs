//! `relayctl machines test`: each step to another machine by itself, so that the first that fails says what to mend.

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use super::Named;
use super::bridge::Bridge;
use super::host_name;
use crate::advice::by_hand;
use crate::bridge::control::{Down, Link, MachineState, Machines};
use crate::bridge::machine::{Machine, MachineFiles, Via};
use crate::cli::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Format, Line, Output, visible_line};
use crate::cli::wording;
use crate::paths::Environment;
use crate::protocol::MachineName;
use crate::service::{Commands, SystemCommands};

/// How long a command on the other machine may take: longer than ssh tries to connect.
const COMMAND_PATIENCE: Duration = Duration::from_secs(15);

/// How long the link may take to come up.
const LINK_PATIENCE: Duration = Duration::from_secs(15);

/// How often the bridge is asked meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// What stands before the version that a bridge prints.
const PROGRAM: &str = "relay-bridge ";

/// Try each step to a machine, and say what mends the first that fails
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    machine: Named,
    #[command(flatten)]
    format: Format,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Step {
    step: &'static str,
    ok: bool,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Step {
    fn ok(step: &'static str, what: impl Into<String>) -> Self {
        Self { step, ok: true, what: what.into(), next: None }
    }

    fn failed(step: &'static str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { step, ok: false, what: what.into(), next: Some(next.into()) }
    }

    fn show(&self, out: &mut Output) -> Result<(), CliError> {
        if out.is_json() {
            return out.print_json("machine_step", self);
        }
        let (word, style) = match self.ok {
            true => ("ok", AnsiColor::Green.on_default()),
            false => ("failed", AnsiColor::Red.on_default().bold()),
        };
        let line =
            Line::default().styled(style, &format!("{word:<6}")).styled(Style::new(), &format!("  {:<8}", self.step));
        out.print(&line.plain(&format!("  {}", visible_line(&self.what))))
    }
}

impl TestArgs {
    pub(super) fn run(self, environment: &Environment, context: &mut Context) -> Result<Exit, CliError> {
        context.out.use_json(context.out.is_json() || self.format.json);
        let name = self.machine.name;
        let files = MachineFiles::of(environment)?;
        let machine = super::known(environment, &files, &name)?;
        let path = files.path(&name);
        let file = if path.exists() { path.display().to_string() } else { "none: it comes by itself".to_owned() };
        Step::ok("file", file).show(&mut context.out)?;
        let mut bridge = Bridge::connect(environment);
        let mut there = None;
        if let Some(via) = &machine.via {
            if matches!(via, Via::Ssh(_)) && bridge.as_mut().is_ok_and(|bridge| is_up(bridge, &name)) {
                // A key that may do nothing but link would make another link, which takes the place of this one.
                Step::ok("login", "not tried, since the link is up").show(&mut context.out)?;
            } else {
                let mut commands = SystemCommands::new(environment).with_limit(COMMAND_PATIENCE);
                for step in far_steps(via, &mut commands, &mut there) {
                    finish(&step, &name, &mut context.out)?;
                }
            }
        }
        let mut bridge = match bridge {
            Ok(bridge) => bridge,
            Err(no) => return fail(Step::failed("bridge", no.what, no.next), &name, &mut context.out),
        };
        let state = bridge.machines()?;
        finish(&here(&state), &name, &mut context.out)?;
        let state = wait_for_link(&mut bridge, &name, &mut context.out)?;
        finish(&linked(&machine, state.as_ref()), &name, &mut context.out)?;
        if let Some(state) = &state {
            finish(&alike(there.as_deref().or(state.version.as_deref())), &name, &mut context.out)?;
            finish(&sessions(state, &name), &name, &mut context.out)?;
        }
        Ok(Exit::Done)
    }
}

/// Returns whether the link with a machine is up.
fn is_up(bridge: &mut Bridge, name: &MachineName) -> bool {
    bridge.machines().is_ok_and(|state| state.machines.iter().any(|one| one.name == *name && one.link == Link::Up))
}

/// Shows a step.
///
/// # Errors
/// It failed.
fn finish(step: &Step, name: &MachineName, out: &mut Output) -> Result<(), CliError> {
    step.show(out)?;
    match &step.next {
        Some(next) if !step.ok => {
            let what = format!("{name} cannot be linked with: {}", step.what);
            Err(CliError::Obstacle { what, next: next.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

fn fail(step: Step, name: &MachineName, out: &mut Output) -> Result<Exit, CliError> {
    finish(&step, name, out).map(|()| Exit::Failed)
}

/// Returns what came of the steps on the other machine, up to the first that failed; `there` is its version.
fn far_steps(via: &Via, commands: &mut dyn Commands, there: &mut Option<String>) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(argv) = via.login_command() {
        let step = login(via, commands, &argv);
        let is_ok = step.ok;
        steps.push(step);
        if !is_ok {
            return steps;
        }
    }
    if let Some(argv) = via.version_command() {
        steps.push(program(commands, &argv, there));
    }
    steps
}

fn login(via: &Via, commands: &mut dyn Commands, argv: &[String]) -> Step {
    let name = "login";
    match commands.run(argv) {
        Ok(done) if done.success() || own_words(&done.stderr).is_some() => Step::ok(name, format!("{via} lets us in")),
        Ok(done) => {
            let said = last_line(&done.stderr);
            Step::failed(name, format!("{via}: {said}"), login_cure(via, &said))
        }
        Err(error) => Step::failed(name, format!("{via}: {error}"), by_hand("install ssh, or see why it hangs")),
    }
}

fn login_cure(via: &Via, said: &str) -> String {
    let host = via.to_string();
    let host = host.strip_prefix("ssh ").unwrap_or(&host);
    if said.contains("Permission denied") {
        format!("ssh-copy-id {host}   # or a key that may do nothing else: relayctl machines key, run there")
    } else if said.contains("Host key verification failed") {
        format!("ssh {host} true   # and say that you know this host")
    } else {
        format!("ssh {host} true   # it has to work without a question")
    }
}

fn program(commands: &mut dyn Commands, argv: &[String], there: &mut Option<String>) -> Step {
    let name = "program";
    let missing = "install claude-relay there, in a folder of its PATH or in ~/.local/bin: docs/installing.md";
    let ran = commands.run(argv);
    if let Some((what, next)) = ran.as_ref().ok().and_then(|done| own_words(&done.stderr)) {
        return Step::failed(name, format!("relay-bridge says there: {what}"), by_hand(&next));
    }
    match ran {
        // A key that may do nothing but link answers every command with the link, or ends it without a word when the bridge's
        // own link comes in the same moment.
        Ok(done) if done.stdout.starts_with('{') || (done.success() && done.stdout.trim().is_empty()) => {
            Step::ok(name, "the key lets us do nothing but link, as it should")
        }
        Ok(done) => match done.stdout.lines().find_map(|line| line.strip_prefix(PROGRAM)) {
            Some(version) => {
                *there = Some(version.trim().to_owned());
                Step::ok(name, format!("relay-bridge {} is there", version.trim()))
            }
            None => {
                let said = last_line(&done.stderr);
                Step::failed(name, format!("relay-bridge does not run there: {said}"), by_hand(missing))
            }
        },
        Err(error) => Step::failed(name, format!("relay-bridge does not run there: {error}"), by_hand(missing)),
    }
}

fn here(state: &Machines) -> Step {
    if state.hub {
        Step::ok("bridge", format!("relay-bridge {} runs here (process {})", state.version, state.pid))
    } else {
        Step::failed("bridge", "the bridge here has no connection to the hub", "relayctl status")
    }
}

/// Waits until the link is up, or cannot come up by waiting. Returns how it stands then.
fn wait_for_link(bridge: &mut Bridge, name: &MachineName, out: &mut Output) -> Result<Option<MachineState>, CliError> {
    let until = Instant::now() + LINK_PATIENCE;
    let mut is_told = false;
    loop {
        let state = bridge.machines()?.machines.into_iter().find(|machine| machine.name == *name);
        let is_over = state.as_ref().is_none_or(|state| matches!(state.link, Link::Up | Link::Paused));
        if is_over || Instant::now() >= until {
            return Ok(state);
        }
        if !is_told {
            out.say_progress(&Line::of("waiting for the link…"));
            is_told = true;
        }
        std::thread::sleep(LOOK);
    }
}

fn linked(machine: &Machine, state: Option<&MachineState>) -> Step {
    let (step, name) = ("link", &machine.name);
    let Some(state) = state else {
        return Step::failed(step, "the bridge does not know this machine", format!("relayctl machines resume {name}"));
    };
    match &state.link {
        Link::Up => {
            let round_trip = state.round_trip_ms.map(|time| format!(", {time}ms there and back")).unwrap_or_default();
            Step::ok(step, format!("up {}{round_trip}", wording::rough(state.since_s)))
        }
        Link::Paused => Step::failed(step, "it is paused", format!("relayctl machines resume {name}")),
        Link::Awaited => {
            let own = machine.own_name(&host_name());
            let next = by_hand(&format!("run on {name}: relayctl machines test {own}"));
            Step::failed(step, format!("{name} has not come: it is for {name} to start the link"), next)
        }
        Link::Connecting => Step::failed(
            step,
            format!("it did not come up within {}", wording::exact(LINK_PATIENCE)),
            by_hand(&format!("run on {name}: relayctl doctor")),
        ),
        Link::Down(Down { why, next }) => {
            let there = || by_hand(&format!("run on {name}: relayctl doctor"));
            Step::failed(step, format!("it is down: {why}"), next.clone().unwrap_or_else(there))
        }
    }
}

/// Links of different versions work as long as the two have one in common.
fn alike(there: Option<&str>) -> Step {
    let (step, own) = ("versions", env!("CARGO_PKG_VERSION"));
    match there {
        Some(version) if version.ends_with(own) => Step::ok(step, format!("both are {own}")),
        Some(version) => {
            Step::ok(step, format!("there {}, here {own}: they understand each other", visible_line(version)))
        }
        None => Step::ok(step, "they understand each other"),
    }
}

fn sessions(state: &MachineState, name: &MachineName) -> Step {
    let seen = wording::count(usize::try_from(state.sessions).unwrap_or(usize::MAX), "session");
    let may = match state.we_may.as_deref() {
        Some("ask") => "we may ask them",
        Some("hold") => "what we ask waits for its person",
        Some("reply") => "we may only answer: there, relayctl machines allow lets us ask",
        Some("nothing") => "we may do nothing there: there, relayctl machines allow lets us ask",
        Some(_) | None => "what we may do there is not known",
    };
    Step::ok("sessions", format!("{seen} of {name} seen; {may}"))
}

/// Returns what a program of ours there has said that failed, and what it advises: all that a key for nothing else hears.
fn own_words(stderr: &str) -> Option<(String, String)> {
    let line = |start: &str| stderr.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::to_owned);
    Some((line("error: ")?, line("next: ")?))
}

fn last_line(text: &str) -> String {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::bridge::machine::SshHost;
    use crate::service::Finished;

    const NO_BRIDGE: &str = "error: no bridge answers at /run/relay/bridge.sock\nnext: run on that machine: relayctl setup --with-machines\n";
    const PAUSED: &str = "error: laptop is paused here\nnext: run there: relayctl machines resume laptop\n";

    struct Answers(Vec<io::Result<Finished>>);

    impl Commands for Answers {
        fn run(&mut self, _argv: &[String]) -> io::Result<Finished> {
            self.0.remove(0)
        }
    }

    fn answer(code: i32, stdout: &str, stderr: &str) -> io::Result<Finished> {
        Ok(Finished { code: Some(code), stdout: stdout.into(), stderr: stderr.into() })
    }

    fn ssh() -> Via {
        Via::Ssh(SshHost::parse("me@desk").unwrap())
    }

    fn told(via: &Via, answers: Vec<io::Result<Finished>>) -> String {
        let steps = far_steps(via, &mut Answers(answers), &mut None);
        let line = |step: &Step| format!("{} {}: {} -> {:?}\n", step.ok, step.step, step.what, step.next);
        steps.iter().map(line).collect()
    }

    #[test]
    fn each_failing_step_says_what_mends_it() {
        let docker =
            Via::exec(["docker", "exec", "-i", "ct", "relay-bridge", "stdio"].map(str::to_owned).into()).unwrap();
        let let_in = || answer(0, "", "");
        let said = [
            told(&ssh(), vec![answer(255, "", "warning: x\nme@desk: Permission denied (publickey).\n")]),
            told(&ssh(), vec![answer(255, "", "Host key verification failed.\r\n")]),
            told(&ssh(), vec![answer(255, "", "ssh: Could not resolve hostname desk\n")]),
            told(&ssh(), vec![Err(io::Error::other("it did not answer within 15000 ms"))]),
            told(&ssh(), vec![let_in(), answer(127, "", "sh: 1: exec: relay-bridge: not found\n")]),
            told(&ssh(), vec![let_in(), answer(0, "relay-bridge 0.1.0\n", "")]),
            told(&ssh(), vec![let_in(), answer(0, "{\"type\":\"hello\"}\n", "")]),
            told(&ssh(), vec![let_in(), answer(0, "", "")]),
            told(&ssh(), vec![answer(1, "", NO_BRIDGE), answer(1, "", NO_BRIDGE)]),
            told(&ssh(), vec![answer(1, "", PAUSED), answer(1, "", PAUSED)]),
            told(&docker, vec![answer(1, "", "Error: No such container: ct\n")]),
            told(&docker, vec![answer(0, "relay-bridge 0.1.0\n", "")]),
        ];
        insta::assert_snapshot!(said.concat(), @r##"
        false login: ssh me@desk: me@desk: Permission denied (publickey). -> Some("ssh-copy-id me@desk   # or a key that may do nothing else: relayctl machines key, run there")
        false login: ssh me@desk: Host key verification failed. -> Some("ssh me@desk true   # and say that you know this host")
        false login: ssh me@desk: ssh: Could not resolve hostname desk -> Some("ssh me@desk true   # it has to work without a question")
        false login: ssh me@desk: it did not answer within 15000 ms -> Some("# install ssh, or see why it hangs")
        true login: ssh me@desk lets us in -> None
        false program: relay-bridge does not run there: sh: 1: exec: relay-bridge: not found -> Some("# install claude-relay there, in a folder of its PATH or in ~/.local/bin: docs/installing.md")
        true login: ssh me@desk lets us in -> None
        true program: relay-bridge 0.1.0 is there -> None
        true login: ssh me@desk lets us in -> None
        true program: the key lets us do nothing but link, as it should -> None
        true login: ssh me@desk lets us in -> None
        true program: the key lets us do nothing but link, as it should -> None
        true login: ssh me@desk lets us in -> None
        false program: relay-bridge says there: no bridge answers at /run/relay/bridge.sock -> Some("# run on that machine: relayctl setup --with-machines")
        true login: ssh me@desk lets us in -> None
        false program: relay-bridge says there: laptop is paused here -> Some("# run there: relayctl machines resume laptop")
        false program: relay-bridge does not run there: Error: No such container: ct -> Some("# install claude-relay there, in a folder of its PATH or in ~/.local/bin: docs/installing.md")
        true program: relay-bridge 0.1.0 is there -> None
        "##);
    }
}
