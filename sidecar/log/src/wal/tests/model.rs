//! Whatever is done to a log in whatever order, after any restart it holds what a plain list
//! would hold.

use std::collections::BTreeMap;
use std::sync::mpsc;

use proptest::prelude::*;

use super::super::{EntryId, Vote, Wal};
use super::{append, entry, open};
use crate::place::Place;
use crate::wal::ReadError;

#[derive(Clone, Debug)]
enum Step {
    Append { group: u32, sizes: Vec<usize> },
    Truncate { group: u32, back: u64 },
    Purge { group: u32, share: u64 },
    Vote { group: u32, term: u64 },
    Commit { group: u32 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let group = 0..2_u32;
    let sizes = prop::collection::vec(0..700_usize, 1..6);
    prop_oneof![
        8 => (group.clone(), sizes).prop_map(|(group, sizes)| Step::Append { group, sizes }),
        1 => (group.clone(), 0..40_u64).prop_map(|(group, back)| Step::Truncate { group, back }),
        1 => (group.clone(), 0..4_u64).prop_map(|(group, share)| Step::Purge { group, share }),
        1 => (group.clone(), 1..9_u64).prop_map(|(group, term)| Step::Vote { group, term }),
        2 => group.prop_map(|group| Step::Commit { group }),
        2 => Just(Step::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    term: u64,
    purged: Option<EntryId>,
    committed: Option<EntryId>,
    vote: Option<Vote>,
    entries: BTreeMap<u64, (u64, Vec<u8>)>,
}

impl Model {
    fn last(&self) -> Option<EntryId> {
        let last = self.entries.last_key_value();
        let last = last.map(|(index, (term, _))| EntryId {
            term: *term,
            index: *index,
        });
        last.or(self.purged)
    }
}

fn run(wal: &Wal, group: u32, model: &mut Model, step: &Step) {
    match step {
        Step::Append { sizes, .. } => {
            let first = model.last().map_or(0, |last| last.index + 1);
            let mut entries = Vec::new();
            for (index, size) in (first..).zip(sizes) {
                let body = vec![(index % 251) as u8 + 1; *size];
                model.entries.insert(index, (model.term, body.clone()));
                entries.push(entry(model.term, index, body));
            }
            append(wal, group, entries).unwrap();
        }
        Step::Truncate { back, .. } => {
            let Some(last) = model.last() else { return };
            let floor = model.purged.map_or(0, |id| id.index + 1);
            let next = (last.index + 1).saturating_sub(*back).max(floor);
            model.entries.retain(|index, _| *index < next);
            wal.truncate(group, model.last()).unwrap();
            model.term += 1;
        }
        Step::Purge { share, .. } => {
            let Some(place) = model.entries.len().checked_sub(1) else {
                return;
            };
            let place = place * *share as usize / 4;
            let (index, (term, _)) = model.entries.iter().nth(place).unwrap();
            let upto = EntryId {
                term: *term,
                index: *index,
            };
            model.entries.retain(|index, _| *index > upto.index);
            model.purged = Some(upto);
            let (sender, receiver) = mpsc::channel();
            let flushed = Box::new(move |result| sender.send(result).unwrap());
            wal.purge(group, upto, flushed).unwrap();
            receiver.recv().unwrap().unwrap();
        }
        Step::Vote { term, .. } => {
            let vote = Vote {
                term: *term,
                node: 3,
                committed: term % 2 == 0,
            };
            let (sender, receiver) = mpsc::channel();
            let flushed = Box::new(move |result| sender.send(result).unwrap());
            wal.save_vote(group, vote, flushed).unwrap();
            receiver.recv().unwrap().unwrap();
            model.vote = Some(vote);
        }
        Step::Commit { .. } => {
            if let Some(last) = model.last() {
                wal.save_committed(group, last);
                model.committed = Some(last);
            }
        }
        Step::Reopen => {}
    }
}

fn check(wal: &Wal, group: u32, model: &Model) {
    assert_eq!(wal.last(group), model.last());
    assert_eq!(wal.purged(group), model.purged);
    assert_eq!(wal.vote(group), model.vote);
    assert_eq!(wal.committed(group), model.committed);
    let end = model.last().map_or(0, |last| last.index + 1);
    for index in 0..end + 2 {
        let found = wal.reader().entry(group, index).unwrap();
        let expected = model.entries.get(&index);
        let found_parts = found
            .as_ref()
            .map(|found| (found.term, found.body.to_vec()));
        assert_eq!(
            found_parts,
            expected.cloned(),
            "entry {index} of group {group}"
        );
        match expected {
            Some((_, body)) => check_parts(wal, group, index, body),
            None => check_absent(wal, group, index),
        }
    }
}

fn check_parts(wal: &Wal, group: u32, index: u64, body: &[u8]) {
    let (half, length) = (body.len() as u32 / 2, body.len() as u32);
    let place = Place {
        index,
        offset: half,
    };
    let part = wal.reader().read(group, place, length - half);
    assert_eq!(part.unwrap(), body[half as usize..]);
    let too_long = wal.reader().read(group, place, length - half + 1);
    assert!(matches!(too_long, Err(ReadError::NotFound { .. })));
}

fn check_absent(wal: &Wal, group: u32, index: u64) {
    let part = wal.reader().read(group, Place { index, offset: 0 }, 0);
    assert!(
        matches!(part, Err(ReadError::NotFound { .. })),
        "entry {index} of group {group}: {part:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_list_that_survives(steps in prop::collection::vec(step(), 1..80)) {
        let directory = tempfile::tempdir().unwrap();
        let mut wal = open(directory.path()).unwrap();
        let mut models = [Model { term: 1, ..Model::default() }, Model { term: 1, ..Model::default() }];
        for step in steps.into_iter().chain([Step::Reopen]) {
            let group = match &step {
                Step::Append { group, .. }
                | Step::Truncate { group, .. }
                | Step::Purge { group, .. }
                | Step::Vote { group, .. }
                | Step::Commit { group } => *group,
                Step::Reopen => {
                    for (group, model) in (0..).zip(&models) {
                        check(&wal, group, model);
                    }
                    wal.close();
                    wal = open(directory.path()).unwrap();
                    for (group, model) in (0..).zip(&models) {
                        check(&wal, group, model);
                    }
                    continue;
                }
            };
            run(&wal, group, &mut models[group as usize], &step);
        }
    }
}
