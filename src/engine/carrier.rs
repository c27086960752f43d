//! A backend as the bearer of a session's settings: what it carries, how it is brought there, and how it is asked.

use super::seam::Reported;
use super::tracked::Tracked;
use crate::error::ClientError;
use std::future::Future;
use std::io;
use std::sync::Arc;

/// What a server says of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its value; `None`: there is no such setting.
    pub value: Option<String>,
    /// Whether this session gave it the value, as far as that was asked; else it is the server's own.
    pub given: bool,
}

/// Settings of a backend. Every method is a unit of its own on it, and none is cancel safe: dropped half-way, the backend must be closed, which its
/// lease does.
pub trait Carrier {
    /// The settings that it carries now.
    fn tracked(&self) -> &Arc<Tracked>;

    /// Says that it carries these now: a client's own statement made it so.
    fn set_tracked(&mut self, tracked: Arc<Tracked>);

    /// Brings its settings to `wanted`, outside a transaction; returns the reported settings that changed.
    ///
    /// # Errors
    /// The server's own refusal, and then nothing has changed; or 08006 when it was lost.
    fn carry(&mut self, wanted: &Arc<Tracked>) -> impl Future<Output = Result<Reported, ClientError>> + Send;

    /// Whether it may be brought to `wanted` without waiting for the answer, provided that this server has accepted those values before.
    fn may_carry_ahead(&self, _wanted: &Tracked) -> bool {
        false
    }

    /// Asks for these settings, outside a transaction; with `origins` also whether the session gave them. `None`: the server does not say, or not in
    /// a way that could be carried.
    ///
    /// # Errors
    /// The server was lost.
    fn ask(
        &mut self,
        _names: &[&str],
        _origins: bool,
    ) -> impl Future<Output = io::Result<Option<Vec<Found>>>> + Send {
        std::future::ready(Ok(None))
    }

    /// Asks for settings that every server has, inside a transaction: it takes no snapshot, and leaves the client's anonymous statement and portals
    /// alone. `None`: the server refused, and the transaction has failed.
    ///
    /// # Errors
    /// The server was lost.
    fn show(&mut self, _names: &[&str]) -> impl Future<Output = io::Result<Option<Vec<String>>>> + Send {
        std::future::ready(Ok(None))
    }

    /// Gives settings values inside a transaction, as its own statements would; with the promises of [`Carrier::show`]. False: the server refused.
    ///
    /// # Errors
    /// The server was lost.
    fn amend(&mut self, _settings: &[(&str, &str)]) -> impl Future<Output = io::Result<bool>> + Send {
        std::future::ready(Ok(false))
    }
}
