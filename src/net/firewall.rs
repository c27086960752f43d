//! Who may connect at all: by address, by how often, by how many logins failed. Pure: time is an argument.

use crate::clock::Tick;
use crate::config::settings;
use hashbrown::HashMap;
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// So many addresses are watched; beyond, one that is not blocked is forgotten for each new one.
const WATCHED_MAX: usize = 65_536;
const SECOND: Duration = Duration::from_secs(1);

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Admitted,
    /// Its address is denied, or not among the allowed.
    NotAllowed,
    /// Its address connects too often.
    TooFast,
    /// Too many logins from its address failed.
    Blocked,
}

/// The rules, and what is remembered of each address.
#[derive(Debug)]
pub struct Firewall {
    rules: settings::Firewall,
    watched: HashMap<IpAddr, Watched>,
    last_sweep: Tick,
}

#[derive(Debug, Clone, Copy, Default)]
struct Watched {
    /// When the address has paid for its connections: each costs a second divided by the limit, and at most a
    /// second may be owed (the generic cell rate algorithm).
    paid_at: Tick,
    failures: u32,
    first_failure: Tick,
    blocked_until: Tick,
}

impl Watched {
    fn is_forgettable(&self, now: Tick, block: Duration) -> bool {
        self.paid_at <= now
            && self.blocked_until <= now
            && (self.failures == 0 || now.since(self.first_failure) > block)
    }
}

impl Firewall {
    /// Remembers nobody yet.
    #[must_use]
    pub fn new(rules: settings::Firewall) -> Self {
        Self { rules, watched: HashMap::new(), last_sweep: Tick::ZERO }
    }

    /// Takes other rules; what is remembered stays.
    pub fn reload(&mut self, rules: settings::Firewall) {
        self.rules = rules;
    }

    /// Judges a new connection, before its first byte is read. An IPv4 address inside IPv6 counts as IPv4.
    pub fn admit(&mut self, peer: IpAddr, now: Tick) -> Verdict {
        let peer = peer.to_canonical();
        let is_in = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&peer));
        if is_in(&self.rules.deny) || !(self.rules.allow.is_empty() || is_in(&self.rules.allow)) {
            return Verdict::NotAllowed;
        }
        if self.watched.get(&peer).is_some_and(|watched| watched.blocked_until > now) {
            return Verdict::Blocked;
        }
        let Some(cost) = SECOND.checked_div(self.rules.connections_per_second) else {
            return Verdict::Admitted;
        };
        let watched = self.watch(peer, now);
        let paid_at = watched.paid_at.max(now).plus(cost);
        if paid_at.since(now) > SECOND {
            return Verdict::TooFast;
        }
        watched.paid_at = paid_at;
        Verdict::Admitted
    }

    /// A login from there failed because the client could not prove who it is. True when that blocks the address.
    pub fn login_failed(&mut self, peer: IpAddr, now: Tick) -> bool {
        let (limit, block) = (self.rules.failed_logins_limit, self.rules.failed_logins_block);
        if limit == 0 {
            return false;
        }
        let watched = self.watch(peer.to_canonical(), now);
        if watched.failures == 0 || now.since(watched.first_failure) > block {
            watched.failures = 0;
            watched.first_failure = now;
        }
        watched.failures = watched.failures.saturating_add(1);
        if watched.failures < limit {
            return false;
        }
        watched.failures = 0;
        watched.blocked_until = now.plus(block);
        true
    }

    fn watch(&mut self, peer: IpAddr, now: Tick) -> &mut Watched {
        if self.watched.len() >= WATCHED_MAX && !self.watched.contains_key(&peer) {
            self.make_room(now);
        }
        self.watched.entry(peer).or_default()
    }

    /// A sweep costs as much as the table is long: at most one a second.
    fn make_room(&mut self, now: Tick) {
        if now.since(self.last_sweep) >= SECOND {
            self.last_sweep = now;
            let block = self.rules.failed_logins_block;
            self.watched.retain(|_, watched| !watched.is_forgettable(now, block));
        }
        if self.watched.len() >= WATCHED_MAX {
            let sample = self.watched.iter().take(64);
            let victim = sample
                .min_by_key(|(_, watched)| (watched.blocked_until, watched.failures))
                .map(|(peer, _)| *peer);
            victim.map(|peer| self.watched.remove(&peer));
        }
    }
}

#[cfg(test)]
mod tests;
