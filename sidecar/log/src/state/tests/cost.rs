//! What applying costs. Run in release to see the figures; the bounds are loose, so that a
//! busy machine passes and a mistake does not.

use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_core::half_message::Verdict;

use super::{Limits, Subject};
use crate::command::{Command, NewMessage, ProducerSequence, TopicId, TransactionId};

const BATCH: u64 = 256;
const BATCHES: u64 = 400;

fn message(key_hash: u64) -> NewMessage {
    NewMessage {
        destination: TopicId(0).into(),
        key_hash,
        tag_hash: 7,
        deliver_at_ms: 0,
        from_fence: false,
        stored: Bytes::from_static(&[7; 256]),
    }
}

fn subject() -> Subject {
    let mut subject = Subject::new(Limits::default());
    subject.one(
        1,
        Command::CreateTopic {
            name: "orders".to_owned(),
            queues: 4,
            durability: Default::default(),
        },
    );
    subject
}

/// Applies batches and tells the time per command.
fn measure(
    name: &str,
    subject: &mut Subject,
    checkpoint_every: u64,
    mut command: impl FnMut(u64) -> Command,
) -> Duration {
    let (mut spent, mut checkpoints) = (Duration::ZERO, Duration::ZERO);
    let mut capture = Duration::ZERO;
    for batch in 0..BATCHES {
        let commands: Vec<_> = (0..BATCH).map(|at| command(batch * BATCH + at)).collect();
        let index = subject.entries.bodies.len();
        subject.entries.push(batch + 2, &commands);
        let start = Instant::now();
        subject.apply(index);
        spent += start.elapsed();
        if batch % checkpoint_every == checkpoint_every - 1 {
            use crate::apply::{Apply as _, Checkpoint as _};
            let start = Instant::now();
            let checkpoint = subject.state.begin_checkpoint().unwrap();
            capture += start.elapsed();
            checkpoint.write(None).unwrap();
            subject.state.end_checkpoint(true);
            checkpoints += start.elapsed();
        }
    }
    let count = (BATCH * BATCHES) as u32;
    println!(
        "{name}: apply {:?}, checkpoints {:?} a command; capture {capture:?} in all",
        spent / count,
        checkpoints / count
    );
    spent / count
}

#[test]
fn a_command_takes_microseconds() {
    let loose = Duration::from_micros(if cfg!(debug_assertions) { 200 } else { 20 });
    let mut each = Vec::new();
    each.push(measure("send", &mut subject(), 100, |_| Command::Send {
        message: message(0),
        sequence: None,
    }));
    each.push(measure(
        "send with key and sequence",
        &mut subject(),
        100,
        |at| Command::Send {
            message: message(at | 1),
            sequence: Some(ProducerSequence::dense(1, 1, at + 1)),
        },
    ));
    each.push(measure("prepare or resolve", &mut subject(), 100, |at| {
        // Ids begin with the time, as UUIDv7 does; a resolve follows 8 prepares behind.
        let id = |at: u64| {
            TransactionId(
                (u128::from(at / 2) << 80) | u128::from(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            )
        };
        if at % 2 == 0 {
            Command::Prepare {
                id: id(at),
                producer_group: "order-service".to_owned(),
                fingerprint: 1,
                messages: vec![message(0)],
            }
        } else {
            Command::Resolve {
                id: id(at.saturating_sub(17) & !1),
                verdict: Verdict::Commit,
                replacements: Vec::new(),
            }
        }
    }));
    assert!(each.iter().all(|took| *took < loose), "{each:?}");
}

#[test]
fn opening_takes_milliseconds() {
    let loose = Duration::from_millis(500);
    let start = Instant::now();
    let mut subject = subject();
    let fresh = start.elapsed();
    subject.checkpoint();
    let start = Instant::now();
    let subject = subject.crash();
    let again = start.elapsed();
    println!("open: {fresh:?} on an empty directory, {again:?} after a checkpoint");
    drop(subject);
    assert!(fresh < loose && again < loose, "{fresh:?}, {again:?}");
}
