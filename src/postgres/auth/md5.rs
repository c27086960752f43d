//! The proof of roles whose password is stored as md5: both sides hash the stored hash with a salt of the server's.

use super::{Key, hmac, same};
use crate::config::units::Secret;
use md5::{Digest as _, Md5};

/// A random challenge.
pub type Salt = [u8; 4];

/// What a server stores of such a password: as good as the password itself, for whoever has it can answer every challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash(…)")
    }
}

impl Hash {
    /// Reads the text that PostgreSQL stores: `md5` and 32 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("md5")?.as_bytes();
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        digits.try_into().ok().filter(|digits: &[u8; 32]| digits.iter().all(is_digit)).map(Self)
    }

    /// Makes it from a password; the role's name is its salt.
    #[must_use]
    pub fn of(password: &str, user: &str) -> Self {
        Self(digest(password.as_bytes(), user.as_bytes()))
    }

    /// What an unknown user is examined with where strangers are taken for md5 roles.
    #[must_use]
    pub fn mock(secret: &Key, user: &str) -> Self {
        Self(digest(&hmac(secret, &[b"md5", user.as_bytes()]), b""))
    }

    /// What proves to whoever sent `salt` that we have it.
    #[must_use]
    pub fn answer(&self, salt: Salt) -> String {
        let digits = digest(&self.0, &salt);
        format!("md5{}", String::from_utf8_lossy(&digits))
    }

    /// Whether `answer` proves it.
    #[must_use]
    pub fn is_proved(&self, salt: Salt, answer: &[u8]) -> bool {
        same(self.answer(salt).as_bytes(), answer)
    }

    /// The text that PostgreSQL stores.
    #[must_use]
    pub fn stored(&self) -> Secret {
        Secret::new(format!("md5{}", String::from_utf8_lossy(&self.0)))
    }
}

/// A fresh challenge.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn salt() -> std::io::Result<Salt> {
    let mut salt = Salt::default();
    crate::clock::random(&mut salt)?;
    Ok(salt)
}

/// The MD5 of two pieces, as hexadecimal digits.
fn digest(one: &[u8], other: &[u8]) -> [u8; 32] {
    let hash = Md5::new().chain_update(one).chain_update(other).finalize();
    let mut digits = [0; 32];
    let halves = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (digit, half) in digits.iter_mut().zip(halves) {
        *digit = if half < 10 { b'0' + half } else { b'a' + half - 10 };
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_the_server_would_store_is_read() {
        let text = "md5c8ad6ce2cf8a1e0e6a5ed2f0d7d1dcbd";
        assert_eq!(Hash::parse(text).unwrap().stored().expose(), text);
        for bad in [
            "",
            "md5",
            text.trim_end_matches('d'),
            &text.replace('c', "C"),
            &text.replace("md5", "md6"),
            &format!("{text}0"),
        ] {
            assert_eq!(Hash::parse(bad), None, "{bad}");
        }
        assert_eq!(Hash::parse(&text.replace("c8", "\u{e9}")), None);
    }

    #[test]
    fn a_mock_is_nobodys_and_stays() {
        let mock = Hash::mock(&[1; 32], "ghost");
        assert_eq!(mock, Hash::mock(&[1; 32], "ghost"));
        assert_ne!(mock, Hash::mock(&[2; 32], "ghost"));
        assert_ne!(mock, Hash::of("", "ghost"));
    }

    proptest! {
        #[test]
        fn answers_are_those_of_the_oracles_client(user in "\\PC{1,9}", password in "\\PC{0,9}", salt: Salt) {
            let hash = Hash::of(&password, &user);
            let oracle = postgres_protocol::authentication::md5_hash(user.as_bytes(), password.as_bytes(), salt);
            prop_assert_eq!(&hash.answer(salt), &oracle);
            prop_assert!(hash.is_proved(salt, oracle.as_bytes()));
            prop_assert!(!hash.is_proved(salt.map(|byte| byte ^ 1), oracle.as_bytes()));
            prop_assert!(!hash.is_proved(salt, b""));
        }
    }
}
