use super::*;
use crate::protocol::VersionRange;

/// Two links and the time.
struct Pair {
    now: Instant,
    links: [Link; 2],
    next_epoch: u32,
}

impl Pair {
    /// Returns two links that are up.
    fn up() -> Self {
        let links = ["test"; 2].map(|program| Link::new(program.to_owned()));
        let mut pair = Self { now: Instant::now(), links, next_epoch: 1 };
        pair.begin(0);
        pair.begin(1);
        pair.exchange();
        assert_eq!([0, 1].map(|side| pair.events(side)), [[LinkEvent::Up], [LinkEvent::Up]]);
        pair
    }

    fn epoch(&mut self) -> Epoch {
        self.next_epoch += 1;
        Epoch(self.next_epoch)
    }

    fn begin(&mut self, side: usize) {
        let epoch = self.epoch();
        self.links[side].handle_transport(self.now, epoch);
    }

    fn frames(&mut self, side: usize) -> Vec<LinkFrame> {
        std::iter::from_fn(|| self.links[side].poll_frame()).collect()
    }

    fn events(&mut self, side: usize) -> Vec<LinkEvent> {
        std::iter::from_fn(|| self.links[side].poll_event()).collect()
    }

    fn arrive(&mut self, side: usize, frames: Vec<LinkFrame>) {
        for frame in frames {
            let epoch = self.epoch();
            self.links[side].handle_frame(self.now, frame, epoch);
        }
    }

    /// Brings everything over until nothing is said any more.
    fn exchange(&mut self) {
        loop {
            let said = [0, 1].map(|side| self.frames(side));
            if said.iter().all(Vec::is_empty) {
                return;
            }
            let [first, second] = said;
            self.arrive(1, first);
            self.arrive(0, second);
        }
    }

    /// Lets time pass for one side, up to its next deadline.
    fn wait(&mut self, side: usize) {
        self.now = self.links[side].poll_timeout().unwrap();
        let epoch = self.epoch();
        self.links[side].handle_timeout(self.now, epoch);
    }
}

fn message() -> LinkMessage {
    LinkMessage::SessionsHeard(super::super::frame::SessionsHeard { number: 7 })
}

#[test]
fn link_that_is_up_carries_messages_both_ways() {
    let mut pair = Pair::up();
    pair.links[0].say(message());
    pair.exchange();
    assert_eq!(pair.events(1), [LinkEvent::Message(message())]);
    assert_eq!(pair.links[0].round_trip(), Some(Duration::ZERO));
}

#[test]
fn frames_of_a_dead_epoch_are_dropped() {
    let mut pair = Pair::up();
    pair.links[0].say(message());
    let late = pair.frames(0);
    pair.begin(1);
    pair.exchange();
    assert_eq!(pair.events(1), [LinkEvent::Down, LinkEvent::Up]);
    assert_eq!(pair.events(0), [LinkEvent::Down, LinkEvent::Up]);
    pair.arrive(1, late);
    assert_eq!(pair.events(1), []);
}

#[test]
fn frame_that_was_overtaken_is_dropped() {
    let mut pair = Pair::up();
    pair.links[0].say(message());
    let older = pair.frames(0);
    pair.links[0].say(LinkMessage::SessionsHeard(super::super::frame::SessionsHeard { number: 8 }));
    let newer = pair.frames(0);
    pair.arrive(1, newer.clone());
    assert_eq!(pair.events(1).len(), 1);
    pair.arrive(1, older);
    pair.arrive(1, newer);
    assert_eq!(pair.events(1), []);
}

#[test]
fn late_hello_of_a_dead_epoch_ends_no_link() {
    let mut former = Link::new("test".to_owned());
    former.handle_transport(Instant::now(), Epoch(1000));
    let late: Vec<LinkFrame> = std::iter::from_fn(|| former.poll_frame()).collect();
    let mut pair = Pair::up();
    pair.arrive(0, late);
    pair.exchange();
    assert!(pair.links.iter().all(Link::is_up));
    assert_eq!([0, 1].map(|side| pair.events(side)), [[], []]);
}

#[test]
fn link_is_lost_after_three_missed_beats() {
    for (is_open, lost_after) in [(true, SAY_AGAIN * 3), (false, QUIET_BEAT * 3)] {
        let mut pair = Pair::up();
        for side in [0, 1] {
            pair.links[side].set_open(pair.now, is_open);
        }
        for side in [0, 1] {
            pair.wait(side);
        }
        pair.exchange();
        let silent_since = pair.now;
        while pair.links[0].is_up() {
            pair.wait(0);
            pair.frames(0);
        }
        assert_eq!(pair.now - silent_since, lost_after);
        assert_eq!(pair.events(0), [LinkEvent::Down]);
    }
}

#[test]
fn beat_that_was_overtaken_does_not_shorten_the_wait() {
    let mut pair = Pair::up();
    pair.links[1].set_open(pair.now, true);
    pair.wait(1);
    let older = pair.frames(1);
    pair.links[1].set_open(pair.now, false);
    pair.wait(1);
    let newer = pair.frames(1);
    pair.arrive(0, newer);
    pair.arrive(0, older);
    let lost_at = pair.links[0].lost_at.unwrap();
    assert_eq!(lost_at - pair.now, QUIET_BEAT * 3);
}

#[test]
fn links_without_a_common_version_say_so_and_stay_down() {
    let now = Instant::now();
    let mut link = Link::new("test".to_owned());
    link.handle_transport(now, Epoch(1));
    let versions = VersionRange { min: VERSIONS.max + 1, max: VERSIONS.max + 1 };
    let hello = LinkHello { versions, program: "newer".to_owned() };
    let frame =
        LinkFrame { epoch: Epoch(2), to: Some(Epoch(1)), number: 1, message: LinkMessage::Hello(hello.clone()) };
    link.handle_frame(now, frame.clone(), Epoch(3));
    assert_eq!(link.poll_event(), Some(LinkEvent::Mismatch(hello)));
    link.handle_frame(now, frame, Epoch(4));
    assert_eq!((link.poll_event(), link.poll_timeout(), link.is_up()), (None, None, false));
}

#[test]
fn side_that_begins_anew_is_taken_at_once() {
    let mut pair = Pair::up();
    for side in [0, 1, 1, 0] {
        pair.begin(side);
        pair.exchange();
        assert!(pair.links.iter().all(Link::is_up));
        assert_eq!(
            [0, 1].map(|side| pair.events(side)),
            [[LinkEvent::Down, LinkEvent::Up], [LinkEvent::Down, LinkEvent::Up]]
        );
    }
}
