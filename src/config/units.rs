//! Values with a unit: how durations, sizes, networks and secrets are written, and what they become.

use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use zeroize::Zeroize;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A value that never reaches a log, an error or `SHOW CONFIG`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret in.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The secret itself, for the one place that must send or hash it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What a duration may be; the end of the sentence "expected …".
pub const DURATION: &str = "a duration such as `250ms`, `5s`, `10m`, `1h`, `7d` or `0`";
/// What a size may be.
pub const SIZE: &str = "a size such as `64KiB`, `16MiB`, `1GiB` or `0`";
/// What a network may be.
pub const NETWORK: &str = "an address or a network such as `10.0.0.0/8` or `::1`";
/// What a percentage may be.
pub const PERCENT: &str = "a percentage such as `25%`";

const DAY: u64 = 24 * 60 * 60 * 1000;
/// In milliseconds, the largest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", DAY), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];
/// A longer time is a slip of the finger, and sums of such times must not overflow.
const LONGEST: u64 = 3650 * DAY;
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `250ms`, `5s`, `10m`, `1h`, `7d` or a bare `0`; `None` for anything else, and beyond ten years.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let millis = parse_with_unit(text, &DURATION_UNITS)?;
    (millis <= LONGEST).then(|| Duration::from_millis(millis))
}

/// Reads `64KiB`, `16MiB`, `100B` or a bare `0`; `None` for anything else.
#[must_use]
pub fn parse_size(text: &str) -> Option<Bytes> {
    parse_with_unit(text, &SIZE_UNITS).map(Bytes)
}

/// Reads `10.0.0.0/8`, or an address, which is the network of that one address.
#[must_use]
pub fn parse_network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Reads `25%`, from 0 to 100.
#[must_use]
pub fn parse_percent(text: &str) -> Option<u8> {
    let number = text.strip_suffix('%')?;
    digits(number).and_then(|percent| u8::try_from(percent).ok()).filter(|percent| *percent <= 100)
}

/// A duration as the file would say it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    show_with_unit(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATION_UNITS)
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_with_unit(self.0, &SIZE_UNITS))
    }
}

/// A whole number as people write it: digits and nothing else.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(split)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits(number)?.checked_mul(*factor)
}

fn show_with_unit(value: u64, units: &[(&str, u64)]) -> String {
    if value == 0 {
        return "0".to_owned();
    }
    let whole = units.iter().find(|(_, factor)| value.is_multiple_of(*factor));
    whole.map_or_else(|| value.to_string(), |(name, factor)| format!("{}{name}", value / factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse_duration("10m"), Some(Duration::from_secs(600)));
        assert_eq!(parse_duration("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        assert_eq!(parse_size("64KiB"), Some(Bytes(65536)));
        assert_eq!(parse_percent("25%"), Some(25));
        assert_eq!(parse_network("::1").map(|net| net.prefix_len()), Some(128));
    }

    #[test]
    fn what_has_no_unit_or_a_wrong_one_is_refused() {
        for text in ["", "5", "s", "-5s", "5 s", "1.5s", "5S", "99999999999999999999d", "4000d", "٣s", "5sec"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for text in ["", "64", "64kb", "64K", "KiB", "99999999999TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        for text in ["25", "101%", "%", "-1%", "2.5%"] {
            assert_eq!(parse_percent(text), None, "{text}");
        }
        for text in ["10.0.0.0/33", "host", "10.0.0", "::1/129"] {
            assert_eq!(parse_network(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret(…)");
    }

    proptest! {
        #[test]
        fn shown_durations_and_sizes_read_back(millis in 0..=LONGEST, size: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
            prop_assert_eq!(parse_size(&Bytes(size).to_string()), Some(Bytes(size)));
        }

        #[test]
        fn no_text_panics_and_only_plain_digits_count(text: String) {
            prop_assert!(parse_duration(&text).is_none() || text.is_ascii());
            prop_assert!(parse_size(&text).is_none() || text.is_ascii());
            prop_assert!(parse_percent(&text).is_none() || text.is_ascii());
            prop_assert!(parse_network(&text).is_none() || text.is_ascii());
        }
    }
}
