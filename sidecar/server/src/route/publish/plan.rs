use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tonic::Code;

use crate::{
    edge::status::Failure,
    forward::Framed,
    route::fields::{Field, Fields},
};

/// The field `outcomes` of `PublishResponse`.
const OUTCOMES: u32 = 1;

/// How the answer to a request is put together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It has no operations.
    Nothing,
    /// It is the answer of this data group.
    One(u32),
    /// The next outcome of each of these data groups, in this order.
    Several(Vec<u32>),
}

impl Plan {
    /// For operations that are for these data groups, in this order.
    pub(super) fn new(order: Vec<u32>) -> Self {
        match order.first() {
            None => Self::Nothing,
            Some(first) if order.iter().all(|group| group == first) => Self::One(*first),
            Some(_) => Self::Several(order),
        }
    }

    /// Who has a part in it.
    pub(super) fn groups(&self) -> BTreeSet<u32> {
        match self {
            Self::Nothing => BTreeSet::new(),
            Self::One(group) => BTreeSet::from([*group]),
            Self::Several(order) => order.iter().copied().collect(),
        }
    }
}

/// Puts the outcomes of several data groups into the order of the operations.
pub(super) fn merge(order: &[u32], answers: &BTreeMap<u32, Bytes>) -> Result<Framed, Failure> {
    let outcomes = |answer| {
        Fields::of(answer)
            .filter(|field| !matches!(field, Ok(Field { number, .. }) if *number != OUTCOMES))
    };
    let mut outcomes: BTreeMap<u32, _> = answers
        .iter()
        .map(|(group, answer)| (*group, outcomes(answer)))
        .collect();
    let mut merged = Vec::with_capacity(order.len());
    for group in order {
        let next = outcomes.get_mut(group).and_then(Iterator::next);
        let Some(Ok(outcome)) = next else {
            return Err(mismatch(*group));
        };
        merged.push(outcome.whole);
    }
    for (group, mut rest) in outcomes {
        if rest.next().is_some() {
            return Err(mismatch(group));
        }
    }
    Ok(Framed::new(&merged))
}

fn mismatch(group: u32) -> Failure {
    let message = format!("data group {group} gave another number of outcomes than operations");
    Failure::new(Code::Internal, "UNEXPECTED_OUTCOME", message)
}
