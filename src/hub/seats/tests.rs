use super::*;
use crate::hub::{GONE_WAIT, Input, Limits, Program, SETTLING};
use crate::protocol::{Activity, PeerKey, Presence, SessionFacts, VERSIONS, Wake};

const PROCESS: ClientProcess = ClientProcess { pid: 4711, start: 1 };

struct World {
    hub: Hub,
    now: Instant,
}

impl World {
    fn settling(limits: Limits) -> Self {
        let now = Instant::now();
        Self { hub: Hub::new(now, limits, None, Program { version: "1", pid: 1 }), now }
    }

    fn new() -> Self {
        let mut world = Self::settling(Limits::default());
        world.pass(SETTLING);
        world
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.hub.handle_timeout(self.now);
    }

    fn handle(&mut self, input: Input) -> Vec<Effect> {
        self.hub.handle(self.now, input);
        std::iter::from_fn(|| self.hub.poll_effect()).collect()
    }

    fn say(&mut self, conn: u64, message: ClientMessage) -> Vec<Effect> {
        self.handle(Input::Received { conn: ConnId(conn), message })
    }

    /// Lets a channel of the session say hello, with the key of this number.
    fn hello(&mut self, conn: u64, number: u8, seat: Seat) -> Vec<Effect> {
        self.handle(Input::Connected { conn: ConnId(conn) });
        let facts = SessionFacts {
            name: None,
            cwd: "/web".to_owned(),
            branch: None,
            pid: PROCESS.pid,
            start: Some(PROCESS.start),
            seat: Some(seat),
            client: None,
            presence: Presence { status: Activity::Idle, wakes_by: Wake::Waiter },
        };
        let (kind, program) = (ClientKind::Channel(facts), "test 1".to_owned());
        let hello = Hello { id: 1, versions: VERSIONS, key: PeerKey::from_bytes([number; 16]), program, kind };
        self.say(conn, ClientMessage::Hello(Box::new(hello)))
    }
}

/// Returns the place that a connection was welcomed to; none where it was not welcomed.
fn welcomed(effects: &[Effect], by: u64) -> Option<Option<Place>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { conn: ConnId(conn), message: HubMessage::Welcome(welcome) } if *conn == by => {
            Some(welcome.place)
        }
        Effect::Send { .. } | Effect::Close { .. } | Effect::Watch { .. } | Effect::Exit => None,
    })
}

fn first() -> Seat {
    Seat::default()
}

#[test]
fn a_channel_that_was_succeeded_does_not_take_its_seat_back() {
    let mut world = World::new();
    assert_eq!(welcomed(&world.hello(1, 1, first()), 1), Some(None));
    world.handle(Input::Disconnected { conn: ConnId(1) });
    world.handle(Input::ProcessEnded { conn: ConnId(1) });
    let place = welcomed(&world.hello(2, 2, first()), 2).unwrap();
    assert_eq!(place, Some(Place::Heir { key: PeerKey::from_bytes([1; 16]), turn: 1 }));
    let late = world.hello(3, 1, first());
    assert_eq!(welcomed(&late, 3), None);
    assert!(late.contains(&Effect::Close { conn: ConnId(3), reason: CloseReason::Superseded }), "{late:?}");
    let back = world.hello(4, 1, Seat { turn: 1, second: false });
    assert_eq!(welcomed(&back, 4), Some(None), "the heir itself comes back with the key");
}

#[test]
fn a_lost_channel_is_waited_for_before_another_has_its_seat() {
    let mut world = World::new();
    world.hello(1, 1, first());
    world.handle(Input::Disconnected { conn: ConnId(1) });
    assert_eq!(welcomed(&world.hello(2, 2, first()), 2), None);
    let back = world.hello(3, 1, first());
    assert_eq!((welcomed(&back, 3), welcomed(&back, 2)), (Some(None), Some(Some(Place::Second))));

    world.handle(Input::Disconnected { conn: ConnId(3) });
    world.hello(4, 2, Seat { turn: 0, second: true });
    world.pass(GONE_WAIT);
    let effects: Vec<Effect> = std::iter::from_fn(|| world.hub.poll_effect()).collect();
    assert!(matches!(welcomed(&effects, 4), Some(Some(Place::Heir { turn: 1, .. }))), "{effects:?}");
}

#[test]
fn a_second_goes_with_its_peer_and_is_forgotten_with_its_connection() {
    let mut world = World::new();
    world.hello(1, 1, first());
    for conn in [2, 3] {
        assert_eq!(welcomed(&world.hello(conn, 2, first()), conn), Some(Some(Place::Second)));
    }
    world.handle(Input::Disconnected { conn: ConnId(2) });
    let effects = world.say(1, ClientMessage::Bye {});
    assert!(effects.contains(&Effect::Close { conn: ConnId(3), reason: CloseReason::Superseded }), "{effects:?}");
    world.handle(Input::Disconnected { conn: ConnId(3) });
    world.handle(Input::ClientEnded { process: PROCESS });

    world.hello(4, 1, first());
    world.handle(Input::Disconnected { conn: ConnId(4) });
    assert_eq!(welcomed(&world.hello(5, 2, first()), 5), None, "it waits");
    world.handle(Input::Disconnected { conn: ConnId(5) });
    assert!(world.hub.seats.seconds.is_empty() && world.hub.seats.waiting.is_empty(), "{:?}", world.hub.seats);
}

#[test]
fn in_a_new_hub_a_second_waits_for_its_peer_and_is_the_peer_if_none_comes() {
    let mut world = World::settling(Limits::default());
    let second = Seat { turn: 0, second: true };
    assert_eq!(welcomed(&world.hello(2, 2, second), 2), None);
    let peer = world.hello(1, 1, first());
    assert_eq!((welcomed(&peer, 1), welcomed(&peer, 2)), (Some(None), Some(Some(Place::Second))));

    let mut world = World::settling(Limits::default());
    world.hello(2, 2, second);
    world.pass(SETTLING);
    let effects: Vec<Effect> = std::iter::from_fn(|| world.hub.poll_effect()).collect();
    assert_eq!(welcomed(&effects, 2), Some(None));
}

#[test]
fn what_is_left_has_a_bound_and_goes_with_its_client() {
    let mut world = World::settling(Limits { held_bytes: 2000, ..Limits::default() });
    world.hello(1, 1, first());
    let message = |n: usize| Bequest::Message { ask_id: None, content: "x".repeat(n), meta: serde_json::Map::new() };
    // The second one does not fit, the third one does to the byte.
    for n in [1000, 1000, 2000 - 1000 - 2 * BEQUEST_BYTES as usize] {
        world.say(1, ClientMessage::Bequest { bequest: message(n) });
    }
    let watch = world.say(1, ClientMessage::Bye {});
    assert!(watch.contains(&Effect::Watch { process: PROCESS }), "{watch:?}");
    let effects = world.hello(2, 2, first());
    let left = |effect: &&Effect| matches!(effect, Effect::Send { message: HubMessage::Bequest { .. }, .. });
    assert_eq!(effects.iter().filter(left).count(), 2, "the one that did not fit is not among them: {effects:?}");
    assert_eq!(world.hub.seats.bytes, 0);
    assert!(!world.hub.is_between_channels());

    world.say(2, ClientMessage::Bequest { bequest: message(1000) });
    world.say(2, ClientMessage::Bye {});
    assert!(world.hub.is_between_channels());
    world.handle(Input::ClientEnded { process: PROCESS });
    assert!(world.hub.is_quiet() && world.hub.seats.bytes == 0);
}

#[test]
fn a_hub_does_not_leave_while_it_keeps_what_a_channel_left() {
    let mut world = World::new();
    let (timeout, program) = (Some(GONE_WAIT / 2), Program { version: "1", pid: 1 });
    world.hub = Hub::new(world.now, Limits::default(), timeout, program);
    world.hello(1, 1, first());
    world.pass(SETTLING);
    world.say(1, ClientMessage::Bye {});
    world.pass(GONE_WAIT / 2);
    assert_eq!(world.hub.poll_effect(), None);
    world.pass(GONE_WAIT / 2);
    assert_eq!(world.hub.poll_effect(), Some(Effect::Exit));
}
