//! What the operating system lets the process have.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A client and its backend are two files; so many clients are usual.
const WANTED: u64 = 65_536;

/// Raises the soft limit of open files as far as it may; says so when that is little.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = hard.min(WANTED.max(soft));
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).map(|()| wanted)
    });
    match raised {
        Ok(limit) if limit >= WANTED => {}
        Ok(limit) => tracing::warn!(
            limit,
            "the limit of open files is low: raise it (LimitNOFILE=65536) for more clients"
        ),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}
