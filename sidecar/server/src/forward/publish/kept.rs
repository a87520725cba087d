use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    frames::Message,
    scan::{Scanned, scan},
};

/// The requests of one Publish stream that were not answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    requests: VecDeque<Request>,
    bytes: usize,
    /// Requests at the front that went out on the present stream.
    sent: usize,
    /// Whether anything went out on the present stream yet.
    begun: bool,
    /// Who sends, as the latest request that says so has it.
    producer: Option<Bytes>,
}

#[derive(Debug)]
struct Request {
    message: Message,
    names_producer: bool,
    producer: Option<Bytes>,
    sends: bool,
    /// It went out, on this stream or on an earlier one.
    tried: bool,
}

impl Kept {
    pub(super) fn push(&mut self, message: Message) {
        let Scanned { producer, sends } = match message.content() {
            Some(content) => scan(&content),
            None => Scanned {
                producer: None,
                sends: true,
            },
        };
        let names_producer = producer.is_some();
        if names_producer {
            self.producer = producer;
        }
        self.bytes += message.framed.len();
        self.requests.push_back(Request {
            message,
            names_producer,
            producer: self.producer.clone(),
            sends,
            tried: false,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn has_room(&self, requests_max: usize, bytes_max: usize) -> bool {
        self.requests.len() < requests_max && self.bytes < bytes_max
    }

    /// Whether there is something to send on the present stream.
    pub(super) fn has_next(&self) -> bool {
        self.sent < self.requests.len()
    }

    /// The next message to send. The first one of a stream says who sends.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let request = self.requests.get_mut(self.sent)?;
        request.tried = true;
        let named = match &request.producer {
            Some(producer) if !self.begun && !request.names_producer => {
                request.message.with_field(producer)
            }
            _ => None,
        };
        self.sent += 1;
        self.begun = true;
        Some(named.unwrap_or_else(|| request.message.clone()).framed)
    }

    /// The oldest one is answered; false when there is none that could be.
    pub(super) fn answered(&mut self) -> bool {
        if self.sent == 0 {
            return false;
        }
        let Some(request) = self.requests.pop_front() else {
            return false;
        };
        self.sent -= 1;
        self.bytes = self.bytes.saturating_sub(request.message.framed.len());
        true
    }

    /// A new stream begins, with the oldest one.
    pub(super) fn start_over(&mut self) {
        self.sent = 0;
        self.begun = false;
    }

    /// Whether everything that went out may go out again without being stored twice.
    pub(super) fn may_repeat(&self) -> bool {
        let tried = self.requests.iter().take_while(|request| request.tried);
        tried
            .into_iter()
            .all(|request| !request.sends || request.producer.is_some())
    }

    /// Whether something went out and was not answered.
    pub(super) fn has_tried(&self) -> bool {
        self.requests.front().is_some_and(|request| request.tried)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::frames::Frames, *};

    fn message(content: &[u8]) -> Message {
        let mut frames = Frames::new(100);
        let length = u32::try_from(content.len()).expect("short").to_be_bytes();
        frames.push(&Bytes::from([&[0], &length[..], content].concat()));
        frames.next().expect("not too long").expect("complete")
    }

    #[test]
    fn room_is_bounded_by_number_and_by_bytes() {
        let mut kept = Kept::default();
        assert!(kept.has_room(1, 1));
        kept.push(message(b"\x10\x07"));
        assert!(!kept.has_room(1, 100));
        assert!(!kept.has_room(100, 7));
        assert!(kept.has_room(2, 8));
        assert!(!kept.answered(), "it was not even sent");
        kept.next().expect("one to send");
        assert!(kept.answered());
        assert!(kept.has_room(1, 1));
    }

    #[test]
    fn every_stream_begins_with_who_sends() {
        let identity = b"\x0a\x02\x0a\x00";
        let send = b"\x1a\x02\x0a\x00";
        let mut kept = Kept::default();
        kept.push(message(identity));
        kept.push(message(send));
        kept.push(message(send));
        assert_eq!(kept.next(), Some(message(identity).framed));
        assert_eq!(kept.next(), Some(message(send).framed));
        assert!(kept.answered());
        kept.start_over();
        assert_eq!(
            kept.next(),
            Some(message(&[&identity[..], send].concat()).framed)
        );
        assert_eq!(kept.next(), Some(message(send).framed));
        assert_eq!(kept.next(), None);
        assert!(kept.may_repeat());
    }
}
