//! What handles ask for.

use outrigger_core::saga::{Input, event::Start};
use tokio::sync::oneshot;

use super::{
    Executor,
    group::Item,
    handle::{Failed, NewSaga, Notice, Started},
    sagas::{Awake, Held, Hold, State},
};

impl Executor {
    pub(super) fn start(&mut self, new: NewSaga) {
        let NewSaga {
            asked,
            start,
            saga,
            started,
        } = new;
        let number = self.store.placement().saga(&start.saga);
        let known = self.sagas.find(&start.saga).is_some();
        let full = self.sagas.in_memory() >= self.options.sagas_max;
        if known || full || self.is_draining() {
            self.start_for_others(number, asked, started);
            return;
        }
        let mut awake = Awake::new(saga);
        awake.asked = Some((asked, started));
        let id = start.saga.as_str().into();
        // The log gives the first owner this epoch.
        let hold = self.insert(Held::new(id, number, 1, State::Awake(awake)));
        self.beginning = Some((hold, start));
        self.step(hold, Input::Tick);
        // Nothing is to be done yet.
        if let Some((hold, start)) = self.beginning.take() {
            let first = None;
            self.push(number, Item::Begin { hold, start, first });
        }
    }

    /// Somebody else has room for it, or it is here already.
    pub(super) fn start_for_others(
        &mut self,
        number: u32,
        start: Start,
        started: oneshot::Sender<Result<Started, Failed>>,
    ) {
        self.push(number, Item::Start { start, started });
    }

    pub(super) fn push(&mut self, number: u32, item: Item) {
        if let Some(group) = self.groups.get_mut(number as usize) {
            group.push(item);
        }
    }

    /// Something was recorded about a saga, or somebody has given it free.
    pub(super) fn poke(&mut self, saga: &str) {
        match self.sagas.find(saga) {
            Some(hold) => self.poke_hold(hold),
            None => {
                let number = self.store.placement().saga(saga);
                self.beat_soon(number);
            }
        }
    }

    pub(super) fn poke_held(&mut self, saga: &str) {
        if let Some(hold) = self.sagas.find(saga) {
            self.poke_hold(hold);
        }
    }

    fn poke_hold(&mut self, hold: Hold) {
        #[cfg(test)]
        if self.planted == Some(super::planted::Planted::ForgetsActs) {
            return;
        }
        if let Some(held) = self.sagas.get(hold) {
            held.poked = true;
            self.want_to_read(hold);
        }
    }

    pub(super) fn wait(&mut self, saga: &str, settled: oneshot::Sender<Notice>) {
        let held = self.sagas.find(saga).and_then(|hold| self.sagas.get(hold));
        match held {
            Some(held) => held.wait(settled),
            None => {
                let _ = settled.send(Notice::Elsewhere);
            }
        }
    }
}
