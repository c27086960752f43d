//! The wire against `postgres-protocol` as the oracle.

use super::*;
use crate::engine::TxState;
use crate::error::ClientError;
use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use proptest::prelude::*;
use tokio_postgres::fallible_iterator::FallibleIterator as _;

fn built(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    build(&mut out);
    out
}

fn parsed(build: impl FnOnce(&mut Vec<u8>)) -> Message {
    let mut bytes = BytesMut::from(&*built(build));
    let message = Message::parse(&mut bytes).unwrap().unwrap();
    assert!(bytes.is_empty());
    message
}

fn theirs(build: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    build(&mut out);
    out.to_vec()
}

#[test]
fn messages_without_a_body_are_what_they_say() {
    assert!(matches!(parsed(authentication_ok), Message::AuthenticationOk));
    assert!(matches!(parsed(authentication_cleartext), Message::AuthenticationCleartextPassword));
    assert!(matches!(parsed(parse_complete), Message::ParseComplete));
    assert!(matches!(parsed(bind_complete), Message::BindComplete));
    assert!(matches!(parsed(close_complete), Message::CloseComplete));
    assert!(matches!(parsed(no_data), Message::NoData));
    assert!(matches!(parsed(empty_query_response), Message::EmptyQueryResponse));
    assert!(matches!(parsed(portal_suspended), Message::PortalSuspended));
    assert_eq!(built(sync), theirs(frontend::sync));
    assert_eq!(built(flush), theirs(frontend::flush));
    assert_eq!(built(terminate), theirs(frontend::terminate));
    assert_eq!(built(ssl_request), theirs(frontend::ssl_request));
}

#[test]
fn sasl_messages_carry_the_mechanism_and_the_data() {
    for (plus, offered) in [(false, &["SCRAM-SHA-256"][..]), (true, &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])]
    {
        let Message::AuthenticationSasl(body) = parsed(|out| authentication_sasl(out, plus)) else {
            panic!()
        };
        assert_eq!(body.mechanisms().collect::<Vec<_>>().unwrap(), offered);
    }
    let Message::AuthenticationSaslContinue(body) = parsed(|out| authentication_sasl_continue(out, b"r=x"))
    else {
        panic!()
    };
    assert_eq!(body.data(), b"r=x");
    let Message::AuthenticationSaslFinal(body) = parsed(|out| authentication_sasl_final(out, b"v=x")) else {
        panic!()
    };
    assert_eq!(body.data(), b"v=x");
    assert_eq!(
        built(|out| sasl_initial(out, b"n,,n=,r=x")),
        theirs(|out| frontend::sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=x", out).unwrap())
    );
    assert_eq!(
        built(|out| sasl_response(out, b"c=x")),
        theirs(|out| frontend::sasl_response(b"c=x", out).unwrap())
    );
}

#[test]
fn a_session_begins_with_parameters_a_key_and_readiness() {
    let Message::ParameterStatus(body) = parsed(|out| parameter_status(out, "TimeZone", "UTC")) else {
        panic!()
    };
    assert_eq!((body.name().unwrap(), body.value().unwrap()), ("TimeZone", "UTC"));
    let Message::BackendKeyData(body) = parsed(|out| backend_key_data(out, 0x8000_0001, &[0, 0, 0, 9]))
    else {
        panic!()
    };
    assert_eq!((body.process_id(), body.secret_key()), (-0x7FFF_FFFF, 9));
    assert_eq!(
        head(&built(|out| backend_key_data(out, 1, &[7; 32])), FRAME_MAX).unwrap().unwrap().length,
        41
    );
    for (state, byte) in [(TxState::Idle, b'I'), (TxState::Open, b'T'), (TxState::Failed, b'E')] {
        let Message::ReadyForQuery(body) = parsed(|out| ready_for_query(out, state)) else { panic!() };
        assert_eq!(body.status(), byte);
    }
}

#[test]
fn errors_say_everything_once_and_end() {
    let error = ClientError::new("57014", 0, "a\0b").detail("why").hint("what to do").fatal();
    let bytes = built(|out| super::error(out, &error));
    let Message::ErrorResponse(body) = parsed(|out| super::error(out, &error)) else { panic!() };
    let fields: Vec<(u8, String)> = body
        .fields()
        .map(|field| Ok((field.type_(), String::from_utf8_lossy(field.value_bytes()).into_owned())))
        .collect()
        .unwrap();
    let expected =
        [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', "57014"), (b'M', "a"), (b'D', "why"), (b'H', "what to do")];
    assert_eq!(fields, expected.map(|(kind, text)| (kind, text.to_owned())));
    let read = ServerError::parse(&bytes[HEADER..]);
    assert_eq!((&*read.severity, &*read.sqlstate, &*read.message), ("FATAL", "57014", "a"));
    assert_eq!((read.detail.as_deref(), read.hint.as_deref()), (Some("why"), Some("what to do")));
    assert!(matches!(parsed(|out| warning(out, &error)), Message::NoticeResponse(_)));
}

#[test]
fn rows_of_text() {
    let Message::RowDescription(body) = parsed(|out| row_description(out, &["a", "bé"])) else { panic!() };
    let columns = body
        .fields()
        .map(|field| Ok((field.name().to_owned(), field.type_oid(), field.format())))
        .collect::<Vec<_>>();
    assert_eq!(columns.unwrap(), [("a".to_owned(), 25, 0), ("bé".to_owned(), 25, 0)]);
    let row: [Option<&[u8]>; 3] = [Some(b"x"), None, Some(b"")];
    let Message::DataRow(body) = parsed(|out| data_row(out, row.into_iter())) else { panic!() };
    let values =
        body.ranges().map(|range| Ok(range.map(|range| body.buffer()[range].to_vec()))).collect::<Vec<_>>();
    assert_eq!(values.unwrap(), row.map(|value| value.map(<[u8]>::to_vec)));
    let Message::CommandComplete(body) = parsed(|out| command_complete(out, "SELECT 1")) else { panic!() };
    assert_eq!(body.tag().unwrap(), "SELECT 1");
    let Message::ParameterDescription(body) = parsed(|out| parameter_description(out, &[23, u32::MAX]))
    else {
        panic!()
    };
    assert_eq!(body.parameters().collect::<Vec<_>>().unwrap(), [23, u32::MAX]);
}

#[test]
fn protocol_versions_are_negotiated_by_number_and_names() {
    let bytes = built(|out| negotiate_protocol_version(out, PROTOCOL_3_0, &["_pq_.a".into()]));
    assert_eq!(bytes, b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.a\0");
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    assert_eq!(head(b"Q\0\0\0\x03", 100), Err(BadLength { tag: b'Q', length: 3 }));
    assert_eq!(head(b"Q\xff\xff\xff\xff", FRAME_MAX), Err(BadLength { tag: b'Q', length: -1 }));
    assert_eq!(head(b"Q\0\0\0\x64", 100), Err(BadLength { tag: b'Q', length: 100 }));
    assert_eq!(head(b"Q\0\0\0\x63", 100), Ok(Some(Head { tag: b'Q', length: 100 })));
    assert_eq!(head(b"Q\0\0\0", 100), Ok(None));
}

proptest! {
    #[test]
    fn requests_are_the_oracles(name in "[^\0]{0,12}", text in "[^\0]{0,60}", types in proptest::collection::vec(any::<u32>(), 0..5)) {
        prop_assert_eq!(built(|out| query(out, &text)), theirs(|out| frontend::query(&text, out).unwrap()));
        prop_assert_eq!(
            built(|out| parse(out, name.as_bytes(), text.as_bytes(), &types)),
            theirs(|out| frontend::parse(&name, &text, types.iter().copied(), out).unwrap())
        );
        prop_assert_eq!(
            built(|out| describe(out, b'S', name.as_bytes())),
            theirs(|out| frontend::describe(b'S', &name, out).unwrap())
        );
        prop_assert_eq!(
            built(|out| close(out, b'P', name.as_bytes())),
            theirs(|out| frontend::close(b'P', &name, out).unwrap())
        );
        prop_assert_eq!(built(|out| execute(out, &name, 7)), theirs(|out| frontend::execute(&name, 7, out).unwrap()));
        prop_assert_eq!(
            built(|out| password(out, &text)),
            theirs(|out| frontend::password_message(text.as_bytes(), out).unwrap())
        );
        prop_assert_eq!(
            built(|out| startup(out, [("user", &*name), ("database", &*text)])),
            theirs(|out| frontend::startup_message([("user", &*name), ("database", &*text)], out).unwrap())
        );
        prop_assert_eq!(
            built(|out| cancel_request(out, 5, &9_u32.to_be_bytes())),
            theirs(|out| frontend::cancel_request(5, 9, out))
        );
    }

    #[test]
    fn bound_values_are_the_oracles(values in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)), 0..5)) {
        let ours = built(|out| bind(out, "", "s", values.iter().map(Option::as_deref)));
        let theirs = theirs(|out| {
            let value = |value: &Option<Vec<u8>>, out: &mut BytesMut| {
                Ok(match value {
                    Some(bytes) => { out.extend_from_slice(bytes); postgres_protocol::IsNull::No }
                    None => postgres_protocol::IsNull::Yes,
                })
            };
            frontend::bind("", "s", [], values.iter(), value, [], out).map_err(|_| "bind").unwrap();
        });
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn frames_are_found_wherever_the_bytes_end(
        bodies in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for (tag, body) in &bodies {
            message(&mut bytes, *tag, |out| out.extend_from_slice(body));
            ends.push(bytes.len());
        }
        let cut = cut.index(bytes.len() + 1);
        let here = &bytes[..cut];
        let mut frames = Frames::new(here, FRAME_MAX);
        for (index, (tag, body)) in bodies.iter().enumerate() {
            let start = ends[index] - body.len() - HEADER;
            if cut < start + HEADER {
                break;
            }
            let frame = frames.next().unwrap().unwrap();
            prop_assert_eq!((frame.tag, frame.start, frame.end()), (*tag, start, ends[index]));
            prop_assert_eq!(frame.complete, ends[index] <= cut);
            prop_assert_eq!(frames.body(&frame), &here[start + HEADER..ends[index].min(cut)]);
            if !frame.complete {
                break;
            }
        }
        let whole = ends.iter().rev().find(|end| **end <= cut).copied().unwrap_or(0);
        prop_assert_eq!(frames.consumed(), whole);
    }

    #[test]
    fn nothing_panics_on_noise(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(super::decode_all(&bytes) <= bytes.len() / HEADER);
    }
}
