//! Completions that the client is told otherwise than the server says them: a statement was sent in the place of its own, or beside it.

use std::collections::VecDeque;

/// Those of one unit. What is run is counted: by each statement of a Query, and by each Execute.
#[derive(Debug, Default)]
pub struct Tags {
    awaited: VecDeque<(u32, Option<&'static str>)>,
    sent: u32,
    seen: u32,
    // The portal that was bound last to a statement in the place of the client's own.
    bound: Option<(Box<[u8]>, &'static str)>,
}

impl Tags {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.awaited.clear();
        (self.sent, self.seen) = (0, 0);
        self.bound = None;
    }

    /// A Query of a text with these was sent: statements by their number in it.
    pub fn query(&mut self, tags: &[(u32, Option<&'static str>)]) {
        self.awaited.extend(tags.iter().map(|(statement, tag)| (self.sent + statement, *tag)));
    }

    /// A portal was bound to a statement with this tag.
    pub fn bind(&mut self, portal: &[u8], tag: Option<&'static str>) {
        match tag {
            Some(tag) => self.bound = Some((portal.into(), tag)),
            None if self.bound.as_ref().is_some_and(|(bound, _)| **bound == *portal) => self.bound = None,
            None => {}
        }
    }

    /// A portal is run.
    pub fn execute(&mut self, portal: &[u8]) {
        if let Some((_, tag)) = self.bound.as_ref().filter(|(bound, _)| **bound == *portal) {
            self.awaited.push_back((self.sent, Some(tag)));
        }
        self.sent += 1;
    }

    /// What was run next has come to its end. `Some`: the client is told that tag, or nothing.
    pub fn ended(&mut self) -> Option<Option<&'static str>> {
        let at = self.seen;
        self.seen += 1;
        if self.awaited.front().is_none_or(|(awaited, _)| *awaited != at) {
            return None;
        }
        self.awaited.pop_front().map(|(_, tag)| tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_run_is_counted() {
        let mut tags = Tags::default();
        tags.execute(b"");
        tags.bind(b"", Some("RESET"));
        tags.execute(b"");
        tags.bind(b"other", None);
        tags.execute(b"");
        tags.bind(b"", None);
        tags.execute(b"");
        tags.query(&[(1, Some("SET")), (2, None)]);
        let told: Vec<_> = std::iter::repeat_with(|| tags.ended()).take(7).collect();
        let again = Some(Some("RESET"));
        assert_eq!(told, [None, again, again, None, None, Some(Some("SET")), Some(None)]);
        tags.clear();
        assert_eq!(tags.ended(), None);
    }
}
