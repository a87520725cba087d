//! Random schedules of consumers, a log that fails, and leaders that come and go.

mod world;

use proptest::prelude::*;

use super::{Input, Nack};
use world::{RETRY_DELAY_MS, World};

/// Picks come as fractions, so that shrinking keeps their meaning.
#[derive(Debug, Clone)]
enum Step {
    Offer(usize),
    Receive {
        max: usize,
        invisible_ms: u64,
    },
    Ack(Vec<prop::sample::Index>),
    Nack(prop::sample::Index, Option<u64>),
    Extend(prop::sample::Index, u64),
    ReleaseLast,
    Persisted,
    PersistFailed {
        applied: bool,
    },
    Wait(u64),
    NewLeader {
        recorded: prop::sample::Index,
        same_term: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    use any as a;
    type Index = prop::sample::Index;
    prop_oneof![
        3 => (1..5_usize).prop_map(Step::Offer),
        6 => (1..4_usize, 1..40_u64).prop_map(|(max, invisible_ms)| Step::Receive { max, invisible_ms }),
        6 => prop::collection::vec(a::<Index>(), 1..4).prop_map(Step::Ack),
        3 => (a::<Index>(), prop::option::of(0..30_u64)).prop_map(|(i, delay)| Step::Nack(i, delay)),
        2 => (a::<Index>(), 1..40_u64).prop_map(|(i, ms)| Step::Extend(i, ms)),
        1 => Just(Step::ReleaseLast),
        7 => Just(Step::Persisted),
        1 => a::<bool>().prop_map(|applied| Step::PersistFailed { applied }),
        5 => (1..30_u64).prop_map(Step::Wait),
        1 => (a::<Index>(), a::<bool>()).prop_map(|(recorded, same_term)| Step::NewLeader { recorded, same_term }),
    ]
}

/// The messages: most without a group, some in one of two, some filtered out.
fn candidates() -> impl Strategy<Value = Vec<(u64, bool)>> {
    let key = prop_oneof![3 => Just(0), 2 => Just(1), 1 => Just(2)];
    prop::collection::vec((key, prop::bool::weighted(0.85)), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// One holder at a time; message groups in strict order, each after the one before is
    /// durably done; the log records as done only what was acked, filtered out or dead;
    /// answers come after durability; valid receipts are accepted and stale ones refused;
    /// and in the end nothing is left.
    #[test]
    fn every_message_has_one_holder_and_one_end(
        messages in candidates(),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut world = World::new(messages);
        for step in steps {
            world.run(step)?;
        }
        world.drain()?;
    }
}

#[test]
fn a_retrying_message_holds_back_its_group_and_nothing_else() {
    let keys = [7, 7, 0, 8];
    let mut world = World::new(keys.iter().map(|key| (*key, true)).collect());
    world.offer(4).unwrap();
    let receive = Input::Receive {
        max: 10,
        invisible_ms: 1_000,
    };
    world.input(receive).unwrap();
    let offsets = |world: &World| world.leases.iter().map(|r| r.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&world), [0, 2, 3]);

    let nacks = [Nack {
        receipt: world.leases[0],
        delay_ms: None,
    }];
    world.latest.get_mut(&0).unwrap().held = false;
    let nack = Input::Nack {
        request: 1,
        nacks: &nacks,
    };
    world.input(nack).unwrap();
    world.persisted().unwrap();
    assert_eq!(world.queue.next_deadline(), Some(1_000 + RETRY_DELAY_MS));
    world.input(receive).unwrap();
    assert_eq!(offsets(&world), [0, 2, 3]);

    world.now_ms += RETRY_DELAY_MS;
    world.input(receive).unwrap();
    assert_eq!(offsets(&world), [0, 2, 3, 0]);
    assert_eq!(world.leases[3].attempt, 2);
}

#[test]
fn the_driver_is_told_when_it_is_wrong() {
    use super::Error;
    let mut world = World::new(vec![(0, true); 4]);
    let mut effects = Vec::new();
    let gap = [world.messages[1]];
    let refused = world.queue.step(0, Input::Offer(&gap), &mut effects);
    assert_eq!(
        refused,
        Err(Error::NotContiguous {
            expected: 0,
            got: 1
        })
    );
    let unknown = world
        .queue
        .step(0, Input::Persisted { id: 9 }, &mut effects);
    assert_eq!(unknown, Err(Error::UnknownPersist { id: 9 }));
    assert_eq!(effects, []);
}
