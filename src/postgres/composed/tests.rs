//! Clients that prepare, run and close what they like, whatever fails among it.

use super::*;
use proptest::prelude::*;

fn message(tag: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::message(&mut out, tag, |out| fields.iter().for_each(|field| out.extend_from_slice(field)));
    out
}

/// Shown as text.
#[derive(Clone)]
struct Shown(Vec<u8>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

fn any_message() -> impl Strategy<Value = Shown> {
    let names = vec!["", "", "a", "b", "c", "__primacy_1", "__primacy_2", "__primacy_none"];
    let texts = vec!["select 1", "select 2", "select 3", "select 4", "!select"];
    let one = (0_u8..100, prop::sample::select(names), prop::sample::select(texts));
    one.prop_map(|(kind, name, text)| {
        let (name, text) = (name.as_bytes(), text.as_bytes());
        Shown(match kind {
            0..25 => message(b'P', &[name, &[0], text, &[0, 0, 0]]),
            25..50 => message(b'B', &[b"portal\0", name, &[0, 0, 0, 0, 0, 0, 0]]),
            50..55 => message(b'D', &[b"S", name, &[0]]),
            55..58 => message(b'D', &[b"P", name, &[0]]),
            58..68 => message(b'C', &[b"S", name, &[0]]),
            68..70 => message(b'C', &[b"P", name, &[0]]),
            70..75 => message(b'E', &[b"portal\0\0\0\0\0"]),
            75..78 => message(b'H', &[]),
            78..82 => message(b'Q', &[text, &[0]]),
            _ => message(b'S', &[]),
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn clients_that_share_a_backend_see_what_they_would_see_alone(
        messages in prop::collection::vec(any_message(), 0..60),
        head in prop::array::uniform2(any::<u8>()),
        cut in 0_usize..8,
    ) {
        let mut bytes = head.to_vec();
        messages.iter().for_each(|message| bytes.extend_from_slice(&message.0));
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        check_compose(&bytes);
    }

    #[test]
    fn nothing_panics_on_noise(messages in prop::collection::vec((prop::sample::select(&b"PBDCEHSQFdcf"[..]),
        prop::collection::vec(prop_oneof![3 => Just(0), 1 => Just(b'S'), 1 => any::<u8>()], 0..12)), 0..30)) {
        let tagged = |(tag, body): &(u8, Vec<u8>)| message(*tag, &[body]);
        check_compose(&messages.iter().flat_map(tagged).collect::<Vec<u8>>());
    }
}
