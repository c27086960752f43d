//! Keys of the interface that this version does not have yet: known, so that they are refused in their own words
//! rather than as misspelt. Who builds one deletes its row.

/// A key that is not built yet.
pub(crate) struct Later {
    /// The section's name in `raw`.
    section: &'static str,
    key: &'static str,
    /// The value that says "not used", which is accepted; empty text stands for an empty map, list or text.
    off: Option<&'static str>,
    /// What it will do, and what holds until then.
    pub(crate) until_then: &'static str,
}

const fn later(
    section: &'static str,
    key: &'static str,
    off: Option<&'static str>,
    until_then: &'static str,
) -> Later {
    Later { section, key, off, until_then }
}

const PROMOTES: &str = "Primacy follows promotions but makes none yet";
const NO_RULES: &str = "statements are routed by what they do";

static LATER: [Later; 18] = [
    later("file", "coordination", None, PROMOTES),
    later("file", "telemetry", Some(""), "traces are not exported yet; metrics are at /metrics"),
    later(
        "admin",
        "tls",
        None,
        "let `admin.listen` be a loopback address, or put a TLS proxy in front of it",
    ),
    later("cluster", "replication", None, PROMOTES),
    later("tls", "client_ca", None, "clients prove themselves by password"),
    later("routing", "rules", Some(""), NO_RULES),
    later("failover", "sync", None, PROMOTES),
    later("failover", "detector", None, PROMOTES),
    later("failover", "drain", None, PROMOTES),
    later("failover", "drain_then", None, PROMOTES),
    later("failover", "anti_flap", None, PROMOTES),
    later("failover", "max_lag", None, PROMOTES),
    later("failover", "cross_zone", Some("false"), PROMOTES),
    later("failover", "report_loss", None, PROMOTES),
    later("failover", "exclusive_path", None, PROMOTES),
    later("failover", "on_store_loss", None, PROMOTES),
    later("failover", "hooks", Some(""), PROMOTES),
    later("listener", "proxy_protocol", Some("off"), "the client's address is the socket's"),
];

impl Later {
    /// The row of `section.key`, if it is one of these.
    pub(crate) fn find(section: &str, key: &str) -> Option<&'static Self> {
        LATER.iter().find(|row| row.section == section && row.key == key)
    }

    /// Whether a value of that text (empty: also an empty map or list) leaves the key unused.
    pub(crate) fn is_off(&self, text: &str) -> bool {
        self.off == Some(text)
    }
}
