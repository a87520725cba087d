use outrigger_core::placement::{Error, Placement};

use std::sync::Arc;

use super::Forward;

/// The ways from this process to the leaders of all data groups; cheap to clone.
#[derive(Clone)]
pub struct Ways {
    placement: Placement,
    ways: Arc<[Forward]>,
}

impl Ways {
    /// One way for each data group, in their order.
    ///
    /// # Errors
    ///
    /// When there cannot be so many data groups.
    pub fn new(ways: Vec<Forward>) -> Result<Self, Error> {
        let groups = u32::try_from(ways.len()).unwrap_or(u32::MAX);
        Ok(Self {
            placement: Placement::new(groups)?,
            ways: ways.into(),
        })
    }

    /// Which data group has what.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// How many data groups there are, from 1.
    #[must_use]
    pub fn groups(&self) -> u32 {
        self.placement.groups()
    }

    /// The way to the leader of one of them.
    #[must_use]
    pub fn way(&self, group: u32) -> Option<&Forward> {
        self.ways.get(group as usize)
    }

    /// All of them, in the order of the data groups.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Forward)> {
        (0..).zip(self.ways.iter())
    }
}
