//! What a server's ErrorResponse or NoticeResponse says.

use super::Fields;
use std::fmt;

/// The fields of an ErrorResponse or NoticeResponse that we look at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `WARNING`, …, never translated.
    pub severity: Box<str>,
    /// Five characters; empty when the server named none.
    pub sqlstate: Box<str>,
    /// The text.
    pub message: Box<str>,
    /// Further detail.
    pub detail: Option<Box<str>>,
    /// Advice.
    pub hint: Option<Box<str>>,
}

impl ServerError {
    /// Reads the body. What is missing or cut off stays empty: an error about an error helps nobody.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let mut error = Self::default();
        let mut fields = Fields(body);
        while let Some(kind) = fields.u8().filter(|kind| *kind != 0) {
            let Some(text) = fields.text() else { break };
            match kind {
                b'V' => error.severity = text.into(),
                b'S' if error.severity.is_empty() => error.severity = text.into(),
                b'C' => error.sqlstate = text.into(),
                b'M' => error.message = text.into(),
                b'D' => error.detail = Some(text.into()),
                b'H' => error.hint = Some(text.into()),
                _ => {}
            }
        }
        error
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.severity, self.message, self.sqlstate)
    }
}
