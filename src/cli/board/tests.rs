//! The board as it is seen, on a terminal of ratatui's own that keeps what is drawn.

use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::answers::Answer;
use super::input::{Action, Input, Mode};
use super::model::Board;
use super::view::View;
use crate::protocol::{
    Activity, AskId, AskKind, AskOutcome, AskState, AskView, ErrorCode, OpenAsks, PeerName, PeerView, Presence, Wake,
    Watched, Watching,
};

struct Desk {
    board: Board,
    input: Input,
    now: Instant,
}

fn name(text: &str) -> PeerName {
    PeerName::parse(text).unwrap()
}

fn presence(folder: &str, status: Activity, waiting_for: Option<&str>) -> Presence {
    Presence {
        cwd: format!("/home/ada/src/{folder}"),
        branch: Some("main".to_owned()),
        status,
        waiting_for: waiting_for.map(str::to_owned),
        wakes_by: Wake::Waiter,
    }
}

fn peer(folder: &str, status: Activity) -> PeerView {
    PeerView {
        name: name(folder),
        pid: Some(42),
        agent: "claude-code".to_owned(),
        client: Some("claude-code 2.1.330".to_owned()),
        presence: presence(folder, status, (status == Activity::Waiting).then_some("permission prompt")),
        status_s: 300,
        connected_s: 7_300,
        open_asks: OpenAsks::default(),
        machine: None,
        reachable: None,
        tag: None,
    }
}

fn ask(bits: u64, from: &str, to: &str, state: AskState) -> AskView {
    let (from, to) = (from.to_owned(), to.to_owned());
    let ask_id = AskId::from_bits(bits);
    AskView {
        ask_id,
        from,
        to,
        broadcast_id: None,
        kind: AskKind::Ask,
        state,
        age_ms: 200_000,
        timeout_ms: 1,
        question: None,
    }
}

fn state(peers: Vec<PeerView>, asks: Vec<AskView>) -> Watching {
    Watching { hub: "0.1.0".to_owned(), pid: 2, settling: false, peers, asks, machines: Vec::new() }
}

fn ended(bits: u64, outcome: AskOutcome) -> Watched {
    Watched::AskEnded {
        kind: AskKind::Ask,
        ask_id: AskId::from_bits(bits),
        from: "web".to_owned(),
        to: "backend".to_owned(),
        broadcast_id: None,
        outcome,
        state: AskState::Shown,
        latency_ms: 4_210,
        reply: None,
    }
}

impl Desk {
    /// Returns the board of a day with four sessions.
    fn new() -> Self {
        let peers = vec![
            peer("backend", Activity::Idle),
            peer("project-10", Activity::Busy),
            peer("project-2", Activity::Idle),
            peer("web", Activity::Waiting),
        ];
        let asks = vec![
            ask(7, "web", "backend", AskState::Shown),
            ask(8, "shell", "project-2", AskState::Held),
            ask(9, "shell", "backend", AskState::Accepted),
        ];
        let now = Instant::now() + Duration::from_secs(100_000);
        let mut desk = Self { board: Board::default(), input: Input::new(), now };
        desk.board.handle_state(now, &state(peers, asks));
        desk.change(&ended(7, AskOutcome::Reply));
        desk.change(&ended(9, AskOutcome::Timeout));
        let (from, to) = ("web".to_owned(), "backend".to_owned());
        desk.change(&Watched::AskRefused { from, to, code: ErrorCode::LoopDetected });
        desk
    }

    fn change(&mut self, change: &Watched) {
        self.board.handle_change(self.now, change);
    }

    fn key(&mut self, code: KeyCode) -> Action {
        self.input.handle_event(&self.board, &Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn type_text(&mut self, text: &str) {
        text.chars().for_each(|c| assert_eq!(self.key(KeyCode::Char(c)), Action::Draw));
    }

    fn drawn(&self, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let view = View { board: &self.board, now: self.now, home: Some(Path::new("/home/ada")) };
        let draw = |frame: &mut ratatui::Frame| {
            view.draw(&self.input, frame.area(), frame.buffer_mut());
        };
        terminal.draw(draw).unwrap();
        let shown = terminal.backend().to_string();
        let lines: Vec<&str> = shown.lines().map(|line| line.trim_matches('"').trim_end()).collect();
        lines.join("\n")
    }
}

#[test]
fn who_waits_comes_first_and_everything_open_is_there() {
    insta::assert_snapshot!(Desk::new().drawn(100, 18), @"
    relay  4 sessions, 1 waits for you, 1 open ask
    SESSION     STATE                             SINCE  FOLDER            BRANCH  AGENT
    web         waits for you: permission prompt  5m     ~/src/web         main    Claude Code
    backend     idle                              5m     ~/src/backend     main    Claude Code
    project-2   idle                              5m     ~/src/project-2   main    Claude Code
    project-10  busy                              5m     ~/src/project-10  main    Claude Code

    OPEN ASK           AGE  STATE  ID
    shell → project-2  3m   held   0000-0000-0008

    LAST OUTCOMES  AGO
    web → backend  <1m  refused: loop_detected
    web → backend  <1m  timed out after 3m 20s, shown
    web → backend  <1m  answered after 3m 20s



    ? keys  q leave  ⏎ look  a ask  t tell  c copy name  / filter  ↑↓ choose
    ");
}

#[test]
fn a_narrow_terminal_has_what_matters_most() {
    insta::assert_snapshot!(Desk::new().drawn(46, 18), @"
    relay  4 sessions, 1 waits for you, 1 open ask
    SESSION     STATE
    web         waits for you: permission prompt
    backend     idle
    project-2   idle
    project-10  busy

    OPEN ASK           AGE  STATE  ID
    shell → project-2  3m   held   0000-0000-0008

    LAST OUTCOMES  AGO
    web → backend  <1m  refused: loop_detected
    web → backend  <1m  timed out after 3m 20s, sh
    web → backend  <1m  answered after 3m 20s



    ? keys  q leave  ⏎ look  a ask  t tell  c copy
    ");
}

#[test]
fn a_low_terminal_has_the_sessions_and_says_how_many_more() {
    insta::assert_snapshot!(Desk::new().drawn(80, 6), @"
    relay  4 sessions, 1 waits for you, 1 open ask
    SESSION     STATE                             SINCE  FOLDER
    web         waits for you: permission prompt  5m     ~/src/web
    backend     idle                              5m     ~/src/backend
    … 2 more
    ? keys  q leave  ⏎ look  a ask  t tell  c copy name  / filter  ↑↓ choose
    ");
}

#[test]
fn any_size_can_be_drawn() {
    let mut desk = Desk::new();
    for mode in [Mode::List, Mode::Filter, Mode::Answer, Mode::Help, Mode::Session(name("web"))] {
        desk.input.mode = mode;
        for (width, height) in [(1, 1), (2, 3), (10, 4), (300, 2), (500, 200)] {
            assert_eq!(desk.drawn(width, height).split('\n').count(), usize::from(height));
        }
    }
    let mut new = state(Vec::new(), Vec::new());
    new.settling = true;
    desk.board.handle_state(desk.now, &new);
    let drawn = |desk: &Desk| desk.drawn(100, 10).contains("the hub has just started");
    assert!(drawn(&desk));
    desk.now += crate::hub::GRACE;
    assert!(!drawn(&desk));
    let mut empty = Desk { board: Board::default(), ..Desk::new() };
    assert!(empty.drawn(80, 10).contains("no session has joined"));
    assert_eq!(empty.key(KeyCode::Enter), Action::Draw);
}

#[test]
fn a_session_is_looked_at_with_what_is_open_of_it() {
    let mut desk = Desk::new();
    desk.key(KeyCode::Down);
    desk.key(KeyCode::Enter);
    insta::assert_snapshot!(desk.drawn(80, 18), @"
    relay  4 sessions, 1 waits for you, 1 open ask
    backend
      state      idle
      since      5m
      folder     ~/src/backend
      branch     main
      agent      claude-code 2.1.330
      process    42
      woken by   waiter
      here for   2h

    LAST OUTCOMES  AGO
    web → backend  <1m  refused: loop_detected
    web → backend  <1m  timed out after 3m 20s, shown
    web → backend  <1m  answered after 3m 20s


    ? keys  q leave  ⏎ look  a ask  t tell  c copy name  / filter  ↑↓ choose
    ");
    desk.key(KeyCode::Esc);
    assert_eq!(desk.input.mode, Mode::List);
}

#[test]
fn the_filter_keeps_what_has_its_text_and_the_choice_stays_with_its_session() {
    let mut desk = Desk::new();
    desk.key(KeyCode::End);
    assert_eq!(desk.key(KeyCode::Char('c')), Action::Copy("project-10".to_owned()));
    desk.key(KeyCode::Char('/'));
    desk.type_text("proj");
    assert!(desk.drawn(80, 18).contains("\n/proj"));
    desk.key(KeyCode::Enter);
    let drawn = desk.drawn(80, 18);
    assert!(drawn.contains("project-2") && !drawn.contains("waits for you: permission"), "{drawn}");
    assert_eq!(desk.key(KeyCode::Char('y')), Action::Copy("project-10".to_owned()));
    desk.key(KeyCode::Char('/'));
    desk.type_text("zzz");
    assert!(desk.drawn(80, 18).contains("no session has this text"));
    desk.key(KeyCode::Esc);
    assert!(desk.drawn(80, 18).contains("waits for you: permission"));
}

#[test]
fn a_session_is_asked_and_its_answer_is_announced_and_read() {
    let mut desk = Desk::new();
    desk.key(KeyCode::Char('a'));
    desk.type_text("is it gree");
    desk.input.handle_event(&desk.board, &Event::Paste("n?\nsay so".to_owned()));
    assert!(desk.drawn(80, 18).contains("\nask web: is it green?"));
    let Action::Send { kind: AskKind::Ask, to, text: question } = desk.key(KeyCode::Enter) else {
        panic!("nothing is asked")
    };
    assert_eq!((to.as_str(), question.as_str()), ("web", "is it green?\nsay so"));
    // Whoever leaves now is told what that means first.
    assert_eq!(desk.key(KeyCode::Char('q')), Action::Draw);
    assert!(desk.drawn(80, 18).contains("withdraws what is open of yours"));
    desk.input.handle_answer(Answer { of: "web".to_owned(), text: "yes\n\x1b[2Jof course".to_owned() });
    assert!(desk.drawn(80, 18).contains("web has answered: r to read"));
    desk.key(KeyCode::Char('r'));
    insta::assert_snapshot!(desk.drawn(60, 6), @r"
    relay  4 sessions, 1 waits for you, 1 open ask
    web answers

      yes
      \u{1b}[2Jof course
    ? keys  q leave  ⏎ look  a ask  t tell  c copy name  / filte
    ");
    desk.key(KeyCode::Esc);
    assert_eq!(desk.key(KeyCode::Char('q')), Action::Quit);
}

#[test]
fn answers_wait_until_they_are_read_and_can_be_scrolled() {
    let mut desk = Desk::new();
    let long: Vec<String> = (0..40).map(|line| format!("line {line}.")).collect();
    for (of, text) in [("web", long.join("\n")), ("backend", "short".to_owned())] {
        desk.input.handle_answer(Answer { of: of.to_owned(), text });
    }
    // Other keys do not take the news of them away.
    desk.key(KeyCode::Down);
    assert!(desk.drawn(100, 18).contains("2 unread answers: r to read"));
    desk.key(KeyCode::Char('r'));
    assert!(desk.drawn(80, 18).contains("web answers") && !desk.drawn(80, 18).contains("line 20."));
    desk.key(KeyCode::PageDown);
    assert!(desk.drawn(80, 18).contains("line 20."));
    desk.key(KeyCode::Char('r'));
    assert!(desk.drawn(80, 18).contains("backend answers") && !desk.drawn(100, 18).contains("unread"));
}

#[test]
fn what_is_typed_follows_a_rename_and_is_there_again_after_a_refusal() {
    let mut desk = Desk::new();
    desk.key(KeyCode::Char('a'));
    desk.type_text("is it green?");
    desk.input.handle_rename(&name("web"), &name("shop"));
    let Action::Send { to, .. } = desk.key(KeyCode::Enter) else { panic!("nothing is asked") };
    assert_eq!(to.as_str(), "shop");
    desk.input.handle_refusal("no session is named shop".to_owned());
    assert!(desk.drawn(80, 18).contains("no session is named shop"));
    desk.key(KeyCode::Char('a'));
    assert!(desk.drawn(80, 18).contains("is it green?"));
}

#[test]
fn chosen_session_is_seen_where_the_list_is_too_long() {
    let mut desk = Desk::new();
    for at in 0..4 {
        let chosen = desk.board.sessions("")[at].view.name.clone();
        let drawn = desk.drawn(80, 6);
        assert!(drawn.contains(&format!("\n{chosen} ")) && drawn.contains("… 2 more"), "{chosen}: {drawn}");
        desk.key(KeyCode::Down);
    }
}

#[test]
fn a_session_is_told_and_how_far_it_came_is_said() {
    let mut desk = Desk::new();
    desk.key(KeyCode::Char('t'));
    desk.type_text("merged");
    assert!(desk.drawn(80, 18).contains("\ntell web: merged"));
    let Action::Send { kind: AskKind::Tell, to, text } = desk.key(KeyCode::Enter) else { panic!("nothing is told") };
    assert_eq!((to.as_str(), text.as_str()), ("web", "merged"));
    assert!(desk.drawn(80, 18).contains("\ntold web"));
    desk.input.handle_arrival(&to, AskState::HandedOver);
    assert!(desk.drawn(80, 18).contains("delivered to web; not confirmed that its model has read it"));
    assert_eq!(desk.key(KeyCode::Char('q')), Action::Quit);
}

#[test]
fn nothing_is_asked_without_a_question() {
    let mut desk = Desk::new();
    desk.key(KeyCode::Char('a'));
    assert_eq!(desk.key(KeyCode::Enter), Action::Draw);
    assert_eq!(desk.input.n_open, 0);
}

#[test]
fn keys_of_the_terminal_mean_what_they_mean_elsewhere() {
    let mut desk = Desk::new();
    let mut control = |c| {
        let key = KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        desk.input.handle_event(&desk.board, &Event::Key(key))
    };
    assert_eq!((control('c'), control('z')), (Action::Interrupt, Action::Suspend));
}

#[test]
fn what_peers_say_of_themselves_does_not_command_the_terminal() {
    let mut desk = Desk::new();
    let mut evil = peer("evil", Activity::Waiting);
    evil.presence = presence("x\x1b]52;c;cm0=\x07", Activity::Waiting, Some("\x1b[2Jnothing\u{202e}"));
    evil.agent = "\x1b[31mred".to_owned();
    desk.change(&Watched::PeerCame { peer: evil });
    let drawn = desk.drawn(160, 18);
    assert!(!drawn.contains(['\x1b', '\u{202e}']) && drawn.contains(r"\u{1b}[2Jnothing"), "{drawn}");
}

#[test]
fn a_state_is_told_since_when_it_holds_also_of_a_session_that_comes_back_later() {
    let mut desk = Desk::new();
    let mut waits = peer("backend", Activity::Waiting);
    desk.change(&Watched::PeerChanged { name: waits.name.clone(), presence: waits.presence.clone() });
    desk.now += Duration::from_secs(1200);
    desk.board.handle_away();
    desk.board.handle_state(desk.now, &Watching { settling: true, ..state(Vec::new(), Vec::new()) });
    (waits.status_s, waits.connected_s) = (0, 0);
    desk.change(&Watched::PeerCame { peer: waits });
    let drawn = desk.drawn(100, 18);
    assert!(drawn.contains("waits for you: permission prompt  20m"), "{drawn}");
}

#[test]
fn a_state_is_told_since_when_it_holds_also_over_a_new_hub() {
    let mut desk = Desk::new();
    let changed =
        Watched::PeerChanged { name: name("backend"), presence: presence("backend", Activity::Waiting, None) };
    desk.change(&changed);
    desk.now += Duration::from_secs(300);
    desk.board.handle_away();
    assert!(desk.drawn(100, 18).contains("the hub is away"));
    let mut backend = peer("backend", Activity::Waiting);
    (backend.presence.waiting_for, backend.connected_s) = (None, 0);
    let mut open = ask(8, "shell", "project-2", AskState::Held);
    open.age_ms = 0;
    desk.board.handle_state(desk.now, &state(vec![backend, peer("late", Activity::Idle)], vec![open]));
    let drawn = desk.drawn(100, 18);
    insta::assert_snapshot!(drawn, @"
    relay  2 sessions, 1 waits for you, 1 open ask
    SESSION  STATE          SINCE  FOLDER         BRANCH  AGENT
    backend  waits for you  5m     ~/src/backend  main    Claude Code
    late     idle           5m     ~/src/late     main    Claude Code

    OPEN ASK           AGE  STATE  ID
    shell → project-2  8m   held   0000-0000-0008

    LAST OUTCOMES  AGO
    web → backend  5m   refused: loop_detected
    web → backend  5m   timed out after 3m 20s, shown
    web → backend  5m   answered after 3m 20s





    ? keys  q leave  ⏎ look  a ask  t tell  c copy name  / filter  ↑↓ choose
    ");
}

#[test]
fn who_has_waited_for_the_longest_comes_first() {
    let mut desk = Desk::new();
    for folder in ["project-2", "backend"] {
        desk.now += Duration::from_secs(60);
        let presence = presence(folder, Activity::Waiting, None);
        desk.change(&Watched::PeerChanged { name: name(folder), presence });
    }
    let order: Vec<&str> = desk.board.sessions("").iter().map(|session| session.view.name.as_str()).collect();
    assert_eq!(order, ["web", "project-2", "backend", "project-10"]);
}

#[test]
fn a_renamed_session_keeps_its_asks_and_one_that_left_is_gone() {
    let mut desk = Desk::new();
    desk.change(&Watched::PeerRenamed { former: name("project-2"), name: name("docs") });
    assert_eq!(desk.board.asks()[0].to, "docs");
    desk.change(&Watched::PeerLeft { name: name("docs") });
    assert!(desk.board.session(&name("docs")).is_none());
    desk.change(&Watched::AskAdvanced {
        ask_id: AskId::from_bits(8),
        from: "shell".to_owned(),
        to: "docs".to_owned(),
        state: AskState::Shown,
    });
    assert_eq!(desk.board.asks()[0].state, AskState::Shown);
}
