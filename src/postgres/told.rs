//! What a client was told of the statements that a unit's first server described, for the unit may go on at another server: there they must be
//! described alike, byte for byte. A replica that lags behind a change of the schema describes what is no more.

use crate::engine::seam::Prepared;
use std::collections::VecDeque;
use std::sync::Arc;

/// Descriptions of one unit that are longer together are not kept: such a unit cannot go on elsewhere.
const TOLD_MAX: usize = 1024 * 1024;

/// One statement as it was described.
#[derive(Debug)]
pub struct Description {
    /// Which.
    pub statement: Arc<Prepared>,
    /// Whether it is the anonymous one.
    pub anonymous: bool,
    /// The ParameterDescription, and the RowDescription or NoData.
    pub bytes: Vec<u8>,
}

/// The descriptions of one unit.
#[derive(Debug, Default)]
pub struct Told {
    awaited: VecDeque<Description>,
    heard: Vec<Description>,
    length: usize,
    incomplete: bool,
}

impl Told {
    /// A description of this statement was asked for.
    pub fn asked(&mut self, statement: &Arc<Prepared>, anonymous: bool) {
        let statement = Arc::clone(statement);
        self.awaited.push_back(Description { statement, anonymous, bytes: Vec::new() });
    }

    /// Whether descriptions are awaited that are to be kept.
    #[must_use]
    pub fn listens(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// A message of a description came.
    pub fn heard(&mut self, message: &[u8]) {
        self.length += message.len();
        let Some(description) = self.awaited.front_mut().filter(|_| self.length <= TOLD_MAX) else {
            return self.give_up();
        };
        description.bytes.extend_from_slice(message);
        if message.first() != Some(&b't') {
            self.heard.extend(self.awaited.pop_front());
        }
    }

    /// Not all of them can be kept.
    pub fn give_up(&mut self) {
        *self = Self { incomplete: true, ..Self::default() };
    }

    /// Whether all of them are, or will be, kept.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.incomplete
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        if self.length > 0 || self.incomplete || self.listens() {
            *self = Self::default();
        }
    }

    /// Takes what was heard.
    pub fn take(&mut self) -> Vec<Description> {
        std::mem::take(self).heard
    }
}
