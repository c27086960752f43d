use super::*;

fn routine<'a>(schema: &'a str, name: &'a str, arguments: (u16, u16), does: Does) -> NewRoutine<'a> {
    NewRoutine { schema, name, arguments, does }
}

fn names() -> Names {
    let mut names = Names::default();
    names.add_routines([
        routine("public", "f", (1, 2), Does::NOTHING),
        routine("other", "f", (1, 1), Does::WRITES),
        routine("public", "many", (0, u16::MAX), Does::LOCAL),
        routine("alice", "own", (0, 0), Does::PINS),
    ]);
    names
}

fn ask(names: &Names, schema: &str, name: &str, arguments: Option<u16>, path: &str) -> Option<Does> {
    let path = SearchPath::parse(path);
    names.routine(&Call { schema, name, arguments, path: path.as_ref() })
}

#[test]
fn a_call_means_every_candidate_of_its_path_and_arity() {
    let names = names();
    assert_eq!(ask(&names, "", "f", Some(1), "public"), Some(Does::NOTHING));
    assert_eq!(ask(&names, "", "f", Some(1), "public, other"), Some(Does::WRITES));
    assert_eq!(ask(&names, "", "f", Some(2), "public, other"), Some(Does::NOTHING));
    assert_eq!(ask(&names, "", "f", Some(3), "public, other"), None);
    assert_eq!(ask(&names, "", "f", None, "public, other"), Some(Does::WRITES));
    assert_eq!(ask(&names, "other", "f", Some(1), "public"), Some(Does::WRITES));
    assert_eq!(ask(&names, "nowhere", "f", Some(1), "public"), None);
    assert_eq!(ask(&names, "", "many", Some(60_000), "public"), Some(Does::LOCAL));
    assert_eq!(ask(&names, "", "g", Some(1), "public"), None);
    // A path that nobody knows is every schema.
    assert_eq!(ask(&names, "", "f", Some(1), ""), Some(Does::WRITES));
}

#[test]
fn the_roles_own_schema_counts_where_a_role_has_its_name() {
    let mut names = names();
    assert_eq!(ask(&names, "", "own", Some(0), "\"$user\", public"), None);
    names.set_role("alice");
    assert_eq!(ask(&names, "", "own", Some(0), "\"$user\", public"), Some(Does::PINS));
    assert_eq!(ask(&names, "", "own", Some(0), "public"), None);
    assert_eq!(ask(&names, "", "own", Some(0), "alice"), Some(Does::PINS));
}

#[test]
fn a_search_path_of_a_hundred_schemas_is_a_path_like_any() {
    let schemas: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    let mut names = Names::default();
    names.add_routines(schemas.iter().map(|schema| routine(schema, "f", (0, 0), Does::NOTHING)));
    names.add_routines([routine("s99", "f", (0, 0), Does::WRITES)]);
    assert_eq!(ask(&names, "", "f", Some(0), &schemas.join(", ")), Some(Does::WRITES));
    assert_eq!(ask(&names, "", "f", Some(0), &schemas[..99].join(", ")), Some(Does::NOTHING));
}

#[test]
fn what_is_not_known_is_unknown() {
    let mut names = names();
    names.set_functions(vec![(20_000, Does::NOTHING), (17_000, Does::WRITES)]);
    assert_eq!(names.function(17_000), Does::WRITES);
    assert_eq!(names.function(20_000), Does::NOTHING);
    assert_eq!(names.function(18_000), Does::UNKNOWN);
    assert_eq!(
        (names.attribute("x"), names.operator("###"), names.of_type("x")),
        (None, None, Does::NOTHING)
    );
}

#[test]
fn a_large_catalog_is_small() {
    let mut names = Names::default();
    let all: Vec<String> =
        (0..10_000).map(|number| format!("a_function_with_a_rather_long_name_{number}")).collect();
    names.add_routines(all.iter().map(|name| routine("public", name, (1, 3), Does::NOTHING)));
    names.set_functions((0..10_000).map(|oid| (oid + 16_384, Does::NOTHING)).collect());
    // With the relations' 2 MiB at most 10.
    assert!(names.weight() < 8 << 20, "{}", names.weight());
    assert!(names.weight() > 1 << 20, "{}", names.weight());
}
