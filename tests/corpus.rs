//! Promise: no bytes from outside bring Primacy down. Every input that fuzzing starts from, or has ever found, goes through the function that its
//! target calls.

use primacy::mysql::pieces as mysql;
use primacy::postgres::{auth, composed, handshake, pieces, wire};
use std::path::Path;

fn each_of(target: &str, decode: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for file in
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
    {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        decode(&bytes);
        // And every beginning of it, as a connection may break off anywhere.
        (0..bytes.len()).for_each(|end| decode(&bytes[..end]));
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}

#[test]
fn postgres_startup() {
    each_of("postgres_startup", handshake::decode_all);
}

#[test]
fn postgres_frames() {
    each_of("postgres_frames", |bytes| assert!(wire::decode_all(bytes) <= bytes.len() / wire::HEADER));
}

#[test]
fn postgres_request() {
    each_of("postgres_request", pieces::check_request);
}

#[test]
fn postgres_reply() {
    each_of("postgres_reply", pieces::check_reply);
}

#[test]
fn postgres_compose() {
    each_of("postgres_compose", composed::check_compose);
}

#[test]
fn scram_server() {
    each_of("scram_server", |bytes| assert!(auth::server::decode_all(bytes).is_err()));
}

#[test]
fn scram_client() {
    each_of("scram_client", |bytes| assert!(auth::client::decode_all(bytes).is_err()));
}

#[test]
fn mysql_client() {
    each_of("mysql_client", mysql::check_client);
}

#[test]
fn mysql_server() {
    each_of("mysql_server", mysql::check_server);
}

#[test]
fn mysql_fields() {
    each_of("mysql_fields", mysql::check_fields);
}

#[test]
fn mysql_request() {
    each_of("mysql_request", mysql::check_request);
}

#[test]
fn mysql_reply() {
    each_of("mysql_reply", mysql::check_reply);
}

/// The directories, the targets and the tests here are the same.
#[test]
fn every_target_has_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |directory: &str| {
        let mut names: Vec<String> = std::fs::read_dir(root.join(directory))
            .unwrap()
            .map(|file| {
                Path::new(&file.unwrap().file_name()).file_stem().unwrap().to_string_lossy().into_owned()
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("fuzz_targets"), names("corpus"));
    let here = include_str!("corpus.rs");
    for name in names("corpus") {
        assert!(here.contains(&format!("each_of(\"{name}\"")), "{name}");
    }
}
