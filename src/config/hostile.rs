//! Files that nobody means: no text may panic the parser, and no broken file may give its secrets away.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

const SECRETS: [&str; 6] =
    ["zX9monitor", "zX9listed,one", "zX9two}quoted", "SCRAM-zX9verifier", "zX9token", "zX9block"];

const WITH_SECRETS: &str = r#"clusters:
  shop:
    engine: postgres
    listen: 127.0.0.1:6432
    monitor: { user: primacy, password: zX9monitor, interval: 1s }
    nodes:
      pg1: { address: 10.0.0.11:5432 }
    users:
      list:
        - { name: a, password: "zX9listed,one", pool: { size: 5 } }
        - name: b
          password: 'zX9two}quoted'
        - name: c
          scram_verifier: SCRAM-zX9verifier
        - name: d
          password: |
            zX9block
    pool: { size: 20 }
admin:
  token: zX9token
  users: [ a ]
"#;

/// One change to a text.
#[derive(Debug, Clone)]
enum Edit {
    Delete(Index),
    Insert(Index, &'static str),
    DropLine(Index),
    Indent(Index),
    Truncate(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let bits = vec![
        ":", " ", "\n", "\t", "\"", "'", "{", "}", "[", "]", ",", "-", "- ", "#", " #", "&", "*", "|",
        "<<: ", "x", "é", "null", "0", "\n  ", ": ", "? ", "---\n", "!!int ", "%",
    ];
    prop_oneof![
        any::<Index>().prop_map(Edit::Delete),
        (any::<Index>(), proptest::sample::select(bits)).prop_map(|(at, bit)| Edit::Insert(at, bit)),
        any::<Index>().prop_map(Edit::DropLine),
        any::<Index>().prop_map(Edit::Indent),
        any::<Index>().prop_map(Edit::Truncate),
    ]
}

/// Applies an edit anywhere but within a secret: half a secret cannot be recognised as one.
fn apply(text: &str, edit: &Edit) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let places: Vec<usize> = text
        .char_indices()
        .map(|(at, _)| at)
        .filter(|at| {
            SECRETS.iter().all(|secret| {
                !text.match_indices(secret).any(|(from, _)| from < *at && *at < from + secret.len())
            })
        })
        .filter(|at| SECRETS.iter().all(|secret| !text.get(*at..).unwrap().starts_with(secret)))
        .collect();
    if places.is_empty() || lines.is_empty() {
        return text.to_owned();
    }
    match edit {
        Edit::Delete(index) => {
            let mut text = text.to_owned();
            text.remove(*index.get(&places));
            text
        }
        Edit::Insert(index, bit) => {
            let mut text = text.to_owned();
            text.insert_str(*index.get(&places), bit);
            text
        }
        Edit::DropLine(index) => {
            lines.remove(index.index(lines.len()));
            lines.concat()
        }
        Edit::Indent(index) => {
            let at = index.index(lines.len());
            let indented = format!("  {}", lines[at]);
            lines[at] = &indented;
            lines.concat()
        }
        Edit::Truncate(index) => text.get(..*index.get(&places)).unwrap().to_owned(),
    }
}

proptest! {
    #[test]
    fn no_text_panics(text: String) {
        Settings::parse(&text, "primacy.yaml", &|_| None).ok();
    }

    #[test]
    fn no_soup_of_yaml_panics(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "clusters", ":", " ", "\n", "\n  ", "\n    ", "- ", "{ ", " }", "[", "]", ", ", "shop", "nodes", "listen",
                "pool", "&a ", "*a", "<<", "|", ">", "\"", "'", "#", "? ", "!!str ", "password", "env", "users", "list",
                "0", "-1", "1e999", ".nan", "~", "\u{0}", "é", "---", "...", "%YAML 1.2", "tls", "é\n",
            ]),
            0..60,
        ),
    ) {
        Settings::parse(&words.concat(), "primacy.yaml", &|_| None).ok();
    }

    #[test]
    fn no_broken_file_gives_its_secrets_away(edits in proptest::collection::vec(edit(), 1..5)) {
        let text = edits.iter().fold(WITH_SECRETS.to_owned(), |text, edit| apply(&text, edit));
        if let Err(errors) = Settings::parse(&text, "primacy.yaml", &|_| None) {
            let said = errors.to_string();
            for secret in SECRETS {
                prop_assert!(!said.contains(secret), "{secret} in:\n{said}\nof:\n{text}");
            }
        }
    }
}

#[test]
fn secrets_are_not_shown_in_debug_or_rows_either() {
    let text = WITH_SECRETS.replace(
        "SCRAM-zX9verifier",
        &format!("SCRAM-SHA-256$4096:c2FsdA==${0}:{0}", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="),
    );
    let settings =
        Settings::parse(&text, "primacy.yaml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let shown = format!("{settings:?} {:?}", settings.rows());
    for secret in SECRETS.iter().chain(&["QUJDREVGR0hJ"]) {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
