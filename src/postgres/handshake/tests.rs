//! First packets.

use super::*;
use crate::postgres::wire::{PROTOCOL_3_0, untagged};
use proptest::prelude::*;

fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    untagged(&mut out, |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(rest);
    });
    let length = First::body_length(out[..4].try_into().unwrap()).unwrap();
    assert_eq!(length, out.len() - 4);
    out.split_off(4)
}

fn startup(parameters: &[(&str, &str)]) -> Result<Startup, Refusal> {
    let mut rest = Vec::new();
    for (name, value) in parameters {
        wire::cstr(&mut rest, name);
        wire::cstr(&mut rest, value);
    }
    rest.push(0);
    match First::new(PROTOCOL_3_2).next(&packet(PROTOCOL_3_0, &rest)) {
        Step::Startup(startup) => Ok(*startup),
        Step::Refuse(refusal) => Err(refusal),
        step => panic!("{step:?}"),
    }
}

fn pairs(settings: &[(Box<str>, Box<str>)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (&**name, &**value)).collect()
}

#[test]
fn the_database_is_the_users_name_when_none_is_named() {
    assert_eq!(&*startup(&[("user", "ann")]).unwrap().database, "ann");
    assert_eq!(&*startup(&[("user", "ann"), ("database", "")]).unwrap().database, "ann");
    assert_eq!(&*startup(&[("user", "ann"), ("database", "shop")]).unwrap().database, "shop");
}

#[test]
fn a_plain_parameter_beats_options_and_the_last_of_a_name_wins() {
    let startup = startup(&[
        ("TimeZone", "UTC"),
        ("user", "ann"),
        ("options", r"-c timezone=CET -cwork_mem=1MB --statement-timeout=5 -c application_name=a\ b\\c"),
        ("application_name", "x"),
        ("primacy.route", "replica"),
    ])
    .unwrap();
    assert_eq!(
        pairs(&startup.parameters),
        [
            ("work_mem", "1MB"),
            ("statement_timeout", "5"),
            ("TimeZone", "UTC"),
            ("application_name", "x"),
            ("primacy.route", "replica")
        ]
    );
    assert!(!startup.negotiate && startup.bad_options.is_none());
}

#[test]
fn bad_options_are_kept_for_after_the_password() {
    let startup = startup(&[("user", "ann"), ("options", "-x")]).unwrap();
    let error = startup.bad_options.unwrap();
    assert_eq!((error.sqlstate.as_str(), error.fatal), ("42601", true));
    assert_eq!(error.message, "invalid command-line argument for server process: -x");
}

#[test]
fn replication_takes_the_servers_words() {
    let words =
        |value| startup(&[("user", "ann"), ("replication", value)]).map(|startup| startup.replication);
    for value in ["true", "t", "YES", "on", "1", "database"] {
        assert_eq!(words(value).unwrap().as_deref(), Some(value));
    }
    for value in ["false", "f", "n", "off", "of", "0"] {
        assert_eq!(words(value).unwrap(), None);
    }
    for value in ["", "maybe", "o", "Database", "2"] {
        assert_eq!(words(value).unwrap_err().error.unwrap().sqlstate, "22023");
    }
}

/// What the servers answer: up to 17 they speak 3.0, 18 speaks 3.2 (and 3.1, which is 3.0 under another name).
#[test]
fn versions_and_protocol_options_are_negotiated() {
    let with = |asked: u32, newest: u32, rest: &[u8]| {
        let packet = packet(PROTOCOL_3_0 | asked, rest);
        let Step::Startup(startup) = First::new(PROTOCOL_3_0 | newest).next(&packet) else { panic!() };
        startup
    };
    for (asked, newest, version, negotiate, key) in [
        (0, 0, 0, false, 4),
        (1, 0, 0, true, 4),
        (2, 0, 0, true, 4),
        (9999, 0, 0, true, 4),
        (0, 2, 0, false, 4),
        (1, 2, 1, false, 4),
        (2, 2, 2, false, 32),
        (3, 2, 2, true, 32),
        (9999, 2, 2, true, 32),
        // Servers of the future: we know no newer one.
        (7, 7, 2, true, 32),
    ] {
        let startup = with(asked, newest, b"user\0ann\0\0");
        let said = (startup.version, startup.negotiate, startup.cancel_key());
        assert_eq!(said, (PROTOCOL_3_0 | version, negotiate, key), "3.{asked} of 3.{newest}");
    }
    for (asked, newest) in [(0, 0), (2, 2)] {
        let startup = with(asked, newest, b"user\0ann\0_pq_.x\0y\0_pq_.z\0\0\0");
        assert!(startup.negotiate && startup.parameters.is_empty());
        assert_eq!(startup.version, PROTOCOL_3_0 | newest);
        assert_eq!(&startup.protocol_options[..], ["_pq_.x".into(), "_pq_.z".into()]);
    }
}

#[test]
fn encryption_is_asked_for_once_of_each_kind() {
    let Step::Gss(next) = First::new(PROTOCOL_3_2).next(&packet(GSSENC_REQUEST, b"")) else { panic!() };
    let Step::Tls(next) = next.next(&packet(SSL_REQUEST, b"")) else { panic!() };
    let Step::Refuse(refusal) = next.next(&packet(SSL_REQUEST, b"")) else { panic!() };
    assert_eq!(
        refusal.error.unwrap().message,
        "unsupported frontend protocol 1234.5679: server supports 3.0 to 3.2"
    );
}

#[test]
fn cancel_keys_have_any_length() {
    for length in [4, 32, 256] {
        let rest = [&[0, 0, 0, 9][..], &vec![5; length]].concat();
        let Step::Cancel { pid: 9, key } = First::new(PROTOCOL_3_2).next(&packet(CANCEL_REQUEST, &rest))
        else {
            panic!()
        };
        assert_eq!(key, vec![5; length]);
    }
    for length in [0, 257] {
        let rest = [&[0, 0, 0, 9][..], &vec![5; length]].concat();
        let Step::Refuse(Refusal { error: None, .. }) =
            First::new(PROTOCOL_3_2).next(&packet(CANCEL_REQUEST, &rest))
        else {
            panic!()
        };
    }
}

#[test]
fn lengths_are_bounded_before_anything_is_read() {
    for prefix in [*b"GET ", [0x16, 3, 1, 2], [0; 4], [0, 0, 0, 7], 10_005_u32.to_be_bytes(), [255; 4]] {
        assert!(First::body_length(prefix).unwrap_err().bytes().is_empty());
    }
    assert_eq!(First::body_length(10_004_u32.to_be_bytes()).unwrap(), PACKET_MAX);
}

#[test]
fn protocol_2_gets_its_own_form_of_error() {
    let Step::Refuse(refusal) = First::new(PROTOCOL_3_2).next(&packet(2 << 16, &[0; 280])) else { panic!() };
    assert_eq!(
        refusal.bytes(),
        b"EFATAL:  unsupported frontend protocol 2.0: server supports 3.0 to 3.2\n\0"
    );
}

proptest! {
    #[test]
    fn what_is_sent_is_what_is_read(parameters in proptest::collection::btree_map("[a-z]{1,8}\\.[a-z]{1,8}", "[^\0]{0,20}", 0..8)) {
        let mut sent = vec![("user", "ann")];
        sent.extend(parameters.iter().map(|(name, value)| (&**name, &**value)));
        let read = startup(&sent).unwrap();
        prop_assert_eq!(pairs(&read.parameters), &sent[1..]);
    }

    #[test]
    fn nothing_panics_on_noise(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode_all(&bytes);
    }

    #[test]
    fn nothing_panics_on_noisy_options(options in "[ -~\\\\é\t]{0,60}") {
        prop_assert!(options::parse(&options).map_or(0, |settings| settings.len()) <= options.len());
    }
}
