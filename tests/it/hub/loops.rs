//! Loops are stopped, whatever their shape, and ordinary use never is: sessions that act by themselves, on a fake clock.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use relay::hub::limits::CAUSE_QUIET;
use relay::protocol::{Answer, AskId, Asked, ErrorCode, Event, HubMessage};

use crate::support::hub::{Actor, Stage, ask, id};
use crate::support::random::Random;

/// The most messages that a loop may make: what the interface promises.
const STORM_MAX: usize = 60;

/// What somebody will do.
#[derive(Debug, Clone)]
enum Plan {
    /// Ask another session, as the link of a chain of this depth.
    Ask { to: usize, depth: u32 },
    /// Ask everybody.
    Broadcast,
    /// Answer.
    Reply(AskId),
    /// An idea of one's own comes again and again.
    Idea,
    /// As does the wish to know what all are doing.
    Curiosity,
}

/// A room of sessions, the hub, and what they are going to do.
struct Room {
    stage: Stage,
    sessions: Vec<Actor>,
    agenda: BTreeMap<(Instant, u64), (usize, Plan)>,
    next: u64,
    depths: BTreeMap<AskId, u32>,
    asks: usize,
    broadcasts: usize,
    deliveries: usize,
    replies: usize,
    refused: Vec<ErrorCode>,
}

impl Room {
    fn new(sessions: usize) -> Self {
        let mut stage = Stage::new();
        let sessions = (0..sessions).map(|n| stage.session(&format!("/w/s{n}"))).collect();
        stage.hush();
        let (agenda, depths, refused) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { stage, sessions, agenda, next: 0, depths, asks: 0, broadcasts: 0, deliveries: 0, replies: 0, refused }
    }

    fn plan(&mut self, after: Duration, who: usize, plan: Plan) {
        self.next += 1;
        self.agenda.insert((self.stage.now + after, self.next), (who, plan));
    }

    /// Does the next thing, and returns who did what; `None` when nobody has any plans before `end`.
    fn act(&mut self, end: Instant) -> Option<(usize, Plan)> {
        let ((at, _), (who, plan)) = self.agenda.pop_first().filter(|((at, _), _)| *at <= end)?;
        self.stage.pass(at - self.stage.now);
        self.next += 1;
        let conn = self.sessions[who].conn;
        match &plan {
            Plan::Ask { to, depth } => {
                self.depths.insert(id(self.next), *depth);
                self.stage.say(conn, ask(self.next, &format!("s{to}"), "and you?", 600_000));
            }
            Plan::Broadcast => self.stage.broadcast(self.sessions[who], self.next, "and you?"),
            Plan::Reply(ask_id) => self.stage.reply(self.sessions[who], *ask_id, "I am fine, and you?"),
            Plan::Idea | Plan::Curiosity => {}
        }
        Some((who, plan))
    }

    /// Lets somebody ask everybody after a time, and returns whether that is accepted.
    fn broadcasts_after(&mut self, time: Duration, who: usize) -> bool {
        self.plan(time, who, Plan::Broadcast);
        self.act(self.stage.now + time).unwrap();
        let before = self.broadcasts;
        self.hear();
        self.broadcasts > before
    }

    /// Lets everybody hear what there is, take replies, and tell what came in.
    fn hear(&mut self) -> Vec<(usize, Asked)> {
        let mut received = Vec::new();
        loop {
            let mut silent = true;
            for who in 0..self.sessions.len() {
                let conn = self.sessions[who].conn;
                for message in self.stage.messages(conn) {
                    silent = false;
                    match message {
                        HubMessage::Answer(_, Answer::Accepted(_)) => self.asks += 1,
                        HubMessage::Answer(_, Answer::BroadcastAccepted(accepted)) => {
                            self.broadcasts += usize::from(!accepted.asks.is_empty());
                            self.refused.extend(accepted.refused.iter().map(|refused| refused.error.code));
                        }
                        HubMessage::Answer(_, Answer::Error(error)) => self.refused.push(error.code),
                        HubMessage::Event(Event::Asked(event)) => {
                            self.deliveries += 1;
                            received.push((who, event));
                        }
                        HubMessage::Event(Event::Reply(reply)) => {
                            self.replies += 1;
                            let by = self.sessions.iter().find(|session| session.tag == reply.by);
                            self.stage.taken(self.sessions[who], reply.ask_id, *by.unwrap());
                        }
                        _ => {}
                    }
                }
            }
            if silent {
                return received;
            }
        }
    }
}

/// How the sessions of a loop behave when they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// They ask the next one, and would answer when they are answered.
    AskFirst,
    /// They answer, always with the same words, and ask the next one.
    AnswerFirst,
    /// They ask the next one, and answer some time later.
    AnswerLater,
    /// They ask everybody.
    Broadcast,
    /// They answer, and ask everybody.
    AnswerAndBroadcast,
}

/// Starts a loop with one message and lets it go until it is stopped.
fn provoke(sessions: usize, habit: Habit, pause: Duration) -> Room {
    let mut room = Room::new(sessions);
    let broadcasts = matches!(habit, Habit::Broadcast | Habit::AnswerAndBroadcast);
    room.plan(Duration::ZERO, 0, if broadcasts { Plan::Broadcast } else { Plan::Ask { to: 1, depth: 1 } });
    let end = room.stage.now + Duration::from_secs(24 * 3600);
    while room.act(end).is_some() {
        for (who, event) in room.hear() {
            match habit {
                Habit::AskFirst | Habit::Broadcast => {}
                Habit::AnswerFirst | Habit::AnswerAndBroadcast => room.plan(pause / 2, who, Plan::Reply(event.ask_id)),
                Habit::AnswerLater => room.plan(pause * 3, who, Plan::Reply(event.ask_id)),
            }
            let next = Plan::Ask { to: (who + 1) % sessions, depth: 1 };
            room.plan(pause, who, if broadcasts { Plan::Broadcast } else { next });
        }
        assert!(room.asks + room.broadcasts <= STORM_MAX, "{sessions} sessions, {habit:?}, {pause:?}: never stopped");
    }
    assert!(!room.refused.is_empty(), "{sessions} sessions, {habit:?}, {pause:?}: it ended by itself");
    let stops = [ErrorCode::LoopDetected, ErrorCode::RateLimited];
    assert!(room.refused.iter().all(|code| stops.contains(code)), "{:?}", room.refused);
    room
}

const AT_ONCE: [Duration; 3] = [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(30)];
const AT_LEISURE: [Duration; 4] =
    [Duration::from_millis(300), Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(50)];

#[test]
fn ring_that_asks_on_before_it_answers_is_stopped_at_any_pace() {
    for sessions in 2..=12 {
        for pause in AT_ONCE.into_iter().chain(AT_LEISURE) {
            provoke(sessions, Habit::AskFirst, pause);
        }
    }
}

#[test]
fn ring_that_answers_and_asks_on_is_stopped_in_sixty_messages() {
    for sessions in 2..=12 {
        for pause in AT_ONCE {
            for habit in [Habit::AnswerFirst, Habit::AnswerLater] {
                let room = provoke(sessions, habit, pause);
                let messages = room.asks + room.replies;
                assert!(messages <= STORM_MAX, "{sessions} sessions, {habit:?}, {pause:?}: {messages} messages");
            }
        }
    }
}

#[test]
fn ring_of_up_to_nine_at_leisure_is_stopped_within_sixty_asks() {
    for sessions in 2..=9 {
        for pause in AT_LEISURE {
            for habit in [Habit::AnswerFirst, Habit::AnswerLater] {
                provoke(sessions, habit, pause);
            }
        }
    }
}

#[test]
fn broadcast_storm_is_stopped_within_sixty_messages() {
    for sessions in 2..=12 {
        for habit in [Habit::Broadcast, Habit::AnswerAndBroadcast] {
            for pause in [Duration::ZERO, Duration::from_millis(5)] {
                let asks = provoke(sessions, habit, pause).deliveries;
                assert!(asks <= STORM_MAX, "{sessions} sessions, {habit:?}, {pause:?}: {asks} asks");
            }
            for pause in [Duration::from_millis(300), Duration::from_secs(2)] {
                provoke(sessions, habit, pause);
            }
        }
    }
}

#[test]
fn broadcasts_after_a_storm_pass_once_it_was_quiet() {
    let mut room = provoke(3, Habit::Broadcast, Duration::ZERO);
    // Each of them puts it off.
    for _ in 0..2 {
        assert!(!room.broadcasts_after(CAUSE_QUIET * 3 / 4, 0));
    }
    assert!(room.broadcasts_after(CAUSE_QUIET, 0));
}

#[test]
fn session_that_has_heard_nothing_is_no_part_of_a_storm() {
    let mut room = provoke(3, Habit::Broadcast, Duration::ZERO);
    let late = room.stage.session("/w/late");
    room.sessions.push(late);
    assert!(!room.broadcasts_after(Duration::ZERO, 0));
    assert!(room.broadcasts_after(Duration::ZERO, 3));
}

#[test]
fn broadcast_may_answer_another() {
    let mut room = Room::new(3);
    assert!((0..3).all(|who| room.broadcasts_after(Duration::from_secs(1), who)));
}

#[test]
fn broadcasts_may_follow_twice_as_fast_as_ordinary_use() {
    let passed = |pause| {
        let mut room = Room::new(10);
        (0..50).take_while(|n| room.broadcasts_after(Duration::from_millis(pause), n % 10)).count()
    };
    assert_eq!(passed(600), 50);
    assert!((20..=30).contains(&passed(100)), "{}", passed(100));
}

#[test]
fn budget_grows_with_the_room() {
    let [few, many] = [12, 40].map(|sessions| branch(sessions, false, Duration::ZERO, 1000));
    assert!((28..=STORM_MAX).contains(&few) && (80..120).contains(&many), "{few} {many}");
}

/// Lets every question make three, from one on, until nobody asks any more. Returns how many asks were accepted.
fn branch(sessions: usize, answers: bool, pause: Duration, most: usize) -> usize {
    let mut room = Room::new(sessions);
    room.plan(Duration::ZERO, 0, Plan::Ask { to: 1, depth: 1 });
    let end = room.stage.now + Duration::from_secs(24 * 3600);
    while room.asks <= most && room.act(end).is_some() {
        for (who, event) in room.hear() {
            if answers {
                room.plan(pause / 2, who, Plan::Reply(event.ask_id));
            }
            for n in 0..3 {
                let to = (who + 1 + n % (sessions - 1)) % sessions;
                room.plan(pause + Duration::from_millis(n as u64), who, Plan::Ask { to, depth: 1 });
            }
        }
    }
    room.asks
}

#[test]
fn branching_storm_is_stopped_within_its_bound() {
    for sessions in 2..=12 {
        for answers in [false, true] {
            for pause in AT_ONCE {
                let asks = branch(sessions, answers, pause, STORM_MAX);
                assert!(asks <= STORM_MAX, "{sessions} sessions, {answers}, {pause:?}: {asks} asks");
            }
            for pause in AT_LEISURE {
                let asks = branch(sessions, answers, pause, 10 * STORM_MAX);
                assert!(asks <= 10 * STORM_MAX, "{sessions} sessions, {answers}, {pause:?}: {asks} asks");
            }
        }
    }
}

/// Whom sessions ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partners {
    /// Anybody.
    Random,
    /// Always the next one, everybody at a time of its own.
    Fixed,
    /// Always the next one, all at the same instant.
    InStep,
}

/// An hour of ordinary use: an ask every two seconds from each of ten sessions, an answer after half a second to
/// twenty, chains four deep, a broadcast from each every ten seconds. Nothing of it may be refused.
fn ordinary_hour(seed: u64, partners: Partners) {
    const SESSIONS: usize = 10;
    let mut random = Random::new(seed);
    let mut room = Room::new(SESSIONS);
    for who in 0..SESSIONS {
        let in_step = partners == Partners::InStep;
        let idea = if in_step { Duration::ZERO } else { random.millis(0..2000) };
        let curiosity = if in_step { Duration::from_secs(who as u64) } else { random.millis(0..10_000) };
        room.plan(idea, who, Plan::Idea);
        room.plan(curiosity, who, Plan::Curiosity);
    }
    let end = room.stage.now + Duration::from_secs(3600);
    while let Some((who, plan)) = room.act(end) {
        let other = match partners {
            Partners::Random => (who + 1 + random.below(SESSIONS as u64 - 1) as usize) % SESSIONS,
            Partners::Fixed | Partners::InStep => (who + 1) % SESSIONS,
        };
        match plan {
            Plan::Idea => {
                room.plan(Duration::ZERO, who, Plan::Ask { to: other, depth: 1 });
                room.plan(Duration::from_secs(2), who, Plan::Idea);
            }
            Plan::Curiosity => {
                room.plan(Duration::ZERO, who, Plan::Broadcast);
                room.plan(Duration::from_secs(10), who, Plan::Curiosity);
            }
            Plan::Ask { .. } | Plan::Broadcast | Plan::Reply(_) => {}
        }
        for (who, event) in room.hear() {
            let thinks = random.millis(500..20_000);
            let depth = room.depths.remove(&event.ask_id).unwrap_or(4);
            if depth < 4 && random.chance(20) {
                // It needs to know something of another before it can answer.
                let to = (who + 1 + random.below(SESSIONS as u64 - 1) as usize) % SESSIONS;
                room.plan(thinks / 2, who, Plan::Ask { to, depth: depth + 1 });
            }
            room.plan(thinks, who, Plan::Reply(event.ask_id));
        }
        let n = room.asks + room.broadcasts;
        assert!(room.refused.is_empty(), "{partners:?}, seed {seed}: {:?} after {n} requests", room.refused);
    }
    assert!(room.asks >= SESSIONS * 1799 && room.broadcasts >= SESSIONS * 359, "{} {}", room.asks, room.broadcasts);
    assert!(room.replies > 40_000, "{}", room.replies);
}

#[test]
fn ordinary_hour_of_questions_to_anybody_is_never_stopped() {
    ordinary_hour(1, Partners::Random);
}

#[test]
fn ordinary_hour_of_other_questions_is_never_stopped() {
    ordinary_hour(2, Partners::Random);
}

#[test]
fn ordinary_hour_of_questions_to_the_neighbour_is_never_stopped() {
    ordinary_hour(3, Partners::Fixed);
}

#[test]
fn ordinary_hour_in_step_is_never_stopped() {
    ordinary_hour(4, Partners::InStep);
}
