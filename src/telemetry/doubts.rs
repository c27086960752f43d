//! Statements that count as writes only because it is not known what they do: by shape, so that a user can say what they are
//! (`routing.functions`). Bounded in number and bytes, and without anybody's literals.

use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;

/// Shapes that are told apart in one cluster.
pub const SHAPES_MAX: usize = 200;
/// Bytes of a shape's text.
pub const TEXT_MAX: usize = 200;
/// Bytes of what is said of the doubt.
const REASON_MAX: usize = 80;

/// One shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The database, as clients name it.
    pub database: Arc<str>,
    /// What is in doubt: a function and its name, an operator, a relation, a text that is not understood.
    pub reason: Box<str>,
    /// The text without literals.
    pub text: Box<str>,
    /// How often it raised the floor of the database's reads.
    pub raised: u64,
}

/// The shapes of one cluster.
#[derive(Debug, Default)]
pub struct Doubts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_shape: HashMap<(u64, Arc<str>), Doubt>,
    // What was counted of shapes that had to make room.
    others: u64,
}

impl Doubts {
    /// A statement of that shape raised the floor. `about` is asked for (reason, text) when the shape is new.
    pub fn raised(&self, shape: u64, database: &Arc<str>, about: impl FnOnce() -> (String, String)) {
        let mut known = self.0.lock();
        let key = (shape, Arc::clone(database));
        if let Some(doubt) = known.by_shape.get_mut(&key) {
            doubt.raised += 1;
            return;
        }
        if known.by_shape.len() >= SHAPES_MAX {
            known.make_room();
        }
        let (mut reason, mut text) = about();
        cut(&mut reason, REASON_MAX);
        cut(&mut text, TEXT_MAX);
        let doubt =
            Doubt { database: Arc::clone(database), reason: reason.into(), text: text.into(), raised: 1 };
        known.by_shape.insert(key, doubt);
    }

    /// All that are told apart, the most frequent first, and the count of all others.
    #[must_use]
    pub fn all(&self) -> (Vec<Doubt>, u64) {
        let known = self.0.lock();
        let (mut all, others): (Vec<_>, _) = (known.by_shape.values().cloned().collect(), known.others);
        drop(known);
        all.sort_by(|a, b| b.raised.cmp(&a.raised).then_with(|| a.text.cmp(&b.text)));
        (all, others)
    }
}

impl Known {
    // The rarest shape goes.
    fn make_room(&mut self) {
        let rarest = self.by_shape.iter().min_by_key(|(_, doubt)| doubt.raised).map(|(key, _)| key.clone());
        if let Some(gone) = rarest.and_then(|key| self.by_shape.remove(&key)) {
            self.others += gone.raised;
        }
    }
}

fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let mut end = max - "…".len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_counted_and_bounded() {
        let (doubts, database): (_, Arc<str>) = (Doubts::default(), "shop".into());
        let about = |text: &str| ("function f".to_owned(), text.to_owned());
        for _ in 0..3 {
            doubts.raised(1, &database, || about("SELECT f (?)"));
        }
        doubts.raised(2, &database, || about(&"ä".repeat(500)));
        let (all, others) = doubts.all();
        assert_eq!((all[0].raised, &*all[0].text, others), (3, "SELECT f (?)", 0));
        assert!(all[1].text.len() <= TEXT_MAX && all[1].text.ends_with('…'));
        for shape in 10..500 {
            doubts.raised(shape, &database, || about("SELECT g ()"));
        }
        let (all, others) = doubts.all();
        assert_eq!((all.len(), all[0].raised), (SHAPES_MAX, 3), "the frequent one stays");
        assert_eq!(all.iter().map(|doubt| doubt.raised).sum::<u64>() + others, 4 + 490, "nothing is lost");
    }
}
