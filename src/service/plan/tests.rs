use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

/// Answers each command with the next of its exit codes, the last one for ever; remembers what was run.
struct Answers {
    codes: Vec<i32>,
    ran: Vec<String>,
}

impl Answers {
    fn with(codes: &[i32]) -> Self {
        Self { codes: codes.to_vec(), ran: Vec::new() }
    }
}

impl Commands for Answers {
    fn run(&mut self, argv: &[String]) -> io::Result<Finished> {
        let code = if self.codes.len() > 1 { self.codes.remove(0) } else { self.codes[0] };
        self.ran.push(argv.join(" "));
        Ok(Finished { code: Some(code), stderr: "it said so\n".to_owned(), ..Finished::default() })
    }

    fn pause(&mut self) {
        self.ran.push("pause".to_owned());
    }
}

fn effect_of(step: Step) -> Result<Effect, PlanError> {
    let mut effects = Vec::new();
    Plan { steps: vec![step] }.perform(&mut Answers::with(&[0]), |_, effect| effects.push(effect))?;
    Ok(effects[0])
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn command(when: When) -> Run {
    Run { argv: words("do it"), when, tolerated: vec![3], retried: vec![5] }
}

#[test]
fn a_file_is_created_then_left_alone_then_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unit");
    let write = |content: &str, mode| Step::WriteFile { path: path.clone(), content: content.to_owned(), mode };
    assert_eq!(effect_of(write("one\n", 0o644)).unwrap(), Effect::Created);
    assert_eq!(effect_of(write("one\n", 0o644)).unwrap(), Effect::Unchanged);
    assert_eq!(effect_of(write("two\n", 0o644)).unwrap(), Effect::Replaced);
    assert_eq!(effect_of(write("two\n", 0o600)).unwrap(), Effect::Replaced);
    assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a temporary file was left");
}

#[test]
fn a_file_behind_a_link_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let (target, path) = (directory.path().join("mine"), directory.path().join("unit"));
    fs::write(&target, "mine").unwrap();
    symlink(&target, &path).unwrap();
    let write = Step::WriteFile { path: path.clone(), content: "unit".to_owned(), mode: 0o644 };
    assert_eq!(effect_of(write).unwrap(), Effect::Replaced);
    assert_eq!(fs::read_to_string(target).unwrap(), "mine");
    assert_eq!(fs::read_to_string(path).unwrap(), "unit");
}

#[test]
fn removing_what_is_not_there_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    for step in [
        Step::RemoveFile { path: path.clone() },
        Step::RemoveDeadSocket { path: path.clone() },
        Step::RemoveEmptyDirectory { path },
    ] {
        assert_eq!(effect_of(step).unwrap(), Effect::Unchanged);
    }
}

#[test]
fn only_a_socket_that_nobody_listens_at_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hub.sock");
    let step = || Step::RemoveDeadSocket { path: path.clone() };
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(effect_of(step()).unwrap(), Effect::Unchanged);
    drop(listener);
    assert_eq!(effect_of(step()).unwrap(), Effect::Removed);
    fs::write(&path, "").unwrap();
    assert_eq!(effect_of(step()).unwrap(), Effect::Unchanged);
    assert!(path.exists());
}

#[test]
fn a_directory_is_removed_only_when_it_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    let make = Step::MakeDirectory { path: path.clone(), mode: 0o700 };
    assert_eq!(effect_of(make.clone()).unwrap(), Effect::Created);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(effect_of(make).unwrap(), Effect::Unchanged);
    fs::write(path.join("kept"), "").unwrap();
    assert_eq!(effect_of(Step::RemoveEmptyDirectory { path: path.clone() }).unwrap(), Effect::Unchanged);
    fs::remove_file(path.join("kept")).unwrap();
    assert_eq!(effect_of(Step::RemoveEmptyDirectory { path }).unwrap(), Effect::Removed);
}

#[test]
fn a_command_runs_only_when_it_has_something_to_bring_about() {
    let check = words("is it so");
    let cases = [
        // when, changed and replaced before, answer of the check, does it run
        (When::Changed, (false, false), 0, false),
        (When::Changed, (true, false), 0, true),
        (When::Replaced, (true, false), 0, false),
        (When::Replaced, (true, true), 0, true),
        (When::ChangedUnless(vec![check.clone()]), (false, false), 0, false),
        (When::ChangedUnless(vec![check.clone()]), (false, false), 1, true),
        (When::ChangedUnless(vec![check.clone()]), (true, false), 0, true),
        (When::If(check.clone()), (false, false), 0, true),
        (When::If(check), (true, true), 1, false),
    ];
    for (when, (changed, replaced), answer, runs) in cases {
        let asks = matches!(when, When::If(_)) || matches!(when, When::ChangedUnless(_)) && !changed;
        let codes = if asks { vec![answer, 0] } else { vec![0] };
        let mut answers = Answers::with(&codes);
        let effect = command(when.clone()).perform(&mut answers, changed, replaced).unwrap();
        assert_eq!(effect == Effect::Ran, runs, "{when:?} after {changed} {replaced}");
        assert_eq!(answers.ran.iter().any(|line| line == "do it"), runs, "{:?}", answers.ran);
    }
}

#[test]
fn a_tolerated_code_means_that_there_was_nothing_to_do() {
    let mut answers = Answers::with(&[3]);
    assert_eq!(command(When::Changed).perform(&mut answers, true, false).unwrap(), Effect::Unchanged);
}

#[test]
fn a_passing_failure_is_tried_again_and_a_lasting_one_ends() {
    let mut answers = Answers::with(&[5, 5, 0]);
    assert_eq!(command(When::Changed).perform(&mut answers, true, false).unwrap(), Effect::Ran);
    assert_eq!(answers.ran, ["do it", "pause", "do it", "pause", "do it"]);

    let mut answers = Answers::with(&[5]);
    command(When::Changed).perform(&mut answers, true, false).unwrap_err();
    assert_eq!(answers.ran.len(), 41);
}

#[test]
fn a_failure_ends_the_plan_and_names_the_command_and_what_it_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("never");
    let plan = Plan {
        steps: vec![
            Step::Run(command(When::If(words("is it so")))),
            Step::MakeDirectory { path: path.clone(), mode: 0o700 },
        ],
    };
    let error = plan.perform(&mut Answers::with(&[0, 1]), |_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "`do it` failed with code 1: it said so");
    assert!(!path.exists());
}

#[test]
fn a_command_is_shown_as_a_person_would_type_it() {
    let argv = ["launchctl", "bootstrap", "gui/501", "/Users/o'neil/My Agents/x.plist"].map(str::to_owned);
    assert_eq!(command_line(&argv), r"launchctl bootstrap gui/501 '/Users/o'\''neil/My Agents/x.plist'");
}
