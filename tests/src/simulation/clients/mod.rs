//! Applications that use the log.

mod consumer;
mod guardian;
mod producer;
mod transactor;

pub(super) use consumer::Consumer;
pub(super) use guardian::Guardian;
pub(super) use producer::Producer;
pub(super) use transactor::Transactor;

use super::scene::Scene;

/// An application, as a small machine that is looked after every millisecond.
pub(super) trait Client {
    fn step(&mut self, scene: &mut Scene);

    /// True when it has nothing left to do.
    fn is_done(&self, scene: &Scene) -> bool;

    /// There may be something new.
    fn look_again(&mut self) {}

    /// What it is about, for whoever wonders why it is not done.
    fn describe(&self) -> String;
}
