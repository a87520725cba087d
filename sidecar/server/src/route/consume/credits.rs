//! How many messages each data group may send, so that the client never gets more than it
//! asked for.
//!
//! What the client has asked for and not got is divided among its data groups, evenly by what
//! they still may send. A data group that may send nothing could starve, however much the
//! others have that they do not use; so each of them may send one message, as long as the
//! client wants any, and what comes beyond the client's wish is held back here. That is never
//! more than one message less than there are data groups.

/// More than the client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// The account of one Consume stream. Data groups are named by their place in it.
#[derive(Debug)]
pub(super) struct Credits {
    /// What the client has asked for and not got.
    wanted: u32,
    wanted_max: u32,
    groups: Vec<Account>,
}

/// What one data group has of it.
#[derive(Clone, Debug, Default)]
struct Account {
    /// What it may still send.
    outstanding: u32,
    /// What of it the data group was not told yet.
    untold: u32,
    /// What it has sent and the client has not got.
    here: u32,
}

impl Account {
    fn total(&self) -> u32 {
        self.outstanding.saturating_add(self.here)
    }
}

impl Credits {
    /// For so many data groups; the client may ask for `wanted_max` messages at a time.
    pub(super) fn new(groups: usize, wanted_max: u32) -> Self {
        Self {
            wanted: 0,
            wanted_max,
            groups: vec![Account::default(); groups],
        }
    }

    /// The client wants so many more messages.
    ///
    /// # Errors
    ///
    /// When it would want too many; nothing is changed then.
    pub(super) fn add(&mut self, count: u32) -> Result<(), TooMany> {
        let wanted = self.wanted.checked_add(count);
        self.wanted = wanted
            .filter(|sum| *sum <= self.wanted_max)
            .ok_or(TooMany)?;
        self.divide();
        Ok(())
    }

    /// A data group has sent so many messages.
    pub(super) fn received(&mut self, group: usize, count: u32) {
        if let Some(account) = self.groups.get_mut(group) {
            account.outstanding = account.outstanding.saturating_sub(count);
            account.here = account.here.saturating_add(count);
        }
    }

    /// Takes what the client may get now of `count` messages that a data group has sent.
    pub(super) fn take(&mut self, group: usize, count: u32) -> u32 {
        let taken = self.wanted.min(count);
        self.wanted -= taken;
        self.gone(group, taken);
        taken
    }

    /// So many messages that a data group has sent go to nobody.
    pub(super) fn gone(&mut self, group: usize, count: u32) {
        if let Some(account) = self.groups.get_mut(group) {
            account.here = account.here.saturating_sub(count);
        }
        self.divide();
    }

    /// What a data group has to be told now.
    pub(super) fn tell(&mut self, group: usize) -> u32 {
        let account = self.groups.get_mut(group);
        account.map_or(0, |account| std::mem::take(&mut account.untold))
    }

    /// Another stream to this data group begins, which knows nothing yet.
    pub(super) fn begin(&mut self, group: usize) {
        if let Some(account) = self.groups.get_mut(group) {
            account.untold = account.outstanding;
        }
    }

    /// Gives out what the client wants and nobody may send yet.
    fn divide(&mut self) {
        if self.wanted == 0 {
            return;
        }
        let given: u32 = self.groups.iter().map(Account::total).sum();
        self.level(self.wanted.saturating_sub(given));
        let given: u32 = self.groups.iter().map(Account::total).sum();
        let beyond_max = u32::try_from(self.groups.len()).unwrap_or(u32::MAX) - 1;
        let mut beyond = given.saturating_sub(self.wanted);
        for account in &mut self.groups {
            if account.total() == 0 && beyond < beyond_max {
                account.outstanding = 1;
                account.untold += 1;
                beyond += 1;
            }
        }
    }

    /// Gives `count` to those who have the least, so that they come to have the same.
    fn level(&mut self, mut count: u32) {
        while count > 0 {
            let Some(least) = self.groups.iter().map(Account::total).min() else {
                return;
            };
            let above = self
                .groups
                .iter()
                .map(Account::total)
                .filter(|total| *total > least);
            let next = above.min().unwrap_or(u32::MAX);
            let lowest = self
                .groups
                .iter()
                .filter(|account| account.total() == least)
                .count();
            let lowest = u32::try_from(lowest).unwrap_or(u32::MAX);
            // A step for all of them, or what is left for the first ones.
            let step = (next - least).min(count / lowest).max(1);
            for account in &mut self.groups {
                if count > 0 && account.total() == least {
                    let given = step.min(count);
                    account.outstanding += given;
                    account.untold += given;
                    count -= given;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Data groups that know what they are told, and a client that counts.
    struct World {
        credits: Credits,
        /// What each data group was told and has not sent.
        told: Vec<u32>,
        /// What it sent and nobody has got: messages held back.
        held: Vec<u32>,
        wanted: u32,
    }

    impl World {
        fn new(groups: usize) -> Self {
            Self {
                credits: Credits::new(groups, 1_000),
                told: vec![0; groups],
                held: vec![0; groups],
                wanted: 0,
            }
        }

        fn want(&mut self, count: u32) {
            let fits = self.wanted + count <= 1_000;
            assert_eq!(self.credits.add(count).is_ok(), fits);
            if fits {
                self.wanted += count;
            }
            self.settle();
        }

        fn send(&mut self, group: usize, count: u32) {
            let count = count.min(self.told[group]);
            self.told[group] -= count;
            self.held[group] += count;
            self.credits.received(group, count);
            self.settle();
        }

        /// The connection to a data group is lost, with what it sent on it; another one
        /// begins, which is told everything.
        fn lose(&mut self, group: usize) {
            let told = std::mem::take(&mut self.told[group]);
            self.credits.begin(group);
            self.settle();
            assert_eq!(self.told[group], told);
        }

        fn settle(&mut self) {
            for group in 0..self.held.len() {
                let taken = self.credits.take(group, self.held[group]);
                self.held[group] -= taken;
                // `take` may take no more than the client wants.
                self.wanted = self
                    .wanted
                    .checked_sub(taken)
                    .expect("more than was wanted");
            }
            for group in 0..self.told.len() {
                self.told[group] += self.credits.tell(group);
            }
            self.check();
        }

        fn check(&self) {
            let held: u32 = self.held.iter().sum();
            let told: u32 = self.told.iter().sum();
            let groups = u32::try_from(self.told.len()).unwrap();
            assert!(held < groups, "{held} held back");
            assert!(
                told + held < self.wanted + groups,
                "{told} told, {held} held back"
            );
            assert!(held == 0 || self.wanted == 0, "held back without need");
            if self.wanted > 0 {
                assert!(told >= self.wanted, "{told} told of {}", self.wanted);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Want(u32),
        Send(usize, u32),
        Lose(usize),
    }

    fn step(groups: usize) -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..12_u32).prop_map(Step::Want),
            (0..groups, 1..8_u32).prop_map(|(group, count)| Step::Send(group, count)),
            (0..groups).prop_map(Step::Lose),
        ]
    }

    proptest! {
        #[test]
        fn the_client_never_gets_more_than_it_wants_and_little_is_held_back(
            (groups, steps) in (1..6_usize).prop_flat_map(|groups| {
                (Just(groups), proptest::collection::vec(step(groups), 1..200))
            }),
        ) {
            let mut world = World::new(groups);
            for step in steps {
                match step {
                    Step::Want(count) => world.want(count),
                    Step::Send(group, count) => world.send(group, count),
                    Step::Lose(group) => world.lose(group),
                }
            }
        }

        /// Everything lies in one data group, and the client wants as much again as it got.
        #[test]
        fn nobody_starves_who_is_the_only_one_to_have_messages(
            groups in 1..8_usize, busy in 0..8_usize, capacity in 1..40_u32,
        ) {
            let busy = busy % groups;
            let mut world = World::new(groups);
            world.want(capacity);
            for _ in 0..100 {
                prop_assert!(world.told[busy] > 0, "{:?}", world.told);
                let had = world.wanted;
                world.send(busy, 1);
                world.want(had - world.wanted);
            }
        }
    }

    #[test]
    fn wishes_are_divided_evenly() {
        let mut world = World::new(3);
        world.want(10);
        assert_eq!(world.told, [4, 3, 3]);
        world.send(1, 3);
        world.want(3);
        assert_eq!(world.told, [4, 3, 3]);
    }

    #[test]
    fn a_limit_is_kept() {
        let mut credits = Credits::new(2, 10);
        assert_eq!(credits.add(10), Ok(()));
        assert_eq!(credits.add(1), Err(TooMany));
        assert_eq!(credits.take(0, 1), 1);
        assert_eq!(credits.add(1), Ok(()));
    }
}
