use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Breaker, Options};

const OPTIONS: Options = Options {
    failures_max: 3,
    open_base_ms: 100,
    open_cap_ms: 400,
};

#[derive(Debug, Clone)]
enum Step {
    Call,
    Ends(prop::sample::Index, End),
    Wait(u64),
}

#[derive(Debug, Clone, Copy)]
enum End {
    Reached,
    Unreachable,
    GivenUp,
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![
        1 => Just(End::Reached),
        6 => Just(End::Unreachable),
        1 => Just(End::GivenUp),
    ];
    prop_oneof![
        4 => Just(Step::Call),
        4 => (any::<prop::sample::Index>(), end).prop_map(|(i, end)| Step::Ends(i, end)),
        2 => (1..200_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// While it is not closed, one call at a time finds out; and it can always be closed
    /// again, whatever became of the calls before.
    #[test]
    fn one_probe_at_a_time_and_never_stuck(
        steps in prop::collection::vec(step(), 1..200),
        random in any::<u64>(),
    ) {
        let mut breaker = Breaker::default();
        let mut now_ms = 1_000_u64;
        let mut under_way = BTreeSet::new();
        // The calls that passed while it was open.
        let mut probes = BTreeSet::new();
        for (id, step) in steps.into_iter().enumerate() {
            let id = id as u128;
            match step {
                Step::Call => {
                    let was_closed = breaker.is_closed();
                    let passes_at_ms = breaker.passes_at_ms();
                    let passes = breaker.admit(now_ms, id);
                    prop_assert_eq!(passes, passes_at_ms.is_some_and(|at| at <= now_ms));
                    if passes {
                        under_way.insert(id);
                    }
                    if passes && !was_closed {
                        prop_assert!(probes.is_empty(), "a second probe");
                        probes.insert(id);
                    }
                }
                Step::Ends(index, end) => {
                    if under_way.is_empty() {
                        continue;
                    }
                    let id = *index.get(&under_way.iter().collect::<Vec<_>>());
                    let id = *id;
                    under_way.remove(&id);
                    let was_probe = probes.remove(&id);
                    match end {
                        End::Reached => {
                            breaker.reached();
                            prop_assert!(breaker.is_closed());
                            // What follows are probes of another opening.
                            probes.clear();
                        }
                        End::Unreachable => {
                            breaker.unreachable(now_ms, id, random, &OPTIONS);
                            if was_probe {
                                let at_ms = breaker.passes_at_ms().unwrap();
                                prop_assert!(at_ms > now_ms);
                                prop_assert!(at_ms <= now_ms + OPTIONS.open_cap_ms);
                            }
                        }
                        End::GivenUp => breaker.given_up(now_ms, id),
                    }
                }
                Step::Wait(ms) => now_ms += ms,
            }
        }
        for id in under_way {
            breaker.given_up(now_ms, id);
        }
        now_ms += OPTIONS.open_cap_ms;
        prop_assert!(breaker.admit(now_ms, u128::MAX));
        breaker.reached();
        prop_assert_eq!(breaker, Breaker::default());
    }
}

#[test]
fn opens_after_failures_in_a_row_and_for_longer_each_time() {
    let mut breaker = Breaker::default();
    for id in [1, 2] {
        breaker.unreachable(0, id, u64::MAX, &OPTIONS);
    }
    breaker.reached();
    for id in [3, 4] {
        breaker.unreachable(0, id, u64::MAX, &OPTIONS);
        assert!(
            breaker.is_closed(),
            "a success in between starts the count again"
        );
    }
    breaker.unreachable(0, 5, u64::MAX, &OPTIONS);
    let mut now_ms = 0;
    for open_ms in [100, 200, 400, 400] {
        assert_eq!(breaker.passes_at_ms(), Some(now_ms + open_ms));
        assert!(!breaker.admit(now_ms + open_ms - 1, 6));
        now_ms += open_ms;
        assert!(breaker.admit(now_ms, 7));
        assert!(!breaker.admit(now_ms, 8), "one probe is enough");
        breaker.unreachable(now_ms, 5, u64::MAX, &OPTIONS);
        assert_eq!(breaker.passes_at_ms(), None, "only the probe speaks now");
        breaker.unreachable(now_ms, 7, u64::MAX, &OPTIONS);
    }
}
