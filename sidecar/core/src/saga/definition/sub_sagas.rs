use std::sync::Arc;

use super::{Definition, Error, Target, Version};
use crate::limits::SAGA_DEPTH_MAX;

impl Definition {
    /// Checks the sagas that are steps of this one against the definitions that exist. Because
    /// a definition names them by the digest of their content, they can have no cycle.
    ///
    /// # Errors
    /// When one does not exist, cannot be undone although it may have to be, or is nested too
    /// deeply.
    pub fn check_sub_sagas(
        &self,
        find: &dyn Fn(&str, Version) -> Option<Arc<Self>>,
    ) -> Result<(), Error> {
        self.check_depth(find, SAGA_DEPTH_MAX)
    }

    fn check_depth(
        &self,
        find: &dyn Fn(&str, Version) -> Option<Arc<Self>>,
        depth: usize,
    ) -> Result<(), Error> {
        for step in self.steps() {
            let Target::Saga {
                definition,
                version,
            } = &step.action.target
            else {
                continue;
            };
            let inner = find(definition, *version).ok_or_else(|| Error::UnknownSubSaga {
                step: step.name.clone(),
                definition: definition.clone(),
                version: *version,
            })?;
            if step.undo.is_some() && !inner.is_undoable_when_completed() {
                return Err(Error::SubSagaNotUndoable {
                    step: step.name.clone(),
                    definition: definition.clone(),
                });
            }
            let left = depth.checked_sub(1).filter(|left| *left > 0);
            let left = left.ok_or_else(|| Error::SubSagaDepth {
                step: step.name.clone(),
                limit: SAGA_DEPTH_MAX,
            })?;
            inner.check_depth(find, left)?;
        }
        Ok(())
    }
}
