//! The file's JSON schema, for editors: `config/schema.json` is this text.

use super::raw::RawFile;
use serde_json::Value;
use std::collections::BTreeSet;

/// The schema of a configuration file, as indented JSON with a final line end.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(RawFile);
    format!("{:#}\n", schema.as_value())
}

/// Every key, and every word that a key allows.
pub(super) fn known_words() -> BTreeSet<String> {
    let schema = schemars::schema_for!(RawFile);
    let mut words = BTreeSet::new();
    collect_words(schema.as_value(), &mut words);
    words
}

fn collect_words(value: &Value, words: &mut BTreeSet<String>) {
    if let Some(Value::Object(properties)) = value.get("properties") {
        words.extend(properties.keys().cloned());
    }
    if let Some(Value::Array(allowed)) = value.get("enum") {
        words.extend(allowed.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|field| collect_words(field, words)),
        Value::Array(items) => items.iter().for_each(|item| collect_words(item, words)),
        _ => {}
    }
}
