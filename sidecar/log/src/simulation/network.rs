//! The network between the nodes: streams of frames that are late, stuck, or break.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot};
use xxhash_rust::xxh3::xxh3_64;

use super::host::Host;
use super::trace::Trace;
use crate::cluster::{Exchange, Member, OpenExchange, Purpose, Transport};

/// Frames that an end of a stream holds before it makes the other side wait.
const CHANNEL_FRAMES: usize = 64;
/// How long it takes to notice that nobody answers.
const UNNOTICED_MS: std::ops::Range<u64> = 300..2_000;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// How long a frame takes at least.
    pub delay_min_ms: u64,
    /// How long a frame takes at most, but for those that take long.
    pub delay_max_ms: u64,
    /// Frames in a thousand that take up to twenty times as long.
    pub late_permille: u32,
    /// Frames in ten thousand with which their stream breaks.
    pub break_permyriad: u32,
}

impl Weather {
    /// As inside a data centre.
    pub const FAIR: Self = Self {
        delay_min_ms: 0,
        delay_max_ms: 2,
        late_permille: 0,
        break_permyriad: 0,
    };

    fn delay_ms(self, random: &mut SmallRng) -> u64 {
        let delay_ms = random.random_range(self.delay_min_ms..=self.delay_max_ms);
        match random.random_ratio(self.late_permille.min(1_000), 1_000) {
            true => delay_ms * random.random_range(2..=20),
            false => delay_ms,
        }
    }
}

/// How a stream breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Both ends notice, and what was on its way is lost.
    Lost,
    /// The side that opened it notices; what it has sent arrives all the same, late, perhaps
    /// after the same was sent again on another stream.
    Late,
    /// The other side is gone without a word.
    Silent,
}

impl Break {
    fn any(random: &mut SmallRng) -> Self {
        match random.random_range(0..3) {
            0 => Self::Late,
            1 => Self::Silent,
            _ => Self::Lost,
        }
    }
}

struct Request {
    from: u64,
    target: u64,
    purpose: Purpose,
    answer: oneshot::Sender<io::Result<Exchange>>,
}

/// What nodes ask of the network, in order.
type Requests = Arc<Mutex<Vec<Request>>>;

/// The network as a node sees it.
struct Access {
    from: u64,
    requests: Requests,
}

impl Transport for Access {
    fn open(&self, target: u64, _member: &Member, purpose: Purpose) -> OpenExchange {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            from: self.from,
            target,
            purpose,
            answer,
        };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request);
        let unanswered = |_| io::Error::other("the network is gone");
        async move { answered.await.map_err(unanswered)? }.boxed()
    }
}

/// Frames on their way in one direction.
struct Direction {
    source: Option<mpsc::Receiver<Bytes>>,
    flight: VecDeque<(u64, Bytes)>,
    /// When the last frame arrives: none overtakes another.
    last_ms: u64,
    /// When the end of the stream arrives, once the source has ended.
    ends_at_ms: Option<u64>,
    sink: Option<mpsc::Sender<Bytes>>,
}

impl Direction {
    fn new(source: mpsc::Receiver<Bytes>, sink: mpsc::Sender<Bytes>) -> Self {
        Self {
            source: Some(source),
            flight: VecDeque::new(),
            last_ms: 0,
            ends_at_ms: None,
            sink: Some(sink),
        }
    }

    /// Takes what was sent. How many frames that were.
    fn collect(&mut self, now_ms: u64, mut delay_ms: impl FnMut() -> u64) -> u32 {
        let mut count = 0;
        while let Some(source) = &mut self.source {
            match source.try_recv() {
                Ok(frame) => {
                    self.last_ms = self.last_ms.max(now_ms + delay_ms());
                    self.flight.push_back((self.last_ms, frame));
                    count += 1;
                }
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.source = None;
                    self.ends_at_ms = Some(self.last_ms.max(now_ms + delay_ms()));
                }
            }
        }
        count
    }

    /// Hands over what has arrived. False when the stream has ended in this direction.
    fn deliver(&mut self, now_ms: u64, mut each: impl FnMut(&Bytes)) -> bool {
        let Some(sink) = &self.sink else { return false };
        while let Some((at_ms, frame)) = self.flight.front() {
            if *at_ms > now_ms {
                break;
            }
            match sink.try_send(frame.clone()) {
                Ok(()) => each(frame),
                Err(mpsc::error::TrySendError::Full(_)) => break,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
            self.flight.pop_front();
        }
        let lasts = self.ends_at_ms.is_none_or(|at_ms| at_ms > now_ms);
        (lasts || !self.flight.is_empty()) && !sink.is_closed()
    }
}

struct Stream {
    from: u64,
    to: u64,
    /// What the side that opened it sends, and what it is answered.
    there: Direction,
    back: Direction,
    /// Nobody hears the answers any more.
    unheard: bool,
    /// Nothing gets through any more, and nobody knows yet.
    dead: bool,
    /// Both ends are gone then, whatever happens before.
    gone_at_ms: Option<u64>,
}

impl Stream {
    fn has_ended(&self) -> bool {
        self.there.sink.is_none() || (self.back.sink.is_none() && !self.unheard)
    }
}

/// All streams.
pub(super) struct Network {
    requests: Requests,
    /// What is being opened, by when that is decided.
    opening: Vec<(u64, Request)>,
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    /// From whom to whom nothing gets through.
    pub(super) blocked: BTreeSet<(u64, u64)>,
    pub(super) weather: Weather,
}

impl Network {
    pub(super) fn new() -> Self {
        Self {
            requests: Requests::default(),
            opening: Vec::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            blocked: BTreeSet::new(),
            weather: Weather::FAIR,
        }
    }

    pub(super) fn access(&self, from: u64) -> Arc<dyn Transport> {
        Arc::new(Access {
            from,
            requests: Arc::clone(&self.requests),
        })
    }

    pub(super) fn is_blocked(&self, from: u64, to: u64) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// One millisecond.
    pub(super) fn step(
        &mut self,
        now_ms: u64,
        hosts: &BTreeMap<u64, Host>,
        random: &mut SmallRng,
        trace: &mut Trace,
    ) {
        self.open(now_ms, hosts, random, trace);
        let mut broken = Vec::new();
        let mut gone = Vec::new();
        for (id, stream) in &mut self.streams {
            if stream.gone_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                gone.push(*id);
                continue;
            }
            let weather = self.weather;
            let mut frames = stream.there.collect(now_ms, || weather.delay_ms(random));
            frames += stream.back.collect(now_ms, || weather.delay_ms(random));
            if stream.dead {
                stream.there.flight.clear();
            }
            if stream.dead || stream.unheard {
                stream.back.flight.clear();
            }
            let breaks = weather.break_permyriad.min(10_000);
            if (0..frames).any(|_| random.random_ratio(breaks, 10_000)) {
                broken.push(*id);
            }
            let (from, to) = (stream.from, stream.to);
            for (direction, way, is_back) in [
                (&mut stream.there, (from, to), false),
                (&mut stream.back, (to, from), true),
            ] {
                if self.blocked.contains(&way) {
                    continue;
                }
                let alive = direction.deliver(now_ms, |frame| {
                    let (hash, back) = (xxh3_64(frame), if is_back { "back " } else { "" });
                    let (from, to) = way;
                    trace.note(format_args!(
                        "frame {back}{from}->{to} stream {id} {} bytes {hash:016x}",
                        frame.len()
                    ));
                });
                if !alive {
                    direction.sink = None;
                }
            }
            if stream.has_ended() && stream.gone_at_ms.is_none() {
                stream.gone_at_ms = Some(now_ms + weather.delay_ms(random));
            }
        }
        for id in gone {
            trace.note(format_args!("stream {id} has ended"));
            self.streams.remove(&id);
        }
        for id in broken {
            let how = Break::any(random);
            self.break_stream(id, how, now_ms, random, trace);
        }
    }

    fn open(
        &mut self,
        now_ms: u64,
        hosts: &BTreeMap<u64, Host>,
        random: &mut SmallRng,
        trace: &mut Trace,
    ) {
        let requests = {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *requests)
        };
        for request in requests {
            let (from, to) = (request.from, request.target);
            let wait_ms = match self.is_blocked(from, to) || self.is_blocked(to, from) {
                true => random.random_range(UNNOTICED_MS),
                false => 2 * self.weather.delay_ms(random),
            };
            self.opening.push((now_ms + wait_ms, request));
        }
        let (due, waiting) = std::mem::take(&mut self.opening)
            .into_iter()
            .partition(|(at_ms, _)| *at_ms <= now_ms);
        self.opening = waiting;
        let due: Vec<(u64, Request)> = due;
        for (_, request) in due {
            self.connect(request, hosts, trace);
        }
    }

    fn connect(&mut self, request: Request, hosts: &BTreeMap<u64, Host>, trace: &mut Trace) {
        let Request {
            from,
            target: to,
            purpose,
            answer,
        } = request;
        let kind = purpose.kind;
        let (frames_in, frames) = mpsc::channel(CHANNEL_FRAMES);
        let blocked = self.is_blocked(from, to) || self.is_blocked(to, from);
        let served = hosts
            .get(&to)
            .filter(|_| !blocked)
            .and_then(|host| host.serve_peer(from, purpose, frames));
        let Some(answers) = served else {
            trace.note(format_args!("refused {from}->{to} {kind}"));
            // Who asked may be gone.
            let _ = answer.send(Err(io::ErrorKind::ConnectionRefused.into()));
            return;
        };
        let id = self.next_stream;
        self.next_stream += 1;
        trace.note(format_args!("stream {id} {from}->{to} {kind}"));
        let (frames_out, opened_frames) = mpsc::channel(CHANNEL_FRAMES);
        let (answers_in, opened_answers) = mpsc::channel(CHANNEL_FRAMES);
        let opened = Exchange {
            frames: frames_out,
            answers: opened_answers,
        };
        let stream = Stream {
            from,
            to,
            there: Direction::new(opened_frames, frames_in),
            back: Direction::new(answers, answers_in),
            unheard: false,
            dead: false,
            gone_at_ms: None,
        };
        if answer.send(Ok(opened)).is_ok() {
            self.streams.insert(id, stream);
        }
    }

    /// Breaks some stream, when there is any.
    pub(super) fn break_any(&mut self, now_ms: u64, random: &mut SmallRng, trace: &mut Trace) {
        let ids: Vec<u64> = self.streams.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let place = random.random_range(0..ids.len());
        if let Some(id) = ids.get(place) {
            let how = Break::any(random);
            self.break_stream(*id, how, now_ms, random, trace);
        }
    }

    fn break_stream(
        &mut self,
        id: u64,
        how: Break,
        now_ms: u64,
        random: &mut SmallRng,
        trace: &mut Trace,
    ) {
        trace.note(format_args!("stream {id} breaks: {how:?}"));
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        match how {
            Break::Lost => drop(self.streams.remove(&id)),
            Break::Silent => {
                stream.dead = true;
                stream.gone_at_ms = Some(now_ms + random.random_range(UNNOTICED_MS));
            }
            Break::Late => {
                let more_ms = random.random_range(UNNOTICED_MS);
                for (at_ms, _) in &mut stream.there.flight {
                    *at_ms += more_ms;
                }
                let last_ms = stream
                    .there
                    .flight
                    .back()
                    .map_or(now_ms, |(at_ms, _)| *at_ms);
                // The side that opened it finds both of its ends closed.
                stream.there.source = None;
                stream.there.ends_at_ms = Some(last_ms);
                stream.back.sink = None;
                stream.unheard = true;
            }
        }
    }

    /// A node is down: its streams end, at once or without a word.
    pub(super) fn lose(&mut self, node: u64, silent: bool, now_ms: u64, random: &mut SmallRng) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.retain(|request| request.from != node);
        drop(requests);
        self.opening.retain(|(_, request)| request.from != node);
        for stream in self.streams.values_mut() {
            let lost = match node {
                node if node == stream.from => &mut stream.there,
                node if node == stream.to => &mut stream.back,
                _ => continue,
            };
            if silent {
                // What it has sent is on its way; that it ended is not.
                lost.source = None;
                stream.gone_at_ms = Some(now_ms + random.random_range(UNNOTICED_MS));
            }
        }
    }
}
