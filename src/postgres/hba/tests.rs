//! Lines as the view shows them, and whom they let in: the rules of the server's own `hba.c`.

use super::*;
use proptest::prelude::*;

/// `kind databases users address method [options]`, in the form of the file; lists have commas.
fn line(text: &str) -> Line {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [kind, databases, users, rest @ ..] = &words[..] else { panic!("{text}") };
    let names = |list: &str| list.split(',').map(str::to_owned).collect();
    let (from, rest) = if *kind == "local" {
        (From::parse(None, None), rest)
    } else {
        let (address, mask) = match rest[0].split_once('/') {
            Some((address, bits)) => (address, Some(mask(address, bits.parse().unwrap()))),
            None => (rest[0], None),
        };
        (From::parse(Some(address), mask.as_deref()), &rest[1..])
    };
    let options: Vec<String> = rest[1..].iter().map(|option| (*option).to_owned()).collect();
    Line::new(7, kind, (names(databases), names(users)), from, Method::parse(rest[0], &options))
}

fn mask(address: &str, bits: u32) -> String {
    if address.contains(':') {
        IpAddr::from((!(u128::MAX.checked_shr(bits).unwrap_or(0))).to_be_bytes()).to_string()
    } else {
        IpAddr::from((!(u32::MAX.checked_shr(bits).unwrap_or(0))).to_be_bytes()).to_string()
    }
}

fn guest<'a>(user: &'a str, database: &'a str, address: &str) -> Guest<'a> {
    Guest { user, roles: &[], database, walsender: false, address: address.parse().ok(), encrypted: false }
}

fn nothing_matches(_: &str, _: &str) -> Option<bool> {
    None
}

fn server() -> Server<'static> {
    Server { addresses: &[], has_patterns: true }
}

fn verdict(lines: &[&str], guest: &Guest<'_>) -> Judged {
    let lines: Vec<Line> = lines.iter().map(|text| line(text)).collect();
    judge(&lines, guest, &server(), &nothing_matches)
}

fn sure(lines: &[&str], guest: &Guest<'_>) -> Verdict {
    let judged = verdict(lines, guest);
    assert_eq!(judged.doubt, None, "{lines:?}");
    judged.verdict
}

#[test]
fn the_first_line_that_is_the_clients_decides() {
    let lines = ["host shop ann 10.0.0.0/8 trust", "host all all 10.1.0.0/16 reject", "host all all all md5"];
    for (user, database, address, expected) in [
        ("ann", "shop", "10.1.2.3", Verdict::Trust),
        ("ann", "other", "10.1.2.3", Verdict::Rejected),
        ("bob", "shop", "10.1.2.3", Verdict::Rejected),
        ("bob", "shop", "10.2.2.3", Verdict::Password),
        ("bob", "shop", "::1", Verdict::Password),
    ] {
        assert_eq!(sure(&lines, &guest(user, database, address)), expected, "{user} {database} {address}");
    }
    assert_eq!(sure(&lines[..1], &guest("bob", "shop", "10.1.2.3")), Verdict::NoLine);
}

#[test]
fn networks_are_compared_bit_by_bit_within_one_family() {
    for (network, address, within) in [
        ("10.0.0.0/8", "10.255.255.255", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("10.0.0.128/25", "10.0.0.127", false),
        ("0.0.0.0/0", "255.1.1.1", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "::1", true),
        ("::/0", "127.0.0.1", false),
        ("fe80::/10", "febf::1", true),
        ("fe80::/10", "fec0::1", false),
        ("127.0.0.1/32", "127.0.0.1", true),
    ] {
        let line = format!("host all all {network} trust");
        let expected = if within { Verdict::Trust } else { Verdict::NoLine };
        assert_eq!(sure(&[&line], &guest("ann", "shop", address)), expected, "{network} {address}");
    }
}

#[test]
fn kinds_of_connections_are_told_apart() {
    let plain = guest("ann", "shop", "10.0.0.1");
    let secure = Guest { encrypted: true, ..plain };
    let socket = Guest { address: None, ..plain };
    for (kind, expected) in [
        ("host", [true, true, false]),
        ("hostnogssenc", [true, true, false]),
        ("hostssl", [false, true, false]),
        ("hostnossl", [true, false, false]),
        ("hostgssenc", [false, false, false]),
    ] {
        let line = format!("{kind} all all all trust");
        let is = [&plain, &secure, &socket].map(|guest| sure(&[&line], guest) == Verdict::Trust);
        assert_eq!(is, expected, "{kind}");
    }
    let local = ["local all all trust"];
    assert_eq!(sure(&local, &socket), Verdict::Trust);
    assert_eq!(sure(&local, &plain), Verdict::NoLine);
    assert_eq!(
        verdict(&["hostnew all all all trust"], &plain).verdict,
        Verdict::NoLine,
        "never trusted in doubt"
    );
}

#[test]
fn databases_have_words_of_their_own() {
    let roles = ["ann".to_owned(), "team".to_owned(), "shop".to_owned()];
    let to = |database| Guest { roles: &roles, ..guest("ann", database, "10.0.0.1") };
    for (word, database, is) in [
        ("all", "x", true),
        ("shop", "shop", true),
        ("shop", "Shop", false),
        ("a,shop", "shop", true),
        ("sameuser", "ann", true),
        ("sameuser", "shop", false),
        ("samerole", "shop", true),
        ("samegroup", "team", true),
        ("samerole", "other", false),
        ("replication", "replication", false),
        ("replication", "x", false),
    ] {
        let line = format!("host {word} all all trust");
        let expected = if is { Verdict::Trust } else { Verdict::NoLine };
        assert_eq!(sure(&[&line], &to(database)), expected, "{word} {database}");
        let walsender = Guest { walsender: true, ..to(database) };
        let expected = if word == "replication" { Verdict::Trust } else { Verdict::NoLine };
        assert_eq!(sure(&[&line], &walsender), expected, "{word}, a walsender");
    }
}

#[test]
fn users_are_names_members_or_patterns() {
    let roles = ["ann".to_owned(), "team".to_owned()];
    let ann = Guest { roles: &roles, ..guest("ann", "shop", "10.0.0.1") };
    for (word, is) in [
        ("all", true),
        ("ann", true),
        ("Ann", false),
        ("bob,ann", true),
        ("+team", true),
        ("+ann", true),
        ("+other", false),
        ("team", false),
    ] {
        let line = format!("host all {word} all trust");
        let expected = if is { Verdict::Trust } else { Verdict::NoLine };
        assert_eq!(sure(&[&line], &ann), expected, "{word}");
    }
    let lines = [line("host all /^a all trust"), line("host /p$ all all reject")];
    let matches = |pattern: &str, name: &str| {
        Some((pattern, name) == ("^a", "ann") || (pattern, name) == ("p$", "shop"))
    };
    let with = |guest: &Guest<'_>, has_patterns| {
        judge(&lines, guest, &Server { has_patterns, ..server() }, &matches).verdict
    };
    assert_eq!(with(&ann, true), Verdict::Trust);
    assert_eq!(with(&guest("bob", "shop", "10.0.0.1"), true), Verdict::Rejected);
    // Before 16 it is a name like others.
    assert_eq!(with(&ann, false), Verdict::NoLine);
    assert_eq!(with(&guest("/^a", "x", "10.0.0.1"), false), Verdict::Trust);
    // What nobody has asked the server for.
    let doubt = judge(&lines, &ann, &server(), &nothing_matches);
    assert_eq!((doubt.verdict, doubt.doubt), (Verdict::NoLine, Some(7)));
}

#[test]
fn methods_that_cannot_be_passed_on_are_foreign() {
    for (method, expected) in [
        ("trust", Verdict::Trust),
        ("md5", Verdict::Password),
        ("password", Verdict::Password),
        ("scram-sha-256", Verdict::Scram),
        ("scram-sha-256 clientcert=verify-full", Verdict::Foreign("cert".into())),
        ("reject clientcert=verify-ca", Verdict::Rejected),
        ("cert map=x", Verdict::Foreign("cert".into())),
        ("ldap", Verdict::Foreign("ldap".into())),
        ("oauth", Verdict::Foreign("oauth".into())),
    ] {
        let line = format!("hostssl all all all {method}");
        let inside = Guest { encrypted: true, ..guest("ann", "shop", "10.0.0.1") };
        assert_eq!(sure(&[&line], &inside), expected, "{method}");
    }
}

/// The strictest of what may hold, never trust by a guess, and the line is named.
#[test]
fn a_line_in_doubt_never_makes_it_easier() {
    let named = |method: &str| format!("host all all .example.com {method}");
    let rest = |method: &str| format!("host all all all {method}");
    let (trust, password, scram) = (Verdict::Trust, Verdict::Password, Verdict::Scram);
    for (doubtful, sure, verdict_of_both, in_doubt) in [
        ("trust", "scram-sha-256", scram.clone(), false),
        ("scram-sha-256", "trust", scram.clone(), true),
        ("md5", "trust", password.clone(), true),
        ("md5", "scram-sha-256", scram.clone(), false),
        ("scram-sha-256", "md5", scram, true),
        ("reject", "md5", Verdict::Rejected, true),
        ("md5", "reject", Verdict::Rejected, true),
        ("ldap", "md5", Verdict::Foreign("ldap".into()), true),
        ("trust", "trust", trust, false),
    ] {
        let judged = verdict(&[&named(doubtful), &rest(sure)], &guest("ann", "shop", "10.0.0.1"));
        assert_eq!(
            (judged.verdict, judged.doubt.is_some()),
            (verdict_of_both, in_doubt),
            "{doubtful}, {sure}"
        );
    }
    let judged = verdict(&[&named("scram-sha-256")], &guest("ann", "shop", "10.0.0.1"));
    let told = judged.refusal(&guest("ann", "shop", "10.0.0.1")).unwrap();
    assert!(told.message.starts_with("no pg_hba.conf entry for host \"10.0.0.1\""));
    assert!(told.hint.unwrap().contains("Line 7 of pg_hba.conf"));
    // A line after the one that decides is nobody's matter.
    let judged = verdict(&[&rest("md5"), &named("reject")], &guest("ann", "shop", "10.0.0.1"));
    assert_eq!(judged, Judged { verdict: password, doubt: None });
}

#[test]
fn the_servers_own_addresses_are_partly_known() {
    let addresses = ["10.0.0.5".parse().unwrap()];
    let with = |lines: &[&str], address| {
        let lines: Vec<Line> = lines.iter().map(|text| line(text)).collect();
        let server = Server { addresses: &addresses, ..server() };
        judge(&lines, &guest("ann", "shop", address), &server, &nothing_matches)
    };
    for own in ["samehost", "samenet"] {
        let line = format!("host all all {own} trust");
        assert_eq!(with(&[&line], "10.0.0.5").verdict, Verdict::Trust);
        let other = with(&[&line, "host all all all md5"], "10.0.0.6");
        assert_eq!(other, Judged { verdict: Verdict::Password, doubt: None });
        assert_eq!(with(&[&line], "10.0.0.6").verdict, Verdict::NoLine);
    }
}

#[test]
fn refusals_are_the_servers_words() {
    let plain = guest("ann", "shop", "10.0.0.1");
    let secure = Guest { encrypted: true, walsender: true, ..plain };
    let says = |method: &str, guest: &Guest<'_>| {
        let line = format!("host all,replication all 10.0.0.0/8 {method}");
        let told = verdict(&[&line], guest).refusal(guest).unwrap();
        assert!(told.fatal && told.sqlstate == "28000");
        told.message
    };
    assert_eq!(
        says("reject", &plain),
        "pg_hba.conf rejects connection for host \"10.0.0.1\", user \"ann\", database \"shop\", no encryption"
    );
    assert_eq!(
        says("reject", &secure),
        "pg_hba.conf rejects replication connection for host \"10.0.0.1\", user \"ann\", SSL encryption"
    );
    let elsewhere = Guest { address: "11.0.0.1".parse().ok(), ..plain };
    assert_eq!(
        says("md5", &elsewhere),
        "no pg_hba.conf entry for host \"11.0.0.1\", user \"ann\", database \"shop\", no encryption"
    );
    let elsewhere = Guest { address: "11.0.0.1".parse().ok(), ..secure };
    assert_eq!(
        says("md5", &elsewhere),
        "no pg_hba.conf entry for replication connection from host \"11.0.0.1\", user \"ann\", SSL encryption"
    );
    assert!(says("ldap", &plain).contains("wants method \"ldap\""));
}

proptest! {
    /// Whatever the lines in doubt turn out to be, the client is not asked less than the server would ask.
    #[test]
    fn doubt_is_never_weaker_than_the_truth(
        lines in proptest::collection::vec(
            (proptest::bool::ANY, prop_oneof![Just("trust"), Just("md5"), Just("scram-sha-256"), Just("reject"), Just("ldap")]), 0..6
        ),
        truth in proptest::num::u8::ANY,
    ) {
        let texts: Vec<String> = lines.iter().map(|(named, method)| {
            format!("host all all {} {method}", if *named { "a.example.com" } else { "10.0.0.1/32" })
        }).collect();
        // The same lines as a server sees them that knows whether each name is the client's.
        let known: Vec<String> = lines.iter().enumerate().map(|(bit, (named, method))| {
            let is = !named || truth >> bit & 1 == 1;
            format!("host all all {} {method}", if is { "10.0.0.1/32" } else { "10.0.0.2/32" })
        }).collect();
        let ann = guest("ann", "shop", "10.0.0.1");
        let ours = verdict(&texts.iter().map(|text| &**text).collect::<Vec<_>>(), &ann).verdict;
        let theirs = sure(&known.iter().map(|text| &**text).collect::<Vec<_>>(), &ann);
        prop_assert!(ours >= theirs, "{ours:?} {theirs:?}");
    }
}
