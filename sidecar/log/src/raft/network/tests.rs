//! Frames: what was written is read, and nothing else is.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::entry::EntryPayload;
use openraft::raft::{
    StreamAppendError, TransferLeaderError, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{Membership, Vote};
use proptest::prelude::*;

use super::append::{
    Request, asks_for_receipt, decode_answer, decode_receipt, decode_request, encode_answer,
    encode_receipt, encode_request,
};
use super::call::{Answer, Question};
use super::frame::FrameError;
use crate::cluster::Member;
use crate::raft::LogId;
use crate::raft::types::{LeaderId, Proposal};

type Entry = openraft::Entry<crate::raft::types::LeaderTerm, Payload>;
type Payload = EntryPayload<Proposal, u64, Member>;

const FROM: u64 = 3;

fn id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

fn vote(term: u64, node: u64, committed: bool) -> Vote<LeaderId> {
    let leader_id = LeaderId {
        term,
        voted_for: node,
    };
    Vote {
        leader_id,
        committed,
    }
}

fn request() -> Request {
    let entry = |term, index, payload| Entry {
        log_id: id(term, index),
        payload,
    };
    let body = |text: &'static str| EntryPayload::Normal(Proposal::new(Bytes::from(text)));
    let member = Member {
        address: "a:1".to_owned(),
        edge: "a:2".to_owned(),
        instance: 7,
    };
    let members = Membership::new(vec![[1].into()], BTreeMap::from([(1, member)])).unwrap();
    Request {
        vote: vote(9, FROM, true),
        prev_log_id: Some(id(7, 300)),
        leader_commit: Some(id(7, 299)),
        entries: vec![
            entry(7, 301, body("first")),
            entry(8, 302, EntryPayload::Blank),
            entry(8, 303, body("")),
            entry(9, 304, EntryPayload::Membership(members)),
        ],
    }
}

fn heartbeat() -> Request {
    Request {
        prev_log_id: None,
        leader_commit: None,
        entries: Vec::new(),
        ..request()
    }
}

fn questions() -> Vec<Question> {
    let request = |last, transfer| VoteRequest {
        vote: vote(9, FROM, false),
        last_log_id: last,
        leadership_transfer: transfer,
    };
    let last = Some(id(u64::MAX, u64::MAX));
    vec![
        Question::Vote(request(last, true)),
        Question::PreVote(request(None, false)),
        Question::Transfer(TransferLeaderRequest::new(vote(9, FROM, true), 2, last)),
        Question::ReadIndex,
    ]
}

fn answers() -> Vec<Answer> {
    let last = Some(id(4, 5));
    vec![
        Answer::Vote(VoteResponse::new(vote(9, 1, true), last, true)),
        Answer::Vote(VoteResponse::new(vote(0, 0, false), None, false)),
        Answer::Transfer(Ok(())),
        Answer::Transfer(Err(TransferLeaderError::VoteChanged {
            expected: vote(1, 2, true),
            actual: vote(3, 4, false),
        })),
        Answer::Transfer(Err(TransferLeaderError::LogNotFlushed {
            expected: last,
            actual: None,
        })),
        Answer::ReadIndex(id(4, 5)),
        Answer::NotLeader(None),
        Answer::NotLeader(Some(2)),
    ]
}

fn same(one: &Request, other: &Request) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

#[test]
fn what_was_written_is_read() {
    for request in [request(), heartbeat()] {
        let read = decode_request(&encode_request(&request, false), FROM).unwrap();
        assert!(same(&read, &request), "{read:?}");
    }
    for question in questions() {
        assert_eq!(Question::decode(&question.encode(), FROM), Ok(question));
    }
    for answer in answers() {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
    let (prev, last) = (Some(id(1, 2)), Some(id(3, 4)));
    for answer in [
        Ok(last),
        Err(StreamAppendError::Conflict(id(1, 2))),
        Err(StreamAppendError::HigherVote(vote(5, 6, true))),
    ] {
        assert_eq!(
            decode_answer(&encode_answer(&answer), prev, last),
            Ok(answer)
        );
    }
}

#[test]
fn bodies_stay_in_the_frame() {
    let frame = encode_request(&request(), false);
    let read = decode_request(&frame, FROM).unwrap();
    let EntryPayload::Normal(proposal) = &read.entries[0].payload else {
        panic!("{read:?}");
    };
    assert!(frame.as_ptr_range().contains(&proposal.body.as_ptr()));
}

#[test]
fn a_frame_that_was_cut_is_refused() {
    let frame = encode_request(&request(), false);
    for end in 0..frame.len() {
        assert!(decode_request(&frame.slice(..end), FROM).is_err(), "{end}");
    }
    for question in questions() {
        let frame = question.encode();
        for end in 0..frame.len() {
            assert!(Question::decode(&frame.slice(..end), FROM).is_err());
        }
    }
}

#[test]
fn nobody_speaks_for_another_node_and_entries_follow_each_other() {
    let impostor = FrameError::Impostor {
        claimed: FROM,
        from: 4,
    };
    let refused = decode_request(&encode_request(&request(), false), 4).unwrap_err();
    assert_eq!(refused, impostor);
    for question in questions() {
        if question != Question::ReadIndex {
            assert_eq!(
                Question::decode(&question.encode(), 4),
                Err(impostor.clone())
            );
        }
    }
    let mut backwards = request();
    backwards.entries[1].log_id = id(6, 302);
    let refused = decode_request(&encode_request(&backwards, false), FROM).unwrap_err();
    assert_eq!(
        refused,
        FrameError::Order {
            term: 6,
            index: 302
        }
    );
    let mut early = request();
    early.entries[3].log_id = id(10, 304);
    let refused = decode_request(&encode_request(&early, false), FROM).unwrap_err();
    assert_eq!(
        refused,
        FrameError::Order {
            term: 10,
            index: 304
        }
    );
    let mut frame = encode_request(&request(), false).to_vec();
    frame[0] = 2;
    assert!(decode_request(&frame.into(), FROM).is_err());
}

proptest! {
    #[test]
    fn garbage_is_an_error_and_nothing_worse(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in any::<u8>(),
        at in any::<proptest::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let mut begun = vec![1, kind];
        begun.extend(&bytes);
        let mut damaged = encode_request(&request(), false).to_vec();
        let at = at.index(damaged.len());
        damaged[at] ^= flip;
        for frame in [Bytes::from(bytes), begun.into(), damaged.into()] {
            let _ = decode_request(&frame, FROM);
            let _ = Question::decode(&frame, FROM);
            let _ = Answer::decode(&frame);
            let _ = decode_answer(&frame, None, None);
        }
    }
}

#[test]
fn a_receipt_is_no_answer_and_no_answer_is_a_receipt() {
    for upto in [id(4, 5), id(u64::MAX, u64::MAX)] {
        let receipt = encode_receipt(upto);
        assert_eq!(decode_receipt(&receipt), Ok(Some(upto)));
        assert!(decode_answer(&receipt, None, None).is_err());
        assert!(decode_receipt(&receipt.slice(..receipt.len() - 1)).is_err());
    }
    let answers = [
        Ok(Some(id(1, 2))),
        Err(StreamAppendError::Conflict(id(1, 1))),
        Err(StreamAppendError::HigherVote(vote(7, 2, true))),
    ];
    for answer in answers {
        assert_eq!(decode_receipt(&encode_answer(&answer)), Ok(None));
    }
}

#[test]
fn a_request_says_whether_it_asks_for_a_receipt() {
    for asking in [false, true] {
        let frame = encode_request(&request(), asking);
        assert_eq!(asks_for_receipt(&frame), asking);
        let read = decode_request(&frame, FROM).unwrap();
        assert!(same(&read, &request()), "{read:?}");
    }
}
