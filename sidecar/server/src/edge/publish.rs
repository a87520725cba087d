//! One Publish stream: batches are translated and submitted in the order of their
//! arrival, and answered in that order while later ones are already being written.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use outrigger_core::limits::BATCH_COUNT_MAX;
use outrigger_log::{
    Durability, Log, Pending,
    command::{Command, Outcome, ProducerSequence, Refusal},
};
use outrigger_proto::stored;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::{
    Ending,
    numbering::{Numbering, Numbers, Probe},
    operation::{KnownTopic, Obstacle, Operations, Translated},
    outcome,
    status::Failure,
};
use crate::clock;

/// Batches of one stream that wait for the disk while the next one is read.
const BATCHES_IN_FLIGHT_MAX: usize = 64;

/// How often a stream looks whether the log has room for its next batch.
const ROOM_POLL: Duration = Duration::from_millis(1);

/// Serves one stream.
pub(crate) fn run(
    log: Log,
    operations: Operations,
    requests: Streaming<stored::PublishRequest>,
    ending: Ending,
) -> impl Stream<Item = Result<stored::PublishResponse, Status>> {
    let (batches, submitted) = mpsc::channel(BATCHES_IN_FLIGHT_MAX);
    let in_flight_bytes_high = log.in_flight_bytes_max() / 2;
    let reader = Reader {
        numbering: Arc::new(Numbering::new(log.aftermath())),
        log,
        operations,
        producer: None,
        in_flight_bytes_high,
    };
    tokio::spawn(reader.run(requests, batches, ending));
    stream::unfold(submitted, async |mut submitted| {
        let batch: Result<Batch, Failure> = submitted.recv().await?;
        let answer = match batch {
            Ok(batch) => batch.answer().await,
            Err(failure) => Err(failure.into()),
        };
        Some((answer, submitted))
    })
}

/// A batch on its way to the disk.
struct Batch {
    slots: Vec<Slot>,
    pending: Pending,
    /// It has numbered sends.
    numbered: Option<(Arc<Numbering>, Probe)>,
}

/// Where the answer to one operation comes from.
enum Slot {
    /// The next outcome of the log.
    Log,
    /// It was refused here.
    Refused(Failure),
    /// It was refused here; the next outcome of the log is that of its skipped sequence.
    Skipped(Failure),
}

impl Batch {
    async fn answer(self) -> Result<stored::PublishResponse, Status> {
        let outcomes = self.pending.await.map_err(Failure::from)?;
        if let Some((numbering, probe)) = self.numbered {
            numbering.applied(probe, &outcomes);
        }
        let mut from_log = outcomes.into_iter();
        let mut outcomes = Vec::with_capacity(self.slots.len());
        for slot in self.slots {
            outcomes.push(match slot {
                Slot::Refused(failure) => outcome::failure(failure),
                Slot::Skipped(failure) => skipped(failure, from_log.next()),
                Slot::Log => match from_log.next() {
                    Some(outcome) => outcome::message(outcome),
                    None => outcome::failure(super::refusal::unexpected(None)),
                },
            });
        }
        Ok(stored::PublishResponse { outcomes })
    }
}

/// The answer to a numbered operation that was refused here, after the log has skipped its
/// number. The log knows more when the number was not new: a repetition may be refused of
/// what was stored the first time, and a client whose numbers are no longer known has to
/// number this operation again with the others.
fn skipped(failure: Failure, skip: Option<Outcome>) -> stored::Outcome {
    match skip {
        None | Some(Outcome::Applied | Outcome::Refused(Refusal::RefusedBefore { .. })) => {
            outcome::failure(failure)
        }
        Some(other) => outcome::message(other),
    }
}

struct Reader {
    log: Log,
    operations: Operations,
    producer: Option<(u128, u32)>,
    numbering: Arc<Numbering>,
    in_flight_bytes_high: u64,
}

impl Reader {
    async fn run(
        mut self,
        mut requests: Streaming<stored::PublishRequest>,
        batches: mpsc::Sender<Result<Batch, Failure>>,
        mut ending: Ending,
    ) {
        loop {
            let request = tokio::select! {
                request = requests.message() => request,
                why = ending.ended() => {
                    // What was taken is answered before this; the client repeats the rest.
                    let _ = batches.send(Err(why)).await;
                    return;
                }
            };
            // A broken stream needs no answer: the client repeats what was not answered.
            let Ok(Some(request)) = request else {
                return;
            };
            let batch = self.batch(request).await;
            let last = batch.is_err();
            if batches.send(batch).await.is_err() || last {
                return;
            }
        }
    }

    async fn batch(&mut self, request: stored::PublishRequest) -> Result<Batch, Failure> {
        if let Some(producer) = &request.producer {
            self.producer = Some(identity(producer)?);
        }
        let count = request.operations.len();
        if count > BATCH_COUNT_MAX {
            return Err(too_many_operations(count));
        }
        let mut translation = Translation {
            numbers: Numbers::of(self.producer, &request)?,
            slots: Vec::with_capacity(count),
            commands: Vec::with_capacity(count),
            durability: Durability::Accepted,
            numbered: false,
        };
        let mut known = KnownTopic::default();
        for operation in request.operations {
            self.translate(operation, &mut known, &mut translation)
                .await?;
        }
        self.wait_for_room().await;
        self.submit(translation)
    }

    fn submit(&self, translation: Translation) -> Result<Batch, Failure> {
        let Translation {
            slots,
            commands,
            mut durability,
            numbered,
            ..
        } = translation;
        let numbered = numbered.then(|| {
            let now_ms = clock::now_ms();
            if !self.numbering.is_known(now_ms) {
                durability = Durability::Synced;
            }
            let probe = self.numbering.submitting(now_ms);
            (Arc::clone(&self.numbering), probe)
        });
        let aftermath = self.numbering.aftermath();
        Ok(Batch {
            slots,
            pending: self.log.submit_at(commands, durability, aftermath)?,
            numbered,
        })
    }

    /// A stream is not refused when the log is busy: it is read more slowly. When several
    /// streams rush in at once one may be refused all the same; its client repeats.
    async fn wait_for_room(&self) {
        while self.log.in_flight_bytes() > self.in_flight_bytes_high {
            tokio::time::sleep(ROOM_POLL).await;
        }
    }

    async fn translate(
        &self,
        operation: stored::Operation,
        known: &mut KnownTopic,
        translation: &mut Translation,
    ) -> Result<(), Failure> {
        let Some(kind) = operation.kind else {
            let failure = Failure::invalid(
                "NO_OPERATION",
                "operations.kind",
                "not set",
                "one operation",
            );
            translation.slots.push(Slot::Refused(failure));
            return Ok(());
        };
        let sequence = match kind {
            stored::operation::Kind::Send(_) => translation.next_sequence(),
            stored::operation::Kind::Prepare(_) | stored::operation::Kind::Resolve(_) => None,
        };
        let durability = operation.durability;
        match self.operations.command(&kind, durability, sequence, known) {
            Ok(translated) => translation.command(translated),
            Err(Obstacle::Failure(failure)) => translation.refused(failure, sequence),
            Err(Obstacle::NoTopic(_)) => {
                match self
                    .operations
                    .command_creating_topics(&kind, durability, sequence, known)
                    .await
                {
                    Ok(translated) => translation.command(translated),
                    // No fault of the operation: the client repeats it with all that follows.
                    Err(failure) if failure.code == Code::Unavailable => return Err(failure),
                    Err(failure) => translation.refused(failure, sequence),
                }
            }
        }
        Ok(())
    }
}

/// A batch while it is being translated.
struct Translation {
    numbers: Numbers,
    slots: Vec<Slot>,
    commands: Vec<Command>,
    /// The highest level that one of the operations is answered at.
    durability: Durability,
    numbered: bool,
}

impl Translation {
    fn next_sequence(&mut self) -> Option<ProducerSequence> {
        let sequence = self.numbers.next()?;
        self.numbered = true;
        Some(sequence)
    }

    fn command(&mut self, translated: Translated) {
        self.slots.push(Slot::Log);
        self.commands.push(translated.command);
        self.durability = self.durability.max(translated.durability);
    }

    /// The log counts a refused operation as well; otherwise the next one would look as
    /// if something before it had been lost.
    fn refused(&mut self, failure: Failure, sequence: Option<ProducerSequence>) {
        match sequence {
            None => self.slots.push(Slot::Refused(failure)),
            Some(sequence) => {
                // What the log says to a skipped number is a part of the answer.
                self.durability = Durability::Synced;
                self.slots.push(Slot::Skipped(failure));
                self.commands.push(Command::SkipSequence(sequence));
            }
        }
    }
}

/// A request has more operations than a batch may have.
pub(crate) fn too_many_operations(count: usize) -> Failure {
    let limit = format_args!("at most {BATCH_COUNT_MAX}");
    Failure::invalid("TOO_MANY_OPERATIONS", "operations", count, limit)
}

fn identity(producer: &stored::ProducerIdentity) -> Result<(u128, u32), Failure> {
    let id = uuid::Uuid::parse_str(&producer.producer_id).map_err(|_| {
        Failure::invalid(
            "ILLEGAL_PRODUCER_ID",
            "producer_id",
            &producer.producer_id,
            "a UUID",
        )
    })?;
    Ok((id.as_u128(), producer.epoch))
}
