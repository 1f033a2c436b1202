use super::*;
use crate::hub::{Effect, GONE_WAIT, Input, Kinship, Limits, Program, SETTLING};
use crate::protocol::{Activity, ClientKind, Hello, PeerKey, Presence, Seat, SessionFacts, VERSIONS, Wake};

const PROCESS: ClientProcess = ClientProcess { pid: 4711, start: 1 };

struct World {
    hub: Hub,
    now: Instant,
    /// What the system says of the client process that the next hello names.
    kinship: Kinship,
}

impl World {
    /// Returns a hub that has settled.
    fn new() -> Self {
        let start = Instant::now();
        let mut hub = Hub::new(start, Limits::default(), None, Program { version: "1", pid: 1 });
        hub.handle_timeout(start + SETTLING);
        assert_eq!(hub.poll_effect(), None);
        Self { hub, now: start + SETTLING, kinship: Kinship::Proven }
    }

    fn say(&mut self, conn: u64, message: ClientMessage) {
        self.hub.handle(self.now, Input::Received { conn: ConnId(conn), message });
    }

    /// Returns the name that this connection was welcomed with.
    fn welcomed_as(&mut self, by: u64) -> Option<String> {
        std::iter::from_fn(|| self.hub.poll_effect())
            .find_map(|effect| match effect {
                Effect::Send { conn, message: HubMessage::Welcome(welcome) } if conn == ConnId(by) => welcome.name,
                Effect::Send { .. } | Effect::Close { .. } | Effect::Watch { .. } | Effect::Exit => None,
            })
            .map(|name| name.to_string())
    }

    fn hello(&mut self, conn: u64, kind: ClientKind) {
        self.hub.handle(self.now, Input::Connected { conn: ConnId(conn) });
        self.hub.handle(self.now, Input::Looked { conn: ConnId(conn), kinship: self.kinship });
        let hello = Hello { id: 1, versions: VERSIONS, key: key(conn), program: "test 1".to_owned(), kind };
        self.say(conn, ClientMessage::Hello(Box::new(hello)));
    }

    fn channel(&mut self, conn: u64, process: ClientProcess) {
        self.channel_at(conn, process, None);
    }

    /// A channel that says which seat it had.
    fn seated(&mut self, conn: u64) {
        self.channel_at(conn, PROCESS, Some(Seat::default()));
    }

    fn channel_at(&mut self, conn: u64, process: ClientProcess, seat: Option<Seat>) {
        let presence = Presence { status: Activity::Idle, wakes_by: Wake::NextPrompt };
        let facts = SessionFacts {
            name: None,
            cwd: format!("/c{conn}"),
            branch: None,
            pid: process.pid,
            start: Some(process.start),
            seat,
            client: None,
            presence,
        };
        self.hello(conn, ClientKind::Channel(facts));
    }

    fn waiter(&mut self, conn: u64) {
        self.hello(conn, ClientKind::Waiter(facts()));
    }

    fn hook(&mut self, conn: u64) {
        self.hello(conn, ClientKind::Hook(facts()));
    }

    fn leave(&mut self, conn: u64) {
        self.hub.handle(self.now, Input::Disconnected { conn: ConnId(conn) });
    }

    /// Returns what this connection was sent since the last look, without welcomes.
    fn heard(&mut self, by: u64) -> Vec<HubMessage> {
        let effects: Vec<Effect> = std::iter::from_fn(|| self.hub.poll_effect()).collect();
        let sent = effects.into_iter().filter_map(|effect| match effect {
            Effect::Send { conn, message } if conn == ConnId(by) => Some(message),
            Effect::Send { .. } | Effect::Close { .. } | Effect::Watch { .. } | Effect::Exit => None,
        });
        sent.filter(|message| !matches!(message, HubMessage::Welcome(_))).collect()
    }
}

fn facts() -> CompanionFacts {
    CompanionFacts { process: PROCESS, holding: None, receipts: Vec::new() }
}

fn key(conn: u64) -> PeerKey {
    PeerKey::from_bytes([u8::try_from(conn).unwrap(); 16])
}

fn waiter_is(conn: Option<u64>) -> HubMessage {
    HubMessage::Waiter { tag: conn.map(|conn| key(conn).tag()) }
}

fn offer(to: u64) -> ClientMessage {
    ClientMessage::Offer(Offer { to: key(to).tag(), batch: 5, text: "hi".to_owned() })
}

#[test]
fn a_waiter_may_come_before_its_channel_and_belongs_to_no_other() {
    let mut world = World::new();
    world.waiter(1);
    world.channel(2, PROCESS);
    assert_eq!(world.heard(2), [waiter_is(Some(1))]);
    world.channel(3, ClientProcess { start: 2, ..PROCESS });
    assert_eq!(world.heard(3), [waiter_is(None)]);
    world.say(3, offer(1));
    assert_eq!(world.heard(1), []);
    world.say(2, offer(1));
    assert_eq!(world.heard(1), [HubMessage::Offer { batch: 5, text: "hi".to_owned() }]);
}

#[test]
fn the_newest_waiter_takes_the_place_and_the_older_one_keeps_its_way_to_the_verdict() {
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.waiter(2);
    world.say(1, offer(2));
    world.say(2, ClientMessage::Holding { batch: 5 });
    world.waiter(3);
    world.heard(0);
    world.waiter(4);
    assert_eq!(world.heard(3), [HubMessage::End {}]);
    world.say(1, ClientMessage::Verdict(Verdict { to: key(2).tag(), batch: Some(5), show: true }));
    assert_eq!(world.heard(2), [HubMessage::Verdict { batch: Some(5), show: true }]);
    world.leave(2);
    world.leave(3);
    assert_eq!(world.heard(1), []);
    world.leave(4);
    assert_eq!(world.heard(1), [waiter_is(None)]);
}

#[test]
fn a_channel_hears_of_its_hooks_and_of_what_a_waiter_that_is_back_holds() {
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.hook(2);
    world.leave(2);
    let by = key(2).tag();
    assert_eq!(world.heard(1)[1..], [HubMessage::Hook { by, receipts: vec![] }, HubMessage::HookGone { by }]);
    world.hello(3, ClientKind::Waiter(CompanionFacts { holding: Some(9), ..facts() }));
    let by = key(3).tag();
    assert_eq!(world.heard(1), [waiter_is(Some(3)), HubMessage::Holding { by, batch: 9 }]);
}

#[test]
fn a_hook_without_a_channel_ends_at_once_and_a_waiter_after_ten_seconds() {
    let mut world = World::new();
    world.hook(1);
    assert_eq!(world.heard(1), [HubMessage::End {}]);
    world.leave(1);
    assert!(world.hub.companions.sessions.is_empty(), "nobody waits for the channel of a hook that has gone");
    assert_eq!(world.hub.poll_timeout(), None);
    world.channel(2, PROCESS);
    world.waiter(3);
    world.say(2, ClientMessage::Bye {});
    world.heard(0);
    assert_eq!(world.hub.poll_timeout(), Some((world.now + ORPHANED_WAIT, "orphaned")));
    world.now += ORPHANED_WAIT;
    world.hub.handle_timeout(world.now);
    assert_eq!(world.heard(3), [HubMessage::End {}]);
    assert!(world.hub.is_quiet());
    assert_eq!(world.hub.poll_timeout(), None);
}

#[test]
fn a_waiter_has_ten_seconds_until_its_channel_comes_and_all_time_then() {
    let mut world = World::new();
    world.waiter(1);
    let end = world.now + ORPHANED_WAIT;
    assert_eq!(world.hub.poll_timeout(), Some((end, "orphaned")));
    world.now += ORPHANED_WAIT / 2;
    world.waiter(2);
    assert_eq!(world.hub.poll_timeout(), Some((end, "orphaned")), "the next one has no more time");
    world.channel(3, PROCESS);
    world.hook(4);
    assert_eq!(world.hub.poll_timeout(), None);
}

#[test]
fn a_session_with_two_channels_has_its_companions_at_the_newest_that_is_left() {
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.channel(2, PROCESS);
    world.heard(1);
    world.waiter(3);
    assert_eq!(world.heard(2), [waiter_is(Some(3))]);
    world.say(2, ClientMessage::Bye {});
    assert_eq!(world.heard(1), [waiter_is(Some(3))]);
}

#[test]
fn a_channel_that_comes_back_leaves_its_name_to_nobody() {
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.leave(1);
    world.channel(1, PROCESS);
    world.heard(1);
    world.channel(2, PROCESS);
    assert_eq!(world.welcomed_as(2).as_deref(), Some("c2"));
}

#[test]
fn while_only_the_seat_of_a_channel_is_kept_its_waiter_waits_and_a_hook_does_not() {
    let mut world = World::new();
    world.seated(1);
    world.leave(1);
    world.hub.handle(world.now, Input::ProcessEnded { conn: ConnId(1) });
    world.waiter(2);
    assert_eq!(world.heard(2), []);
    world.hook(3);
    assert_eq!(world.heard(3), [HubMessage::End {}]);
}

#[test]
fn an_offer_may_be_as_large_as_is_said_and_no_larger() {
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.waiter(2);
    for (bytes, passes) in [(OFFER_MAX_BYTES, true), (OFFER_MAX_BYTES + 1, false)] {
        world.heard(2);
        world.say(1, ClientMessage::Offer(Offer { to: key(2).tag(), batch: 5, text: "x".repeat(bytes) }));
        assert_eq!(world.heard(2).len(), usize::from(passes), "{bytes} bytes");
    }
}

#[test]
fn while_the_hub_settles_nobody_is_said_to_have_no_waiter() {
    let start = Instant::now();
    let hub = Hub::new(start, Limits::default(), None, Program { version: "1", pid: 1 });
    let mut world = World { hub, now: start, kinship: Kinship::Proven };
    world.channel(1, PROCESS);
    world.hook(2);
    assert_eq!(world.heard(2), []);
    world.hub.handle_timeout(start + SETTLING);
    assert_eq!(world.heard(1), [waiter_is(None)]);
}

#[test]
fn a_companion_is_no_peer_and_asks_nothing() {
    let mut world = World::new();
    world.waiter(1);
    world.channel(2, PROCESS);
    world.say(1, ClientMessage::Peers { id: 7 });
    assert!(matches!(world.heard(1).as_slice(), [HubMessage::Error { id: Some(7), .. }]));
    world.say(2, ClientMessage::Peers { id: 8 });
    assert!(matches!(world.heard(2).as_slice(), [HubMessage::Peers(answer)] if answer.peers.is_empty()));
}

#[test]
fn what_its_client_calls_a_session_gets_a_suffix_where_the_name_is_held() {
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.channel(2, ClientProcess { start: 2, ..PROCESS });
    world.heard(0);
    world.say(2, ClientMessage::Named { name: "C1".to_owned() });
    let renamed = world.heard(2);
    assert!(matches!(renamed.as_slice(), [HubMessage::Renamed { id: None, name }] if name.as_str() == "c1-2"));
    world.say(2, ClientMessage::Named { name: "!!".to_owned() });
    assert_eq!(world.heard(2), []);
}

#[test]
fn a_channel_that_its_client_starts_anew_keeps_the_name() {
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.say(1, ClientMessage::Rename { id: 2, name: "api".to_owned() });
    world.say(1, ClientMessage::Bye {});
    world.channel(2, PROCESS);
    assert_eq!(world.welcomed_as(2).as_deref(), Some("api"));
    // Without a word: it crashed.
    world.leave(2);
    world.hub.handle(world.now, Input::ProcessEnded { conn: ConnId(2) });
    world.channel(3, PROCESS);
    assert_eq!(world.welcomed_as(3).as_deref(), Some("api"));
    world.channel(4, ClientProcess { start: 2, ..PROCESS });
    assert_eq!(world.welcomed_as(4).as_deref(), Some("c4"));
    world.say(3, ClientMessage::Bye {});
    world.now += ORPHANED_WAIT;
    world.hub.handle_timeout(world.now);
    world.channel(5, PROCESS);
    assert_eq!(world.welcomed_as(5).as_deref(), Some("c5"));
}

#[test]
fn a_lost_channel_keeps_its_name_while_it_may_come_back_and_then_its_successor_has_it() {
    let renamed = |name: &str| HubMessage::Renamed { id: None, name: PeerName::parse(name).unwrap() };
    for ends in [true, false] {
        let mut world = World::new();
        world.channel(1, PROCESS);
        world.leave(1);
        world.channel(2, PROCESS);
        assert_eq!(
            world.welcomed_as(2).as_deref(),
            Some("c2"),
            "another process of the session is no reason to lose a name"
        );
        world.heard(2);
        if ends {
            world.hub.handle(world.now, Input::ProcessEnded { conn: ConnId(1) });
        } else {
            world.now += GONE_WAIT;
            world.hub.handle_timeout(world.now);
        }
        assert_eq!(world.heard(2), [renamed("c1")]);
    }
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.leave(1);
    world.channel(2, PROCESS);
    world.say(2, ClientMessage::Rename { id: 2, name: "api".to_owned() });
    world.heard(2);
    world.now += GONE_WAIT;
    world.hub.handle_timeout(world.now);
    assert_eq!(world.heard(2), [], "what its user called it stays");
}

#[test]
fn a_process_that_the_client_did_not_start_is_no_companion_and_no_channel_of_its_session() {
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.say(1, ClientMessage::Bye {});
    world.kinship = Kinship::Refuted { pid: 13 };
    world.channel(2, PROCESS);
    assert_eq!(world.welcomed_as(2).as_deref(), Some("c2"), "it does not succeed the one that has left");
    world.kinship = Kinship::Proven;
    world.channel(3, PROCESS);
    world.heard(3);
    world.kinship = Kinship::Refuted { pid: 13 };
    for (conn, hello) in [(4, ClientKind::Waiter(facts())), (5, ClientKind::Hook(facts()))] {
        world.hello(conn, hello);
        let heard = world.heard(conn);
        assert!(
            matches!(heard.as_slice(), [HubMessage::Error { id: Some(1), error }]
            if error.message.contains("13") && error.message.contains("4711")),
            "{heard:?}"
        );
        world.say(3, offer(conn));
        assert_eq!(world.heard(conn), []);
    }
    assert_eq!(world.heard(3), [], "the channel hears of none of them");
    world.say(3, ClientMessage::Peers { id: 7 });
    let peers = world.heard(3);
    assert!(matches!(peers.as_slice(), [HubMessage::Peers(answer)] if answer.peers[0].pid == 13), "{peers:?}");
}

#[test]
fn what_is_only_said_is_kept_apart_from_what_is_proven() {
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.heard(1);
    world.kinship = Kinship::Unknown;
    world.waiter(2);
    world.channel(3, PROCESS);
    assert_eq!(world.heard(3), [waiter_is(Some(2))]);
    world.kinship = Kinship::Proven;
    world.waiter(4);
    assert_eq!(world.heard(1), [waiter_is(Some(4))]);
    world.say(1, offer(2));
    assert_eq!(world.heard(2), []);
}

#[test]
fn a_channel_that_names_another_client_at_each_hello_leaves_nothing_behind() {
    let mut world = World::new();
    for start in 0..100 {
        world.channel(1, ClientProcess { start, ..PROCESS });
        world.leave(1);
        world.kinship = if start % 2 == 0 { Kinship::Refuted { pid: 13 } } else { Kinship::Unknown };
        world.now += Duration::from_millis(500);
        world.hub.handle_timeout(world.now);
        let sessions = world.hub.companions.sessions.len();
        let remembered = usize::try_from(ORPHANED_WAIT.as_secs()).unwrap() * 2 + 1;
        assert!(sessions <= remembered, "{sessions} sessions of one channel");
    }
    for start in 0..100 {
        world.hello(2, ClientKind::Hook(CompanionFacts { process: ClientProcess { start, ..PROCESS }, ..facts() }));
        world.leave(2);
    }
    world.now += ORPHANED_WAIT;
    world.hub.handle_timeout(world.now);
    assert!(world.hub.companions.sessions.is_empty() && world.hub.companions.clients.is_empty());
    assert_eq!(world.hub.poll_timeout(), None);
}

#[test]
fn a_companion_says_once_an_offer_what_it_holds() {
    let mut world = World::new();
    world.channel(1, PROCESS);
    world.waiter(2);
    world.heard(1);
    world.say(2, ClientMessage::Holding { batch: 5 });
    assert_eq!(world.heard(1), [], "nothing was offered");
    let by = key(2).tag();
    for _ in 0..2 {
        // Two offers before a word: the second one replaces the first.
        world.say(1, offer(2));
        world.say(1, offer(2));
        for batch in 5..1000 {
            world.say(2, ClientMessage::Holding { batch });
        }
        assert_eq!(world.heard(1), [5, 6].map(|batch| HubMessage::Holding { by, batch }));
    }
}
