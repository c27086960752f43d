//! The walk over a server's bytes against a simple model of what a client may see of them, and over any bytes in any pieces.

use super::*;
use crate::engine::TxState;
use crate::postgres::pieces;
use proptest::prelude::*;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

fn error(severity: &str, code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("S{severity}\0V{severity}\0C{code}\0M{text}\0\0").as_bytes())
}

/// One message of a server, what it answers, and what is asked of the walk.
#[derive(Debug, Clone)]
enum Said {
    /// A message by its tag, passed on as it is.
    Plain(u8, Vec<u8>),
    Setting(&'static str),
    Notification(u32),
    Parse(ParseReply),
    Close(CloseReply),
}

const CLIENT: u32 = 7;
const SERVER: u32 = 4711;

impl Said {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Plain(tag, body) => message(*tag, body),
            Self::Setting(name) => message(b'S', format!("{name}\0on\0").as_bytes()),
            Self::Notification(pid) => message(b'A', &[&pid.to_be_bytes()[..], b"channel\0\0"].concat()),
            Self::Parse(_) => message(b'1', b""),
            Self::Close(_) => message(b'3', b""),
        }
    }

    /// What the client is to see of it.
    fn seen(&self, treatment: Treatment) -> Vec<u8> {
        match self {
            Self::Setting(name) if !treatment.report_settings || *name == "in_hot_standby" => Vec::new(),
            Self::Parse(ParseReply::Ours(_) | ParseReply::OursAnonymous(_))
            | Self::Close(CloseReply::Ours) => Vec::new(),
            Self::Close(CloseReply::BecomesParse(_)) => message(b'1', b""),
            Self::Notification(SERVER) => Self::Notification(CLIENT).bytes(),
            other => other.bytes(),
        }
    }

    /// Whether nothing can be held back, and run again, once it is here.
    fn opens(&self) -> bool {
        matches!(self, Self::Plain(b'D' | b'd' | b'C' | b'N' | b'I' | b's' | b'G', _) | Self::Notification(_))
    }

    fn is_success(&self) -> bool {
        matches!(self, Self::Plain(b'C' | b'I' | b'V', _))
    }

    /// Whether a success before it does not stand at the unit's end.
    fn follows_success(&self) -> bool {
        !matches!(self, Self::Setting(_) | Self::Notification(_) | Self::Plain(b'N', _))
    }
}

fn said() -> impl Strategy<Value = Said> {
    let body = prop::collection::vec(any::<u8>(), 0..30);
    prop_oneof![
        6 => (prop::sample::select(&b"DTtn2HcINsdG"[..]), body).prop_map(|(tag, body)| Said::Plain(tag, body)),
        2 => prop::sample::select(&["INSERT 0 1", "SELECT 5", "COMMIT", "CREATE TABLE"][..])
            .prop_map(|tag| Said::Plain(b'C', [tag.as_bytes(), &[0]].concat())),
        1 => prop::sample::select(&["TimeZone", "in_hot_standby"][..]).prop_map(Said::Setting),
        1 => prop::sample::select(&[SERVER, 12][..]).prop_map(Said::Notification),
        1 => (0_u32..9, 1_u64..9).prop_map(|(part, statement)| Said::Parse(ParseReply::Client { part, statement })),
        1 => (0_u32..9, 1_u64..9).prop_map(|(part, id)| Said::Parse(ParseReply::Anonymous { part, id })),
        1 => (1_u64..9).prop_map(|id| Said::Parse(ParseReply::Ours(id))),
        1 => (1_u64..9).prop_map(|id| Said::Parse(ParseReply::OursAnonymous(id))),
        1 => prop_oneof![
            (0_u32..9).prop_map(CloseReply::Client), Just(CloseReply::Ours), (0_u32..9).prop_map(CloseReply::BecomesParse)
        ].prop_map(Said::Close),
    ]
}

fn treatment() -> impl Strategy<Value = Treatment> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(hold_back, ask_gate, report_settings)| {
        Treatment { hold_back, ask_gate, report_settings, ..Treatment::default() }
    })
}

/// What came out, piece by piece.
struct Walk {
    reply: Reply,
    down: Buffer,
    left: Vec<u8>,
    asked: usize,
    refused: usize,
    ready: bool,
}

impl Walk {
    /// What was said so far is `told`; a success at its end must not have left before the gate was asked.
    fn take(&mut self, piece: &[u8]) {
        self.down.extend(piece);
        loop {
            let step = self.reply.advance(&mut self.down);
            if let Step::Refused(_) = step {
                self.refused += 1;
                assert_eq!((self.reply.released, self.left.len()), (0, 0), "refused after something left");
                self.reply.let_go();
                self.reply.release_scanned();
            }
            self.left.extend(&self.down.bytes()[..self.reply.released]);
            self.down.consume(self.reply.released);
            self.reply.left(self.reply.released);
            match step {
                Step::NeedBytes => return,
                Step::Acknowledge => {
                    self.asked += 1;
                    self.reply.acknowledge();
                }
                Step::News => self.reply.noted(),
                Step::End => self.reply.conclude(),
                Step::Ready => self.ready = true,
                Step::CopyIn | Step::Refused(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

proptest! {
    #[test]
    fn the_client_sees_what_the_model_says(
        said in prop::collection::vec(said(), 0..20),
        fails in any::<bool>(),
        treatment in treatment(),
        tell in any::<bool>(),
        piece in 1_usize..60,
    ) {
        let mut reply = Reply { treatment, alias: (CLIENT, SERVER), ..Reply::default() };
        for one in &said {
            match one {
                Said::Parse(expected) => reply.expect_parse(*expected),
                Said::Close(expected) => reply.closes.push_back(*expected),
                _ => {}
            }
        }
        // What was sent behind a failure is never answered.
        if fails {
            reply.expect_parse(ParseReply::Ours(99));
            reply.closes.push_back(CloseReply::Ours);
        }
        let told = message(b'S', b"TimeZone\0UTC\0");
        if tell {
            reply.tell.extend(&told);
        }
        let mut walk =
            Walk { reply, down: Buffer::default(), left: Vec::new(), asked: 0, refused: 0, ready: false };
        let (mut expected, mut open, mut success) = (Vec::new(), !treatment.hold_back, None);
        // Each success is asked about before what follows it, and the last one, or the unit's commit, at its end.
        let mut asks = 0;
        let error = error("ERROR", "22012", "division by zero");
        for one in &said {
            if one.follows_success() {
                asks += usize::from(success.is_some());
            }
            if one.is_success() {
                success = Some(expected.len());
            } else if one.follows_success() {
                success = None;
            }
            one.bytes().chunks(piece).for_each(|piece| {
                walk.take(piece);
            });
            open |= one.opens() || matches!(one, Said::Plain(b'V', _));
            expected.extend(one.seen(treatment));
            prop_assert!(open || walk.left.is_empty(), "{one:?} let something go");
            let limit = success.filter(|_| treatment.ask_gate).unwrap_or(expected.len());
            prop_assert!(walk.left.len() <= limit, "a success left before the gate was asked");
            prop_assert_eq!(&walk.left, &expected[..walk.left.len()]);
            prop_assert!(!open || walk.left.len() == limit, "something is kept without a reason");
        }
        if fails {
            error.chunks(piece).for_each(|piece| walk.take(piece));
            expected.extend(&error);
            prop_assert_eq!(walk.refused, usize::from(!open));
            asks += usize::from(success.is_some());
            success = None;
        } else if tell {
            expected.extend(&told);
        }
        let ready = message(b'Z', b"T");
        ready.chunks(piece).for_each(|piece| walk.take(piece));
        expected.extend(&ready);
        prop_assert_eq!(walk.left, expected);
        prop_assert!(walk.ready && walk.down.is_empty() && walk.reply.nothing_held());
        let commits_last = success.is_some() || said.iter().any(|one| matches!(one, Said::Plain(b'C', _)));
        asks += usize::from(commits_last);
        prop_assert_eq!(walk.asked, if treatment.ask_gate { asks } else { 0 });
        prop_assert!(walk.reply.parses.is_empty() && walk.reply.closes.is_empty());
        let outcome = walk.reply.outcome;
        prop_assert_eq!((outcome.tx, outcome.failed), (TxState::Open, fails.then_some(*b"22012")));
        let commits = said.iter().filter(|one| matches!(one, Said::Plain(b'C', tag) if tag == b"COMMIT\0")).count();
        prop_assert_eq!(usize::from(outcome.transactions), commits);
    }

    #[test]
    fn any_bytes_in_any_pieces_do_the_same(
        messages in prop::collection::vec((any::<u8>(), prop::sample::select(&b"DTCNESAZ13G"[..]), prop::collection::vec(any::<u8>(), 0..20)), 0..12),
        junk in prop::collection::vec(any::<u8>(), 0..12),
        treatment in treatment(),
        piece in 1_usize..40,
    ) {
        let tagged = |(any, tag, body): &(u8, u8, Vec<u8>)| message(if *any < 8 { *any } else { *tag }, body);
        let mut bytes: Vec<u8> = messages.iter().flat_map(tagged).collect();
        bytes.extend(junk);
        prop_assert_eq!(pieces::reply(&bytes, usize::MAX, treatment), pieces::reply(&bytes, piece, treatment));
    }
}

#[test]
fn what_may_tell_of_a_write_waits_for_the_session() {
    let error = error("ERROR", "22012", "division by zero");
    let notification = Said::Notification(12).bytes();
    let ready = message(b'Z', b"I");
    for (said, ask_gate, waits) in [
        (&error, true, true),
        (&error, false, false),
        (&notification, true, true),
        (&notification, false, true),
    ] {
        for together in [false, true] {
            let treatment = Treatment { ask_gate, ..Treatment::default() };
            let mut reply = Reply { treatment, ..Reply::default() };
            let mut down = Buffer::default();
            down.extend(said);
            if together {
                down.extend(&ready);
            }
            if waits {
                assert_eq!(reply.advance(&mut down), Step::News);
                assert_eq!(reply.released, 0, "it left before the session had noted it");
                reply.noted();
                assert_eq!(reply.released, said.len(), "it may leave now, whatever else comes");
            }
            assert_eq!(reply.advance(&mut down), if together { Step::Ready } else { Step::NeedBytes });
            assert_eq!(
                &down.bytes()[..reply.released],
                [&said[..], if together { &ready } else { &[] }].concat()
            );
        }
    }
}

#[test]
fn errors_and_notices_of_any_length_pass() {
    let text = "x".repeat(3 * SMALL_MAX);
    for (long, failed) in [
        (error("ERROR", "22P02", &text), Some(*b"22P02")),
        (message(b'N', format!("SNOTICE\0VNOTICE\0C00000\0M{text}\0\0").as_bytes()), None),
    ] {
        let bytes = [long, message(b'Z', b"I")].concat();
        for hold_back in [false, true] {
            let treatment = Treatment { hold_back, ..Treatment::default() };
            let (left, steps, outcome) = pieces::reply(&bytes, 8192, treatment);
            assert!(
                left == bytes && steps == [Step::Ready] && outcome.failed == failed,
                "{steps:?} {outcome:?}"
            );
        }
    }
    let fatal = error("FATAL", "57P01", &text);
    let (left, steps, _) = pieces::reply(&fatal, 8192, Treatment::default());
    assert!(left.is_empty() && matches!(&steps[..], [Step::Fatal(refusal)] if &refusal.sqlstate == b"57P01"));
}

#[test]
fn the_error_for_a_name_that_exists_stands_for_the_marker_s() {
    let instead = error("ERROR", "42P05", "prepared statement \"a\" already exists");
    for (text, expected) in [
        (format!("prepared statement \"{MARKER}\" does not exist"), instead.clone()),
        (
            "prepared statement \"b\" does not exist".to_owned(),
            error("ERROR", "26000", "prepared statement \"b\" does not exist"),
        ),
    ] {
        let mut reply = Reply { instead: Some(instead.clone().into()), ..Reply::default() };
        let mut down = Buffer::default();
        down.extend(&error("ERROR", "26000", &text));
        assert_eq!(reply.advance(&mut down), Step::NeedBytes);
        assert_eq!(&down.bytes()[..reply.released], expected);
    }
}

#[test]
fn what_was_to_make_room_behind_an_error_is_still_there() {
    let closes = [CloseReply::Evicted(1), CloseReply::Client(0), CloseReply::Evicted(2), CloseReply::Ours];
    let mut reply = Reply { closes: closes.into(), ..Reply::default() };
    let mut down = Buffer::default();
    let close = message(b'3', b"");
    down.extend(&[close.clone(), close.clone(), error("ERROR", "42601", "no"), message(b'Z', b"I")].concat());
    assert_eq!(reply.advance(&mut down), Step::Ready);
    assert_eq!(reply.changes, [Confirmed::Statement(2)]);
    assert!(down.bytes().starts_with(&[close, error("ERROR", "42601", "no")].concat()));
}

#[test]
fn a_transaction_that_the_server_does_not_know_of_is_told_at_the_end() {
    let failed = error("ERROR", "22012", "division by zero");
    for (said, state) in [(message(b'C', b"SELECT 1\0"), b'T'), (failed, b'E')] {
        let bytes = [said.clone(), message(b'Z', b"I")].concat();
        for within in [false, true] {
            let treatment = Treatment { within, ..Treatment::default() };
            let (left, _, outcome) = pieces::reply(&bytes, 3, treatment);
            let end = message(b'Z', &[if within { state } else { b'I' }]);
            assert_eq!((left, outcome.tx), ([said.clone(), end].concat(), TxState::Idle));
        }
    }
}
