//! Verdicts by shape: a text is judged once, its like are recognised.

use super::context::Context;
use super::front;
use super::judge::{READ_MAX, judge_uncached};
use super::shape::Secret;
use super::verdict::{Reason, Verdict};
use crate::engine::Class;
use quick_cache::sync::Cache;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the cache did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerdictStats {
    /// Verdicts answered from the cache.
    pub hits: u64,
    /// Verdicts that had to be found.
    pub misses: u64,
    /// Shapes that a node refused as writes.
    pub learnt: u64,
}

/// The keys are hashes with a secret already.
#[derive(Debug, Default, Clone, Copy)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Shapes = Cache<u64, Arc<Verdict>, quick_cache::UnitWeighter, BuildHasherDefault<Same>>;

/// The verdicts of the process: one cache, shared by all workers.
#[derive(Debug)]
pub struct Verdicts {
    secret: Secret,
    shapes: Shapes,
    hits: AtomicU64,
    misses: AtomicU64,
    learnt: AtomicU64,
}

impl Verdicts {
    /// A cache of at most `capacity` shapes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            secret: Secret::new(),
            shapes: Cache::with(
                capacity,
                capacity as u64,
                quick_cache::UnitWeighter,
                BuildHasherDefault::default(),
                quick_cache::sync::DefaultLifecycle::default(),
            ),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            learnt: AtomicU64::new(0),
        }
    }

    /// The verdict on `text`: from the cache when a text of its shape was judged under the same circumstances, else found anew.
    /// Texts that change session state are judged each time, because their literals are their meaning.
    pub fn judge(&self, text: &[u8], context: &Context<'_>) -> Arc<Verdict> {
        if text.len() > READ_MAX {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return Arc::new(judge_uncached(text, context));
        }
        let start = self.secret.start(context);
        let raw = start.raw(text, self.learnt.load(Ordering::Acquire));
        if let Some(verdict) = front::get(raw) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return verdict;
        }
        let shape = start.shape(text, context.lexing);
        if let Some(verdict) = self.shapes.get(&shape) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            front::put(raw, &verdict);
            return verdict;
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let verdict = Arc::new(judge_uncached(text, context));
        if verdict.effect.changes().is_empty() && verdict.names.is_empty() {
            self.shapes.insert(shape, Arc::clone(&verdict));
        }
        verdict
    }

    /// A node refused `text` as a write: its shape is one from now on, whatever its words say.
    pub fn learn_write(&self, text: &[u8], context: &Context<'_>) {
        let before = self.judge(text, context);
        if before.class == Class::Write
            || text.len() > READ_MAX
            || !before.effect.changes().is_empty()
            || !before.names.is_empty()
        {
            return;
        }
        let learnt = Verdict { class: Class::Write, reason: Reason::Learnt, ..Verdict::clone(&before) };
        self.shapes.insert(self.shape(text, context), Arc::new(learnt));
        // Only now: what the workers remember is outdated when they see the new count, and then the shape is there.
        self.learnt.fetch_add(1, Ordering::Release);
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> VerdictStats {
        VerdictStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            learnt: self.learnt.load(Ordering::Relaxed),
        }
    }

    /// The text's shape under this process's secret: what statistics may group by.
    #[must_use]
    pub fn shape(&self, text: &[u8], context: &Context<'_>) -> u64 {
        self.secret.start(context).shape(text, context.lexing)
    }
}
