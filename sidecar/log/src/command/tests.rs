use bytes::Bytes;
use outrigger_core::guard::{Input, Mode};
use outrigger_core::half_message::Verdict;
use outrigger_core::lease::Event;
use outrigger_core::saga::{Phase, ledger};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::state::Limits;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![
        any::<u32>().prop_map(|topic| TopicId(topic).into()),
        (any::<u32>(), ".*").prop_map(|(group, topic)| Destination::There {
            group,
            topic: topic.into(),
        }),
    ]
}

fn forwarded() -> impl Strategy<Value = ForwardedMessage> {
    (".*", any::<(u64, u32, u64)>(), bytes()).prop_map(|(topic, numbers, stored)| {
        let (key_hash, tag_hash, deliver_at_ms) = numbers;
        ForwardedMessage {
            topic: topic.into(),
            key_hash,
            tag_hash,
            deliver_at_ms,
            stored,
        }
    })
}

fn message() -> impl Strategy<Value = NewMessage> {
    let often_none = prop_oneof![Just(0), any::<u64>()];
    (
        destination(),
        often_none,
        any::<u32>(),
        any::<(u64, bool)>(),
        bytes(),
    )
        .prop_map(
            |(destination, key_hash, tag_hash, (deliver_at_ms, from_fence), stored)| NewMessage {
                destination,
                key_hash,
                tag_hash,
                deliver_at_ms,
                from_fence,
                stored,
            },
        )
}

fn sequence() -> impl Strategy<Value = ProducerSequence> {
    let dense = any::<(u128, u32, u64)>()
        .prop_map(|(producer, epoch, sequence)| ProducerSequence::dense(producer, epoch, sequence));
    (dense, proptest::option::of(any::<u64>())).prop_map(|(dense, after)| ProducerSequence {
        after: after.unwrap_or(dense.after),
        ..dense
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Commit), Just(Verdict::Rollback)]
}

fn guard_input() -> impl Strategy<Value = Input> {
    let mode = prop_oneof![Just(Mode::Record), Just(Mode::SetNx)];
    prop_oneof![
        (mode, ".*", bytes(), any::<u64>()).prop_map(|(mode, token, fingerprint, lease_ms)| {
            Input::Acquire {
                mode,
                token,
                fingerprint,
                lease_ms,
            }
        }),
        (".*", any::<u64>()).prop_map(|(token, lease_ms)| Input::Extend { token, lease_ms }),
        (".*", bytes(), any::<u64>()).prop_map(|(token, result, ttl_ms)| Input::Complete {
            token,
            result,
            ttl_ms,
        }),
        ".*".prop_map(|token| Input::Release { token }),
        any::<u64>().prop_map(|ttl_ms| Input::Increment { ttl_ms }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<(u64, u64)>().prop_map(|(first, last)| Event::Acked { first, last }),
        any::<(u64, u32, u64)>().prop_map(|(offset, attempt, visible_at_ms)| Event::Retry {
            offset,
            attempt,
            visible_at_ms,
        }),
    ]
}

fn transaction() -> impl Strategy<Value = TransactionId> {
    any::<u128>().prop_map(TransactionId)
}

fn durability() -> impl Strategy<Value = Durability> {
    use Durability::{Accepted, Replicated, Synced};
    proptest::sample::select(vec![Accepted, Replicated, Synced])
}

/// The core tests all forms; here it matters that they stand between others.
fn saga() -> impl Strategy<Value = ledger::Command> {
    let report = (".*", ".*", bytes()).prop_map(|(saga, step, output)| ledger::Command::Report {
        saga,
        step,
        phase: Phase::Action,
        outcome: ledger::Reported::Success { output },
    });
    let own = any::<(u128, u64, u32, u64)>().prop_map(|(owner, lease_ms, take_max, heard)| {
        ledger::Command::Own {
            owner,
            lease_ms,
            take_max,
            heard,
        }
    });
    let define = bytes().prop_map(|encoded| ledger::Command::Define { encoded });
    prop_oneof![report, own, define]
}

fn command() -> impl Strategy<Value = Command> {
    let replacements = || vec((any::<u32>(), bytes()), 0..4);
    let place = any::<(u32, u32, u32)>();
    prop_oneof![
        (".*", any::<u32>(), durability()).prop_map(|(name, queues, durability)| {
            Command::CreateTopic {
                name,
                queues,
                durability,
            }
        }),
        (any::<u32>(), durability()).prop_map(|(topic, durability)| {
            Command::SetTopicDurability {
                topic: TopicId(topic),
                durability,
            }
        }),
        (".*", any::<(bool, u32)>(), vec(any::<u64>(), 0..20)).prop_map(
            |(name, (last, max_attempts), retry_delays_ms)| Command::CreateConsumerGroup {
                name,
                config: ConsumerGroupConfig {
                    start_from: if last {
                        StartFrom::Last
                    } else {
                        StartFrom::First
                    },
                    max_attempts,
                    retry_delays_ms,
                },
            }
        ),
        (message(), proptest::option::of(sequence()))
            .prop_map(|(message, sequence)| Command::Send { message, sequence }),
        sequence().prop_map(Command::SkipSequence),
        (transaction(), ".*", any::<u128>(), vec(message(), 0..5)).prop_map(
            |(id, producer_group, fingerprint, messages)| Command::Prepare {
                id,
                producer_group,
                fingerprint,
                messages,
            }
        ),
        (transaction(), verdict(), replacements()).prop_map(|(id, verdict, replacements)| {
            Command::Resolve {
                id,
                verdict,
                replacements,
            }
        }),
        transaction().prop_map(|id| Command::Park { id }),
        (transaction(), verdict(), replacements(), ".*").prop_map(
            |(id, verdict, replacements, reason)| Command::Decide {
                id,
                verdict,
                replacements,
                reason,
            }
        ),
        (transaction(), ".*").prop_map(|(id, reason)| Command::Resume { id, reason }),
        (place, vec(event(), 0..20)).prop_map(|((group, topic, queue), events)| {
            Command::Progress {
                group: ConsumerGroupId(group),
                topic: TopicId(topic),
                queue,
                events,
            }
        }),
        (place, any::<u64>()).prop_map(|((group, topic, queue), offset)| Command::DeadLetter {
            group: ConsumerGroupId(group),
            topic: TopicId(topic),
            queue,
            offset,
        }),
        (".*", bytes(), guard_input()).prop_map(|(scope, key, input)| Command::Guard {
            scope,
            key,
            input
        }),
        any::<u64>().prop_map(|until_ms| Command::Due { until_ms }),
        any::<u64>().prop_map(|upto| Command::Expire { upto }),
        (any::<(u32, u64, u32)>(), vec(forwarded(), 0..5)).prop_map(|(numbers, messages)| {
            let (source, first, queues) = numbers;
            Command::Forwarded {
                source,
                first,
                queues,
                messages,
            }
        }),
        any::<(u32, u64)>().prop_map(|(target, upto)| Command::ForwardDone { target, upto }),
        saga().prop_map(Command::from),
        (any::<[u64; 10]>(), any::<[u32; 3]>()).prop_map(|(wide, narrow)| {
            Command::SetLimits(Limits {
                unresolved_transactions_max: wide[0],
                resolved_retention_ms: wide[1],
                delayed_messages_max: wide[2],
                producers_max: wide[3],
                producer_idle_ms: wide[4],
                topics_max: narrow[0],
                consumer_groups_max: narrow[1],
                outgoing_messages_max: wide[5],
                sagas: ledger::Limits {
                    sagas_max: wide[6],
                    definitions_max: wide[7],
                    events_max: wide[8],
                    unseen_acts_max: narrow[2],
                    retention_ms: wide[9],
                },
            })
        }),
    ]
}

/// Puts the bytes back where the recorded form only has their place.
fn restored(body: &Bytes, recorded: &RecordedCommand<'_>) -> Command {
    let stored = |span: &Span| {
        let start = span.offset as usize;
        body.slice(start..start + span.length as usize)
    };
    let forwarded = |recorded: &RecordedForwarded<'_>| ForwardedMessage {
        topic: recorded.topic.into(),
        key_hash: recorded.key_hash,
        tag_hash: recorded.tag_hash,
        deliver_at_ms: recorded.deliver_at_ms,
        stored: stored(&recorded.span),
    };
    let message = |recorded: &RecordedMessage<'_>| NewMessage {
        destination: match recorded.destination {
            RecordedDestination::Here(topic) => topic.into(),
            RecordedDestination::There { group, topic } => Destination::There {
                group,
                topic: topic.into(),
            },
        },
        key_hash: recorded.key_hash,
        tag_hash: recorded.tag_hash,
        deliver_at_ms: recorded.deliver_at_ms,
        from_fence: recorded.from_fence,
        stored: stored(&recorded.span),
    };
    let replacements = |all: &[(u32, Span)]| {
        let one = |(place, span): &(u32, Span)| (*place, stored(span));
        all.iter().map(one).collect()
    };
    match recorded.clone() {
        RecordedCommand::CreateTopic {
            name,
            queues,
            durability,
        } => Command::CreateTopic {
            name: name.to_owned(),
            queues,
            durability,
        },
        RecordedCommand::SetTopicDurability { topic, durability } => {
            Command::SetTopicDurability { topic, durability }
        }
        RecordedCommand::CreateConsumerGroup { name, config } => Command::CreateConsumerGroup {
            name: name.to_owned(),
            config,
        },
        RecordedCommand::Send {
            message: sent,
            sequence,
        } => Command::Send {
            message: message(&sent),
            sequence,
        },
        RecordedCommand::SkipSequence(sequence) => Command::SkipSequence(sequence),
        RecordedCommand::Prepare {
            id,
            producer_group,
            fingerprint,
            messages,
        } => Command::Prepare {
            id,
            producer_group: producer_group.to_owned(),
            fingerprint,
            messages: messages.iter().map(message).collect(),
        },
        RecordedCommand::Resolve {
            id,
            verdict,
            replacements: all,
        } => Command::Resolve {
            id,
            verdict,
            replacements: replacements(&all),
        },
        RecordedCommand::Park { id } => Command::Park { id },
        RecordedCommand::Decide {
            id,
            verdict,
            replacements: all,
            reason,
        } => Command::Decide {
            id,
            verdict,
            replacements: replacements(&all),
            reason: reason.to_owned(),
        },
        RecordedCommand::Resume { id, reason } => Command::Resume {
            id,
            reason: reason.to_owned(),
        },
        RecordedCommand::Progress {
            group,
            topic,
            queue,
            events,
        } => Command::Progress {
            group,
            topic,
            queue,
            events,
        },
        RecordedCommand::DeadLetter {
            group,
            topic,
            queue,
            offset,
        } => Command::DeadLetter {
            group,
            topic,
            queue,
            offset,
        },
        RecordedCommand::Guard { scope, key, input } => Command::Guard {
            scope: scope.to_owned(),
            key: Bytes::copy_from_slice(key),
            input,
        },
        RecordedCommand::Due { until_ms } => Command::Due { until_ms },
        RecordedCommand::Expire { upto } => Command::Expire { upto },
        RecordedCommand::Forwarded {
            source,
            first,
            queues,
            messages,
        } => Command::Forwarded {
            source,
            first,
            queues,
            messages: messages.iter().map(forwarded).collect(),
        },
        RecordedCommand::ForwardDone { target, upto } => Command::ForwardDone { target, upto },
        RecordedCommand::Saga(command) => Command::Saga(command),
        RecordedCommand::SetLimits(limits) => Command::SetLimits(limits),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_was_encoded_is_decoded(stamp_ms: u64, commands in vec(command(), 0..12)) {
        let body = Batch::encode(stamp_ms, &commands);
        let bound: usize = commands.iter().map(Command::encoded_bytes_max).sum();
        prop_assert!(body.len() <= bound + 19);
        let batch = Batch::decode(&body).unwrap();
        prop_assert_eq!(batch.stamp_ms, stamp_ms);
        let decoded: Vec<_> = batch.commands.iter().map(|one| restored(&body, one)).collect();
        prop_assert_eq!(decoded, commands);
    }

    #[test]
    fn a_batch_that_was_cut_is_refused(commands in vec(command(), 1..4), cut: prop::sample::Index) {
        let body = Batch::encode(7, &commands);
        let cut = cut.index(body.len());
        prop_assert!(Batch::decode(&body[..cut]).is_err());
    }

    #[test]
    fn a_damaged_batch_is_refused_or_read_but_never_panics(
        commands in vec(command(), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut body = Batch::encode(7, &commands).to_vec();
        for (place, byte) in damage {
            let place = place.index(body.len());
            body[place] = byte;
        }
        let _ = Batch::decode(&body);
    }

    #[test]
    fn garbage_is_refused_or_read_but_never_panics(mut body in vec(any::<u8>(), 10..200)) {
        let _ = Batch::decode(&body);
        body[0] = 1;
        let _ = Batch::decode(&body);
    }
}

#[test]
fn a_newer_version_and_a_forged_count_are_refused() {
    let mut body = Batch::encode(7, &[]).to_vec();
    body[0] = 2;
    assert_eq!(
        Batch::decode(&body),
        Err(CodecError::Version {
            found: 2,
            newest: 1
        })
    );
    let mut forged = vec![1];
    forged.extend([0; 8]);
    crate::codec::put_number(&mut forged, u64::MAX);
    assert_eq!(
        Batch::decode(&forged),
        Err(CodecError::Truncated { at: 19 })
    );
}
