use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};

use super::{Act, Event, Note, Parent, Reason, Start, UndoCause};
use crate::saga::{ErrorClass, Phase, definition::Version};

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![Just(Phase::Action), Just(Phase::Undo), Just(Phase::Confirm)]
}

fn class() -> impl Strategy<Value = ErrorClass> {
    prop::sample::select(&ErrorClass::ALL[..])
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn reason() -> impl Strategy<Value = Reason> {
    prop_oneof![
        ".*".prop_map(|message| Reason::Refused { message }),
        (class(), ".*").prop_map(|(class, message)| Reason::Exhausted { class, message }),
        any::<(u64, u64)>().prop_map(|(bytes, limit)| Reason::OutputTooLarge { bytes, limit }),
        Just(Reason::Undoing),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let skip = (any::<u16>(), phase(), bytes());
    let edit = (any::<u16>(), phase(), bytes());
    prop_oneof![
        any::<u16>().prop_map(|step| Act::Retry { step }),
        skip.prop_map(|(step, phase, output)| Act::Skip {
            step,
            phase,
            output
        }),
        edit.prop_map(|(step, phase, input)| Act::EditInput { step, phase, input }),
        Just(Act::Undo),
        Just(Act::Park),
        Just(Act::Resume),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let started = (any::<u16>(), phase(), any::<u32>(), option::of(class()));
    let cause = prop_oneof![
        any::<u16>().prop_map(UndoCause::Step),
        Just(UndoCause::Deadline),
        Just(UndoCause::ByHand),
    ];
    prop_oneof![
        started.prop_map(|(step, phase, attempt, after)| Event::Started {
            step,
            phase,
            attempt,
            after
        }),
        (any::<u16>(), phase(), bytes()).prop_map(|(step, phase, output)| Event::Succeeded {
            step,
            phase,
            output
        }),
        (any::<u16>(), any::<bool>(), ".*").prop_map(|(step, only_call, message)| {
            Event::Failed {
                step,
                only_call,
                message,
            }
        }),
        (any::<u16>(), reason()).prop_map(|(step, reason)| Event::Abandoned { step, reason }),
        (any::<u16>(), phase(), reason()).prop_map(|(step, phase, reason)| Event::Stuck {
            step,
            phase,
            reason
        }),
        cause.prop_map(|cause| Event::UndoBegun { cause }),
        Just(Event::ConfirmBegun),
        Just(Event::Parked),
        Just(Event::Completed),
        Just(Event::Undone),
        Just(Event::ResultDelivered),
        ".*".prop_map(|message| Event::ResultGivenUp { message }),
        (act(), ".*", ".*").prop_map(|(act, by, reason)| Event::ByHand {
            act,
            note: Note { by, reason },
        }),
    ]
}

proptest! {
    #[test]
    fn an_event_is_read_back_and_no_bytes_make_reading_fail_otherwise(
        event in event(),
        noise in vec(any::<u8>(), 0..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let encoded = event.encode();
        prop_assert_eq!(Event::decode(encoded.clone()), Ok(event));
        prop_assert!(Event::decode(encoded.slice(..cut.index(encoded.len()))).is_err());
        let _ = Event::decode([&[1], noise.as_slice()].concat().into());
        let _ = Start::decode([&[1], noise.as_slice()].concat().into());
    }
}

#[test]
fn a_start_is_read_back() {
    let start = Start {
        saga: "order-17".to_owned(),
        definition: "order".to_owned(),
        version: Version(u128::MAX - 5),
        input: Bytes::from_static(b"{}"),
        start_at_ms: 7,
        deadline_at_ms: Some(8),
        parent: Some(Parent {
            saga: "month".to_owned(),
            step: "order".to_owned(),
        }),
    };
    let encoded = start.encode();
    assert_eq!(Start::decode(encoded.clone()), Ok(start));
    for length in 0..encoded.len() {
        assert!(Start::decode(encoded.slice(..length)).is_err());
    }
}
