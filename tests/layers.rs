//! Promise: the rooms of the house know each other as ARCHITECTURE.md's table says, and in no other way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Collects, of one file, which rooms it names: by `crate::room` and by `super`s that lead out of its own.
struct Reader<'a> {
    /// The module that is being read, from the crate's root.
    module: Vec<String>,
    rooms: &'a BTreeSet<String>,
    found: BTreeSet<String>,
}

impl Reader<'_> {
    fn path(&mut self, segments: &[String]) {
        let mut at = self.module.clone();
        let mut rest = segments;
        match rest.split_first() {
            Some((first, tail)) if first == "crate" => (at, rest) = (Vec::new(), tail),
            Some((first, tail)) if first == "self" => rest = tail,
            Some((first, _)) if first == "super" => {}
            _ => return,
        }
        while let Some((_, tail)) = rest.split_first().filter(|(first, _)| *first == "super") {
            at.pop();
            rest = tail;
        }
        at.extend(rest.iter().cloned());
        // What lies at the root and is no room is the library's or the binary's own.
        self.found.extend(at.first().filter(|room| self.rooms.contains(*room)).cloned());
    }

    fn use_tree(&mut self, before: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.use_tree(before, &path.tree);
                before.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(before, tree)),
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push(ident.to_string());
                self.path(before);
                before.pop();
            }
            syn::UseTree::Glob(_) => self.path(before),
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !only_for_tests(&module.attrs) {
            self.module.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !only_for_tests(&item.attrs) {
            self.use_tree(&mut Vec::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        // A macro's arguments are no syntax yet: its words are read as they stand.
        let text = call.tokens.to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        for three in words.windows(3) {
            if let ["crate", "::", room] = three {
                self.path(&["crate".to_owned(), (*room).to_owned()]);
            }
        }
        visit::visit_macro(self, call);
    }
}

fn only_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
    })
}

/// The module that a file is, from the crate's root: `src/a/b/mod.rs` and `src/a/b.rs` are both `a`, `b`.
fn module_of(source: &Path, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(source).unwrap().with_extension("");
    let mut module: Vec<String> =
        inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    module.pop_if(|last| last == "mod");
    module
}

fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Modules declared as `#[cfg(test)] mod name;` anywhere: their files are left out.
fn test_modules(source: &Path, files: &[(PathBuf, syn::File)]) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for (path, file) in files {
        for item in &file.items {
            if let syn::Item::Mod(module) = item
                && only_for_tests(&module.attrs)
            {
                let mut name = module_of(source, path);
                name.push(module.ident.to_string());
                found.insert(name);
            }
        }
    }
    found
}

/// Which room names which others, outside tests.
fn edges_of(source: &Path) -> Edges {
    let mut paths = Vec::new();
    files(source, &mut paths);
    let parse = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, file)
    };
    let parsed: Vec<(PathBuf, syn::File)> = paths.into_iter().map(parse).collect();
    let tests = test_modules(source, &parsed);
    let roots = ["lib", "main"];
    let rooms: BTreeSet<String> = parsed
        .iter()
        .filter_map(|(path, _)| module_of(source, path).into_iter().next())
        .filter(|room| !roots.contains(&room.as_str()))
        .collect();
    let mut edges: Edges = rooms.iter().map(|room| (room.clone(), BTreeSet::new())).collect();
    for (path, file) in &parsed {
        let module = module_of(source, path);
        let of_tests = tests.iter().any(|test| module.starts_with(test));
        let Some(from) = module.first().filter(|room| rooms.contains(*room) && !of_tests).cloned() else {
            continue;
        };
        let mut reader = Reader { module, rooms: &rooms, found: BTreeSet::new() };
        reader.visit_file(file);
        reader.found.remove(&from);
        edges.entry(from).or_default().extend(reader.found);
    }
    edges
}

/// The rows of the table under the heading `## Who knows whom`: a room, and the rooms that it may name.
fn table_of(text: &str) -> Edges {
    let section = text.split("\n## ").find(|section| section.starts_with("Who knows whom"));
    let section = section.expect("ARCHITECTURE.md has a section `## Who knows whom`");
    let names =
        |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let mut table = Edges::new();
    for row in rows {
        let mut cells = row.trim_matches('|').split('|');
        let (rooms, known) = (names(cells.next().unwrap()), names(cells.next().unwrap_or_default()));
        for room in rooms {
            table.entry(room).or_default().extend(known.iter().cloned());
        }
    }
    table
}

#[test]
fn rooms_know_only_whom_the_table_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = table_of(&std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap());
    let mut wrong = Vec::new();
    for (room, known) in edges_of(&root.join("src")) {
        let Some(allowed) = table.get(&room) else {
            wrong.push(format!("`{room}` has no row"));
            continue;
        };
        wrong.extend(known.difference(allowed).map(|other| format!("`{room}` names `{other}`")));
    }
    assert!(wrong.is_empty(), "against the table in ARCHITECTURE.md:\n  {}", wrong.join("\n  "));
}

#[test]
fn no_two_rooms_know_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = table_of(&std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap());
    let mutual: Vec<String> = table
        .iter()
        .flat_map(|(room, known)| {
            known.iter().filter(move |other| room < *other).map(move |other| (room, other))
        })
        .filter(|(room, other)| table.get(*other).is_some_and(|known| known.contains(*room)))
        .map(|(room, other)| format!("{room} and {other}"))
        .collect();
    assert!(mutual.is_empty(), "walls in the wrong place: {mutual:?}");
}

#[test]
fn a_forbidden_path_is_seen_in_every_form() {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "pub mod a; pub mod b; pub mod c; pub mod d; pub mod e; pub mod f;");
    for room in ["b", "c", "d", "e", "f"] {
        write(&format!("{room}.rs"), "");
    }
    write("a/mod.rs", "mod deep; #[cfg(test)] mod tests; use crate::{b::X, std};");
    write("a/deep.rs", "fn f() { super::super::c::g(); println!(\"{}\", crate::d::h()); let _: super::Y; }");
    write("a/tests.rs", "use crate::e::Z; #[test] fn t() {}");
    let edges = edges_of(scratch.path());
    assert_eq!(edges["a"], ["b", "c", "d"].map(str::to_owned).into());
}
