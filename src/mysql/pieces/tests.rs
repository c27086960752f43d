//! What clients and servers say, built message by message, comes out as it was meant, whatever the pieces are that it comes in.

use super::*;
use crate::error::ClientError;
use crate::mysql::handshake::NONCE;
use crate::mysql::wire::status::{AUTOCOMMIT, CURSOR_EXISTS, IN_TRANSACTION, MORE_RESULTS};
use proptest::prelude::*;

/// One result of a command.
#[derive(Debug, Clone)]
enum Said {
    Done(Vec<u8>),
    Failed(Vec<u8>),
    Rows { columns: Vec<Vec<u8>>, rows: Vec<Vec<u8>>, cursor: bool },
}

/// An answer under construction, and what the walk over it must come to.
struct Model {
    bytes: Vec<u8>,
    next: u8,
    deprecates_eof: bool,
    ends: Vec<usize>,
    failed: Option<[u8; 5]>,
    status: u16,
}

impl Model {
    fn packet(&mut self, payload: &[u8]) {
        self.next = wire::split::<SMALL>(&mut self.bytes, self.next, payload);
    }

    fn eof(&mut self, status: u16) {
        let [low, high] = status.to_le_bytes();
        self.packet(&[0xfe, 0, 0, low, high]);
    }

    fn end(&mut self, status: u16) {
        self.ends.push(self.bytes.len());
        self.status = status;
        if self.deprecates_eof { self.packet(&wire::ok(0xfe, status)) } else { self.eof(status) }
    }

    fn rows(&mut self, rows: &[Vec<u8>], status: u16) {
        rows.iter().for_each(|row| self.packet(row));
        self.end(status);
    }

    fn error(&mut self, text: &[u8]) {
        self.failed = Some(*b"22012");
        self.packet(&[b"\xff\x15\x05#22012", text].concat());
    }

    fn result(&mut self, said: &Said, status: u16) {
        match said {
            Said::Done(info) => {
                self.ends.push(self.bytes.len());
                self.status = status;
                self.packet(&[&wire::ok(0, status)[..], info].concat());
            }
            Said::Failed(text) => self.error(text),
            Said::Rows { columns, rows, cursor } => {
                self.packet(&[u8::try_from(columns.len()).unwrap()]);
                columns.iter().for_each(|column| self.packet(column));
                if *cursor {
                    return self.end(status | CURSOR_EXISTS);
                }
                if !self.deprecates_eof {
                    self.eof(status);
                }
                self.rows(rows, status);
            }
        }
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=most)
}

/// Rows of a text protocol: what begins like an end is as long as only a row can be.
fn row() -> impl Strategy<Value = Vec<u8>> {
    let long = bytes(60).prop_map(|rest| [&[0xfe; SMALL][..], &rest].concat());
    let usual = (0_u8..0xfe, bytes(60)).prop_map(|(first, rest)| [&[first][..], &rest].concat());
    prop_oneof![8 => usual, 1 => long]
}

fn said() -> impl Strategy<Value = Said> {
    let definition = (0_u8..4, bytes(40)).prop_map(|(first, rest)| [&[first][..], &rest].concat());
    let columns = prop::collection::vec(definition, 1..4);
    let rows = prop::collection::vec(row(), 0..5);
    prop_oneof![
        3 => bytes(60).prop_map(Said::Done),
        1 => bytes(60).prop_map(Said::Failed),
        4 => (columns, rows, prop::bool::weighted(0.2))
            .prop_map(|(columns, rows, cursor)| Said::Rows { columns, rows, cursor }),
    ]
}

fn command() -> impl Strategy<Value = (Shape, Vec<Said>)> {
    let results = prop::collection::vec(said(), 1..4);
    let shapes =
        vec![Shape::Results, Shape::Results, Shape::One, Shape::Prepared, Shape::Rows, Shape::Silent];
    (prop::sample::select(shapes), results)
}

fn answer(shape: Shape, results: &[Said], deprecates_eof: bool, open: u16) -> Model {
    let mut model =
        Model { bytes: Vec::new(), next: 1, deprecates_eof, ends: Vec::new(), failed: None, status: 0 };
    match (shape, &results[0]) {
        (Shape::Silent, _) => {}
        (Shape::Results, _) => {
            for (index, said) in results.iter().enumerate() {
                let over = matches!(said, Said::Failed(_)) || index + 1 == results.len();
                let over = over || matches!(said, Said::Rows { cursor: true, .. });
                model.result(said, AUTOCOMMIT | open | if over { 0 } else { MORE_RESULTS });
                if over {
                    break;
                }
            }
        }
        (_, Said::Failed(text)) => model.error(text),
        (Shape::One, Said::Rows { .. }) => {
            model.ends.push(0);
            model.status = open;
            model.eof(open);
        }
        (Shape::One, done) => model.result(done, open),
        (Shape::Prepared, Said::Done(_)) => model.packet(&[0; 12]),
        (Shape::Prepared, Said::Rows { columns, rows, .. }) => {
            let [c, r] = [columns.len(), rows.len()].map(|n| u8::try_from(n).unwrap());
            model.packet(&[0, 1, 0, 0, 0, c, 0, r, 0, 0, 0, 0]);
            for packets in [rows, columns] {
                packets.iter().for_each(|packet| model.packet(packet));
                if !deprecates_eof && !packets.is_empty() {
                    model.eof(0);
                }
            }
        }
        (Shape::Rows, Said::Done(_)) => model.rows(&[], open),
        (Shape::Rows, Said::Rows { rows, .. }) => model.rows(rows, open),
    }
    model
}

proptest! {
    #[test]
    fn answers_leave_whole_and_end_where_they_end(
        (shape, results) in command(),
        deprecates_eof: bool,
        ask_gate: bool,
        open: bool,
        behind in bytes(20),
        piece in 1_usize..70,
    ) {
        let open = if open { IN_TRANSACTION } else { 0 };
        let model = answer(shape, &results, deprecates_eof, open);
        let all = [&model.bytes[..], &behind].concat();
        let walked = reply::<SMALL>(&all, piece, shape, (deprecates_eof, ask_gate));
        prop_assert_eq!(walked.end, Some(Step::Ready));
        prop_assert_eq!(&walked.left, &model.bytes);
        prop_assert_eq!(walked.asked, if ask_gate { model.ends } else { Vec::new() });
        prop_assert_eq!(walked.outcome.failed, model.failed);
        let tx = if model.status & IN_TRANSACTION > 0 { TxState::Open } else { TxState::Idle };
        prop_assert_eq!(walked.outcome.tx, tx);
        prop_assert!(walked.whole);
        prop_assert_eq!(walked.sequence, if shape == Shape::Silent { 0 } else { model.next });
        // Broken off anywhere, the client has nothing but the beginning of it.
        if let Some(cut) = model.bytes.len().checked_sub(1) {
            let walked = reply::<SMALL>(&model.bytes[..cut], piece, shape, (deprecates_eof, ask_gate));
            prop_assert_eq!(walked.end, None);
        }
    }

    #[test]
    fn commands_are_cut_where_they_end(
        payloads in prop::collection::vec(bytes(4 * SMALL), 0..9),
        cut in any::<prop::sample::Index>(),
        piece in 1_usize..90,
    ) {
        let (mut all, mut expected) = (Vec::new(), Vec::new());
        for payload in &payloads {
            let start = all.len();
            let next = wire::split::<SMALL>(&mut all, 0, payload);
            prop_assert_eq!(usize::from(next), payload.len() / SMALL + 1);
            prop_assert_eq!(all.len() - start, payload.len() + usize::from(next) * HEADER);
            expected.push((Command::of(payload.first().copied()), all.len() - start, next));
        }
        prop_assert_eq!(&request::<SMALL>(&all, piece), &expected);
        all.truncate(cut.index(all.len() + 1));
        let seen = request::<SMALL>(&all, piece);
        prop_assert_eq!(&seen[..], &expected[..seen.len()]);
    }

    #[test]
    fn any_bytes_in_any_pieces_do_the_same(
        payloads in prop::collection::vec(prop_oneof![bytes(40), row(), Just(wire::ok(0, 8))], 0..12),
        junk in bytes(12),
        head in prop::array::uniform2(any::<u8>()),
    ) {
        let mut all = head.to_vec();
        for payload in payloads {
            wire::split::<SMALL>(&mut all, 0, &payload);
        }
        all.extend(junk);
        check_reply(&all);
        check_request(&all);
        [check_client, check_server, check_fields].iter().for_each(|check| check(&all[2..]));
    }

    #[test]
    fn logins_are_read_as_they_are_written(
        (user, database, plugin) in ("[^\0]{0,20}", "[^\0]{0,20}", "[a-z_]{0,20}"),
        proof in bytes(255),
        (capabilities, collation) in any::<(u32, u8)>(),
        (id, tls, nonce) in any::<(u32, bool, [u8; NONCE])>(),
    ) {
        let terms = Terms { capabilities: capabilities & crate::mysql::handshake::AGREED, collation };
        let capabilities = Response::capabilities(terms, &database, tls);
        let response = Response { capabilities, collation, user: user.clone(), proof, database, plugin };
        prop_assert_eq!(response.terms(), terms);
        prop_assert!(!asks_for_tls(&response.bytes()));
        prop_assert_eq!(Response::parse(&response.bytes()), Some(response));
        let greeting = Greeting::ours(&user, id, nonce, tls);
        prop_assert_eq!(Greeting::parse(&greeting.bytes()), Some(greeting));
    }

    #[test]
    fn fields_are_read_as_they_are_written(number: u64, shift in 0_u32..64, text in bytes(300)) {
        let number = number >> shift;
        let mut out = Vec::new();
        wire::number(&mut out, number);
        wire::counted(&mut out, &text);
        let mut fields = Fields(&out);
        prop_assert_eq!((fields.number(), fields.counted(), fields.0.len()), (Some(number), Some(&text[..]), 0));
        for end in 0..out.len() {
            let mut fields = Fields(&out[..end]);
            prop_assert!(fields.number().and_then(|_| fields.counted()).is_none());
        }
    }

    #[test]
    fn errors_are_told_whole_or_cut_between_letters(text in "\\PC{0,400}", hint in "\\PC{0,400}") {
        let error = ClientError::new("42000", 1064, text.clone()).hint(&hint);
        let payload = wire::error(&error);
        prop_assert!(payload.len() <= 512);
        let ServerError { errno, sqlstate, message } = ServerError::parse(&payload);
        prop_assert_eq!((errno, &sqlstate), (1064, b"42000"));
        let whole = format!("{text} | {hint}");
        prop_assert!(whole.starts_with(&message));
    }
}

#[test]
fn what_no_server_sends_ends_the_walk() {
    for (payload, shape, deprecates_eof) in [
        (&[][..], Shape::One, true),
        (&[0], Shape::One, true),
        (&[0xfe], Shape::One, true),
        (&[0xfe, 0], Shape::Rows, false),
        (&[0xfe, 0], Shape::Rows, true),
        (&[0xfb, b'/'], Shape::Results, true),
        (&[0xfc, 1], Shape::Results, true),
        (&[0, 1], Shape::Prepared, true),
        (&[7], Shape::Prepared, true),
    ] {
        let mut all = Vec::new();
        wire::packets(&mut all, 1, payload);
        let walked = reply::<{ wire::FULL }>(&all, 1, shape, (deprecates_eof, false));
        assert!(matches!(walked.end, Some(Step::Violation(_))), "{payload:?} {shape:?}: {walked:?}");
    }
    let columns = [&[1, 0, 0, 1, 1][..], &[1, 0, 0, 2, 3], &[1, 0, 0, 3, 0]].concat();
    let walked = reply::<{ wire::FULL }>(&columns, 1, Shape::Results, (false, false));
    assert!(matches!(walked.end, Some(Step::Violation(_))), "{walked:?}");
}
