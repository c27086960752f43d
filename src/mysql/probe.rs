//! What a MySQL server says about itself. Its position is not read yet: replicas are unfit for reads above `eventual`.

use super::handshake::{AGREED, Terms};
use super::login::{self, LoginError, Opened, Target, Who};
use super::request::QUERY;
use super::wire::capability::{FOUND_ROWS, IGNORE_SPACE, INTERACTIVE};
use crate::config::settings::{Monitor, Node};
use crate::engine::{Observation, Part, Position, Probe, ProbeError};
use std::io;

/// Asked at each probe.
const ROLE: &str = "SELECT @@GLOBAL.read_only OR @@GLOBAL.super_read_only";

/// Asks MySQL servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct MysqlProbe;

/// The monitor's connection to one server.
#[derive(Debug)]
pub struct Link {
    opened: Opened,
    // A connection ends with the server's start: this is asked once.
    who: Who,
}

impl Probe for MysqlProbe {
    type Link = Link;

    async fn connect(&self, node: &Node, monitor: &Monitor) -> Result<Link, ProbeError> {
        let target = Target::new(node).map_err(|error| ProbeError::Answer(error.to_string().into()))?;
        let capabilities = AGREED & !(FOUND_ROWS | IGNORE_SPACE | INTERACTIVE);
        let terms = Terms { capabilities, collation: 45 };
        let opened = login::open(&target, &monitor.user, monitor.password.expose(), &monitor.database, terms);
        let mut opened = opened.await.map_err(explain)?;
        let who = login::who(&mut opened).await.map_err(explain)?;
        Ok(Link { opened, who })
    }

    async fn observe(&self, link: &mut Link) -> Result<Observation, ProbeError> {
        let (rows, _) = login::ask(&mut link.opened, QUERY, ROLE).await.map_err(explain)?;
        let flag = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        let nowhere = Position::Unordered;
        let part = match flag {
            Some("0") => Part::Writable {
                written: nowhere,
                durable: nowhere,
                early_acknowledgement: false,
                quorum_lost: false,
                followers: None,
            },
            Some(_) => Part::Follows {
                received: nowhere,
                replayed: nowhere,
                streaming: false,
                upstream: None,
                replay_age: None,
            },
            None => return Err(ProbeError::Answer("it does not say whether it is read-only".into())),
        };
        let Who { identity, start, version, slots, .. } = &link.who;
        Ok(Observation {
            identity: *identity,
            system: 0,
            start: *start,
            version: version.as_str().into(),
            timeline: 0,
            part,
            slots: *slots,
        })
    }

    async fn nudge(&self, _link: &mut Link) -> Result<(), ProbeError> {
        // There is no position that could be behind.
        Ok(())
    }
}

fn explain(error: LoginError) -> ProbeError {
    let words = error.to_string().into();
    match error {
        LoginError::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ProbeError::Refused(words),
            io::ErrorKind::InvalidData => ProbeError::Answer(words),
            _ => ProbeError::Lost(words),
        },
        LoginError::Refused(refusal) => match refusal.errno {
            1044 | 1045 | 1049 | 1130 | 1698 | 3118 => ProbeError::Login(words),
            1053 | 3032 => ProbeError::Refused(words),
            _ => ProbeError::Answer(words),
        },
        LoginError::Unsupported(_) => ProbeError::Login(words),
    }
}
