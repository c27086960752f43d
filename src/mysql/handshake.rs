//! The packets of a login, in both directions. Pure.

use super::wire::{Fields, ServerError, capability as cap};

/// The plugin whose proofs we make and check.
pub const CACHING_SHA2: &str = "caching_sha2_password";
/// The older one, still usual on MariaDB.
pub const NATIVE: &str = "mysql_native_password";
/// Bytes of a nonce.
pub const NONCE: usize = 20;

/// What clients are offered and backends are asked for as the client wished: it changes what travels, so it is one to one.
pub const AGREED: u32 = cap::FOUND_ROWS
    | cap::LONG_FLAG
    | cap::IGNORE_SPACE
    | cap::INTERACTIVE
    | cap::TRANSACTIONS
    | cap::MULTI_STATEMENTS
    | cap::MULTI_RESULTS
    | cap::PS_MULTI_RESULTS
    | cap::SESSION_TRACK
    | cap::DEPRECATE_EOF;

/// What belongs to the login alone. `LOAD DATA LOCAL`, compression, optional metadata and query attributes are not offered.
const OF_LOGIN: u32 = cap::MYSQL
    | cap::CONNECT_WITH_DB
    | cap::PROTOCOL_41
    | cap::SECURE_CONNECTION
    | cap::PLUGIN_AUTH
    | cap::CONNECT_ATTRS
    | cap::LENENC_AUTH;

/// What a connection agreed on for its life, as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Capabilities, of [`AGREED`].
    pub capabilities: u32,
    /// Number of the collation.
    pub collation: u8,
}

impl Terms {
    /// From the seam's form.
    #[must_use]
    pub fn of(terms: u64) -> Self {
        let [a, b, c, d, collation, ..] = terms.to_le_bytes();
        Self { capabilities: u32::from_le_bytes([a, b, c, d]), collation }
    }

    /// The seam's form.
    #[must_use]
    pub fn number(self) -> u64 {
        u64::from(self.capabilities) | u64::from(self.collation) << 32
    }

    /// Whether results end with an OK packet.
    #[must_use]
    pub fn deprecates_eof(self) -> bool {
        self.capabilities & cap::DEPRECATE_EOF != 0
    }
}

/// A server's first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Its version.
    pub version: String,
    /// Its number for the connection.
    pub id: u32,
    /// What it can do.
    pub capabilities: u32,
    /// What the proof is made with.
    pub nonce: [u8; NONCE],
    /// The plugin that it prefers.
    pub plugin: String,
}

impl Greeting {
    /// The greeting that we give.
    #[must_use]
    pub fn ours(version: &str, id: u32, nonce: [u8; NONCE], tls: bool) -> Self {
        let family = if version.contains("MariaDB") { !cap::MYSQL } else { !0 };
        let tls = if tls { cap::SSL } else { 0 };
        let capabilities = (AGREED | OF_LOGIN | tls) & family;
        Self { version: version.to_owned(), id, capabilities, nonce, plugin: CACHING_SHA2.to_owned() }
    }

    /// Its payload.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (first, last) = self.nonce.split_at(8);
        let [a, b, c, d] = self.capabilities.to_le_bytes();
        let mut out = vec![10];
        out.extend_from_slice(self.version.as_bytes());
        out.push(0);
        out.extend(self.id.to_le_bytes());
        out.extend_from_slice(first);
        out.push(0);
        // 255: utf8mb4_0900_ai_ci; 2: autocommit.
        out.extend([a, b, 255, 2, 0, c, d, 21]);
        out.extend([0; 10]);
        out.extend_from_slice(last);
        out.push(0);
        out.extend_from_slice(self.plugin.as_bytes());
        out.push(0);
        out
    }

    /// Reads one; `None` when it is none of protocol 10 with nonces of 4.1.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        if fields.u8()? != 10 {
            return None;
        }
        let version = String::from_utf8_lossy(fields.zero_ended()?).into_owned();
        let id = fields.u32()?;
        let first = fields.bytes(8)?;
        fields.u8()?;
        let low = fields.u16()?;
        fields.bytes(3)?;
        let high = fields.u16()?;
        fields.bytes(11)?;
        let last = fields.bytes(12)?;
        fields.u8();
        let plugin = fields.zero_ended().unwrap_or(NATIVE.as_bytes());
        let mut nonce = [0; NONCE];
        nonce.iter_mut().zip(first.iter().chain(last)).for_each(|(to, from)| *to = *from);
        Some(Self {
            version,
            id,
            capabilities: u32::from(low) | u32::from(high) << 16,
            nonce,
            plugin: String::from_utf8_lossy(plugin).into_owned(),
        })
    }
}

/// A client's first packet, unless it is a request for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// What it can do.
    pub capabilities: u32,
    /// Number of its collation.
    pub collation: u8,
    /// Login name.
    pub user: String,
    /// Its proof.
    pub proof: Vec<u8>,
    /// The database; empty = none.
    pub database: String,
    /// The plugin of its proof.
    pub plugin: String,
}

/// What a server says to a login, until it lets in or refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Come in.
    Welcome,
    /// Stay out.
    Refused(ServerError),
    /// It wants a proof of another kind, made with this nonce.
    Switch(String, [u8; NONCE]),
    /// It knows the password: the welcome follows.
    Known,
    /// It wants the whole password.
    Whole,
}

impl Said {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(payload: &[u8]) -> Result<Self, &'static str> {
        match *payload {
            [0, ..] => Ok(Self::Welcome),
            [0xff, ..] => Ok(Self::Refused(ServerError::parse(payload))),
            [0xfe, ref rest @ ..] => {
                let mut fields = Fields(rest);
                let plugin = fields.zero_ended().ok_or("a plugin without a name")?;
                let nonce = fields.bytes(NONCE).and_then(|nonce| nonce.try_into().ok());
                let plugin = String::from_utf8_lossy(plugin).into_owned();
                Ok(Self::Switch(plugin, nonce.ok_or("a plugin without a nonce")?))
            }
            [1, 3] => Ok(Self::Known),
            [1, 4] => Ok(Self::Whole),
            _ => Err("an unknown step of the login"),
        }
    }
}

/// Whether the packet asks for TLS: it stops before the name.
#[must_use]
pub fn asks_for_tls(payload: &[u8]) -> bool {
    payload.len() == 32 && Fields(payload).u32().is_some_and(|flags| flags & cap::SSL != 0)
}

/// The packet that asks for TLS.
#[must_use]
pub fn tls_request(capabilities: u32, collation: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.extend(capabilities.to_le_bytes());
    out.extend(0x0100_0000_u32.to_le_bytes());
    out.push(collation);
    out.extend([0; 23]);
    out
}

impl Response {
    /// The capabilities of a login with these terms.
    #[must_use]
    pub fn capabilities(terms: Terms, database: &str, tls: bool) -> u32 {
        let database = if database.is_empty() { 0 } else { cap::CONNECT_WITH_DB };
        let login = cap::MYSQL | cap::PROTOCOL_41 | cap::SECURE_CONNECTION | cap::PLUGIN_AUTH;
        terms.capabilities | login | database | if tls { cap::SSL } else { 0 }
    }

    /// Its payload.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = tls_request(self.capabilities, self.collation);
        out.extend_from_slice(self.user.as_bytes());
        out.push(0);
        out.push(u8::try_from(self.proof.len()).unwrap_or(0));
        out.extend_from_slice(&self.proof);
        if self.capabilities & cap::CONNECT_WITH_DB != 0 {
            out.extend_from_slice(self.database.as_bytes());
            out.push(0);
        }
        out.extend_from_slice(self.plugin.as_bytes());
        out.push(0);
        out
    }

    /// Reads one; `None` when it is none of protocol 4.1.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let capabilities = fields.u32()?;
        if capabilities & cap::PROTOCOL_41 == 0 {
            return None;
        }
        fields.u32()?;
        let collation = fields.u8()?;
        fields.bytes(23)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let user = text(fields.zero_ended()?)?;
        let proof = if capabilities & cap::LENENC_AUTH != 0 {
            fields.counted()?
        } else {
            let length = fields.u8()?;
            fields.bytes(usize::from(length))?
        };
        let named = capabilities & cap::CONNECT_WITH_DB != 0;
        let database = if named { text(fields.zero_ended()?)? } else { String::new() };
        let plugin = if capabilities & cap::PLUGIN_AUTH != 0 {
            text(fields.zero_ended().unwrap_or(fields.0))?
        } else {
            String::new()
        };
        Some(Self { capabilities, collation, user, proof: proof.to_vec(), database, plugin })
    }

    /// What its connection agreed on.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms { capabilities: self.capabilities & AGREED, collation: self.collation }
    }
}
