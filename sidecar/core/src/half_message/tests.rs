use super::{Error, Event, HalfMessage, Input, State, Verdict};
use proptest::prelude::*;

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Commit), Just(Verdict::Rollback)]
}

/// Few fingerprints, so that repeated and contradictory calls are common.
fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        (1..3_u128).prop_map(|fingerprint| Input::Prepare { fingerprint }),
        verdict().prop_map(|verdict| Input::Resolve { verdict }),
        verdict().prop_map(|verdict| Input::Decide { verdict }),
        Just(Input::Park),
        Just(Input::Resume),
    ]
}

/// What a person who kept the whole history would say.
#[derive(Default)]
struct History(Vec<Event>);

impl History {
    fn prepared(&self) -> Option<u128> {
        self.0.iter().find_map(|event| match event {
            Event::Prepared { fingerprint } => Some(*fingerprint),
            _ => None,
        })
    }

    fn resolved(&self) -> Option<Verdict> {
        self.0.iter().find_map(|event| match event {
            Event::Resolved { verdict } => Some(*verdict),
            _ => None,
        })
    }

    fn parked(&self) -> bool {
        self.resolved().is_none() && self.0.last() == Some(&Event::Parked)
    }

    fn expected(&self, input: Input) -> Result<Option<Event>, Error> {
        let Some(prepared) = self.prepared() else {
            return match input {
                Input::Prepare { fingerprint } => Ok(Some(Event::Prepared { fingerprint })),
                _ => Err(Error::NotFound),
            };
        };
        match input {
            Input::Prepare { fingerprint } if fingerprint == prepared => Ok(None),
            Input::Prepare { .. } => Err(Error::ContentDiffers),
            Input::Resolve { verdict } | Input::Decide { verdict } => match self.resolved() {
                None => Ok(Some(Event::Resolved { verdict })),
                Some(recorded) if recorded == verdict => Ok(None),
                Some(recorded) => Err(Error::Contradiction {
                    recorded,
                    requested: verdict,
                }),
            },
            Input::Park => match self.resolved() {
                Some(recorded) => Err(Error::AlreadyResolved { recorded }),
                None if self.parked() => Ok(None),
                None => Ok(Some(Event::Parked)),
            },
            Input::Resume if self.parked() => Ok(Some(Event::Resumed)),
            Input::Resume => Err(Error::NotParked {
                state: match self.resolved() {
                    None => State::Prepared,
                    Some(Verdict::Commit) => State::Committed,
                    Some(Verdict::Rollback) => State::RolledBack,
                },
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Duplicate, late, reordered and contradictory calls: the machine answers what the
    /// whole history demands, resolves once, and replay ends in the same state.
    #[test]
    fn one_transaction_has_one_verdict(inputs in prop::collection::vec(input(), 0..40)) {
        let mut machine = HalfMessage::absent();
        let mut history = History::default();
        for input in inputs {
            let before = machine;
            let answer = machine.step(input);
            prop_assert_eq!(answer, history.expected(input));
            match answer {
                Ok(Some(event)) => history.0.push(event),
                Ok(None) | Err(_) => prop_assert_eq!(machine, before),
            }
            prop_assert_eq!(machine.state().and_then(State::verdict), history.resolved());
        }
        let resolutions = history.0.iter().filter(|e| matches!(e, Event::Resolved { .. })).count();
        prop_assert!(resolutions <= 1);

        let mut replayed = HalfMessage::absent();
        history.0.iter().for_each(|event| replayed.apply(event));
        prop_assert_eq!(replayed, machine);
        if let Some(state) = machine.state() {
            prop_assert_eq!(HalfMessage::recorded(machine.fingerprint(), state), machine);
        }
    }
}

#[test]
fn a_record_is_small() {
    assert!(size_of::<HalfMessage>() <= 32);
}
