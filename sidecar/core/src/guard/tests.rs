use std::collections::BTreeMap;

use super::{Input, Mode, Outcome, Record};
use bytes::Bytes;
use proptest::prelude::*;

fn token() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(str::to_owned)
}

fn fingerprint() -> impl Strategy<Value = Bytes> {
    prop_oneof![8 => Just("f"), 1 => Just("g"), 1 => Just("")].prop_map(Bytes::from)
}

fn acquire() -> impl Strategy<Value = Input> {
    (token(), fingerprint(), 1..20_u64).prop_map(|(token, fingerprint, lease_ms)| Input::Acquire {
        mode: Mode::Record,
        token,
        fingerprint,
        lease_ms,
    })
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => acquire(),
        2 => (token(), 1..20_u64).prop_map(|(token, lease_ms)| Input::Extend { token, lease_ms }),
        2 => (token(), any::<u8>(), 1..40_u64).prop_map(|(token, result, ttl_ms)| Input::Complete {
            token,
            result: vec![result].into(),
            ttl_ms
        }),
        1 => token().prop_map(|token| Input::Release { token }),
        1 => (1..40_u64).prop_map(|ttl_ms| Input::Increment { ttl_ms }),
    ]
}

/// What the outside can know: who was told to hold which number until when, and what was
/// recorded as done.
#[derive(Default)]
struct Observer {
    holders: BTreeMap<u64, String>,
    holding: Option<(String, u64)>,
    deadline_ms: u64,
    done: Option<(Bytes, u64)>,
    count: u64,
    counter_expires_ms: u64,
}

impl Observer {
    fn see(&mut self, now_ms: u64, input: &Input, outcome: &Outcome) -> Result<(), TestCaseError> {
        if self
            .done
            .as_ref()
            .is_some_and(|(_, expires)| *expires <= now_ms)
        {
            self.done = None;
        }
        match (input, outcome) {
            (
                Input::Acquire {
                    token, lease_ms, ..
                },
                Outcome::Acquired { fencing, takeover },
            ) => {
                prop_assert!(self.done.is_none(), "acquired although done");
                let holder = self
                    .holders
                    .entry(*fencing)
                    .or_insert_with(|| token.clone());
                prop_assert_eq!(&*holder, token, "one holder per fencing number");
                let newest = self.holders.keys().next_back().copied();
                prop_assert_eq!(Some(*fencing), newest, "the number never falls");
                let other_holds = self
                    .holding
                    .as_ref()
                    .is_some_and(|(holder, _)| holder != token);
                if other_holds {
                    prop_assert!(now_ms >= self.deadline_ms, "taken from a live holder");
                    prop_assert!(*takeover);
                }
                let deadline_ms = now_ms + lease_ms;
                self.deadline_ms = match other_holds || self.holding.is_none() {
                    true => deadline_ms,
                    false => self.deadline_ms.max(deadline_ms),
                };
                self.holding = Some((token.clone(), *fencing));
            }
            (Input::Acquire { .. }, Outcome::Busy { retry_after_ms }) => {
                prop_assert!(self.holding.is_some());
                prop_assert_eq!(now_ms + retry_after_ms, self.deadline_ms);
            }
            (Input::Acquire { .. }, Outcome::Done { result }) => {
                prop_assert_eq!(Some(result), self.done.as_ref().map(|(result, _)| result));
            }
            (Input::Acquire { fingerprint, .. }, Outcome::Mismatch) => {
                prop_assert!(!fingerprint.is_empty());
                prop_assert!(self.done.is_some() || self.holding.is_some());
            }
            (Input::Extend { token, lease_ms }, Outcome::Held) => {
                self.expect_holding(token)?;
                self.deadline_ms = now_ms + lease_ms;
            }
            (
                Input::Complete {
                    token,
                    result,
                    ttl_ms,
                },
                Outcome::Held,
            ) => {
                if self.done.is_none() {
                    self.expect_holding(token)?;
                    self.done = Some((result.clone(), now_ms + ttl_ms));
                    self.holding = None;
                }
            }
            (Input::Release { token }, Outcome::Held) => {
                self.expect_holding(token)?;
                self.holding = None;
            }
            (
                Input::Extend { token, .. }
                | Input::Complete { token, .. }
                | Input::Release { token },
                Outcome::Lost,
            ) => {
                let holds = self
                    .holding
                    .as_ref()
                    .is_some_and(|(holder, _)| holder == token);
                prop_assert!(!holds, "a holder was refused");
            }
            (Input::Increment { ttl_ms }, Outcome::Count(count)) => {
                if self.counter_expires_ms <= now_ms {
                    self.count = 0;
                }
                self.count += 1;
                self.counter_expires_ms = now_ms + ttl_ms;
                prop_assert_eq!(*count, self.count);
            }
            (input, outcome) => prop_assert!(false, "{:?} answered {:?}", input, outcome),
        }
        Ok(())
    }

    fn expect_holding(&self, token: &str) -> Result<(), TestCaseError> {
        let holder = self.holding.as_ref().map(|(holder, _)| holder.as_str());
        prop_assert_eq!(holder, Some(token));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Three competing tokens, late calls and repeated calls: there is one holder per
    /// fencing number, a live holder is never robbed, and what is done stays done until
    /// its time to live is over.
    #[test]
    fn one_holder_at_a_time(steps in prop::collection::vec((0..8_u64, input(), any::<bool>()), 0..60)) {
        let mut record = Record::default();
        let mut observer = Observer::default();
        let mut now_ms = 1_000;
        for (pause_ms, input, repeat) in steps {
            now_ms += pause_ms;
            let outcome = record.step(now_ms, input.clone());
            observer.see(now_ms, &input, &outcome)?;
            if repeat && !matches!(input, Input::Increment { .. } | Input::Release { .. }) {
                prop_assert_eq!(&record.step(now_ms, input), &outcome, "a repeated call is answered alike");
            }
            prop_assert_eq!(&Record::decode(record.encode()), &Ok(record.clone()));
        }
    }

    /// Forgetting a record when it may be forgotten is seen by nobody.
    #[test]
    fn an_expired_record_is_as_good_as_none(
        inputs in prop::collection::vec((0..8_u64, input()), 0..20),
        next in acquire(),
    ) {
        let mut record = Record::default();
        let mut now_ms = 1_000;
        for (pause_ms, input) in inputs {
            now_ms += pause_ms;
            record.step(now_ms, input);
        }
        let late_ms = record.expires_at_ms().max(now_ms);
        let fresh = Record::default().step(late_ms, next.clone());
        prop_assert_eq!(record.step(late_ms, next), fresh);
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut versioned = vec![1];
        versioned.extend(&bytes);
        let _ = Record::decode(bytes.into());
        let _ = Record::decode(versioned.into());
    }
}

fn ask(
    record: &mut Record,
    now_ms: u64,
    mode: Mode,
    token: &str,
    fingerprint: &'static str,
) -> Outcome {
    let input = Input::Acquire {
        mode,
        token: token.to_owned(),
        fingerprint: Bytes::from(fingerprint),
        lease_ms: 100,
    };
    record.step(now_ms, input)
}

#[test]
fn another_request_under_the_same_key_is_a_mismatch_in_progress_and_done() {
    let mut record = Record::default();
    ask(&mut record, 0, Mode::Record, "a", "pay 5");
    assert_eq!(
        ask(&mut record, 1, Mode::Record, "b", "pay 7"),
        Outcome::Mismatch
    );
    let complete = Input::Complete {
        token: "a".to_owned(),
        result: "paid".into(),
        ttl_ms: 1_000,
    };
    assert_eq!(record.step(2, complete), Outcome::Held);
    assert_eq!(
        ask(&mut record, 3, Mode::Record, "b", "pay 7"),
        Outcome::Mismatch
    );
    let result = Bytes::from("paid");
    assert_eq!(
        ask(&mut record, 3, Mode::Record, "b", "pay 5"),
        Outcome::Done { result }
    );
}

#[test]
fn set_nx_keeps_neither_fingerprint_nor_result() {
    let mut record = Record::default();
    ask(&mut record, 0, Mode::SetNx, "a", "pay 5");
    assert!(matches!(
        ask(&mut record, 1, Mode::SetNx, "b", "pay 7"),
        Outcome::Busy { .. }
    ));
    let complete = Input::Complete {
        token: "a".to_owned(),
        result: "paid".into(),
        ttl_ms: 1_000,
    };
    record.step(2, complete);
    let result = Bytes::new();
    assert_eq!(
        ask(&mut record, 3, Mode::SetNx, "b", ""),
        Outcome::Done { result }
    );
}

#[test]
fn the_fencing_number_outlives_a_release_and_a_result() {
    let mut record = Record::default();
    let first = ask(&mut record, 0, Mode::Record, "a", "");
    assert_eq!(
        first,
        Outcome::Acquired {
            fencing: 1,
            takeover: false
        }
    );
    let token = "a".to_owned();
    assert_eq!(record.step(1, Input::Release { token }), Outcome::Held);
    let second = ask(&mut record, 2, Mode::Record, "b", "");
    assert_eq!(
        second,
        Outcome::Acquired {
            fencing: 2,
            takeover: false
        }
    );
    let complete = Input::Complete {
        token: "b".to_owned(),
        result: Bytes::new(),
        ttl_ms: 10,
    };
    record.step(3, complete);
    let third = ask(&mut record, 20, Mode::Record, "c", "");
    assert_eq!(
        third,
        Outcome::Acquired {
            fencing: 3,
            takeover: false
        }
    );
    let fourth = ask(&mut record, 120, Mode::Record, "d", "");
    assert_eq!(
        fourth,
        Outcome::Acquired {
            fencing: 4,
            takeover: true
        }
    );
}
