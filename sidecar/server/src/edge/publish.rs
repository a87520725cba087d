//! One Publish stream: batches are translated and submitted in the order of their
//! arrival, and answered in that order while later ones are already being written.

use std::time::Duration;

use futures::{Stream, stream};
use outrigger_core::limits::BATCH_COUNT_MAX;
use outrigger_log::{
    Log, Pending,
    command::{Command, Outcome, ProducerSequence, Refusal},
};
use outrigger_proto::stored;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::{
    Ending,
    operation::{KnownTopic, Obstacle, Operations},
    outcome,
    status::Failure,
};

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
        let mut from_log = self.pending.await.map_err(Failure::from)?.into_iter();
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
        if let Some(producer) = request.producer {
            self.producer = Some(identity(&producer)?);
        }
        let count = request.operations.len();
        if count > BATCH_COUNT_MAX {
            let limit = format!("at most {BATCH_COUNT_MAX}");
            return Err(Failure::invalid(
                "TOO_MANY_OPERATIONS",
                "operations",
                count,
                limit,
            ));
        }
        let mut translation = Translation {
            sequence: request.first_sequence,
            slots: Vec::with_capacity(count),
            commands: Vec::with_capacity(count),
        };
        let mut known = KnownTopic::default();
        for operation in request.operations {
            self.translate(operation, &mut known, &mut translation)
                .await?;
        }
        let Translation {
            slots, commands, ..
        } = translation;
        self.wait_for_room().await;
        Ok(Batch {
            slots,
            pending: self.log.submit(commands)?,
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
            stored::operation::Kind::Send(_) => translation.next_sequence(self.producer),
            stored::operation::Kind::Prepare(_) | stored::operation::Kind::Resolve(_) => None,
        };
        match self.operations.command(&kind, sequence, known) {
            Ok(command) => translation.command(command),
            Err(Obstacle::Failure(failure)) => translation.refused(failure, sequence),
            Err(Obstacle::NoTopic(_)) => {
                match self
                    .operations
                    .command_creating_topics(&kind, sequence, known)
                    .await
                {
                    Ok(command) => translation.command(command),
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
    sequence: u64,
    slots: Vec<Slot>,
    commands: Vec<Command>,
}

impl Translation {
    fn next_sequence(&mut self, producer: Option<(u128, u32)>) -> Option<ProducerSequence> {
        let (producer, epoch) = producer?;
        let sequence = self.sequence;
        self.sequence = self.sequence.saturating_add(1);
        Some(ProducerSequence {
            producer,
            epoch,
            sequence,
        })
    }

    fn command(&mut self, command: Command) {
        self.slots.push(Slot::Log);
        self.commands.push(command);
    }

    /// The log counts a refused operation as well; otherwise the next one would look as
    /// if something before it had been lost.
    fn refused(&mut self, failure: Failure, sequence: Option<ProducerSequence>) {
        match sequence {
            None => self.slots.push(Slot::Refused(failure)),
            Some(sequence) => {
                self.slots.push(Slot::Skipped(failure));
                self.commands.push(Command::SkipSequence(sequence));
            }
        }
    }
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
