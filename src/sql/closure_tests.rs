use super::*;
use crate::catalog::names::Call;
use crate::catalog::source::Type;

fn function(oid: u32, name: &str, body: &str) -> Function {
    Function {
        oid,
        schema: "public".into(),
        name: name.into(),
        arguments: (0, 0),
        volatile: false,
        attribute: false,
        language: Language::Sql,
        body: Some(body.into()),
        defaults: None,
        settings: Box::default(),
        uses: Box::default(),
        types: Box::default(),
        listed: None,
    }
}

fn source(functions: Vec<Function>) -> Source {
    Source { functions, builtins: vec!["query_to_xml".into(), "lower".into()], ..Source::default() }
}

fn judge(source: Source, overrules: &[Overrule]) -> Names {
    judge_with(source, &[], overrules)
}

fn judge_with(source: Source, relations: &[(&str, Hangs)], overrules: &[Overrule]) -> Names {
    let code = Code::read(source);
    let hangs: Vec<Hangs> = code
        .mentions()
        .iter()
        .map(|mention| {
            let found = relations.iter().find(|(name, _)| **name == *mention.name);
            found.map(|(_, hangs)| hangs.clone()).unwrap_or_default()
        })
        .collect();
    code.judge(&hangs, overrules)
}

fn does(names: &Names, name: &str) -> Does {
    names.routine(&Call { schema: "", name, arguments: None, path: None }).expect(name)
}

#[test]
fn doubt_travels_to_every_caller() {
    let mut chain: Vec<Function> = (0..500)
        .map(|number| function(20_000 + number, &format!("f{number}"), &format!("select f{}()", number + 1)))
        .collect();
    chain.push(function(30_000, "f500", "select set_config('a.b', 'c', false)"));
    chain.push(function(30_001, "g", "select 1"));
    // Round and round.
    chain.push(function(30_002, "even", "select odd()"));
    chain.push(function(30_003, "odd", "select even()"));
    let names = judge(source(chain), &[]);
    assert!(does(&names, "f0").has(Does::PINS));
    assert_eq!(does(&names, "g"), Does::NOTHING);
    assert_eq!(does(&names, "odd"), Does::NOTHING);
    assert_eq!(names.function(30_003), Does::NOTHING);
}

#[test]
fn what_is_declared_volatile_writes_and_its_stable_callers_may_be_tried() {
    let writer = Function { volatile: true, ..function(20_000, "writer", "insert into t values (1)") };
    let names = judge(source(vec![writer, function(20_001, "wrapper", "select writer(1)")]), &[]);
    assert_eq!(does(&names, "writer"), Does::WRITES);
    // The body of the volatile one says that it writes; so a replica would refuse the wrapper for sure.
    assert_eq!(does(&names, "wrapper"), Does::WRITES);
    let reader = Function { volatile: true, ..function(20_000, "reader", "select 1") };
    let names = judge(source(vec![reader, function(20_001, "wrapper", "select reader(1)")]), &[]);
    assert_eq!((does(&names, "reader"), does(&names, "wrapper")), (Does::WRITES, Does::NOTHING));
}

#[test]
fn languages_that_are_not_read_are_not_cleared() {
    let outside = Function { language: Language::Outside, ..function(20_000, "native", "") };
    let long = Function { body: None, ..function(20_001, "long", "") };
    let listed =
        Function { listed: Some(Listed::Harmless), volatile: true, ..function(20_002, "listed", "") };
    let local = Function { listed: Some(Listed::Local), ..function(20_003, "local", "") };
    let names = judge(source(vec![outside, long, listed, local]), &[]);
    assert_eq!(does(&names, "native"), Does::PINS.with(Does::OUTSIDE));
    assert_eq!(does(&names, "long"), Does::UNKNOWN);
    assert_eq!(does(&names, "listed"), Does::NOTHING);
    assert_eq!(does(&names, "local"), Does::LOCAL);
}

#[test]
fn the_servers_own_functions_that_are_on_no_list_are_not_cleared() {
    let names = judge(
        source(vec![
            function(20_000, "x", "select query_to_xml('select f()')"),
            function(20_001, "y", "select lower('A')"),
        ]),
        &[],
    );
    assert!(does(&names, "x").has(Does::PINS));
    assert_eq!(does(&names, "y"), Does::NOTHING);
}

#[test]
fn settings_of_a_function_count() {
    let with =
        |setting: &str| Function { settings: [setting.into()].into(), ..function(20_000, "f", "select 1") };
    for (setting, quiet) in
        [("search_path", true), ("work_mem", true), ("app.tenant", false), ("role", false)]
    {
        let names = judge(source(vec![with(setting)]), &[]);
        assert_eq!(does(&names, "f").has(Does::PINS), !quiet, "{setting}");
    }
}

#[test]
fn every_way_to_a_function_counts() {
    let bad = || function(20_000, "bad", "select setseed(0.1)");
    let row = Function { attribute: true, ..function(20_001, "total", "select bad()") };
    let agg = Function {
        language: Language::None,
        body: None,
        uses: [20_000].into(),
        ..function(20_002, "agg", "")
    };
    let typed = Function { types: [50_000].into(), ..function(20_003, "typed", "select $1") };
    let callers = [
        ("by_call", "select \"bad\"()"),
        ("by_attribute", "select t.total from t"),
        ("by_operator", "select 1 ### 2"),
        ("by_type", "select 1::risky"),
        ("by_aggregate", "select agg(a) from t"),
        ("by_read", "select * from reads"),
        ("by_write", "insert into audited values (1)"),
        ("by_nothing", "select * from audited"),
    ];
    let mut functions = vec![bad(), row, agg, typed];
    functions.extend((0..).zip(callers).map(|(number, (name, body))| function(21_000 + number, name, body)));
    let mut source = source(functions);
    source.operators = vec![("###".into(), 20_000)];
    source.types = vec![Type { oid: 50_000, name: "risky".into(), function: 20_000 }];
    let hang = || vec![Hang { function: Some(20_000), why: Some("trigger".into()) }];
    let relations = [
        ("reads", Hangs { read: hang(), write: hang() }),
        ("audited", Hangs { read: Vec::new(), write: hang() }),
    ];
    let names = judge_with(source, &relations, &[]);
    for name in [
        "total",
        "agg",
        "typed",
        "by_call",
        "by_attribute",
        "by_operator",
        "by_type",
        "by_aggregate",
        "by_read",
        "by_write",
    ] {
        assert!(does(&names, name).has(Does::PINS), "{name}");
    }
    assert_eq!(does(&names, "by_nothing"), Does::NOTHING);
    assert!(names.operator("###").is_some_and(|does| does.has(Does::PINS)));
    assert!(names.of_type("risky").has(Does::PINS));
    assert!(names.attribute("total").is_some_and(|does| does.has(Does::PINS)));
}

#[test]
fn implicit_casts_and_implied_operators_reach_every_body() {
    let functions =
        || vec![function(20_000, "bad", "select setseed(0.1)"), function(20_001, "f", "select 1")];
    let mut with_cast = source(functions());
    with_cast.everywhere = vec![20_000];
    let names = judge(with_cast, &[]);
    assert!(does(&names, "f").has(Does::PINS) && names.everywhere().has(Does::PINS));
    let mut with_operator = source(functions());
    with_operator.operators = vec![("=".into(), 20_000)];
    assert!(does(&judge(with_operator, &[]), "f").has(Does::PINS));
}

#[test]
fn relations_that_only_the_primary_has_make_their_readers_its_own() {
    let unlogged = Hangs { read: vec![Hang { function: None, why: None }], write: Vec::new() };
    let foreign = vec![Hang { function: None, why: Some("foreign table".into()) }];
    let relations = [("u", unlogged), ("r", Hangs { read: foreign.clone(), write: foreign })];
    let functions =
        vec![function(20_000, "reads_u", "select * from u"), function(20_001, "reads_r", "select * from r")];
    let names = judge_with(source(functions), &relations, &[]);
    assert_eq!(does(&names, "reads_u"), Does::LOCAL);
    assert!(does(&names, "reads_r").has(Does::PINS));
}

#[test]
fn the_configuration_overrules() {
    let rule = |schema: Option<&str>, name: &str, writes, pins| Overrule {
        schema: schema.map(Into::into),
        name: name.into(),
        writes,
        pins,
    };
    let native = Function { language: Language::Outside, volatile: true, ..function(20_000, "native", "") };
    let quiet = function(20_001, "quiet", "select 1");
    let caller = function(20_002, "caller", "select native()");
    let all = || source(vec![native.clone(), quiet.clone(), caller.clone()]);
    let names = judge(
        all(),
        &[rule(None, "native", Some(false), Some(false)), rule(None, "quiet", Some(true), Some(true))],
    );
    // What may act outside the database stays what is not run twice.
    assert_eq!((does(&names, "native"), does(&names, "caller")), (Does::OUTSIDE, Does::OUTSIDE));
    assert_eq!(does(&names, "quiet"), Does::WRITES.with(Does::PINS));
    let names = judge(all(), &[rule(Some("other"), "native", Some(false), Some(false))]);
    assert!(does(&names, "native").has(Does::PINS));
    let names = judge(
        all(),
        &[rule(Some("public"), "native", None, Some(false)), rule(None, "native", Some(false), None)],
    );
    assert_eq!(does(&names, "native"), Does::WRITES.with(Does::OUTSIDE));
}
