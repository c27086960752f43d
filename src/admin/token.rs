//! The secret that changes need: given in the configuration, or made at start into a file that only its owner may read.

use crate::clock;
use crate::config::units::Secret;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The operating system has no randomness.
    #[error("no random bytes for the admin token: {0}")]
    Random(std::io::Error),
    /// The file cannot be written.
    #[error("the admin token cannot be written to {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// The secret that changes need.
#[derive(Debug, Clone)]
pub struct Token(Secret);

impl Token {
    /// One that was given.
    #[must_use]
    pub fn given(secret: Secret) -> Self {
        Self(secret)
    }

    /// Makes one from 32 random bytes and leaves it in the file `path` with mode 0600; a file that is there is replaced, never
    /// written to (somebody else may have opened it).
    ///
    /// # Errors
    /// Without randomness, or when the file cannot be written.
    pub fn made(path: &Path) -> Result<Self, TokenError> {
        let mut bytes = [0_u8; 32];
        clock::random(&mut bytes).map_err(TokenError::Random)?;
        let mut text = String::with_capacity(64);
        for byte in bytes {
            // Writing to a string does not fail.
            write!(text, "{byte:02x}").unwrap_or_default();
        }
        leave(path, &text).map_err(|source| TokenError::File { path: path.to_owned(), source })?;
        Ok(Self(Secret::new(text)))
    }

    /// Whether the header `Authorization` carries it; takes as long for a wrong one as for the right one.
    #[must_use]
    pub fn opens(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, shown)) = authorization.and_then(|header| header.split_once(' ')) else {
            return false;
        };
        let own = self.0.expose().as_bytes();
        // An empty token would be one that everybody has.
        !own.is_empty()
            && scheme.eq_ignore_ascii_case("bearer")
            && aws_lc_rs::constant_time::verify_slices_are_equal(shown.trim().as_bytes(), own).is_ok()
    }
}

fn leave(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| std::io::Error::other("the path names no file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let new = folder.join(hidden);
    let written = write_new(&new, text).and_then(|()| std::fs::rename(&new, path));
    if written.is_err() && new.exists() {
        std::fs::remove_file(&new)?;
    }
    written
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_made_token_is_in_a_file_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let token = Token::made(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(text.trim().len(), 64);
        assert!(text.trim().chars().all(|c| c.is_ascii_hexdigit()));
        assert!(token.opens(Some(&format!("Bearer {}", text.trim()))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let again = Token::made(&path).unwrap();
        assert!(!again.opens(Some(&format!("Bearer {}", text.trim()))));
    }

    #[test]
    fn nothing_else_opens() {
        let token = Token::given(Secret::new("s3cret".to_owned()));
        assert!(token.opens(Some("bearer s3cret")));
        for header in [
            None,
            Some(""),
            Some("s3cret"),
            Some("Bearer s3cre"),
            Some("Bearer s3crett"),
            Some("Basic s3cret"),
            Some("Bearer "),
        ] {
            assert!(!token.opens(header), "{header:?}");
        }
        assert!(!Token::given(Secret::new(String::new())).opens(Some("Bearer ")));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Token::made(Path::new("/nonexistent/primacy/admin.token")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/primacy/admin.token"), "{error}");
    }
}
