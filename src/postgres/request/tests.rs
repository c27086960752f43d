//! Framing: any bytes, in any pieces.

use super::*;
use crate::postgres::pieces;
use proptest::prelude::*;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let name = "[a-z]{0,5}";
    let body = prop_oneof![
        4 => (name, name, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(first, second, rest)| {
            [first.as_bytes(), &[0], second.as_bytes(), &[0], &rest].concat()
        }),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    let tag = prop_oneof![
        12 => prop::sample::select(&b"QPBDCEHFdcfS"[..]),
        1 => any::<u8>(),
    ];
    (tag, body).prop_map(|(tag, body)| message(tag, &body))
}

proptest! {
    #[test]
    fn pieces_frame_as_the_whole_does(
        messages in prop::collection::vec(any_message(), 0..20),
        cut in any::<prop::sample::Index>(),
        piece in 1_usize..50,
    ) {
        let mut bytes = messages.concat();
        bytes.truncate(cut.index(bytes.len() + 1));
        let whole = pieces::request(&bytes, usize::MAX).map_err(|error| error.to_string());
        let in_pieces = pieces::request(&bytes, piece).map_err(|error| error.to_string());
        prop_assert_eq!(whole, in_pieces);
    }

    #[test]
    fn nothing_panics_and_everything_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..50) {
        let whole = pieces::request(&bytes, usize::MAX);
        if let Ok(seen) = &whole {
            prop_assert!(seen.len() <= bytes.len() / 5);
        }
        prop_assert_eq!(whole.is_err(), pieces::request(&bytes, piece).is_err());
    }

    /// A pipeline of any length without a Sync leaves in pieces, wherever the pieces that come end.
    #[test]
    fn long_pipelines_leave_in_pieces(name in "[a-z]{1,60}", extra in 0_usize..64, piece in 1_usize..9000) {
        let filler = message(b'd', &vec![0; extra]);
        let bind = message(b'B', &[&[0], name.as_bytes(), &[0, 0, 0, 0, 0, 0, 0]].concat());
        let mut bytes = filler;
        let binds = 2 * SEGMENT_MAX / bind.len();
        (0..binds).for_each(|_| bytes.extend(&bind));
        bytes.extend(message(b'S', b""));
        let seen = pieces::request(&bytes, piece).unwrap();
        prop_assert_eq!(seen.len(), binds + 2);
        prop_assert!(seen.iter().filter(|seen| seen.0 == b'B').all(|seen| seen.2 == name.as_bytes()));
    }

    #[test]
    fn bound_values_are_found(
        values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 0..5),
        formats in 0_usize..3,
    ) {
        let count = u16::try_from(values.len()).unwrap();
        let formats = [0, 1, count][formats];
        let mut rest = formats.to_be_bytes().to_vec();
        (0..formats).for_each(|_| rest.extend([0, 0]));
        rest.extend(count.to_be_bytes());
        for value in &values {
            let length = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap());
            rest.extend(length.to_be_bytes());
            rest.extend(value.as_deref().unwrap_or_default());
        }
        for (value, index) in values.iter().zip(0..) {
            prop_assert_eq!(bound_text(&rest, index), value.as_deref());
        }
        prop_assert_eq!(bound_text(&rest, count), None);
        (0..rest.len()).for_each(|end| { let _any = bound_text(&rest[..end], 0); });
    }
}

#[test]
fn a_long_text_streams_and_its_unit_goes_on() {
    let mut bytes = message(b'Q', &vec![b'x'; 3 * SEGMENT_MAX]);
    bytes.extend(message(b'S', b""));
    let mut request = Request::default();
    assert!(!request.frame(&bytes[..SEGMENT_MAX - 1]).unwrap());
    assert!(request.frame(&bytes[..SEGMENT_MAX]).unwrap());
    let left = 3 * SEGMENT_MAX + 5 - SEGMENT_MAX;
    assert_eq!((request.end, request.length), (Some(End::Streaming(left)), SEGMENT_MAX));
    assert!(
        matches!(request.part(0, &bytes[..SEGMENT_MAX]), Part::Long(text) if text.len() == SEGMENT_MAX - 5)
    );
    assert_eq!(pieces::request(&bytes, 1000).unwrap().len(), 2);
}

#[test]
fn what_the_protocol_does_not_have_is_refused() {
    for bytes in
        [&b"Q\0\0\0\x03"[..], b"Q\x7f\xff\xff\xff", b"Q\xff\xff\xff\xff", b"p\0\0\0\x04", b"P\0\0\0\x05a"]
    {
        let error = pieces::request(bytes, 1).unwrap_err();
        assert_eq!((error.sqlstate.to_string().as_str(), error.fatal), ("08P01", true), "{error}");
    }
}

#[test]
fn what_may_be_run_on_later_is_not_self_contained() {
    use crate::postgres::wire::{bind, execute, parse, sync};
    let built = |build: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        build(&mut bytes);
        let mut request = Request::default();
        assert!(request.frame(&bytes).unwrap());
        (request.is_self_contained(&bytes), request.first(&bytes))
    };
    let none = || std::iter::empty();
    let one = |out: &mut Vec<u8>, portal: &str, rows| {
        parse(out, b"s", b"BEGIN", &[]);
        bind(out, portal, "s", none());
        execute(out, portal, rows);
    };
    let whole = |build: &dyn Fn(&mut Vec<u8>)| {
        built(&|out| {
            build(out);
            sync(out);
        })
    };
    assert_eq!(whole(&|_| {}), (true, None));
    assert_eq!(whole(&|out| one(out, "", 0)), (true, None));
    assert_eq!(whole(&|out| one(out, "", 1)), (true, None), "rows that are left are gone with the next Bind");
    assert_eq!(whole(&|out| one(out, "p", 0)), (false, None));
    assert_eq!(whole(&|out| bind(out, "", "s", none())), (false, None), "it may be run later");
    assert_eq!(whole(&|out| execute(out, "", 0)), (false, None), "it was bound before");
    let twice = |first: &'static str, second: &'static str| {
        move |out: &mut Vec<u8>| {
            one(out, first, 0);
            one(out, second, 0);
        }
    };
    assert_eq!(whole(&twice("", "")), (true, Some(3)));
    assert_eq!(whole(&twice("p", "")), (false, None));
    assert_eq!(whole(&twice("", "p")), (false, Some(3)));
}
