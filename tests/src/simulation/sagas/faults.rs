//! What goes wrong with those who carry out sagas, and when.

use super::Sagas;
use crate::simulation::scene::Scene;

/// Hosts of participants that are away at times.
const HOSTS: [&str; 6] = ["stock", "payment", "hotel", "seat", "first", "results"];

/// Makes things go wrong with owners.
pub(super) struct Faults {
    next_at_ms: u64,
    /// The time between two faults is at most this.
    pause_max_ms: u64,
    /// Of a hundred faults.
    kills: u64,
    pauses: u64,
    cuts: u64,
    drains: u64,
}

impl Faults {
    pub(super) fn new(scene: &mut Scene) -> Self {
        Self {
            next_at_ms: 0,
            pause_max_ms: scene.pick(100..=800),
            kills: scene.pick(0..=40),
            pauses: scene.pick(0..=40),
            cuts: scene.pick(0..=30),
            drains: scene.pick(0..=15),
        }
    }

    /// True when it is time for one.
    fn is_due(&mut self, scene: &mut Scene) -> bool {
        if self.next_at_ms > scene.now_ms() {
            return false;
        }
        self.next_at_ms = scene.now_ms() + scene.pick(20..=self.pause_max_ms);
        true
    }
}

impl Sagas {
    /// One millisecond in which things may go wrong.
    pub(in crate::simulation) fn disturb(&mut self, scene: &mut Scene) {
        if !self.faults.is_due(scene) {
            return;
        }
        let places: Vec<usize> = (0..self.owners.len()).collect();
        let Some(owner) = scene.any(&places).and_then(|at| self.owners.get_mut(at)) else {
            return;
        };
        let faults = &self.faults;
        let mut what = scene.pick(0..=124);
        self.count += 1;
        for (share, which) in [
            (faults.kills, 0),
            (faults.pauses, 1),
            (faults.cuts, 2),
            (faults.drains, 3),
        ] {
            if what >= share {
                what -= share;
                continue;
            }
            match which {
                0 => {
                    let off_ms = scene.pick(0..=800);
                    owner.kill(scene, off_ms);
                }
                1 => {
                    let for_ms = scene.pick(50..=1_800);
                    owner.pause(scene, for_ms);
                }
                2 => {
                    let for_ms = scene.pick(50..=1_800);
                    owner.cut_off(scene, for_ms);
                }
                _ => owner.drain(),
            }
            return;
        }
        let away = scene.chance(50).then(|| scene.any(&HOSTS)).flatten();
        owner.set_away(away.map(str::to_owned));
    }
}
