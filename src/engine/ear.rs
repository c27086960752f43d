//! A connection that listens on behalf of all sessions of one database.

use super::cancel::CancelTarget;
use super::identity::Credentials;
use super::seam::{Birth, Identity, OpenError};
use crate::config::settings::Node;
use crate::error::{Fault, Retry};
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What it heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Somebody's commit told of something.
    Notification(Message),
    /// What was asked last is done. Everything that was committed, and acknowledged, before that was asked has been heard.
    Answered,
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The server's process that sent it.
    pub pid: u32,
    /// Channel and payload, each with a NUL behind it, in UTF-8 (or in no encoding at all, where the database has none).
    pub text: Box<[u8]>,
}

impl Message {
    /// The channel's name.
    #[must_use]
    pub fn channel(&self) -> &[u8] {
        self.text.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// See the module.
pub trait Ear: Send + Sized + 'static {
    /// What it needs to be opened.
    type Connector: Send + Sync;

    /// Connects and logs in.
    fn open(
        connector: &Self::Connector,
        node: &Node,
        identity: &Identity,
    ) -> impl Future<Output = Result<(Self, Birth), OpenError>> + Send;

    /// Asks the server to listen to these channels, and to those no more; one question at a time. It is sent by [`Ear::poll_heard`].
    fn ask(&mut self, listen: &[Arc<str>], unlisten: &[Arc<str>]);

    /// What it hears next.
    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Heard>>;

    /// The server's side of it.
    fn target(&self) -> &Arc<CancelTarget>;
}

/// The ear of an engine whose servers notify nobody.
#[derive(Debug)]
pub struct Deaf<C> {
    target: Arc<CancelTarget>,
    connector: PhantomData<fn(C)>,
}

impl<C: Send + Sync + 'static> Ear for Deaf<C> {
    type Connector = C;

    async fn open(_: &C, _: &Node, _: &Identity) -> Result<(Self, Birth), OpenError> {
        let message = "these servers have no notifications".to_owned();
        Err(OpenError { fault: Fault::Proxy, retry: Retry::Never, sqlstate: None, errno: 0, message })
    }

    fn ask(&mut self, _: &[Arc<str>], _: &[Arc<str>]) {}

    fn poll_heard(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Heard>> {
        Poll::Pending
    }

    fn target(&self) -> &Arc<CancelTarget> {
        &self.target
    }
}

/// In whose name it listens.
#[must_use]
pub fn identity(user: &Arc<str>, password: &crate::config::units::Secret, database: &Arc<str>) -> Identity {
    Identity {
        user: Arc::clone(user),
        database: Arc::clone(database),
        credentials: Arc::new(Credentials::Password(password.clone())),
        terms: 0,
        first: Arc::default(),
    }
}
