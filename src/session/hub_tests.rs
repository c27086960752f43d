use super::*;
use crate::session::registry::{Arrival, Place, Registry, Replication};
use futures_util::FutureExt as _;

struct Listener {
    _place: Place,
    mailbox: Arc<Mailbox>,
}

fn listener(registry: &Arc<Registry>) -> Listener {
    let arrival = Arrival {
        id: registry.reserve(),
        user: "u".into(),
        database: "d".into(),
        peer: None,
        tls: false,
        replication: Replication::None,
        application: "".into(),
        since: Tick::ZERO,
        secret: Box::default(),
    };
    let place = registry.enter(arrival, 10).unwrap();
    let mailbox = Mailbox::new(Arc::clone(&place.entry));
    Listener { _place: place, mailbox }
}

fn message(channel: &str, payload: &str) -> Message {
    Message { pid: 7, text: format!("{channel}\0{payload}\0").into_bytes().into() }
}

fn payloads(mailbox: &Mailbox) -> Vec<String> {
    std::iter::from_fn(|| mailbox.take())
        .map(|news| String::from_utf8_lossy(&news.message.text).split('\0').nth(1).unwrap().to_owned())
        .collect()
}

fn question(listen: &[&str], unlisten: &[&str]) -> Option<Question> {
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    Some(Question { listen: names(listen), unlisten: names(unlisten) })
}

#[test]
fn who_joins_hears_what_comes_after_its_round_and_nothing_before() {
    let (hub, registry) = (Hub::new(), Arc::new(Registry::default()));
    let (a, b) = (listener(&registry), listener(&registry));
    let channel = [Arc::from("c")];
    let mut started = 0;
    let mut joins = Box::pin(hub.join(&channel, &a.mailbox, || started += 1));
    assert_eq!(joins.as_mut().now_or_never(), None, "the server has not answered");
    assert_eq!(hub.begin(), question(&["c"], &[]));
    assert_eq!(hub.begin(), None);
    hub.done();
    assert_eq!(joins.now_or_never(), Some(Ok(())));
    assert_eq!(started, 1);
    hub.hear(message("c", "1"), Tick(1));

    let mut joins = Box::pin(hub.join(&channel, &b.mailbox, || panic!("it runs")));
    assert_eq!(joins.as_mut().now_or_never(), None);
    assert_eq!(hub.begin(), question(&[], &[]), "the server listens already");
    // It was acknowledged before the round began, as far as anybody can tell.
    hub.hear(message("c", "2"), Tick(2));
    hub.done();
    assert_eq!(joins.now_or_never(), Some(Ok(())));
    hub.hear(message("c", "3"), Tick(3));
    hub.hear(message("other", "4"), Tick(4));
    assert_eq!(
        (payloads(&a.mailbox), payloads(&b.mailbox)),
        (vec!["1".into(), "2".into(), "3".into()], vec!["3".into()])
    );

    hub.leave(channel.iter(), &a.mailbox);
    assert_eq!(hub.begin(), None, "one listens still");
    hub.leave(channel.iter(), &b.mailbox);
    assert!(hub.begin() == question(&[], &["c"]));
    hub.done();
    assert!(hub.ends_unused());
}

#[test]
fn a_round_that_began_before_is_not_waited_for() {
    let (hub, registry) = (Hub::new(), Arc::new(Registry::default()));
    assert_eq!(hub.catch_up().now_or_never(), Some(Err(Gone)), "nobody listens");
    let a = listener(&registry);
    let channel = [Arc::from("c")];
    let mut first = Box::pin(hub.join(&channel, &a.mailbox, || {}));
    assert_eq!(first.as_mut().now_or_never(), None);
    assert!(hub.begin().is_some());
    let mut second = Box::pin(hub.catch_up());
    assert_eq!(second.as_mut().now_or_never(), None);
    hub.done();
    assert_eq!((first.now_or_never(), second.as_mut().now_or_never()), (Some(Ok(())), None));
    assert!(hub.begin().is_some());
    hub.done();
    assert_eq!(second.now_or_never(), Some(Ok(0)));
}

#[test]
fn when_it_breaks_all_who_listen_are_sent_away_and_all_who_wait_are_told() {
    let (hub, registry) = (Hub::new(), Arc::new(Registry::default()));
    let (a, b) = (listener(&registry), listener(&registry));
    let channel = [Arc::from("c")];
    let mut joins = Box::pin(hub.join(&channel, &a.mailbox, || {}));
    assert_eq!(joins.as_mut().now_or_never(), None);
    assert!(hub.begin().is_some());
    hub.done();
    assert_eq!(joins.now_or_never(), Some(Ok(())));
    let mut waits = Box::pin(hub.join(&channel, &b.mailbox, || {}));
    assert_eq!(waits.as_mut().now_or_never(), None);
    hub.broken("why");
    assert_eq!(waits.now_or_never(), Some(Err(Gone)));
    assert_eq!(a.mailbox.entry.doom().unwrap().sqlstate, "57P01");
    assert!(b.mailbox.entry.doom().is_none(), "its LISTEN was not answered");
    let mut started = false;
    let mut again = Box::pin(hub.join(&channel, &b.mailbox, || started = true));
    assert_eq!(again.as_mut().now_or_never(), None);
    assert_eq!(hub.begin(), question(&["c"], &[]));
    hub.done();
    assert_eq!(again.now_or_never(), Some(Ok(())));
    assert!(started);
}

#[test]
fn what_waits_for_a_session_is_bounded() {
    let (hub, registry) = (Hub::new(), Arc::new(Registry::default()));
    let (slow, quick) = (listener(&registry), listener(&registry));
    let channel = [Arc::from("c")];
    for one in [&slow, &quick] {
        let mut joins = Box::pin(hub.join(&channel, &one.mailbox, || {}));
        assert_eq!(joins.as_mut().now_or_never(), None);
        assert!(hub.begin().is_some());
        hub.done();
        assert_eq!(joins.now_or_never(), Some(Ok(())));
    }
    let payload = "x".repeat(7900);
    for _ in 0..2 * WAITING_MAX / payload.len() {
        hub.hear(message("c", &payload), Tick(1));
        assert_eq!(quick.mailbox.take().unwrap().message.text.len(), payload.len() + 3);
    }
    assert_eq!(slow.mailbox.entry.doom().unwrap().sqlstate, "53400");
    assert!(!slow.mailbox.has_news());
    assert!(quick.mailbox.entry.doom().is_none());
}
