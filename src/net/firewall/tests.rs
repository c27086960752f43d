//! The firewall's arithmetic.

use super::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

fn rules() -> settings::Firewall {
    settings::Firewall {
        allow: Vec::new(),
        deny: Vec::new(),
        connections_per_second: 0,
        failed_logins_limit: 0,
        failed_logins_block: Duration::from_secs(60),
    }
}

fn at(milliseconds: u64) -> Tick {
    Tick(1).plus(Duration::from_millis(milliseconds))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn deny_wins_over_allow_whatever_the_prefix() {
    let rules = settings::Firewall {
        allow: vec!["10.0.0.0/8".parse().unwrap(), "10.1.2.3/32".parse().unwrap()],
        deny: vec!["10.1.0.0/16".parse().unwrap()],
        ..rules()
    };
    let mut firewall = Firewall::new(rules);
    assert_eq!(firewall.admit(ip("10.2.0.1"), at(0)), Verdict::Admitted);
    assert_eq!(firewall.admit(ip("10.1.2.3"), at(0)), Verdict::NotAllowed);
    assert_eq!(firewall.admit(ip("::ffff:10.1.2.3"), at(0)), Verdict::NotAllowed);
    assert_eq!(firewall.admit(ip("::ffff:10.2.2.3"), at(0)), Verdict::Admitted);
    assert_eq!(firewall.admit(ip("192.168.0.1"), at(0)), Verdict::NotAllowed);
    assert_eq!(firewall.admit(ip("::1"), at(0)), Verdict::NotAllowed);
}

#[test]
fn an_address_has_a_burst_of_one_second_and_then_its_rate() {
    let mut firewall = Firewall::new(settings::Firewall { connections_per_second: 4, ..rules() });
    let here = ip("10.0.0.1");
    for _ in 0..4 {
        assert_eq!(firewall.admit(here, at(0)), Verdict::Admitted);
    }
    assert_eq!(firewall.admit(here, at(0)), Verdict::TooFast);
    assert_eq!(firewall.admit(here, at(249)), Verdict::TooFast);
    assert_eq!(firewall.admit(here, at(250)), Verdict::Admitted);
    assert_eq!(firewall.admit(here, at(251)), Verdict::TooFast);
    assert_eq!(firewall.admit(ip("10.0.0.2"), at(251)), Verdict::Admitted);
}

#[test]
fn failed_logins_block_and_the_block_ends() {
    let mut firewall = Firewall::new(settings::Firewall { failed_logins_limit: 3, ..rules() });
    let here = ip("10.0.0.1");
    assert!(!firewall.login_failed(here, at(0)));
    assert!(!firewall.login_failed(here, at(10)));
    assert_eq!(firewall.admit(here, at(20)), Verdict::Admitted);
    assert!(firewall.login_failed(here, at(30)));
    assert_eq!(firewall.admit(here, at(60_029)), Verdict::Blocked);
    assert_eq!(firewall.admit(ip("10.0.0.2"), at(31)), Verdict::Admitted);
    assert_eq!(firewall.admit(here, at(60_030)), Verdict::Admitted);
    assert!(!firewall.login_failed(here, at(60_040)), "the count starts anew after a block");
}

#[test]
fn failures_that_lie_far_apart_do_not_add_up() {
    let mut firewall = Firewall::new(settings::Firewall { failed_logins_limit: 2, ..rules() });
    assert!(!firewall.login_failed(ip("10.0.0.1"), at(0)));
    assert!(!firewall.login_failed(ip("10.0.0.1"), at(60_001)));
    assert!(firewall.login_failed(ip("10.0.0.1"), at(60_002)));
}

#[test]
fn the_table_is_bounded_and_keeps_the_blocked() {
    let rules = settings::Firewall { failed_logins_limit: 1, connections_per_second: 1, ..rules() };
    let mut firewall = Firewall::new(rules);
    let bad = ip("10.0.0.1");
    assert!(firewall.login_failed(bad, at(0)));
    for number in 0..u32::try_from(WATCHED_MAX).unwrap() + 1000 {
        firewall.admit(IpAddr::V4(Ipv4Addr::from_bits(0x2000_0000 + number)), at(0));
    }
    assert!(firewall.watched.len() <= WATCHED_MAX);
    assert_eq!(firewall.admit(bad, at(1)), Verdict::Blocked);
    firewall.admit(IpAddr::V6(Ipv6Addr::LOCALHOST), at(5000));
    assert!(firewall.watched.len() < 10, "what is stale is forgotten when room is needed");
}

proptest! {
    #[test]
    fn never_more_than_the_rate_and_one_burst(limit in 1_u32..50, gaps in proptest::collection::vec(0_u64..400, 1..200)) {
        let mut firewall = Firewall::new(settings::Firewall { connections_per_second: limit, ..rules() });
        let (mut now, mut admitted) = (0, 0_u64);
        for gap in gaps {
            now += gap;
            admitted += u64::from(firewall.admit(ip("10.0.0.1"), at(now)) == Verdict::Admitted);
        }
        prop_assert!(admitted <= u64::from(limit) + u64::from(limit) * now / 1000 + 1);
    }
}
