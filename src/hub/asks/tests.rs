use super::*;
use crate::protocol::PeerKey;

fn peer(number: u8) -> PeerTag {
    PeerKey::from_bytes([number; 16]).tag()
}

fn ask(now: Instant) -> Ask {
    Ask {
        asker: peer(1),
        asked: peer(2),
        broadcast: None,
        state: AskState::Accepted,
        parent: None,
        course: Course::default(),
        wake: 0,
        opened: now,
        timeout_ms: 60_000,
        phase: Phase::Open { question: Some("ready?".into()) },
        number: 0,
        reply: None,
        is_overdue: false,
    }
}

#[test]
fn the_oldest_of_too_many_ended_asks_are_forgotten() {
    let (now, mut asks) = (Instant::now(), Asks::new());
    for n in 0..REMEMBERED_MAX as u64 + 3 {
        asks.open(AskId::from_bits(n), ask(now));
        asks.end(now, AskId::from_bits(n), Ending::Replied);
    }
    assert!(asks.is_quiet());
    assert_eq!(asks.by_id.len(), REMEMBERED_MAX);
    let is_known = |n| asks.get(AskId::from_bits(n)).is_some();
    assert!(!is_known(2) && is_known(3), "the oldest ones went");
    assert_eq!(asks.pop_timed_out(now + Duration::from_secs(60) + REMEMBERED), None);
    assert!(asks.by_id.is_empty() && asks.poll_timeout().is_none());
}

#[test]
fn each_ended_ask_is_forgotten_at_its_time_and_few_have_a_timer() {
    let (now, mut asks) = (Instant::now(), Asks::new());
    let at = |seconds| now + Duration::from_secs(seconds);
    let [first, soon, edge, late, last] = [1, 2, 3, 4, 5].map(AskId::from_bits);
    for (id, opened) in [(first, 0), (soon, 4), (edge, 10), (late, 11)] {
        asks.open(id, Ask { opened: at(opened), ..ask(now) });
        asks.end(at(12), id, Ending::Replied);
    }
    let known = |asks: &Asks| asks.by_id.keys().copied().collect::<Vec<_>>();
    assert_eq!((asks.poll_timeout(), asks.timers.len()), (Some(at(120)), 0));
    assert_eq!(asks.pop_timed_out(at(120) - Duration::from_millis(1)), None);
    assert_eq!(known(&asks), [first, soon, edge, late]);
    assert_eq!(asks.pop_timed_out(at(120)), None);
    assert_eq!(known(&asks), [soon, edge, late]);
    assert_eq!((asks.poll_timeout(), asks.timers.len()), (Some(at(124)), 2));
    assert_eq!(asks.pop_timed_out(at(130)), None);
    assert_eq!(known(&asks), [late]);
    // One whose deadline is past is remembered from its end on.
    asks.open(last, ask(now));
    asks.end(at(130), last, Ending::TimedOut);
    assert_eq!((asks.poll_timeout(), asks.timers.len()), (Some(at(131)), 0));
    assert_eq!(asks.pop_timed_out(at(131)), None);
    assert_eq!((known(&asks), asks.poll_timeout()), (vec![last], Some(at(190))));
    assert_eq!(asks.pop_timed_out(at(190)), None);
    assert_eq!((known(&asks), asks.poll_timeout()), (Vec::new(), None));
}
