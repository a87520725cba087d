use std::collections::{BTreeMap, BTreeSet};

use super::{Event, Progress, Retry};
use proptest::prelude::*;

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..60_u64, 0..6_u64).prop_map(|(first, more)| Event::Acked {
            first,
            last: first + more
        }),
        (0..60_u64, 2..5_u32, 0..9_u64).prop_map(|(offset, attempt, visible_at_ms)| {
            Event::Retry {
                offset,
                attempt,
                visible_at_ms,
            }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever the order, and however often repeated: done is what was acked, the floor
    /// is the first offset that was not, and a done message never waits for a delivery.
    #[test]
    fn progress_is_the_set_of_what_was_acked(
        start in 0..10_u64,
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut progress = Progress::starting_at(start);
        let mut acked: BTreeSet<u64> = (0..start).collect();
        let mut retries = BTreeMap::new();
        for event in &events {
            match *event {
                Event::Acked { first, last } => acked.extend(first..=last),
                Event::Retry { offset, attempt, visible_at_ms } => {
                    retries.insert(offset, Retry { attempt, visible_at_ms });
                }
            }
            retries.retain(|offset, _| !acked.contains(offset));
            progress.apply(event);
            progress.apply(event);

            let floor = (0..).find(|offset| !acked.contains(offset)).unwrap();
            prop_assert_eq!(progress.floor(), floor);
            prop_assert_eq!(progress.acked_above_floor(), acked.range(floor..).count() as u64);
            prop_assert!((0..70).all(|offset| progress.is_acked(offset) == acked.contains(&offset)));
            prop_assert_eq!(progress.retries().collect::<BTreeMap<_, _>>(), retries.clone());
        }
        prop_assert_eq!(Progress::decode(progress.encode()), Ok(progress));
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut versioned = vec![1];
        versioned.extend(&bytes);
        let _ = Progress::decode(bytes.into());
        let _ = Progress::decode(versioned.into());
    }
}

#[test]
fn a_million_acks_above_a_stuck_message_stay_small() {
    let mut progress = Progress::default();
    for offset in (1..1_000_000).filter(|offset| offset % 1_000 != 0) {
        progress.apply(&Event::Acked {
            first: offset,
            last: offset,
        });
    }
    assert_eq!(progress.floor(), 0);
    let bytes = progress.encode().len();
    assert!(bytes < 10_000, "{bytes} bytes");
}
