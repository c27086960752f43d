//! What differs from a direct connection is listed for users, and the list stays short.

use std::path::Path;

#[test]
fn at_most_twenty_things_differ_and_each_says_why() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md");
    let text = std::fs::read_to_string(file).unwrap();
    let section =
        text.split("\n## ").find(|section| section.starts_with("What answers differently")).unwrap();
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!((1..=20).contains(&rows.len()), "{} entries", rows.len());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "a statement, its error or answer, and the reason: {row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
    }
}
