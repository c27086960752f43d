use super::SearchPath;

fn path(schemas: &[&str], user: bool) -> Option<SearchPath> {
    Some(SearchPath { schemas: schemas.iter().map(|&s| s.to_owned()).collect(), user })
}

#[test]
fn search_paths_are_read_as_the_server_reads_them() {
    assert_eq!(SearchPath::parse("\"$user\", public"), path(&["public"], true));
    assert_eq!(SearchPath::parse("$user,public"), path(&["public"], true));
    assert_eq!(
        SearchPath::parse(" Sales , \"Odd \"\"one\"\", x\" "),
        path(&["sales", "Odd \"one\", x"], false)
    );
    assert_eq!(SearchPath::parse("\"\""), path(&[""], false));
}

#[test]
fn a_search_path_that_is_not_understood_is_no_path() {
    for text in ["", " ", "a,", ",a", "a b", "\"a", "a\"b", "\"a\"b", "É"] {
        assert_eq!(SearchPath::parse(text), None, "{text:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reading_of_a_search_path(text in ".*") {
        drop(SearchPath::parse(&text));
    }

    #[test]
    fn quoted_schemas_come_back(schemas in proptest::collection::vec("[^$]*", 1..4)) {
        let text: Vec<String> = schemas.iter().map(|s| format!("\"{}\"", s.replace('"', "\"\""))).collect();
        proptest::prop_assert_eq!(SearchPath::parse(&text.join(", ")), Some(SearchPath { schemas, user: false }));
    }
}
