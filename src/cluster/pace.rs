//! How long replicas are given to replay what the primary has just told of, before they are asked. Pure.

use std::time::Duration;

/// Longer is not waited: the next round may as well ask.
pub(super) const LONGEST: Duration = Duration::from_millis(2);
/// What is added when they were asked too early.
const STEP: Duration = Duration::from_micros(250);
/// The part of it that is taken off when they were not.
const LESS: u32 = 16;

/// Follows the time that replay takes, so that few replicas are asked before they can show anything, and none much later.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pause: Duration,
}

impl Pace {
    /// The time to give them.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// They were given it; `shown` = one of them had replayed all when it was asked.
    pub(super) fn learn(&mut self, shown: bool) {
        self.pause = if shown { self.pause - self.pause / LESS } else { LONGEST.min(self.pause + STEP) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_settles_where_replay_takes_as_long() {
        for replay in [0, 300, 800, 1500].map(Duration::from_micros) {
            let mut pace = Pace::default();
            let mut late = 0;
            for n in 0..400 {
                let shown = pace.pause() >= replay;
                late += u32::from(!shown && n >= 200);
                pace.learn(shown);
            }
            assert!(pace.pause() < replay + 2 * STEP, "{replay:?}: {:?}", pace.pause());
            assert!(late < 80, "{replay:?}: asked too early {late} times of 200");
        }
    }

    #[test]
    fn it_is_bounded_and_forgets() {
        let mut pace = Pace::default();
        (0..100).for_each(|_| pace.learn(false));
        assert_eq!(pace.pause(), LONGEST);
        (0..100).for_each(|_| pace.learn(true));
        assert!(pace.pause() < Duration::from_micros(10));
    }
}
