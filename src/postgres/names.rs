//! The names that shared statements have on backends, and how the texts of errors get the client's own back.

use memchr::memmem;
use std::ops::Range;

pub(super) use crate::engine::seam::PREFIX;

/// A name that no statement ever has: it stands for one that the client does not have.
pub(super) const UNKNOWN: &str = "__primacy_unknown";

/// The name under which a shared statement stands on a backend, made without allocating.
pub(super) struct Name {
    bytes: [u8; 32],
    length: usize,
}

impl Name {
    /// The name of the statement `id`.
    pub(super) fn of(id: u64) -> Self {
        let mut bytes = [0; 32];
        let digits = id.checked_ilog(16).unwrap_or(0) as usize + 1;
        let length = PREFIX.len() + digits;
        let places = (0..digits).rev().map(|place| b"0123456789abcdef"[(id >> (4 * place)) as usize & 15]);
        bytes.iter_mut().zip(PREFIX.bytes().chain(places)).for_each(|(byte, character)| *byte = character);
        Self { bytes, length }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// What the client calls the shared statements of one unit. Its memory is kept from unit to unit.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: Vec<(u64, Range<usize>)>,
    bytes: Vec<u8>,
}

impl Names {
    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.bytes.clear();
    }

    /// The client calls `id` by `name`.
    pub(super) fn add(&mut self, id: u64, name: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.ids.push((id, start..self.bytes.len()));
    }

    /// The whole message with the client's name in the place of ours, and the position that it names (if the text was edited, see
    /// [`crate::engine::seam::Edited::shifts`]) in the client's own text; `None` when there is nothing to put right.
    pub(super) fn restore(&self, message: &[u8], shifts: &[(usize, isize)]) -> Option<Box<[u8]>> {
        let renamed = self.rename(message);
        if shifts.is_empty() {
            return renamed;
        }
        let said = renamed.as_deref().unwrap_or(message);
        let mut body = Vec::with_capacity(said.len());
        for field in said.get(5..)?.split_inclusive(|byte| *byte == 0) {
            match position(field) {
                Some(at) => {
                    let moved: isize =
                        shifts.iter().filter(|(from, _)| at >= *from).map(|(_, longer)| longer).sum();
                    let at = at.saturating_add_signed(moved.saturating_neg());
                    body.extend_from_slice(format!("P{at}\0").as_bytes());
                }
                None => body.extend_from_slice(field),
            }
        }
        let length = u32::try_from(body.len() + 4).ok()?;
        Some([said.get(..1)?, length.to_be_bytes().as_slice(), &body].concat().into())
    }

    fn rename(&self, message: &[u8]) -> Option<Box<[u8]>> {
        let at = memmem::find(message, PREFIX.as_bytes())?;
        let after = message.get(at + PREFIX.len()..)?;
        let digits = after.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let id = u64::from_str_radix(std::str::from_utf8(after.get(..digits)?).ok()?, 16).ok()?;
        let (_, name) = self.ids.iter().find(|(known, _)| *known == id)?;
        let [head, tail] = [message.get(5..at)?, after.get(digits..)?];
        let body = [head, self.bytes.get(name.clone())?, tail].concat();
        let length = u32::try_from(body.len() + 4).ok()?;
        Some([message.get(..1)?, length.to_be_bytes().as_slice(), &body].concat().into())
    }
}

// The position that a field of an error names.
fn position(field: &[u8]) -> Option<usize> {
    std::str::from_utf8(field.strip_prefix(b"P")?.strip_suffix(&[0])?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_statement_as_its_client_does() {
        let mut names = Names::default();
        names.add(0x2a, b"mine");
        let text = |name: &[u8]| [b"MStatement \"", name, b"\" is odd\0\0"].concat();
        let message = |body: Vec<u8>| {
            let length = u32::try_from(body.len() + 4).unwrap();
            [b"E".as_slice(), &length.to_be_bytes(), &body].concat()
        };
        let ours = message(text(Name::of(0x2a).as_bytes()));
        assert_eq!(names.restore(&ours, &[]).unwrap().to_vec(), message(text(b"mine")));
        assert_eq!(names.restore(&message(text(b"other")), &[]), None);
        assert_eq!(names.restore(&message(text(Name::of(7).as_bytes())), &[]), None);
    }

    #[test]
    fn an_error_points_into_the_clients_own_text() {
        let error = |position: &str| {
            let body = ["SERROR\0", "C42601\0", position, "\0\0"].concat();
            [b"E".as_slice(), &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body.as_bytes()].concat()
        };
        let restored =
            |at: &str| Names::default().restore(&error(at), &[(20, 10), (40, -2)]).unwrap().to_vec();
        assert_eq!(restored("P9"), error("P9"));
        assert_eq!(restored("P20"), error("P10"));
        assert_eq!(restored("P41"), error("P33"));
    }
}
