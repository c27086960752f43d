//! The shared statements on one backend, and the units of our own that prepare and drop them there.

use super::backend::Backend;
use super::expected::columns;
use super::names::Name;
use super::told::Description;
use super::wire;
use crate::engine::TxState;
use crate::engine::seam::{Form, Prepared};
use crate::error::ClientError;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// Shared statements on one backend, the least recently used closed first.
#[derive(Debug, Default)]
pub struct Statements {
    used: HashMap<u64, Standing>,
    clock: u64,
    limit: usize,
}

#[derive(Debug)]
struct Standing {
    // When it was used last.
    at: u64,
    // Whether it is there for sure. If not, its name must be closed before it is prepared.
    sure: bool,
}

impl Statements {
    /// None yet, and at most `limit`.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Whether it is there for sure, or may be; `None` = it is not there.
    #[must_use]
    pub fn standing(&self, id: u64) -> Option<bool> {
        self.used.get(&id).map(|standing| standing.sure)
    }

    /// Whether it is there for sure; counts as a use.
    pub fn touch(&mut self, id: u64) -> bool {
        self.clock += 1;
        match self.used.get_mut(&id) {
            Some(standing) => {
                standing.at = self.clock;
                standing.sure
            }
            None => false,
        }
    }

    /// It is there now.
    pub fn insert(&mut self, id: u64) {
        self.clock += 1;
        self.used.insert(id, Standing { at: self.clock, sure: true });
    }

    /// Whether it is there is not known.
    pub fn doubt(&mut self, id: u64) {
        self.clock += 1;
        self.used.insert(id, Standing { at: self.clock, sure: false });
    }

    /// Whether any is there is not known.
    pub fn doubt_all(&mut self) {
        self.used.values_mut().for_each(|standing| standing.sure = false);
    }

    /// Takes the one that must go before one more comes, `coming` being on their way already. Whether it was there for sure.
    pub fn overflow(&mut self, coming: usize) -> Option<(u64, bool)> {
        if self.used.len() + coming < self.limit {
            return None;
        }
        let oldest = self.used.iter().min_by_key(|(_, standing)| standing.at).map(|(id, _)| *id)?;
        self.remove(oldest).map(|sure| (oldest, sure))
    }

    /// It is not there any more. Whether it was there for sure; `None` = it was not there for sure.
    pub fn remove(&mut self, id: u64) -> Option<bool> {
        self.used.remove(&id).map(|standing| standing.sure)
    }

    /// None is there any more.
    pub fn clear(&mut self) {
        self.used.clear();
    }
}

/// Writes what prepares `statement` under `name`.
fn prepare(out: &mut Vec<u8>, statement: &Prepared, name: &[u8]) {
    let message = |out: &mut Vec<u8>, fields: &[&[u8]]| {
        wire::message(out, b'P', |out| fields.iter().for_each(|field| out.extend_from_slice(field)));
    };
    match statement.form {
        Form::Protocol => message(out, &[name, &[0], &statement.body]),
        Form::Sql => {
            message(out, &[&[0], b"PREPARE ", name, &statement.body, &[0, 0, 0]]);
            wire::bind(out, "", "", std::iter::empty());
            wire::execute(out, "", 0);
        }
    }
}

impl Backend {
    /// See [`crate::engine::seam::Backend::prepare`]. Not cancel safe: dropped half-way, the backend must be closed, which its lease does.
    pub(super) async fn prepare_anew(
        &mut self,
        statements: &[Arc<Prepared>],
    ) -> io::Result<Option<ClientError>> {
        let mut refused = None;
        for statement in statements {
            let name = Name::of(statement.id);
            let mut bytes = Vec::new();
            if self.statements.remove(statement.id).is_none()
                && let Some((oldest, _)) = self.statements.overflow(0)
            {
                wire::close(&mut bytes, b'S', Name::of(oldest).as_bytes());
            }
            wire::close(&mut bytes, b'S', name.as_bytes());
            prepare(&mut bytes, statement, name.as_bytes());
            wire::describe(&mut bytes, b'S', name.as_bytes());
            wire::sync(&mut bytes);
            let mut described = None;
            let error = self.extended(&bytes, |tag, body| {
                if matches!(tag, b'T' | b'n') {
                    let mut message = Vec::new();
                    wire::message(&mut message, tag, |out| out.extend_from_slice(body));
                    described = Some(columns(&message));
                }
            });
            match (error.await?, described) {
                (None, Some(described)) => {
                    statement.columns.learn(described);
                    self.statements.insert(statement.id);
                }
                (error, _) => {
                    // It may have been prepared before it could not be described.
                    self.statements.doubt(statement.id);
                    refused = refused.or(error);
                }
            }
        }
        Ok(refused)
    }

    /// See [`crate::engine::seam::Backend::drop_statements`]. Not cancel safe, likewise.
    pub(super) async fn close_statements(&mut self, ids: &[u64]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for id in ids {
            wire::close(&mut bytes, b'S', Name::of(*id).as_bytes());
            self.statements.remove(*id);
        }
        wire::sync(&mut bytes);
        self.extended(&bytes, |_, _| {}).await.map(drop)
    }

    // A unit of our own of the extended protocol, up to its Sync. What the server refused.
    async fn extended(
        &mut self,
        bytes: &[u8],
        mut hear: impl FnMut(u8, &[u8]),
    ) -> io::Result<Option<ClientError>> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        self.anonymous = None;
        let mut refused = None;
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'E' => refused = refused.or(Some(told(&wire::ServerError::parse(&body)))),
                b'Z' => {
                    self.tx = super::said::state(&body).unwrap_or(TxState::Failed);
                    return Ok(refused);
                }
                tag => hear(tag, &body),
            }
        }
    }

    /// Prepares statements anew, and compares what the server says of them with what a client was told, byte for byte: a unit of its own, like
    /// [`Backend::own`].
    pub(super) async fn describes_alike(
        &mut self,
        told: impl Iterator<Item = &Description>,
    ) -> io::Result<bool> {
        let told: Vec<&Description> = told.collect();
        let mut bytes = Vec::new();
        for (index, description) in told.iter().enumerate() {
            let statement = &description.statement;
            let name = Name::of(statement.id);
            let name = if description.anonymous { b"".as_slice() } else { name.as_bytes() };
            if !description.anonymous
                && self.statements.remove(statement.id).is_none()
                && let Some((oldest, _)) = self.statements.overflow(index)
            {
                wire::close(&mut bytes, b'S', Name::of(oldest).as_bytes());
            }
            wire::close(&mut bytes, b'S', name);
            prepare(&mut bytes, statement, name);
            wire::describe(&mut bytes, b'S', name);
        }
        wire::sync(&mut bytes);
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await?;
        let (mut prepared, mut described, mut said, mut alike) = (told.iter(), told.iter(), Vec::new(), true);
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'1' => match prepared.next() {
                    Some(description) if description.anonymous => {
                        self.anonymous = Some(description.statement.id);
                    }
                    Some(description) => self.statements.insert(description.statement.id),
                    None => {}
                },
                b't' | b'T' | b'n' => {
                    wire::message(&mut said, tag, |out| out.extend_from_slice(&body));
                    if tag != b't' {
                        alike &= described.next().is_some_and(|description| description.bytes == said);
                        said.clear();
                    }
                }
                b'E' => alike = false,
                b'Z' => break,
                _ => {}
            }
        }
        Ok(alike)
    }
}

fn told(error: &wire::ServerError) -> ClientError {
    let sqlstate = error.sqlstate.as_bytes().try_into().unwrap_or(*b"XX000");
    let told = ClientError::server(sqlstate, 0, &*error.message);
    ClientError {
        detail: error.detail.as_deref().map(str::to_owned),
        hint: error.hint.as_deref().map(str::to_owned),
        ..told
    }
}
