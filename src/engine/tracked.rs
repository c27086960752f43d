//! The settings of a session as they are carried from one backend to the next.

use foldhash::quality::FixedState;
use std::collections::BTreeMap;
use std::hash::BuildHasher;

/// Settings that differ from what a fresh backend of the same user and database has, by lower-case name. Two sessions with equal
/// settings have equal keys, so that a pool can prefer a backend that needs no change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracked {
    values: BTreeMap<Box<str>, Box<str>>,
    key: u64,
}

impl Tracked {
    /// From pairs, later ones winning; names are folded to lower case.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut tracked = Self::default();
        for (name, value) in pairs {
            tracked.values.insert(name.as_ref().to_ascii_lowercase().into(), value.as_ref().into());
        }
        tracked.rekey();
        tracked
    }

    /// A hash of all of it; 0 for none.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The value of a setting, if the session has one of its own.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(AsRef::as_ref)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether it has custom settings (`app.tenant`), whose absence no reset brings back.
    #[must_use]
    pub fn has_custom(&self) -> bool {
        self.values.keys().any(|name| name.contains('.'))
    }

    /// Gives a setting a value.
    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.into(), value.into());
        self.rekey();
    }

    /// Returns a setting to what a fresh backend has.
    pub fn remove(&mut self, name: &str) {
        self.values.remove(name);
        self.rekey();
    }

    fn rekey(&mut self) {
        if self.values.is_empty() {
            self.key = 0;
            return;
        }
        self.key = FixedState::with_seed(0x7072_696d_6163_7931).hash_one(&self.values) | 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_settings_have_equal_keys_in_any_order() {
        let a = Tracked::new([("DateStyle", "ISO"), ("work_mem", "1MB")]);
        let mut b = Tracked::new([("work_mem", "2MB"), ("datestyle", "ISO")]);
        assert_ne!(a.key(), b.key());
        b.set("work_mem", "1MB");
        assert_eq!(a, b);
        assert_eq!(a.key(), b.key());
        b.remove("work_mem");
        b.remove("datestyle");
        assert_eq!(b.key(), 0);
    }
}
