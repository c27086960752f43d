use super::database::{Catalog, Catalogs, Keep, Loaded, Request, Still};
use super::source::{Hang, Hangs, NOW, Stamp};
use super::{Answer, Cleared, Does, Facts, Names, Relation};
use crate::clock::Tick;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn relation(schema: &str, name: &str, written: bool) -> Relation {
    Relation { schema: schema.into(), name: name.into(), written }
}

fn no(why: &str) -> Facts {
    Facts { read: Answer::Yes { primary_only: true, bound: false }, write: Answer::No(why.into()) }
}

const STAMP: Stamp = Stamp { writes: Some(7), digest: 1 };

/// Every relation called `t` is clear, every other has a trigger.
fn answer(request: &Request) -> Loaded {
    let facts = |r: &Relation| if &*r.name == "t" { Facts::CLEAR } else { no("trigger") };
    let names = request.names.is_none().then(|| (Arc::new(Names::default()), STAMP));
    Loaded { names, relations: request.relations.iter().map(facts).collect(), keep: Keep::Lasting }
}

#[tokio::test]
async fn what_was_loaded_is_known_until_it_is_forgotten() {
    let catalog = Catalog::default();
    let asked = [relation("", "t", true), relation("s", "u", false)];
    assert_eq!(catalog.cleared("public", &asked), Cleared::Unknown);
    assert_eq!(catalog.cleared("public", &[]), Cleared::YES);
    let loaded = catalog.load("public", &asked, async |request| Ok(answer(&request))).await;
    assert_eq!(loaded, Cleared::Yes { primary_only: true, bound: false });
    assert_eq!(catalog.cleared("public", &asked), loaded);
    assert_eq!(catalog.names(), Some(Arc::new(Names::default())));
    // Reading and writing are answered by one load, a path counts only where no schema is given.
    assert_eq!(catalog.cleared("other", &[relation("s", "u", true)]), Cleared::No("trigger".into()));
    assert_eq!(catalog.cleared("other", &[relation("", "t", true)]), Cleared::Unknown);

    let generation = catalog.generation();
    catalog.forget();
    assert!(catalog.generation() > generation);
    assert_eq!(catalog.names(), None);
    assert_eq!(catalog.cleared("public", &asked), Cleared::Unknown);
}

#[tokio::test]
async fn only_what_is_missing_is_asked_and_once() {
    let catalog = Catalog::default();
    catalog.load("", &[relation("", "t", false)], async |request| Ok(answer(&request))).await;
    let seen = RefCell::new(None);
    let asked = [relation("", "t", true), relation("", "u", true), relation("", "u", false)];
    let cleared = catalog
        .load("", &asked, async |request| {
            *seen.borrow_mut() = Some(request.clone());
            Ok(answer(&request))
        })
        .await;
    assert_eq!(cleared, Cleared::No("trigger".into()));
    let names = Some(Arc::new(Names::default()));
    let expected = Request { names, path: "".into(), relations: vec![relation("", "u", true)] };
    assert_eq!(seen.take(), Some(expected));
}

#[tokio::test]
async fn an_answer_from_before_a_ddl_is_not_kept() {
    let catalog = Catalog::default();
    let asked = [relation("", "t", true)];
    catalog
        .load("", &asked, async |request| {
            catalog.forget();
            Ok(answer(&request))
        })
        .await;
    assert_eq!(catalog.cleared("", &asked), Cleared::Unknown);
    assert_eq!(catalog.names(), None);
}

#[tokio::test]
async fn an_answer_of_a_replica_is_used_and_not_kept() {
    let catalog = Catalog::default();
    let asked = [relation("", "t", true)];
    let behind = async |request: Request| Ok(Loaded { keep: Keep::Not, ..answer(&request) });
    assert_eq!(catalog.load("", &asked, behind).await, Cleared::YES);
    assert_eq!(catalog.cleared("", &asked), Cleared::Unknown);
}

#[tokio::test]
async fn what_counts_for_now_is_kept_as_long_as_that_lasts() {
    let (catalogs, lasts) = (Catalogs::default(), Arc::new(AtomicBool::new(true)));
    let catalog = catalogs.of("one");
    let asked = [relation("", "t", true)];
    let still = || {
        let lasts = Arc::clone(&lasts);
        Still::new(move || lasts.load(Ordering::Relaxed))
    };
    let load = async || {
        let keep = Keep::While(still());
        catalog.load("", &asked, async |request| Ok(Loaded { keep, ..answer(&request) })).await
    };
    assert_eq!(load().await, Cleared::YES);
    catalogs.recheck_all();
    assert_eq!((catalog.cleared("", &asked), catalog.names().is_some()), (Cleared::YES, true));
    assert!(catalogs.in_use().is_empty(), "the primary is not asked whether it has changed");
    lasts.store(false, Ordering::Relaxed);
    catalogs.recheck_all();
    assert_eq!((catalog.cleared("", &asked), catalog.names()), (Cleared::Unknown, None));
    assert_eq!(catalog.changed(), Tick::ZERO, "that is no change");
    // It ended while the question was asked.
    assert_eq!(load().await, Cleared::YES);
    assert_eq!(catalog.cleared("", &asked), Cleared::Unknown);
    // What lasts is not added to what does not, nor the other way round.
    lasts.store(true, Ordering::Relaxed);
    catalog.load("", &[], async |request| Ok(answer(&request))).await;
    load().await;
    lasts.store(false, Ordering::Relaxed);
    catalogs.recheck_all();
    assert_eq!((catalog.cleared("", &asked), catalog.names()), (Cleared::Unknown, None));
}

#[tokio::test]
async fn a_change_is_remembered_longer_than_what_changed() {
    let catalogs = Catalogs::default();
    catalogs.of("one").forget();
    let changed = catalogs.of("one").changed();
    assert!(changed > Tick::ZERO);
    for number in 0..1_000 {
        drop(catalogs.of(&number.to_string()));
    }
    assert_eq!(catalogs.of("one").changed(), changed, "it had to make room");
    let catalog = catalogs.of("two");
    catalog.load("", &[], async |request| Ok(answer(&request))).await;
    assert!(catalog.compare(Stamp { writes: Some(9), digest: 2 }));
    assert!(catalog.changed() > changed, "so does what passed by");
}

#[tokio::test]
async fn concurrent_callers_share_one_load() {
    let catalog = Catalog::default();
    let asked = [relation("", "t", true)];
    let loads = AtomicUsize::new(0);
    let load = || {
        catalog.load("", &asked, async |request| {
            loads.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(answer(&request))
        })
    };
    let all = futures_util::future::join_all((0..50).map(|_| load())).await;
    assert!(all.iter().all(|cleared| *cleared == Cleared::YES));
    assert_eq!(loads.into_inner(), 1);
}

#[tokio::test]
async fn a_failed_load_is_shared_said_and_not_kept() {
    let catalog = Catalog::default();
    let asked = [relation("", "t", true)];
    let loads = AtomicUsize::new(0);
    let load = || {
        catalog.load("", &asked, async |_| {
            loads.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Err("n1: connection refused".into())
        })
    };
    let all = futures_util::future::join_all((0..50).map(|_| load())).await;
    let expected = Cleared::No("catalog cannot be read: n1: connection refused".into());
    assert!(all.iter().all(|cleared| *cleared == expected), "{all:?}");
    assert_eq!(loads.into_inner(), 1);
    assert_eq!(catalog.cleared("", &asked), Cleared::Unknown);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_take_the_load_along() {
    let catalog = Catalog::default();
    let asked = [relation("", "t", true)];
    let stuck = catalog.load("", &asked, async |_| std::future::pending().await);
    assert!(futures_util::FutureExt::now_or_never(stuck).is_none());
    assert_eq!(catalog.load("", &asked, async |request| Ok(answer(&request))).await, Cleared::YES);
}

#[tokio::test]
async fn memory_is_bounded() {
    let catalog = Catalog::default();
    for number in 0..40_000 {
        let asked = [relation("", &format!("relation_with_a_rather_long_name_{number}"), true)];
        let cleared = catalog.load("", &asked, async |request| Ok(answer(&request))).await;
        assert_eq!(cleared, Cleared::No("trigger".into()));
    }
    assert!(catalog.weight() <= 2 << 20);
    assert!(catalog.weight() > 1 << 20);
}

#[test]
fn a_databases_catalog_is_one_and_no_two_share_a_generation() {
    let catalogs = Catalogs::default();
    let (one, other) = (catalogs.of("one"), catalogs.of("other"));
    assert!(Arc::ptr_eq(&one, &catalogs.of("one")));
    assert_ne!(one.generation(), other.generation());
    let before = one.generation();
    catalogs.reload_all();
    assert!(one.generation() > before);
}

#[tokio::test]
async fn what_the_server_says_of_its_catalog_outdates_what_was_loaded() {
    let catalogs = Catalogs::default();
    let catalog = catalogs.of("one");
    assert!(catalogs.in_use().is_empty());
    assert!(!catalog.compare(STAMP));
    catalog.load("", &[], async |request| Ok(answer(&request))).await;
    assert_eq!(catalog.stamp(), Some(STAMP));
    assert_eq!(catalogs.in_use().len(), 1);
    // More was written, but nothing that was read has changed.
    let before = catalog.generation();
    assert!(!catalog.compare(Stamp { writes: Some(8), digest: 1 }));
    assert_eq!((catalog.generation(), catalog.stamp()), (before, Some(Stamp { writes: Some(8), digest: 1 })));
    assert!(catalog.compare(Stamp { writes: Some(9), digest: 2 }));
    assert!(catalog.generation() > before);
    assert_eq!((catalog.names(), catalog.stamp()), (None, None));
    drop(catalog);
    assert!(catalogs.in_use().is_empty());
}

#[test]
fn the_worst_of_what_hangs_on_a_relation_counts() {
    let mut names = Names::default();
    names.set_functions(vec![
        (20_000, Does::NOTHING),
        (20_001, Does::WRITES),
        (20_002, Does::LOCAL),
        (20_003, Does::PINS),
        (20_004, Does::OUTSIDE),
        (20_005, Does::BOUND),
    ]);
    let judge = |oids: &[u32]| {
        let hangs: Vec<Hang> = oids
            .iter()
            .map(|oid| Hang { function: Some(*oid), why: Some(format!("f{oid}").into()) })
            .collect();
        let facts = Facts::judge(&Hangs { read: hangs.clone(), write: hangs }, &names);
        (facts.read, facts.write)
    };
    let yes = |primary_only| Answer::Yes { primary_only, bound: false };
    assert_eq!(judge(&[20_000]), (yes(false), yes(false)));
    assert_eq!(judge(&[20_000, 20_001]), (Answer::Writes("f20001".into()), yes(false)));
    assert_eq!(judge(&[20_002]), (yes(true), yes(false)));
    assert_eq!(judge(&[20_004]), (yes(true), yes(false)));
    let no = Answer::No("f20003".into());
    assert_eq!(judge(&[20_003, 20_001]), (no.clone(), no));
    let bound = Answer::Yes { primary_only: false, bound: true };
    assert_eq!(judge(&[20_000, 20_005]), (bound.clone(), bound.clone()));
    assert_eq!(judge(&[NOW]), (bound.clone(), bound));
    assert_eq!(judge(&[30_000]).1, Answer::No("f30000".into()));
}
