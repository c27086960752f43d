//! The settings of a backend: brought to those of a session, and asked for.

use super::super::{state, wire};
use super::Backend;
use crate::engine::Dirt;
use crate::engine::carrier::{Carrier, Found};
use crate::engine::tracked::Tracked;
use crate::error::ClientError;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Backend {
    // Whether texts of ours, and values in its answers, are what they are here.
    fn speaks_utf8(&self) -> bool {
        let encoding = self.parameters.iter().find(|(name, _)| &**name == "client_encoding");
        encoding.is_some_and(|(_, encoding)| encoding.eq_ignore_ascii_case("utf8"))
    }

    /// Writes the unit of our own that brings its settings to `wanted`; until [`Backend::end_carrying`] it must not be lent on, and cancel
    /// requests wait. False when there is nothing to do.
    pub(in super::super) fn begin_carrying(&mut self, wanted: &Arc<Tracked>, out: &mut Vec<u8>) -> bool {
        let Some(text) = state::carry(&self.tracked, wanted) else {
            self.tracked = Arc::clone(wanted);
            return false;
        };
        wire::query(out, &text);
        self.anonymous = None;
        self.dirt = self.dirt.max(Dirt::Unknown);
        self.coming = Some(Arc::clone(wanted));
        self.cancel.deaf.store(true, Ordering::Release);
        true
    }

    /// That unit has succeeded.
    pub(in super::super) fn end_carrying(&mut self) {
        if let Some(carried) = self.coming.take() {
            self.tracked = carried;
            self.dirt = Dirt::Clean;
        }
        self.cancel.deaf.store(false, Ordering::Release);
        self.cancel.arrived.notify_waiters();
    }

    /// The server has reported a setting.
    pub(in super::super) fn heard(&mut self, name: &str, value: &str) {
        match self.parameters.iter_mut().find(|(known, _)| &**known == name) {
            Some((_, known)) => *known = value.into(),
            None => self.parameters.push((name.into(), value.into())),
        }
    }

    async fn refused(&mut self, text: &str) -> Result<Vec<(Box<str>, Box<str>)>, ClientError> {
        let answer = self
            .own(text)
            .await
            .map_err(|error| ClientError::new("08006", 2013, format!("the server was lost: {error}")))?;
        match answer.error {
            Some(error) => Err(told(error)),
            None => Ok(answer.settings),
        }
    }
}

fn told(error: wire::ServerError) -> ClientError {
    let sqlstate = error.sqlstate.as_bytes().try_into().unwrap_or(*b"XX000");
    let told = ClientError::server(sqlstate, 0, error.message);
    ClientError { detail: error.detail.map(String::from), hint: error.hint.map(String::from), ..told }
}

impl Carrier for Backend {
    fn tracked(&self) -> &Arc<Tracked> {
        &self.tracked
    }

    fn set_tracked(&mut self, tracked: Arc<Tracked>) {
        self.tracked = tracked;
    }

    async fn carry(&mut self, wanted: &Arc<Tracked>) -> Result<Vec<(Box<str>, Box<str>)>, ClientError> {
        let Some(mut text) = state::carry(&self.tracked, wanted) else {
            self.tracked = Arc::clone(wanted);
            return Ok(Vec::new());
        };
        // Until the answer is in, nobody knows what it carries.
        self.dirt = self.dirt.max(Dirt::Unknown);
        let clean = self.dirt == Dirt::Unknown;
        if !text.is_ascii() && !self.speaks_utf8() {
            // A text is read in the encoding that holds when it comes.
            let mut between = Tracked::clone(&self.tracked);
            between.set(state::ENCODING, "UTF8");
            self.refused("SET client_encoding TO 'UTF8'").await?;
            text = state::carry(&between, wanted).unwrap_or_default();
        }
        let settings = self.refused(&text).await?;
        if clean {
            self.dirt = Dirt::Clean;
        }
        self.tracked = Arc::clone(wanted);
        Ok(settings)
    }

    fn may_carry_ahead(&self, wanted: &Tracked) -> bool {
        // Who acts for somebody else may lose the right to; a time limit may end the unit of our own.
        let doubtful = |settings: &Tracked| {
            settings.iter().any(|(name, value)| {
                state::WHO.contains(&name)
                    || matches!(name, "statement_timeout" | "transaction_timeout")
                    || !value.is_ascii()
            })
        };
        self.dirt == Dirt::Clean && !doubtful(&self.tracked) && !doubtful(wanted)
    }

    async fn ask(&mut self, names: &[&str], origins: bool) -> io::Result<Option<Vec<Found>>> {
        let answer = self.own_beside(&state::ask(names, origins)).await?;
        let mut rows = answer.rows.into_iter();
        let values: Vec<Option<String>> = rows.by_ref().take(names.len()).filter_map(first).collect();
        let given =
            if origins { rows.next().and_then(first).flatten().unwrap_or_default() } else { String::new() };
        let readable = self.speaks_utf8() || values.iter().flatten().all(|value| value.is_ascii());
        if answer.error.is_some() || values.len() != names.len() || !readable {
            return Ok(None);
        }
        let given: Vec<&str> = given.split('\n').collect();
        let found = names.iter().zip(values);
        Ok(Some(found.map(|(name, value)| Found { value, given: given.contains(name) }).collect()))
    }

    async fn show(&mut self, names: &[&str]) -> io::Result<Option<Vec<String>>> {
        let texts: Vec<String> =
            names.iter().map(|name| format!("SHOW {}", state::identifier(name))).collect();
        let answer = self.own_beside(&texts).await?;
        let values: Vec<String> = answer.rows.into_iter().filter_map(|row| first(row).flatten()).collect();
        Ok((answer.error.is_none() && values.len() == names.len()).then_some(values))
    }

    async fn amend(&mut self, settings: &[(&str, &str)]) -> io::Result<bool> {
        let texts: Vec<String> = settings.iter().map(|(name, value)| state::set(name, value)).collect();
        Ok(self.own_beside(&texts).await?.error.is_none())
    }
}

fn first(row: Vec<Option<String>>) -> Option<Option<String>> {
    row.into_iter().next()
}
