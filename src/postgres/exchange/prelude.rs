//! The answer to a unit of our own that was sent in front of the client's.

use super::super::backend::Backend;
use super::super::said::refusal;
use super::super::wire;
use super::{Exchange, Prelude};

/// What one of its messages may be long.
const MESSAGE_MAX: usize = 64 * 1024;

impl Exchange {
    /// Takes the answer out of what the server said, as far as it is there. True when all of it was; an error when the connection is of no use any more.
    pub(super) fn pass_prelude(&mut self, backend: &mut Backend) -> Result<bool, String> {
        let at = self.reply.released;
        loop {
            let rest = self.down.bytes().get(at..).unwrap_or_default();
            let Some(&[tag, a, b, c, d]) = rest.get(..5) else { return Ok(false) };
            let length = match usize::try_from(i32::from_be_bytes([a, b, c, d])) {
                Ok(length) if (4..MESSAGE_MAX).contains(&length) => length + 1,
                _ => return Err("a message with an invalid length".to_owned()),
            };
            let Some(body) = rest.get(5..length) else { return Ok(false) };
            let refused = match tag {
                b'E' => {
                    self.prelude = Prelude::Refused;
                    Some(refusal(body).message)
                }
                _ => None,
            };
            if tag == b'S' {
                let mut fields = wire::Fields(body);
                if let (Some(name), Some(value)) = (fields.text(), fields.text()) {
                    backend.heard(&name, &value);
                }
            }
            self.down.remove(at..at + length);
            if let Some(reason) = refused {
                return Err(format!(
                    "the session's settings were refused, though they had been accepted before: {reason}"
                ));
            }
            if tag == b'Z' {
                self.prelude = Prelude::None;
                backend.end_carrying();
                return Ok(true);
            }
        }
    }
}
