//! The numbers of a stream's sends, and whether these may be answered early.
//!
//! A producer counts its sends without gaps. When a send that was answered early is lost (the
//! leader changed before it was synced), the producer goes on counting, and the log refuses
//! everything that follows because of the gap. It has to hear of that, or all that it sends
//! would be lost from then on, one early answer after the other. So sends are answered early
//! only while the log is known to expect the numbers of this stream: not before a batch of it
//! was applied, not after anything that was answered early has failed, and not after such a
//! long silence that the log may have forgotten the producer. Otherwise they are answered
//! when they are synced, with what the log says to their numbers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use outrigger_log::{
    Aftermath,
    command::{Outcome, ProducerSequence, Refusal},
};
use outrigger_proto::stored::{Operation, PublishRequest, operation::Kind};

use super::status::Failure;

/// The log forgets nobody sooner than after ten minutes of silence.
const SILENCE_MS_MAX: u64 = 5 * 60 * 1_000;

/// No batch was applied yet.
const NEVER: u64 = u64::MAX;

/// The numbers of the sends of one batch.
#[derive(Debug)]
pub(super) struct Numbers {
    /// Id and epoch; without them nothing is numbered.
    producer: Option<(u128, u32)>,
    /// Those that were given one by one, the next one last.
    given: Vec<u64>,
    /// The next number otherwise.
    counted: u64,
    /// What the stream has sent to this data group before.
    after: u64,
}

impl Numbers {
    /// # Errors
    ///
    /// When numbers are given that do not fit the sends or do not grow.
    pub(super) fn of(
        producer: Option<(u128, u32)>,
        request: &PublishRequest,
    ) -> Result<Self, Failure> {
        let given = &request.sequences;
        if !given.is_empty() {
            let sends = request.operations.iter().map(|operation| &operation.kind);
            let sends = sends.filter(|kind| matches!(kind, Some(Kind::Send(_))));
            let sends = sends.count();
            if given.len() != sends {
                let limit = format!("one for each of the {sends} sends");
                return Err(illegal("sequences", given.len() as u64, limit));
            }
            if let Some(falling) = given.iter().zip(given.iter().skip(1)).find(|(a, b)| a >= b) {
                let limit = format!("more than {} before it", falling.0);
                return Err(illegal("sequences", *falling.1, limit));
            }
        }
        let first = given.first().copied().unwrap_or(request.first_sequence);
        let sends = |operation: &Operation| matches!(operation.kind, Some(Kind::Send(_)));
        if first == 0 && producer.is_some() && request.operations.iter().any(sends) {
            // It would be taken for a repetition, and answered as if it were stored.
            return Err(illegal("first_sequence", first, "1 or more".to_owned()));
        }
        let after = request.after.unwrap_or_else(|| first.saturating_sub(1));
        if request.after.is_some() && after >= first {
            let limit = format!("less than the first send's {first}");
            return Err(illegal("after", after, limit));
        }
        Ok(Self {
            producer,
            given: given.iter().rev().copied().collect(),
            counted: first,
            after,
        })
    }

    /// Of the next send.
    pub(super) fn next(&mut self) -> Option<ProducerSequence> {
        let (producer, epoch) = self.producer?;
        let sequence = self.given.pop().unwrap_or(self.counted);
        self.counted = sequence.saturating_add(1);
        let after = std::mem::replace(&mut self.after, sequence);
        Some(ProducerSequence {
            producer,
            epoch,
            sequence,
            after,
        })
    }
}

fn illegal(field: &'static str, got: u64, limit: String) -> Failure {
    Failure::invalid("ILLEGAL_SEQUENCE", field, got, limit)
}

/// What is known of the numbers of one stream.
#[derive(Debug)]
pub(super) struct Numbering {
    aftermath: Arc<Aftermath>,
    /// Failures that there had been when a batch was submitted whose numbers turned out to
    /// be right.
    verified: AtomicU64,
    last_submitted_ms: AtomicU64,
}

/// A numbered batch that tells whether its numbers were right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    failures: u64,
}

impl Numbering {
    pub(super) fn new(whole: &Arc<Aftermath>) -> Self {
        Self {
            aftermath: Arc::new(Aftermath::part_of(whole)),
            verified: AtomicU64::new(NEVER),
            last_submitted_ms: AtomicU64::new(0),
        }
    }

    /// What became of the sends of this stream that were answered early.
    pub(super) fn aftermath(&self) -> &Arc<Aftermath> {
        &self.aftermath
    }

    pub(super) fn is_known(&self, now_ms: u64) -> bool {
        let silence_ms = now_ms.saturating_sub(self.last_submitted_ms.load(SeqCst));
        self.verified.load(SeqCst) == self.aftermath.failures() && silence_ms <= SILENCE_MS_MAX
    }

    /// A batch with numbers is about to be submitted.
    pub(super) fn submitting(&self, now_ms: u64) -> Probe {
        self.last_submitted_ms.store(now_ms, SeqCst);
        Probe {
            failures: self.aftermath.failures(),
        }
    }

    /// The batch was applied with these outcomes.
    pub(super) fn applied(&self, probe: Probe, outcomes: &[Outcome]) {
        if outcomes.iter().any(is_misnumbered) {
            self.verified.store(NEVER, SeqCst);
        } else if !outcomes.iter().any(is_early) {
            self.verified.store(probe.failures, SeqCst);
        }
    }
}

fn is_misnumbered(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Refused(
            Refusal::SequenceGap { .. }
                | Refusal::StaleEpoch { .. }
                | Refusal::TooManyProducers { .. }
        )
    )
}

fn is_early(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Accepted | Outcome::Replicated)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SENT: Outcome = Outcome::Sent {
        queue: 0,
        offset: 0,
    };

    /// A batch of three sends.
    fn numbers(
        first_sequence: u64,
        sequences: Vec<u64>,
        after: Option<u64>,
    ) -> Result<Vec<(u64, u64)>, Failure> {
        let send = Operation {
            kind: Some(Kind::Send(Bytes::new())),
            ..Default::default()
        };
        let request = PublishRequest {
            first_sequence,
            operations: vec![send; 3],
            sequences,
            after,
            ..Default::default()
        };
        let mut numbers = Numbers::of(Some((7, 1)), &request)?;
        let next = (0..3).map(|_| numbers.next().expect("a producer is known"));
        Ok(next.map(|next| (next.after, next.sequence)).collect())
    }

    #[test]
    fn an_application_counts_without_gaps() {
        let counted = numbers(5, Vec::new(), None).expect("legal");
        assert_eq!(counted, [(4, 5), (5, 6), (6, 7)]);
        let first = numbers(1, Vec::new(), None).expect("legal");
        assert_eq!(first, [(0, 1), (1, 2), (2, 3)]);
    }

    #[test]
    fn what_goes_to_other_data_groups_is_missing() {
        let given = numbers(0, vec![5, 7, 8], Some(2)).expect("legal");
        assert_eq!(given, [(2, 5), (5, 7), (7, 8)]);
        let first = numbers(0, vec![5, 7, 8], Some(0)).expect("legal");
        assert_eq!(first, [(0, 5), (5, 7), (7, 8)]);
        let counted = numbers(5, Vec::new(), Some(0)).expect("legal");
        assert_eq!(counted, [(0, 5), (5, 6), (6, 7)]);
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        assert!(numbers(0, vec![], None).is_err(), "taken for a repetition");
        assert!(numbers(0, vec![5, 7], Some(2)).is_err());
        assert!(numbers(0, vec![5, 7, 7], Some(2)).is_err());
        assert!(numbers(0, vec![5, 7, 8], Some(5)).is_err());
    }

    fn numbering() -> Numbering {
        Numbering::new(&Arc::default())
    }

    fn applied(numbering: &Numbering, outcome: Outcome) {
        let probe = numbering.submitting(1_000);
        numbering.applied(probe, &[SENT, outcome]);
    }

    #[test]
    fn numbers_are_known_once_a_batch_was_applied() {
        let numbering = numbering();
        assert!(!numbering.is_known(1_000));
        applied(&numbering, Outcome::Accepted);
        assert!(!numbering.is_known(1_000), "an early answer proves nothing");
        applied(&numbering, SENT);
        assert!(numbering.is_known(1_000));
    }

    #[test]
    fn after_a_gap_the_next_answers_are_those_of_the_log() {
        let numbering = numbering();
        applied(&numbering, SENT);
        let gap = Refusal::SequenceGap {
            expected: 1,
            got: 2,
        };
        applied(&numbering, Outcome::Refused(gap));
        assert!(!numbering.is_known(1_000));
        applied(&numbering, SENT);
        assert!(numbering.is_known(1_000));
    }

    #[test]
    fn a_batch_submitted_before_a_failure_was_known_does_not_make_up_for_it() {
        let numbering = numbering();
        applied(&numbering, SENT);
        let before = numbering.submitting(1_000);
        numbering.aftermath.note_lost(1);
        assert!(!numbering.is_known(1_000));
        numbering.applied(before, &[SENT]);
        assert!(!numbering.is_known(1_000));
        applied(&numbering, SENT);
        assert!(numbering.is_known(1_000));
    }

    #[test]
    fn a_producer_that_was_silent_for_long_may_be_forgotten() {
        let numbering = numbering();
        applied(&numbering, SENT);
        assert!(numbering.is_known(1_000 + SILENCE_MS_MAX));
        assert!(!numbering.is_known(1_001 + SILENCE_MS_MAX));
    }
}
