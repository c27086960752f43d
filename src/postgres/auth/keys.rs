//! Keys derived from passwords, kept: the rounds are paid once per password, salt and count, off the I/O threads.

use super::verifier::{Derived, derive};
use super::{ITERATIONS_MAX, Key, hmac};
use crate::config::units::Secret;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;

/// So many (password, salt, rounds) are remembered.
const KEPT: usize = 10_000;

/// Remembers derived keys. Cheap to clone; all clones share the memory.
#[derive(Clone)]
pub struct KeyCache {
    kept: Arc<quick_cache::sync::Cache<Key, Arc<Derived>>>,
    /// Keeps what is remembered from being compared with anybody else's hashes.
    secret: Key,
}

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyCache({} kept)", self.kept.len())
    }
}

impl KeyCache {
    /// `secret`: random, one per process.
    #[must_use]
    pub fn new(secret: Key) -> Self {
        Self { kept: Arc::new(quick_cache::sync::Cache::new(KEPT)), secret }
    }

    /// The client's and the server's key for a password.
    ///
    /// # Errors
    /// When the rounds are out of bounds, or the runtime is shutting down.
    pub async fn keys(&self, password: &Secret, salt: &[u8], iterations: u32) -> io::Result<(Key, Key)> {
        let rounds =
            NonZeroU32::new(iterations).filter(|rounds| rounds.get() <= ITERATIONS_MAX).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the SCRAM iteration count is out of bounds")
            })?;
        let length = u64::try_from(salt.len()).unwrap_or(u64::MAX).to_be_bytes();
        let name =
            hmac(&self.secret, &[&iterations.to_be_bytes(), &length, salt, password.expose().as_bytes()]);
        // Two who ask at once both derive: harmless, and it stays cancel safe.
        let derived = match self.kept.get(&name) {
            Some(derived) => derived,
            None => {
                let (password, salt) = (password.clone(), salt.to_vec());
                let derived = crate::task::blocking(move || derive(password.expose(), &salt, rounds))
                    .await
                    .map_err(io::Error::other)?;
                let derived = Arc::new(derived);
                self.kept.insert(name, derived.clone());
                derived
            }
        };
        Ok((derived.client_key, derived.server_key))
    }
}
