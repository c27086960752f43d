//! What is counted on a query's way: per (cluster, database, user) the traffic, per cluster everything that must not grow with what
//! clients make up.

use super::doubts::Doubts;
use super::histogram::Histogram;
use super::sharded::Sharded;
use crate::engine::PinReason;
use crate::error::Fault;

macro_rules! counters {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// Every one, in the order of their numbers.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// The word for metrics.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

counters! {
    /// What is counted per cluster, database and user. Times in microseconds, amounts in bytes.
    Count {
        /// Backends lent to a client.
        Assignments => "server_assignment_count",
        /// Transactions, a statement outside of one included.
        Transactions => "xact_count",
        /// Queries: simple ones and executions.
        Queries => "query_count",
        /// Bytes from clients.
        Received => "received",
        /// Bytes to clients.
        Sent => "sent",
        /// Time inside transactions.
        XactTime => "xact_time",
        /// Time that servers took to answer.
        QueryTime => "query_time",
        /// Time that clients waited for a backend.
        WaitTime => "wait_time",
        /// Statements prepared by clients.
        ClientParses => "client_parse_count",
        /// Statements prepared on servers.
        ServerParses => "server_parse_count",
        /// Prepared statements bound.
        Binds => "bind_count",
        /// Logins that succeeded.
        Logins => "client_login_count",
    }
}

counters! {
    /// What is counted per cluster.
    ClusterCount {
        /// Logins that succeeded.
        LoginsOk => "logins_ok",
        /// Logins that were refused, whoever was at fault.
        LoginsFailed => "logins_failed",
        /// Connections refused by the firewall or by a limit.
        ConnectionsRefused => "connections_refused",
        /// Refused statements that were run again on the primary, their first reply held back.
        Reruns => "reruns",
        /// Statements tried again on another connection or node because nothing of them had left.
        Retries => "retries",
        /// Shapes remembered as writes because a replica had refused them.
        Learnt => "learnt",
        /// Databases whose catalog was seen to have changed by somebody else's hand.
        CatalogChanges => "catalog_changes",
        /// Reads that waited for a replica to be fresh enough.
        BarrierWaits => "barrier_waits",
        /// Of these, the ones that ended on the primary.
        BarrierTimeouts => "barrier_timeouts",
        /// Cancel requests passed on to a server.
        CancelsSent => "cancels_sent",
        /// Cancel requests whose query was over or that nobody had asked for.
        CancelsDropped => "cancels_dropped",
        /// Replication connections passed through.
        Replications => "replications",
        /// Statements that waited for a primary.
        Held => "held",
        /// Reads that a replica served without a proof that it was fresh enough, because no primary came.
        ServedUnproved => "served_unproved",
        /// Transactions whose BEGIN was answered here, so that their reads leave the primary until they write.
        Deferred => "deferred",
        /// Of these, the ones that began on the primary in the end.
        DeferredBegun => "deferred_begun",
        /// Reads that replay came in the way of on a replica.
        Conflicts => "conflicts",
        /// Statements refused because servers went down under their like.
        RefusedByShape => "refused_by_shape",
        /// Statements that the believed primary refused as read-only, and that waited for the monitor to look.
        Probed => "probed",
        /// Statements that gave up waiting for a primary.
        HeldTimeouts => "held_timeouts",
        /// Answers 08007: sent, and no answer came.
        UnknownOutcomes => "unknown_outcomes",
        /// Clients that gave up waiting for a backend.
        QueueTimeouts => "queue_timeouts",
        /// Backends opened.
        BackendsOpened => "backends_opened",
        /// Backends that could not be opened.
        BackendsFailed => "backends_failed",
        /// Backends closed because their state was not known.
        BackendsDiscarded => "backends_discarded",
        /// Verdicts found in the cache.
        VerdictHits => "verdict_hits",
        /// Verdicts that had to be worked out.
        VerdictMisses => "verdict_misses",
    }
}

counters! {
    /// Where a statement went, and why: the words are `<class>:<node>:<reason>`.
    Routed {
        /// A read, to a replica.
        ReadReplica => "read:replica:fresh",
        /// A read, to a replica, because the client asked for one.
        ReadReplicaAsked => "read:replica:asked",
        /// A read, to the primary as one of the nodes that share reads.
        ReadShared => "read:primary:shared",
        /// A read, to the primary: no replica is fresh enough for the session.
        ReadFreshness => "read:primary:freshness",
        /// A read, to the primary: it must see what anybody wrote, through whatever proxy.
        ReadStrong => "read:primary:strong",
        /// A read, to the primary: every replica is down, draining, passive or too far behind.
        ReadNoReplica => "read:primary:no_replica",
        /// A read inside a transaction that is on the primary.
        ReadTransaction => "read:primary:transaction",
        /// A read of a session that keeps a backend of the primary.
        ReadPinned => "read:primary:pinned",
        /// A read, to the primary, because the client or the listener asked for it.
        ReadAsked => "read:primary:asked",
        /// A read, to the primary: replay came in the way of its like on replicas.
        ReadConflict => "read:primary:conflict",
        /// A read that a replica had refused.
        ReadRefused => "read:primary:refused",
        /// A query, to the primary only because it might write: what it runs is not known to be harmless.
        ReadCaution => "read:primary:caution",
        /// A statement that describes the server.
        NodeLocal => "node_local:primary:class",
        /// A write, or what is not known.
        Write => "write:primary:class",
    }
}

/// The traffic of one (cluster, database, user).
#[derive(Debug)]
pub struct TrafficStats(Sharded<{ Count::ALL.len() }>);

/// The traffic's counters at one instant, by [`Count`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals(pub [u64; Count::ALL.len()]);

impl Totals {
    /// One counter.
    #[must_use]
    pub fn get(&self, count: Count) -> u64 {
        self.0.get(count as usize).copied().unwrap_or(0)
    }

    /// These and those together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine = mine.wrapping_add(theirs));
        self
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        self.0.iter_mut().zip(earlier.0).for_each(|(mine, before)| *mine = mine.saturating_sub(before));
        self
    }
}

/// One query, when its reply is over.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Microseconds until the server's reply was over.
    pub took_us: u64,
}

impl TrafficStats {
    /// Room for `workers` threads without sharing.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self(Sharded::new(workers))
    }

    /// Raises one counter.
    pub fn add(&self, count: Count, by: u64) {
        self.0.add(count as usize, by);
    }

    /// Counts a query.
    pub fn query(&self, query: Query) {
        let mine = self.0.mine();
        mine.add(Count::Queries as usize, 1);
        mine.add(Count::Received as usize, query.received);
        mine.add(Count::Sent as usize, query.sent);
        mine.add(Count::QueryTime as usize, query.took_us);
    }

    /// Counts a transaction that took so many microseconds.
    pub fn transaction(&self, took_us: u64) {
        let mine = self.0.mine();
        mine.add(Count::Transactions as usize, 1);
        mine.add(Count::XactTime as usize, took_us);
    }

    /// Counts a backend that was lent after so many microseconds of waiting.
    pub fn assignment(&self, waited_us: u64) {
        let mine = self.0.mine();
        mine.add(Count::Assignments as usize, 1);
        mine.add(Count::WaitTime as usize, waited_us);
    }

    /// The sums at this instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals(self.0.totals())
    }
}

const FAULTS: [(Fault, &str); 4] =
    [(Fault::Client, "client"), (Fault::Server, "server"), (Fault::Proxy, "proxy"), (Fault::Peer, "peer")];

/// What is counted of one cluster, and how long things took in it.
#[derive(Debug)]
pub struct ClusterStats {
    counts: Sharded<{ ClusterCount::ALL.len() }>,
    routed: Sharded<{ Routed::ALL.len() }>,
    pins: Sharded<{ PinReason::ALL.len() }>,
    faults: Sharded<{ FAULTS.len() }>,
    /// Statements that raised floors only because it is not known what they do.
    pub doubts: Doubts,
    /// From the unit's first byte to the end of its reply, statements that a replica served.
    pub query_replica: Histogram,
    /// The same, statements that the primary served.
    pub query_primary: Histogram,
    /// Waiting for a backend.
    pub wait: Histogram,
    /// Waiting for a replica to be fresh enough.
    pub barrier: Histogram,
    /// Opening a backend, login included.
    pub connect: Histogram,
    /// A client's login.
    pub login: Histogram,
}

impl ClusterStats {
    /// Room for `workers` threads without sharing.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            counts: Sharded::new(workers),
            routed: Sharded::new(workers),
            pins: Sharded::new(workers),
            faults: Sharded::new(workers),
            doubts: Doubts::default(),
            query_replica: Histogram::new(workers),
            query_primary: Histogram::new(workers),
            wait: Histogram::new(workers),
            barrier: Histogram::new(workers),
            connect: Histogram::new(workers),
            login: Histogram::new(workers),
        }
    }

    /// Raises one counter by one.
    pub fn count(&self, count: ClusterCount) {
        self.counts.add(count as usize, 1);
    }

    /// Counts where a statement went, and why.
    pub fn routed(&self, routed: Routed) {
        self.routed.add(routed as usize, 1);
    }

    /// Counts a session that got pinned.
    pub fn pinned(&self, reason: PinReason) {
        self.pins.add(reason as usize, 1);
    }

    /// Counts an error by whose fault it is.
    pub fn error(&self, fault: Fault) {
        self.faults.add(fault as usize, 1);
    }

    /// The sums at this instant.
    #[must_use]
    pub fn totals(&self) -> ClusterTotals {
        ClusterTotals {
            counts: zip(ClusterCount::ALL.map(ClusterCount::word), self.counts.totals()),
            routed: zip(Routed::ALL.map(Routed::word), self.routed.totals()),
            pins: zip(PinReason::ALL.map(PinReason::word), self.pins.totals()),
            errors: zip(FAULTS.map(|fault| fault.1), self.faults.totals()),
        }
    }
}

/// A cluster's counters at one instant, by word, zeros included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterTotals {
    /// By [`ClusterCount`].
    pub counts: Vec<(&'static str, u64)>,
    /// By [`Routed`].
    pub routed: Vec<(&'static str, u64)>,
    /// Sessions that got pinned, by reason.
    pub pins: Vec<(&'static str, u64)>,
    /// Errors by whose fault they are.
    pub errors: Vec<(&'static str, u64)>,
}

fn zip<const N: usize>(words: [&'static str; N], totals: [u64; N]) -> Vec<(&'static str, u64)> {
    words.into_iter().zip(totals).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_the_order_of_the_numbers() {
        assert!(Count::ALL.iter().enumerate().all(|(index, &count)| count as usize == index));
        assert!(PinReason::ALL.iter().enumerate().all(|(index, &reason)| reason as usize == index));
        assert!(FAULTS.iter().enumerate().all(|(index, fault)| fault.0 as usize == index));
    }

    #[test]
    fn a_query_counts_once_with_its_bytes_and_time() {
        let stats = TrafficStats::new(4);
        stats.query(Query { received: 10, sent: 200, took_us: 37 });
        stats.transaction(40);
        stats.assignment(3);
        let totals = stats.totals();
        let of = |count| totals.get(count);
        assert_eq!(
            [of(Count::Queries), of(Count::Received), of(Count::Sent), of(Count::QueryTime)],
            [1, 10, 200, 37]
        );
        assert_eq!([of(Count::Transactions), of(Count::XactTime)], [1, 40]);
        assert_eq!([of(Count::Assignments), of(Count::WaitTime), of(Count::Binds)], [1, 3, 0]);
    }

    #[test]
    fn each_reason_has_its_own_counter() {
        let stats = ClusterStats::new(1);
        stats.pinned(PinReason::Listen);
        stats.error(Fault::Proxy);
        stats.routed(Routed::ReadReplica);
        stats.count(ClusterCount::Reruns);
        let totals = stats.totals();
        let raised = |rows: &[(&'static str, u64)]| {
            rows.iter().filter(|row| row.1 > 0).map(|row| row.0).collect::<Vec<_>>()
        };
        assert_eq!(raised(&totals.pins), ["listen"]);
        assert_eq!(raised(&totals.errors), ["proxy"]);
        assert_eq!(raised(&totals.routed), ["read:replica:fresh"]);
        assert_eq!(raised(&totals.counts), ["reruns"]);
        assert_eq!(totals.pins.len(), 20);
    }
}
