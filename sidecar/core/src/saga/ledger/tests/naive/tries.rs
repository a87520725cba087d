//! What is tried.

use proptest::{collection::vec, prelude::*};

use super::{SAGAS, begin, succeed};
use crate::saga::{
    Phase, StepIndex,
    event::{Event, UndoCause},
    ledger::OwnerId,
};

#[derive(Debug, Clone)]
pub(super) enum Try {
    Start {
        saga: usize,
        owner: Option<OwnerId>,
        lost: bool,
    },
    StartInner {
        saga: usize,
        owner: OwnerId,
        lost: bool,
    },
    Append {
        saga: usize,
        inner: bool,
        which: Vec<usize>,
        epoch_off: i8,
        after_off: i8,
    },
    Act {
        saga: usize,
        inner: bool,
        which: usize,
    },
    Report {
        saga: usize,
        inner: bool,
        phase: Phase,
        success: bool,
    },
    Own {
        owner: OwnerId,
        take_max: u32,
        lost: bool,
    },
    GiveBack {
        owner: OwnerId,
        lost: bool,
    },
}

pub(super) fn attempt() -> impl Strategy<Value = Try> {
    let saga = || (0..SAGAS, any::<bool>());
    let owner = || 1..4_u128;
    let lost = || prop::bool::weighted(0.3);
    let off = || prop_oneof![8 => Just(0_i8), 1 => Just(-1_i8), 1 => Just(1_i8)];
    let phase = prop_oneof![2 => Just(Phase::Action), 1 => Just(Phase::Undo)];
    prop_oneof![
        3 => (0..SAGAS, proptest::option::of(owner()), lost())
            .prop_map(|(saga, owner, lost)| Try::Start { saga, owner, lost }),
        3 => (0..SAGAS, owner(), lost())
            .prop_map(|(saga, owner, lost)| Try::StartInner { saga, owner, lost }),
        14 => (saga(), vec(0..12_usize, 0..4), off(), off()).prop_map(
            |((saga, inner), which, epoch_off, after_off)| Try::Append {
                saga, inner, which, epoch_off, after_off,
            }
        ),
        4 => (saga(), 0..5_usize)
            .prop_map(|((saga, inner), which)| Try::Act { saga, inner, which }),
        2 => (saga(), phase, any::<bool>()).prop_map(|((saga, inner), phase, success)| {
            Try::Report { saga, inner, phase, success }
        }),
        5 => (owner(), 0..3_u32, lost())
            .prop_map(|(owner, take_max, lost)| Try::Own { owner, take_max, lost }),
        1 => (owner(), lost()).prop_map(|(owner, lost)| Try::GiveBack { owner, lost }),
    ]
}

/// Events that an owner could record, whether they may follow or not.
pub(super) fn events_of(steps: usize) -> Vec<Event> {
    let mut all = vec![Event::Completed, Event::Undone, Event::Parked];
    for step in 0..StepIndex::try_from(steps).unwrap() {
        for phase in [Phase::Action, Phase::Undo] {
            all.push(begin(step, phase));
            all.push(succeed(step, phase));
        }
        all.push(Event::Failed {
            step,
            only_call: false,
            message: "no".to_owned(),
        });
        all.push(Event::UndoBegun {
            cause: UndoCause::Step(step),
        });
    }
    all
}
