//! A timer that is exact to some tens of microseconds: the runtime's own rounds up to the next millisecond, which is half a round.

use crate::clock::{self, Tick};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::AsFd;
use tokio::net::unix::pipe;

/// One timer. Where the system has none to give, the runtime's serves.
#[derive(Debug)]
pub(super) struct Alarm {
    exact: Option<Exact>,
    set: Tick,
}

/// The kernel's timer is read as a pipe is.
#[derive(Debug)]
struct Exact {
    timer: TimerFd,
    rings: pipe::Receiver,
}

impl Exact {
    fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let rings = pipe::Receiver::from_owned_fd_unchecked(timer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { timer, rings })
    }

    /// Cancel safe: `set` says what the timer is set to.
    async fn until(&self, due: Tick, set: &mut Tick) -> io::Result<()> {
        loop {
            let left = due.since(clock::now());
            if left.is_zero() {
                return Ok(());
            }
            if *set != due {
                let once = Expiration::OneShot(TimeSpec::from_duration(left));
                self.timer.set(once, TimerSetTimeFlags::empty())?;
                *set = due;
            }
            self.rings.readable().await?;
            // Whether it rang for this moment or for one before, the clock decides.
            match self.rings.try_read(&mut [0; 8]) {
                Ok(_) => *set = Tick::ZERO,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Alarm {
    pub(super) fn new() -> Self {
        let exact = Exact::new();
        if let Err(error) = &exact {
            tracing::debug!(%error, "no exact timer: rounds begin up to a millisecond late");
        }
        Self { exact: exact.ok(), set: Tick::ZERO }
    }

    /// Waits until `due`. Cancel safe.
    pub(super) async fn until(&mut self, due: Tick) {
        if let Some(exact) = &self.exact
            && exact.until(due, &mut self.set).await.is_ok()
        {
            return;
        }
        tokio::time::sleep_until(clock::instant(due)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn it_rings_when_it_is_time_and_not_before() {
        let mut alarm = Alarm::new();
        assert!(alarm.exact.is_some());
        for micros in [300, 0, 700, 1500] {
            let due = clock::now().plus(Duration::from_micros(micros));
            alarm.until(due).await;
            assert!(clock::now() >= due);
        }
        // Given up before it rang, it rings for what it is set to next.
        let far = clock::now().plus(Duration::from_secs(600));
        let near = clock::now().plus(Duration::from_micros(100));
        tokio::select! {
            biased;
            () = alarm.until(far) => unreachable!(),
            () = tokio::time::sleep_until(clock::instant(near)) => {}
        }
        alarm.until(clock::now().plus(Duration::from_micros(200))).await;
    }

    #[tokio::test]
    async fn without_an_exact_timer_the_runtimes_serves() {
        let mut alarm = Alarm { exact: None, set: Tick::ZERO };
        let due = clock::now().plus(Duration::from_micros(300));
        alarm.until(due).await;
        assert!(clock::now() >= due);
    }
}
