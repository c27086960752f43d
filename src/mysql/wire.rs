//! MySQL's packets: three bytes of length, a number, a payload; what lies in payloads is read field by field without trust.

use crate::error::ClientError;

/// Length and number of a packet.
pub const HEADER: usize = 4;
/// A payload of this length goes on in the next packet.
pub const FULL: usize = 0xff_ffff;

/// Capability bits.
pub mod capability {
    /// Not MariaDB: its servers leave it out.
    pub const MYSQL: u32 = 1;
    /// Affected rows are found rows.
    pub const FOUND_ROWS: u32 = 1 << 1;
    /// Long flags of columns.
    pub const LONG_FLAG: u32 = 1 << 2;
    /// The login names a database.
    pub const CONNECT_WITH_DB: u32 = 1 << 3;
    /// Spaces before `(` are allowed.
    pub const IGNORE_SPACE: u32 = 1 << 8;
    /// Protocol 4.1.
    pub const PROTOCOL_41: u32 = 1 << 9;
    /// `interactive_timeout` counts.
    pub const INTERACTIVE: u32 = 1 << 10;
    /// TLS.
    pub const SSL: u32 = 1 << 11;
    /// Status flags of transactions.
    pub const TRANSACTIONS: u32 = 1 << 13;
    /// Logins of 4.1.
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    /// Several statements in a text.
    pub const MULTI_STATEMENTS: u32 = 1 << 16;
    /// Several results of a text.
    pub const MULTI_RESULTS: u32 = 1 << 17;
    /// Several results of a prepared statement.
    pub const PS_MULTI_RESULTS: u32 = 1 << 18;
    /// Logins name their plugin.
    pub const PLUGIN_AUTH: u32 = 1 << 19;
    /// Logins carry attributes.
    pub const CONNECT_ATTRS: u32 = 1 << 20;
    /// The proof in a login has a length of any size.
    pub const LENENC_AUTH: u32 = 1 << 21;
    /// OK packets carry changes of the session.
    pub const SESSION_TRACK: u32 = 1 << 23;
    /// Results end with an OK packet, and columns with nothing.
    pub const DEPRECATE_EOF: u32 = 1 << 24;
}

/// Status bits.
pub mod status {
    /// A transaction is open.
    pub const IN_TRANSACTION: u16 = 1;
    /// Autocommit.
    pub const AUTOCOMMIT: u16 = 2;
    /// Another result follows.
    pub const MORE_RESULTS: u16 = 8;
    /// A cursor was opened: rows come only when they are fetched.
    pub const CURSOR_EXISTS: u16 = 0x40;
}

/// A packet's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes of its payload.
    pub length: usize,
    /// Its number.
    pub sequence: u8,
}

/// Reads the head of the packet that `bytes` begin with; `None` while there are fewer than [`HEADER`] bytes.
#[must_use]
pub fn head(bytes: &[u8]) -> Option<Head> {
    let &[a, b, c, sequence] = bytes.first_chunk::<HEADER>()?;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, 0])).ok()?;
    Some(Head { length, sequence })
}

/// Writes one message as packets, numbered from `sequence` on; returns the number after the last.
pub fn packets(out: &mut Vec<u8>, sequence: u8, payload: &[u8]) -> u8 {
    split::<FULL>(out, sequence, payload)
}

/// The same with packets of at most `FULL` bytes; for tests.
pub(super) fn split<const FULL: usize>(out: &mut Vec<u8>, mut sequence: u8, payload: &[u8]) -> u8 {
    let mut rest = payload;
    loop {
        let (part, after) = rest.split_at(rest.len().min(FULL));
        let [a, b, c, _] = u32::try_from(part.len()).unwrap_or(0).to_le_bytes();
        out.extend([a, b, c, sequence]);
        out.extend_from_slice(part);
        sequence = sequence.wrapping_add(1);
        if part.len() < FULL {
            return sequence;
        }
        rest = after;
    }
}

/// A cursor over a payload: each read takes bytes off the front, or gives nothing and takes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number of variable length; `Some(None)` is NULL.
    pub fn nullable(&mut self) -> Option<Option<u64>> {
        let mut rest = *self;
        let number = match rest.u8()? {
            0xfb => None,
            0xfc => Some(u64::from(rest.u16()?)),
            0xfd => {
                let [a, b, c] = rest.array()?;
                Some(u64::from(u32::from_le_bytes([a, b, c, 0])))
            }
            0xfe => Some(u64::from_le_bytes(rest.array()?)),
            0xff => return None,
            small => Some(u64::from(small)),
        };
        *self = rest;
        Some(number)
    }

    /// A number of variable length.
    pub fn number(&mut self) -> Option<u64> {
        let mut rest = *self;
        let number = rest.nullable()??;
        *self = rest;
        Some(number)
    }

    /// Bytes with their length before them.
    pub fn counted(&mut self) -> Option<&'a [u8]> {
        let mut rest = *self;
        let length = usize::try_from(rest.number()?).ok()?;
        let bytes = rest.bytes(length)?;
        *self = rest;
        Some(bytes)
    }

    /// Bytes up to a zero.
    pub fn zero_ended(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let bytes = self.bytes(end)?;
        self.bytes(1)?;
        Some(bytes)
    }
}

/// Appends a number of variable length.
pub fn number(out: &mut Vec<u8>, number: u64) {
    let [a, b, c, ..] = number.to_le_bytes();
    match number {
        0..=0xfa => out.push(a),
        0xfb..=0xffff => out.extend([0xfc, a, b]),
        0x1_0000..=0xff_ffff => out.extend([0xfd, a, b, c]),
        _ => {
            out.push(0xfe);
            out.extend(number.to_le_bytes());
        }
    }
}

/// Appends bytes with their length before them.
pub fn counted(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What an ERR packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The number.
    pub errno: u16,
    /// SQLSTATE.
    pub sqlstate: [u8; 5],
    /// The text.
    pub message: String,
}

impl ServerError {
    /// Reads the payload of an ERR packet, its first byte included. What is missing stays empty.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        let mut fields = Fields(payload.get(1..).unwrap_or_default());
        let errno = fields.u16().unwrap_or(0);
        let mut sqlstate = *b"HY000";
        if let Some((b'#', rest)) = fields.0.split_first()
            && let Some((state, text)) = rest.split_first_chunk::<5>()
        {
            sqlstate = *state;
            fields.0 = text;
        }
        Self { errno, sqlstate, message: String::from_utf8_lossy(fields.0).into_owned() }
    }
}

/// The payload of an ERR packet.
#[must_use]
pub fn error(error: &ClientError) -> Vec<u8> {
    let mut out = vec![0xff];
    out.extend(if error.errno == 0 { 1105 } else { error.errno }.to_le_bytes());
    out.push(b'#');
    out.extend(error.sqlstate.0);
    // One text is all there is.
    out.extend_from_slice(error.message.as_bytes());
    for more in [&error.detail, &error.hint].into_iter().flatten() {
        out.extend_from_slice(b" | ");
        out.extend_from_slice(more.as_bytes());
    }
    // The server's own limit of a message.
    out.truncate(512);
    while std::str::from_utf8(out.get(9..).unwrap_or_default()).is_err() {
        out.pop();
    }
    out
}

/// The payload of an OK packet (`first` = 0), or of the one that ends a result (0xfe).
#[must_use]
pub fn ok(first: u8, status: u16) -> Vec<u8> {
    let [low, high] = status.to_le_bytes();
    vec![first, 0, 0, low, high, 0, 0]
}

/// The status that an OK packet's payload carries; `None` while too little of it is there.
#[must_use]
pub fn status_of_ok(payload: &[u8]) -> Option<u16> {
    let mut fields = Fields(payload.get(1..)?);
    fields.number()?;
    fields.number()?;
    fields.u16()
}

/// The status that an EOF packet's payload carries.
#[must_use]
pub fn status_of_eof(payload: &[u8]) -> Option<u16> {
    let mut fields = Fields(payload.get(1..)?);
    fields.u16()?;
    fields.u16()
}
