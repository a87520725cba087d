//! Which operations of which producer were done.
//!
//! One number per producer is enough: everything up to the high-water mark was consumed, and
//! what is above it is new. A refused operation consumes its number as well; those numbers are
//! kept, because the repetition of one must not be taken for a message that was stored.
//!
//! Nothing may be left out below the mark, or it would be taken for a repetition when it comes.
//! A producer counts all that it sends, to whichever data group, so the next number here is not
//! always one more. Each operation says which one its stream has sent here before it, and is
//! new only when that one was consumed. The first one that a stream sends here comes after
//! nothing: a producer begins a stream with its first operation that has no answer, or that was
//! answered with a gap, and sends everything from there on in order. So all that it had for
//! this data group before has been consumed. A gap consumes nothing: who goes on after one
//! without the operation that it was answered to gives that one up.

use std::collections::{BTreeSet, HashMap};

use roaring::RoaringTreemap;

use super::Limits;
use crate::command::{ProducerSequence, Refusal};

/// How exactly it is known when a producer was last heard of.
const SEEN_STEP_MS: u64 = 60 * 1_000;
/// When there are too many producers, one that was silent for so long makes room.
const EVICT_IDLE_MS: u64 = 10 * 60 * 1_000;
/// Over how many of a producer's last numbers it is known which ones were refused: what a
/// client may have under way without an answer, several times over. A bitmap of 8 KiB.
const REFUSED_SPAN: u64 = 1 << 16;

/// What is remembered of a producer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Producer {
    pub(crate) epoch: u32,
    /// The last sequence number that was consumed.
    pub(crate) high_water: u64,
    /// When it was last heard of, in steps of [`SEEN_STEP_MS`].
    pub(crate) seen_step: u64,
    /// The consumed numbers whose operations were refused, the latest ones.
    pub(crate) refused: RoaringTreemap,
}

/// Whether an operation may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    New,
    Duplicate,
    Refused(Refusal),
}

/// All producers.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    all: HashMap<u128, Producer>,
    by_age: BTreeSet<(u64, u128)>,
    /// Changed since the last checkpoint.
    dirty: BTreeSet<u128>,
}

impl Producers {
    /// Consumes the sequence number when nothing is missing before it.
    pub(crate) fn admit(
        &mut self,
        sequence: &ProducerSequence,
        stamp_ms: u64,
        limits: &Limits,
    ) -> Admission {
        let known = self.all.get(&sequence.producer);
        let high_water = match known {
            Some(known) if sequence.epoch < known.epoch => {
                return Admission::Refused(Refusal::StaleEpoch {
                    epoch: sequence.epoch,
                    current: known.epoch,
                });
            }
            Some(known) if sequence.epoch == known.epoch => {
                if known.refused.contains(sequence.sequence) {
                    self.heard_of(sequence.producer, stamp_ms);
                    let sequence = sequence.sequence;
                    return Admission::Refused(Refusal::RefusedBefore { sequence });
                }
                known.high_water
            }
            Some(_) | None => 0,
        };
        if sequence.sequence <= high_water {
            self.heard_of(sequence.producer, stamp_ms);
            return Admission::Duplicate;
        }
        if high_water < sequence.after {
            return Admission::Refused(Refusal::SequenceGap {
                expected: high_water.saturating_add(1),
                got: sequence.sequence,
            });
        }
        if known.is_none() && !self.make_room(stamp_ms, limits) {
            return Admission::Refused(Refusal::TooManyProducers {
                limit: limits.producers_max,
            });
        }
        let mut refused = match self.all.get_mut(&sequence.producer) {
            Some(known) if known.epoch == sequence.epoch => std::mem::take(&mut known.refused),
            Some(_) | None => RoaringTreemap::new(),
        };
        if !refused.is_empty() {
            refused.remove_range(..sequence.sequence.saturating_sub(REFUSED_SPAN));
        }
        let producer = Producer {
            epoch: sequence.epoch,
            high_water: sequence.sequence,
            seen_step: stamp_ms / SEEN_STEP_MS,
            refused,
        };
        self.restore(sequence.producer, producer);
        self.dirty.insert(sequence.producer);
        Admission::New
    }

    /// Remembers that the operation of a consumed number was refused.
    pub(crate) fn refuse(&mut self, sequence: &ProducerSequence) {
        if let Some(known) = self.all.get_mut(&sequence.producer)
            && known.epoch == sequence.epoch
        {
            known.refused.insert(sequence.sequence);
            self.dirty.insert(sequence.producer);
        }
    }

    /// A producer that repeats itself is not idle.
    fn heard_of(&mut self, id: u128, stamp_ms: u64) {
        let seen_step = stamp_ms / SEEN_STEP_MS;
        if let Some(known) = self.all.get(&id)
            && known.seen_step != seen_step
        {
            let known = known.clone();
            self.restore(id, Producer { seen_step, ..known });
            self.dirty.insert(id);
        }
    }

    /// Forgets who was silent for too long.
    pub(crate) fn expire(&mut self, stamp_ms: u64, limits: &Limits) {
        let before = stamp_ms.saturating_sub(limits.producer_idle_ms) / SEEN_STEP_MS;
        while let Some(&(seen_step, producer)) = self.by_age.first()
            && seen_step < before
        {
            self.forget(seen_step, producer);
        }
    }

    fn make_room(&mut self, stamp_ms: u64, limits: &Limits) -> bool {
        if (self.all.len() as u64) < limits.producers_max {
            return true;
        }
        let before = stamp_ms.saturating_sub(EVICT_IDLE_MS) / SEEN_STEP_MS;
        match self.by_age.first() {
            Some(&(seen_step, producer)) if seen_step < before => {
                self.forget(seen_step, producer);
                true
            }
            Some(_) | None => false,
        }
    }

    fn forget(&mut self, seen_step: u64, producer: u128) {
        self.by_age.remove(&(seen_step, producer));
        self.all.remove(&producer);
        self.dirty.insert(producer);
    }

    /// Puts a producer in as it was.
    pub(crate) fn restore(&mut self, id: u128, producer: Producer) {
        let seen_step = producer.seen_step;
        let before = self.all.insert(id, producer).map(|before| before.seen_step);
        if before != Some(seen_step) {
            if let Some(before) = before {
                self.by_age.remove(&(before, id));
            }
            self.by_age.insert((seen_step, id));
        }
    }

    /// What changed since the last checkpoint; nothing where the producer is forgotten.
    pub(crate) fn take_dirty(&mut self) -> Vec<(u128, Option<Producer>)> {
        let dirty = std::mem::take(&mut self.dirty);
        let now = |id| (id, self.all.get(&id).cloned());
        dirty.into_iter().map(now).collect()
    }

    /// A checkpoint could not be written: what it took is still to be written.
    pub(crate) fn put_back(&mut self, dirty: impl Iterator<Item = u128>) {
        self.dirty.extend(dirty);
    }

    /// How many records no checkpoint has taken yet.
    pub(crate) fn unwritten(&self) -> u64 {
        self.dirty.len() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Everything, in order.
    pub(crate) fn sorted(&self) -> Vec<(u128, Producer)> {
        let known = self.all.iter();
        let mut all: Vec<_> = known.map(|(&id, known)| (id, known.clone())).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}
