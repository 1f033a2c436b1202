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
        deadline: now + Duration::from_secs(60),
        phase: Phase::Open { question: Some("ready?".to_owned()) },
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
fn asks_of_former_hubs_are_remembered_for_a_while_of_each_asker_and_in_all_within_bounds() {
    let (now, mut recalled) = (Instant::now(), Recalled::new());
    let askers = (RECALLED_MAX / RECALLED_EACH_MAX) as u8;
    for asker in 0..askers {
        let remembered = (0..RECALLED_EACH_MAX + 2).filter(|_| recalled.add(now, peer(asker))).count();
        assert_eq!(remembered, RECALLED_EACH_MAX);
    }
    assert!(!recalled.add(now, peer(askers)), "one who has said nothing yet finds no room in all");
    assert!(!recalled.add(now + REMEMBERED - Duration::from_millis(1), peer(askers)));
    let later = now + REMEMBERED;
    assert!(recalled.add(later, peer(askers)));
    assert_eq!((recalled.until.len(), recalled.counts.len()), (1, 1), "nothing is left of what was forgotten");

    let (now, mut recalled) = (Instant::now(), Recalled::new());
    recalled.add(now, peer(1));
    recalled.add(now, peer(1));
    (2..RECALLED_EACH_MAX).for_each(|_| assert!(recalled.add(now + Duration::from_secs(1), peer(1))));
    let later = (0..3).map(|_| recalled.add(now + REMEMBERED, peer(1))).collect::<Vec<_>>();
    assert_eq!(later, [true, true, false], "as many as were forgotten");
}
