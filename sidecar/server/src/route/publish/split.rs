//! From one request of a client to a part for each data group.

use bytes::{BufMut as _, Bytes, BytesMut};
use outrigger_core::{limits::BATCH_COUNT_MAX, placement::Placement};
use prost::encoding::uint64;

use super::plan::Plan;
use crate::{
    edge::{status::Failure, too_many_operations},
    forward::Framed,
    route::{
        fields::{Fields, Malformed, Value},
        home,
    },
};

/// Fields of `PublishRequest`.
const PRODUCER: u32 = 1;
const FIRST_SEQUENCE: u32 = 2;
const OPERATIONS: u32 = 3;
const SEQUENCES: u32 = 4;
const AFTER: u32 = 5;
/// Fields of `Operation`.
const SEND: u32 = 1;
const PREPARE: u32 = 2;
const RESOLVE: u32 = 3;

/// Where an operation goes that is none: it is refused there.
const NOWHERE: u32 = 0;

/// Splits up the requests of one stream, in their order.
#[derive(Debug)]
pub(super) struct Splitter {
    placement: Placement,
    /// Who sends, as the latest request that says so has it.
    producer: Option<Bytes>,
    /// The number that the next send should have.
    next: Option<u64>,
    groups: Vec<Known>,
}

/// What the stream of one data group knows.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Who sends.
    producer: bool,
    /// The last number that it was sent; 0 for none.
    last: u64,
}

/// What goes out for one request.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) parts: Vec<(u32, Framed)>,
    pub(super) plan: Plan,
}

/// A request, cut into its fields.
#[derive(Debug, Default)]
struct Request {
    producer: BytesMut,
    first_sequence: u64,
    operations: Vec<Operation>,
    /// What newer clients may say.
    rest: BytesMut,
    /// It has fields that only processes set among each other.
    oversteps: bool,
}

#[derive(Debug)]
struct Operation {
    group: u32,
    /// It is a plain send.
    sends: bool,
    whole: Bytes,
}

impl Splitter {
    pub(super) fn new(placement: Placement) -> Self {
        let groups = placement.groups() as usize;
        Self {
            placement,
            producer: None,
            next: None,
            groups: vec![Known::default(); groups],
        }
    }

    /// The parts of the next request.
    ///
    /// # Errors
    ///
    /// When it has too many operations.
    pub(super) fn split(&mut self, message: &Framed, content: &Bytes) -> Result<Split, Failure> {
        let Ok(request) = Request::read(content, &self.placement) else {
            // Whoever decodes it says what is wrong, and ends the stream.
            return Ok(Split {
                parts: vec![(NOWHERE, message.clone())],
                plan: Plan::One(NOWHERE),
            });
        };
        let count = request.operations.len();
        if count > BATCH_COUNT_MAX {
            return Err(too_many_operations(count));
        }
        self.introduce(&request);
        self.expect(&request);
        let order: Vec<u32> = request.operations.iter().map(|one| one.group).collect();
        let plan = Plan::new(order);
        let mut parts = Vec::new();
        for group in plan.groups() {
            let part = match &plan {
                Plan::One(_) if !request.oversteps => self.alone(group, &request, message, content),
                _ => self.part(group, &request),
            };
            parts.push((group, part));
        }
        Ok(Split { parts, plan })
    }

    /// Another producer, or another epoch of it, starts to count anew.
    fn introduce(&mut self, request: &Request) {
        let is_new = self.producer.as_deref() != Some(&*request.producer);
        if !request.producer.is_empty() && is_new {
            self.producer = Some(request.producer.clone().freeze());
            self.next = None;
            self.groups.fill(Known::default());
        }
    }

    /// Looks at the number of the first send. A stream that goes back begins anew from there.
    /// One that leaves numbers out has lost something: no data group shall take what follows.
    fn expect(&mut self, request: &Request) {
        let sends = request.operations.iter().filter(|one| one.sends).count() as u64;
        if self.producer.is_none() || sends == 0 {
            return;
        }
        let first = request.first_sequence;
        for known in &mut self.groups {
            match self.next {
                Some(next) if first > next => known.last = first.saturating_sub(1),
                Some(_) if known.last >= first => known.last = 0,
                Some(_) | None => {}
            }
        }
        self.next = Some(first.saturating_add(sends));
    }

    /// Of a request that is for one data group: all of it, with what it lacks.
    fn alone(
        &mut self,
        group: u32,
        request: &Request,
        message: &Framed,
        content: &Bytes,
    ) -> Framed {
        let mut before = BytesMut::new();
        let mut after = BytesMut::new();
        let sends = request.operations.iter().filter(|one| one.sends).count() as u64;
        let first = request.first_sequence;
        let names_producer = !request.producer.is_empty();
        if let Some(known) = self.groups.get_mut(group as usize)
            && let Some(producer) = &self.producer
        {
            if !std::mem::replace(&mut known.producer, true) && !names_producer {
                before.put_slice(producer);
            }
            if sends > 0 {
                known.write_after(first, &mut after);
                known.last = first.saturating_add(sends - 1);
            }
        }
        if before.is_empty() && after.is_empty() {
            return message.clone();
        }
        Framed::new(&[before.freeze(), content.clone(), after.freeze()])
    }

    /// The part of a request that is for this data group.
    fn part(&mut self, group: u32, request: &Request) -> Framed {
        let mut head = BytesMut::new();
        let mut operations = Vec::new();
        let mut sequences = Vec::new();
        let mut sequence = request.first_sequence;
        for operation in &request.operations {
            if operation.group == group {
                operations.push(operation.whole.clone());
                if operation.sends {
                    sequences.push(sequence);
                }
            }
            sequence = sequence.saturating_add(u64::from(operation.sends));
        }
        if let Some(known) = self.groups.get_mut(group as usize)
            && let Some(producer) = &self.producer
        {
            if !std::mem::replace(&mut known.producer, true) {
                head.put_slice(producer);
            }
            if let (Some(first), Some(last)) = (sequences.first(), sequences.last()) {
                if last - first < sequences.len() as u64 {
                    uint64::encode(FIRST_SEQUENCE, first, &mut head);
                } else {
                    uint64::encode_packed(SEQUENCES, &sequences, &mut head);
                }
                known.write_after(*first, &mut head);
                known.last = *last;
            }
        }
        operations.insert(0, head.freeze());
        operations.push(request.rest.clone().freeze());
        Framed::new(&operations)
    }
}

impl Known {
    /// Which number went before `first`, unless it is the one before it, as it is taken to be.
    fn write_after(&self, first: u64, to: &mut BytesMut) {
        if first != self.last.saturating_add(1) {
            uint64::encode(AFTER, &self.last, to);
        }
    }
}

impl Request {
    fn read(content: &Bytes, placement: &Placement) -> Result<Self, Malformed> {
        let mut request = Self::default();
        for field in Fields::of(content) {
            let field = field?;
            match (field.number, field.value) {
                (PRODUCER, Value::Content(_)) => request.producer.put_slice(&field.whole),
                (FIRST_SEQUENCE, Value::Varint(sequence)) => request.first_sequence = sequence,
                (OPERATIONS, Value::Content(operation)) => {
                    request.operations.push(Operation {
                        whole: field.whole,
                        ..Operation::read(&operation, placement)?
                    });
                }
                (SEQUENCES | AFTER, _) => request.oversteps = true,
                _ => request.rest.put_slice(&field.whole),
            }
        }
        Ok(request)
    }
}

impl Operation {
    /// Of a `oneof` the last field that is set counts.
    fn read(operation: &Bytes, placement: &Placement) -> Result<Self, Malformed> {
        let (mut group, mut sends) = (NOWHERE, false);
        for field in Fields::of(operation) {
            let field = field?;
            let Value::Content(content) = field.value else {
                continue;
            };
            match field.number {
                SEND => (group, sends) = (home::of_message(&content, placement), true),
                PREPARE | RESOLVE => {
                    let id = crate::route::fields::content(&content, 1).unwrap_or_default();
                    (group, sends) = (home::of_transaction(&id, placement), false);
                }
                _ => {}
            }
        }
        Ok(Self {
            group,
            sends,
            whole: Bytes::new(),
        })
    }
}
