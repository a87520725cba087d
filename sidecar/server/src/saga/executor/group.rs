use std::collections::{BTreeSet, VecDeque};

use outrigger_core::saga::{
    event::{Event, Start},
    ledger::{Command, OwnerId},
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Options,
    handle::{Failed, Started},
    lanes::LaneKey,
    sagas::Hold,
};

/// Roughly what a command takes besides its payloads.
const COMMAND_BYTES: usize = 256;

/// What this executor has to do with one data group.
pub(super) struct Group {
    outbox: VecDeque<Item>,
    /// Batches under way.
    pub(super) batches: usize,
    pub(super) beat_at: Instant,
    pub(super) is_beating: bool,
    /// There is more to take over, or to be told, than came with the last beat.
    pub(super) more: bool,
    /// The last thing that this executor was told.
    pub(super) heard: u64,
    /// Until when this executor certainly counts as alive.
    pub(super) alive_until: Instant,
    /// Lanes with calls that wait until it does again.
    pub(super) held_up: BTreeSet<LaneKey>,
}

/// Something that goes to the log.
pub(super) enum Item {
    /// A saga that begins here, and what it does first.
    Begin {
        hold: Hold,
        start: Start,
        first: Option<Vec<Event>>,
    },
    /// A saga that begins, for whoever takes it.
    Start {
        start: Start,
        started: oneshot::Sender<Result<Started, Failed>>,
    },
    Append {
        hold: Hold,
        saga: String,
        epoch: u64,
        after: u64,
        events: Vec<Event>,
    },
}

/// What an answer is about.
pub(super) enum About {
    Begin(Hold),
    Start(oneshot::Sender<Result<Started, Failed>>),
    Append(Hold),
}

impl Group {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            outbox: VecDeque::new(),
            batches: 0,
            beat_at: now,
            is_beating: false,
            more: false,
            heard: 0,
            alive_until: now,
            held_up: BTreeSet::new(),
        }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.outbox.push_back(item);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.outbox.is_empty() && self.batches == 0
    }

    /// The next batch, if one may go. `is_wanted` says whether a saga is still held.
    pub(super) fn next_batch(
        &mut self,
        owner: OwnerId,
        options: &Options,
        mut is_wanted: impl FnMut(Hold) -> bool,
    ) -> Option<(Vec<Command>, Vec<About>)> {
        if self.batches >= options.batches_max.max(1) {
            return None;
        }
        let (mut commands, mut about, mut bytes) = (Vec::new(), Vec::new(), 0);
        // A beginning has two commands.
        while commands.len() + 1 < options.batch_commands_max.max(2)
            && bytes < options.batch_bytes_max
            && let Some(item) = self.outbox.pop_front()
        {
            bytes += item.bytes();
            match item {
                Item::Begin { hold, start, first } => {
                    let saga = start.saga.clone();
                    let owner = Some(owner);
                    commands.push(Command::Start { start, owner });
                    about.push(About::Begin(hold));
                    if let Some(events) = first {
                        let (epoch, after) = (1, 0);
                        commands.push(Command::Append {
                            saga,
                            epoch,
                            after,
                            events,
                        });
                        about.push(About::Append(hold));
                    }
                }
                Item::Start { start, started } => {
                    commands.push(Command::Start { start, owner: None });
                    about.push(About::Start(started));
                }
                Item::Append { hold, .. } if !is_wanted(hold) => {}
                Item::Append {
                    hold,
                    saga,
                    epoch,
                    after,
                    events,
                } => {
                    commands.push(Command::Append {
                        saga,
                        epoch,
                        after,
                        events,
                    });
                    about.push(About::Append(hold));
                }
            }
        }
        (!commands.is_empty()).then_some((commands, about))
    }
}

impl Item {
    fn bytes(&self) -> usize {
        let payloads = match self {
            Self::Begin { start, .. } | Self::Start { start, .. } => start.input.len(),
            Self::Append { events, .. } => events.iter().map(payload_bytes).sum(),
        };
        COMMAND_BYTES + payloads
    }
}

fn payload_bytes(event: &Event) -> usize {
    match event {
        Event::Succeeded { output, .. } => output.len(),
        _ => 0,
    }
}
