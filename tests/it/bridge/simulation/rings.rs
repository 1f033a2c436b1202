//! Rings that go over machines are stopped, whatever their pace: each hub sees only a part of one, and the chain travels.

use std::ops::Range;
use std::time::Duration;

use relay::client::Call;
use relay::protocol::{AskId, AskKind};

use super::world::{Step, World};

/// The most messages that a ring may make: what the interface promises.
const MESSAGES_MAX: usize = 60;

/// Lets as many sessions, spread over machines, ask each other in a ring: each that is asked asks the next after a pause.
/// Returns how many asks were shown.
fn run(seed: u64, n_machines: usize, n_sessions: usize, replies: bool, pause_ms: &Range<u64>) -> usize {
    let mut world = World::new(seed, n_machines, false);
    world.checker.loops = true;
    let sessions: Vec<usize> = (0..n_sessions).map(|n| world.add_client(n % n_machines, Some("/w/api"))).collect();
    world.run(world.now + Duration::from_secs(15), &mut |_, _| {});
    world.mend();
    let settled = world.now + Duration::from_secs(15);
    world.run(settled, &mut |_, _| {});
    assert_eq!(world.unsettled(), Vec::<String>::new());
    let (mut shown, mut texts) = (0, 0);
    world.schedule(settled, Step::Act(sessions[0]));
    let mut script = |world: &mut World, step: Step| match step {
        Step::Act(client) => {
            let next = sessions[(client + 1) % n_sessions];
            let name = world.clients[next].name.clone().unwrap();
            let machine = world.clients[next].machine;
            let is_here = machine == world.clients[client].machine;
            let to = if is_here { name } else { name.at(&world.machines[machine].name) };
            let ask_id = AskId::from_bits(world.random.next());
            let (question, timeout) = ("go on".to_owned(), Duration::from_secs(600));
            world.call(client, Call::Ask { ask_id, to: to.to_string(), question, timeout });
        }
        Step::Handle(client, ask_id, AskKind::Ask) => {
            shown += 1;
            if replies {
                texts += 1;
                world.call(client, Call::Reply { ask_id, text: format!("reply {texts}") });
            }
            world.schedule_in(pause_ms.clone(), Step::Act(client));
        }
        _ => {}
    };
    world.run(settled + Duration::from_secs(1800), &mut script);
    assert!(world.checker.counts.contains_key("loop_detected"), "a ring of {n_sessions} is never stopped");
    shown
}

#[test]
fn rings_over_machines_are_stopped() {
    for seed in 0..2 {
        for (n_machines, n_sessions) in [(2, 2), (3, 3), (3, 6)] {
            for replies in [true, false] {
                for pause_ms in [0..50, 500..2000, 20_000..40_000] {
                    let shown = run(seed, n_machines, n_sessions, replies, &pause_ms);
                    assert!(
                        shown <= MESSAGES_MAX,
                        "{n_sessions} sessions on {n_machines} machines: {shown} asks, {pause_ms:?}"
                    );
                }
            }
        }
    }
}
