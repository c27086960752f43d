//! The settings of a session as they are carried from one backend to the next.

use foldhash::quality::FixedState;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Settings that differ from what a fresh backend of the same user and database has, by lower-case name. Two sessions with equal
/// settings have equal keys, so that a pool can prefer a backend that needs no change.
///
/// A custom setting (`app.tenant`) that was ever set stays in it, as `''` once it is reset: nothing makes it unknown again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracked {
    values: BTreeMap<Box<str>, Box<str>>,
    customs: Customs,
    key: u64,
}

/// Names of custom settings, sorted. None is the common case, and costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Customs(Option<Arc<[Box<str>]>>);

impl Customs {
    /// No custom setting.
    pub const NONE: Self = Self(None);

    /// These names.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        Self((!names.is_empty()).then(|| names.into()))
    }

    /// Whether `others` are all among them.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        match (&self.0, &others.0) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(ours), Some(theirs)) => {
                Arc::ptr_eq(ours, theirs) || theirs.iter().all(|name| ours.binary_search(name).is_ok())
            }
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Whether a setting is a custom one: its name has a dot.
#[must_use]
pub fn is_custom(name: &str) -> bool {
    name.contains('.')
}

impl Tracked {
    /// From pairs, later ones winning; names are folded to lower case.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut tracked = Self::default();
        for (name, value) in pairs {
            tracked.values.insert(name.as_ref().to_ascii_lowercase().into(), value.as_ref().into());
        }
        tracked.rename();
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

    /// The custom settings that were ever set.
    #[must_use]
    pub fn customs(&self) -> &Customs {
        &self.customs
    }

    /// Gives a setting a value.
    pub fn set(&mut self, name: &str, value: &str) {
        if self.get(name) == Some(value) {
            return;
        }
        let new = self.values.insert(name.into(), value.into()).is_none();
        if new && is_custom(name) {
            self.rename();
        }
        self.rekey();
    }

    /// Returns a setting to what a fresh backend has; a custom one to `''`, if it was ever set.
    pub fn remove(&mut self, name: &str) {
        match self.values.get_mut(name) {
            None => return,
            Some(value) if is_custom(name) => *value = "".into(),
            Some(_) => drop(self.values.remove(name)),
        }
        self.rekey();
    }

    /// What is left of them on a backend that was reset whole.
    #[must_use]
    pub fn after_reset(&self) -> Self {
        if self.customs.is_empty() {
            return Self::default();
        }
        Self::new(self.iter().filter(|(name, _)| is_custom(name)).map(|(name, _)| (name, "")))
    }

    /// What a session whose start-up values are `startup` has after it has reset all of these.
    #[must_use]
    pub fn back_to(&self, startup: &Self) -> Self {
        let mut back = self.after_reset();
        back.values.extend(startup.values.clone());
        back.rename();
        back.rekey();
        back
    }

    fn rename(&mut self) {
        let names = self.values.keys().map(AsRef::as_ref).filter(|name| is_custom(name));
        self.customs = Customs::new(names);
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

    #[test]
    fn a_custom_setting_never_becomes_unknown_again() {
        let mut settings = Tracked::new([("work_mem", "1MB")]);
        assert!(settings.customs().is_empty());
        settings.remove("app.a");
        assert!(settings.customs().is_empty(), "what was never set is not there");
        settings.set("app.b", "1");
        settings.set("app.a", "2");
        settings.remove("app.b");
        assert_eq!((settings.get("app.a"), settings.get("app.b")), (Some("2"), Some("")));
        assert_eq!(settings.after_reset(), Tracked::new([("app.a", ""), ("app.b", "")]));
        let startup = Tracked::new([("app.a", "first"), ("datestyle", "ISO")]);
        let back = settings.back_to(&startup);
        assert_eq!(back, Tracked::new([("app.a", "first"), ("app.b", ""), ("datestyle", "ISO")]));
        assert_eq!(back.customs(), settings.customs());
    }

    #[test]
    fn customs_cover_what_is_among_them() {
        let (none, a, ab) = (Customs::NONE, Customs::new(["a.a"]), Customs::new(["a.b", "a.a", "a.b"]));
        assert!(ab.cover(&none) && ab.cover(&a) && ab.cover(&ab.clone()) && none.cover(&none));
        assert!(!none.cover(&a) && !a.cover(&ab));
        assert!(!Customs::new(["a.c"]).cover(&a));
    }
}
