//! The binary forms of commands.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};

use crate::saga::{
    ErrorClass, Phase,
    definition::Version,
    event::{Act, Event, Note, Parent, Reason, Start, UndoCause},
    ledger::{Command, Reported},
};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn phase() -> impl Strategy<Value = Phase> {
    prop::sample::select(vec![Phase::Action, Phase::Undo, Phase::Confirm])
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        any::<u16>().prop_map(|step| Act::Retry { step }),
        (any::<u16>(), phase(), bytes()).prop_map(|(step, phase, output)| Act::Skip {
            step,
            phase,
            output,
        }),
        (any::<u16>(), phase(), bytes()).prop_map(|(step, phase, input)| Act::EditInput {
            step,
            phase,
            input,
        }),
        Just(Act::Undo),
        Just(Act::Park),
        Just(Act::Resume),
    ]
}

fn note() -> impl Strategy<Value = Note> {
    (".*", ".*").prop_map(|(by, reason)| Note { by, reason })
}

fn reason() -> impl Strategy<Value = Reason> {
    let class = prop::sample::select(ErrorClass::ALL.to_vec());
    prop_oneof![
        ".*".prop_map(|message| Reason::Refused { message }),
        (class, ".*").prop_map(|(class, message)| Reason::Exhausted { class, message }),
        any::<(u64, u64)>().prop_map(|(bytes, limit)| Reason::OutputTooLarge { bytes, limit }),
        Just(Reason::Undoing),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let class = option::of(prop::sample::select(ErrorClass::ALL.to_vec()));
    prop_oneof![
        (any::<(u16, u32)>(), phase(), class).prop_map(|((step, attempt), phase, after)| {
            Event::Started {
                step,
                phase,
                attempt,
                after,
            }
        }),
        (any::<u16>(), phase(), bytes()).prop_map(|(step, phase, output)| Event::Succeeded {
            step,
            phase,
            output,
        }),
        (any::<(u16, bool)>(), ".*").prop_map(|((step, only_call), message)| Event::Failed {
            step,
            only_call,
            message,
        }),
        (any::<u16>(), reason()).prop_map(|(step, reason)| Event::Abandoned { step, reason }),
        (any::<u16>(), phase(), reason()).prop_map(|(step, phase, reason)| Event::Stuck {
            step,
            phase,
            reason,
        }),
        any::<u16>().prop_map(|step| Event::UndoBegun {
            cause: UndoCause::Step(step),
        }),
        Just(Event::Completed),
        ".*".prop_map(|message| Event::ResultGivenUp { message }),
        (act(), note()).prop_map(|(act, note)| Event::ByHand { act, note }),
    ]
}

fn start() -> impl Strategy<Value = Start> {
    let parent = option::of((".*", ".*")).prop_map(|parent| {
        let parent = parent.map(|(saga, step)| Parent { saga, step });
        parent.filter(|parent| !parent.saga.is_empty())
    });
    let numbers = any::<(u128, u64, Option<u64>)>();
    (".*", ".*", numbers, bytes(), parent).prop_map(
        |(saga, definition, (version, start_at_ms, deadline_at_ms), input, parent)| Start {
            saga,
            definition,
            version: Version(version),
            input,
            start_at_ms,
            deadline_at_ms,
            parent,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let outcome = prop_oneof![
        bytes().prop_map(|output| Reported::Success { output }),
        ".*".prop_map(|message| Reported::Failure { message }),
    ];
    prop_oneof![
        bytes().prop_map(|encoded| Command::Define { encoded }),
        (start(), any::<Option<u128>>()).prop_map(|(start, owner)| Command::Start { start, owner }),
        (".*", any::<(u64, u64)>(), vec(event(), 0..6)).prop_map(
            |(saga, (epoch, after), events)| Command::Append {
                saga,
                epoch,
                after,
                events,
            }
        ),
        (".*", act(), note()).prop_map(|(saga, act, note)| Command::Act { saga, act, note }),
        (".*", ".*", phase(), outcome).prop_map(|(saga, step, phase, outcome)| Command::Report {
            saga,
            step,
            phase,
            outcome,
        }),
        any::<(u128, u64, u32, u64)>().prop_map(|(owner, lease_ms, take_max, heard)| {
            Command::Own {
                owner,
                lease_ms,
                take_max,
                heard,
            }
        }),
    ]
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(command in command()) {
        let bytes = command.encode();
        prop_assert!(bytes.len() <= command.encoded_bytes_max());
        prop_assert_eq!(Command::decode(bytes).unwrap(), command);
    }

    #[test]
    fn what_was_cut_or_damaged_is_refused_or_read_but_never_panics(
        command in command(),
        cut: prop::sample::Index,
        damage in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let bytes = command.encode();
        let cut = cut.index(bytes.len());
        prop_assert!(Command::decode(bytes.slice(..cut)).is_err());
        let mut damaged = bytes.to_vec();
        let place = damage.0.index(damaged.len());
        damaged[place] = damage.1;
        let _ = Command::decode(damaged.into());
    }
}
