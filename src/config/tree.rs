//! The file as a tree of spans: what was written where, before anybody asks what it means.
//!
//! Values stay the text that stands in the file, so that an error can quote it and `007` is not 7 by accident.

use super::mask::{HIDDEN, Mask, is_secret_key};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{ExternalMessageSource, Location, Spanned};
use std::fmt;
use std::ops::Range;

/// Nesting that no honest file reaches; a bound for every recursion over the tree.
const MAX_DEPTH: usize = 32;
/// Nodes and events of one file: thousands of users fit, an alias bomb does not.
const MAX_NODES: usize = 200_000;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// In bytes of the text.
    pub(crate) span: Range<usize>,
}

impl Mark {
    /// The bytes of the line that it begins on.
    pub(crate) fn line_of(&self, text: &str) -> Range<usize> {
        let start = self.span.start.min(text.len());
        let begin = text.get(..start).unwrap_or_default().rfind('\n').map_or(0, |at| at + 1);
        let end = text.get(start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| start + at);
        begin..end
    }
}

/// A node's index in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeIndex(pub(crate) usize);

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Nothing was written, or `~`.
    Null,
    /// Unquoted text as it stands, or the content of a quoted one.
    Scalar(String),
    /// `[…]`.
    List(Vec<NodeIndex>),
    /// `{…}`: keys are nodes too.
    Map(Vec<(NodeIndex, NodeIndex)>),
}

/// One value (or key) of the file.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Where it is used.
    pub(crate) mark: Mark,
    /// What it is.
    pub(crate) kind: Kind,
    parent: Option<NodeIndex>,
    step: String,
}

/// The whole file.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

/// Why a text has no tree.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) mark: Mark,
    pub(crate) message: String,
    /// Whether it is YAML at least, so that what looks like a key's value is one.
    pub(crate) is_yaml: bool,
}

impl Tree {
    /// Reads `text`. Secrets that an alias brings from elsewhere are added to `mask`.
    pub(crate) fn read(text: &str, mask: &mut Mask) -> Result<(Self, NodeIndex), Broken> {
        let budget = serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
        };
        let options = serde_yaml::options! {
            budget: budget,
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        };
        let document: Spanned<Value> =
            serde_yaml::from_str_with_options(text, options).map_err(|error| broken(text, &error))?;
        let mut planter = Planter { tree: Self::default(), text, mask };
        let root = planter.plant(document, None, String::new())?;
        Ok((planter.tree, root))
    }

    /// The node itself.
    pub(crate) fn node(&self, index: NodeIndex) -> &Node {
        static NOTHING: Node = Node {
            mark: Mark { line: 1, column: 1, span: 0..0 },
            kind: Kind::Null,
            parent: None,
            step: String::new(),
        };
        self.nodes.get(index.0).unwrap_or(&NOTHING)
    }

    /// Text of a scalar; `None` for anything else.
    pub(crate) fn text(&self, index: NodeIndex) -> Option<&str> {
        match &self.node(index).kind {
            Kind::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// `clusters.shop.nodes.pg1.address`, `clusters.shop.users.list[0].name`.
    pub(crate) fn path(&self, index: NodeIndex) -> String {
        let mut steps = Vec::new();
        let mut at = Some(index);
        while let Some(index) = at {
            let node = self.node(index);
            steps.push(node.step.as_str());
            at = node.parent;
        }
        let mut path = String::new();
        for step in steps.into_iter().rev().filter(|step| !step.is_empty()) {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        path
    }

    /// The key that a value stands under, else the value itself: where an error about the whole value points.
    pub(crate) fn key_of(&self, index: NodeIndex) -> NodeIndex {
        let Some(parent) = self.node(index).parent else { return index };
        let Kind::Map(pairs) = &self.node(parent).kind else { return index };
        pairs.iter().find(|(_, value)| *value == index).map_or(index, |(key, _)| *key)
    }

    fn add(&mut self, node: Node) -> NodeIndex {
        self.nodes.push(node);
        NodeIndex(self.nodes.len() - 1)
    }
}

struct Planter<'a> {
    tree: Tree,
    text: &'a str,
    mask: &'a mut Mask,
}

impl Planter<'_> {
    fn plant(
        &mut self,
        value: Spanned<Value>,
        parent: Option<NodeIndex>,
        step: String,
    ) -> Result<NodeIndex, Broken> {
        let mark = mark_of(self.text, &value.referenced);
        let kind = match &value.value {
            Value::Null => Kind::Null,
            Value::Text(content) => Kind::Scalar(content.clone()),
            Value::Literal(shown) => {
                let written = self.text.get(mark_of(self.text, &value.defined).span);
                Kind::Scalar(written.map_or_else(|| shown.clone(), |text| text.trim().to_owned()))
            }
            Value::List(_) | Value::Map(_) => Kind::Null,
        };
        if !matches!(value.value, Value::List(_) | Value::Map(_)) && self.mask.hides(&mark.span) {
            // A text that begins as a secret is one to its end, on whatever line that is.
            self.mask.hide(mark.span.clone());
        }
        let index = self.tree.add(Node { mark, kind, parent, step });
        let kind = match value.value {
            Value::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (number, item) in items.into_iter().enumerate() {
                    list.push(self.plant(item, Some(index), format!("[{number}]"))?);
                }
                Kind::List(list)
            }
            Value::Map(pairs) => self.plant_map(pairs, index)?,
            _ => return Ok(index),
        };
        if let Some(node) = self.tree.nodes.get_mut(index.0) {
            node.kind = kind;
        }
        Ok(index)
    }

    fn plant_map(
        &mut self,
        pairs: Vec<(Spanned<Value>, Spanned<Value>)>,
        parent: NodeIndex,
    ) -> Result<Kind, Broken> {
        let mut map: Vec<(NodeIndex, NodeIndex)> = Vec::with_capacity(pairs.len());
        let mut seen = hashbrown::HashMap::new();
        for (key, value) in pairs {
            let key_mark = mark_of(self.text, &key.referenced);
            let key = self.plant(key, Some(parent), String::new())?;
            let Some(name) = self.tree.text(key).map(str::to_owned) else {
                return Err(Broken {
                    mark: key_mark,
                    message: "a key must be plain text".to_owned(),
                    is_yaml: true,
                });
            };
            // A key can be the debris of a secret: `password:`, and on the next line `hunter2: x`.
            let step = if self.mask.hides(&key_mark.span) { HIDDEN.to_owned() } else { name.clone() };
            if let Some(node) = self.tree.nodes.get_mut(key.0) {
                node.step.clone_from(&step);
            }
            if let Some(first) = seen.insert(name.clone(), key_mark.line) {
                let message = format!("this key is already written on line {first}");
                return Err(Broken { mark: key_mark, message, is_yaml: true });
            }
            if is_secret_key(&name) && !matches!(value.value, Value::List(_) | Value::Map(_)) {
                self.mask.hide(mark_of(self.text, &value.defined).span);
            }
            let value = self.plant(value, Some(parent), step)?;
            map.push((key, value));
        }
        Ok(Kind::Map(map))
    }
}

fn mark_of(text: &str, location: &Location) -> Mark {
    let span = location.span();
    let clamp = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).min(text.len());
    let start = clamp(span.byte_offset().unwrap_or(0));
    let end = clamp(span.byte_offset().unwrap_or(0).saturating_add(span.byte_len().unwrap_or(0)));
    Mark {
        line: clamp(location.line()).max(1),
        column: usize::try_from(location.column()).unwrap_or(1).max(1),
        span: start..end.max(start),
    }
}

/// The library's own rendering prints neighbouring lines, so only its place and the kind of fault are taken.
fn broken(text: &str, error: &serde_yaml::Error) -> Broken {
    use serde_yaml::Error as E;
    let error = error.without_snippet();
    let mark = error.location().map_or_else(|| end_of(text), |location| mark_at(text, &location));
    let message = match error {
        E::ExternalMessage { source, .. } => {
            return Broken { mark, message: not_yaml(source), is_yaml: false };
        }
        E::Eof { .. } => "the file ends here, in the middle of a value",
        E::MultipleDocuments { .. } => "a second document begins here; one file is one document",
        E::Budget { .. } => "too deeply nested, or too many values",
        E::UnknownAnchor { .. } => "this alias names no anchor",
        E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. } => "aliases expand to too many values",
        E::MergeValueNotMapOrSeqOfMaps { .. } => "only a map can be merged with `<<`",
        _ => NOT_YAML,
    };
    Broken { mark, message: message.to_owned(), is_yaml: false }
}

const NOT_YAML: &str = "this is not valid YAML: check indentation, quotes, `key: value` and closing brackets";

/// The parser's sentences are fixed texts, but for those that quote the input.
fn not_yaml(source: &ExternalMessageSource) -> String {
    use serde_yaml::granit_parser::ErrorKind as K;
    match source {
        ExternalMessageSource::Parser(error) => match error.kind() {
            K::UnexpectedCharacter { .. } | K::Custom { .. } | K::InputDecoding { .. } => NOT_YAML.to_owned(),
            kind => format!("this is not valid YAML: {kind}"),
        },
        _ => NOT_YAML.to_owned(),
    }
}

/// The place of a fault, of which only line and column are known.
fn mark_at(text: &str, location: &Location) -> Mark {
    let mark = mark_of(text, location);
    let mut start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if number + 1 == mark.line {
            let column = line.char_indices().nth(mark.column - 1).map_or(line.trim_end().len(), |(at, _)| at);
            return Mark { span: start + column..start + column, ..mark };
        }
        start += line.len();
    }
    end_of(text)
}

fn end_of(text: &str) -> Mark {
    let line = text.lines().count().max(1);
    let column = text.lines().last().map_or(0, |line| line.chars().count()) + 1;
    Mark { line, column, span: text.len()..text.len() }
}

/// What serde is asked for: any value at all.
enum Value {
    Null,
    /// A string by YAML's rules.
    Text(String),
    /// A number or a boolean by YAML's rules: its source text is taken.
    Literal(String),
    List(Vec<Spanned<Value>>),
    Map(Vec<(Spanned<Value>, Spanned<Value>)>),
}

struct AnyValue;

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

macro_rules! literals {
    ($($method:ident: $kind:ty),*) => {
        $(fn $method<E>(self, value: $kind) -> Result<Value, E> {
            Ok(Value::Literal(value.to_string()))
        })*
    };
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    literals!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128, visit_f64: f64);

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(pair) = pairs.next_entry()? {
            map.push(pair);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(tree: &Tree, text: &str) -> Vec<String> {
        let show = |node: &Node| match &node.kind {
            Kind::Scalar(content) => format!(
                "{}:{} {content} = {:?}",
                node.mark.line,
                node.mark.column,
                text.get(node.mark.span.clone()).unwrap()
            ),
            Kind::Null => format!("{}:{} null", node.mark.line, node.mark.column),
            Kind::List(_) => format!("{}:{} list", node.mark.line, node.mark.column),
            Kind::Map(_) => format!("{}:{} map", node.mark.line, node.mark.column),
        };
        tree.nodes.iter().map(show).collect()
    }

    #[test]
    fn values_keep_their_text_and_place() {
        let text =
            "a: 007 # x\nü: { b: off, c: \"q é\" }\nd:\n  - 1.50\n  - 5s\ne:\nf: *n\n".replace("*n", "0x10");
        let (tree, root) = Tree::read(&text, &mut Mask::default()).unwrap();
        assert_eq!(
            shown(&tree, &text),
            [
                "1:1 map",
                "1:1 a = \"a\"",
                "1:4 007 = \"007\"",
                "2:1 ü = \"ü\"",
                "2:4 map",
                "2:6 b = \"b\"",
                "2:9 off = \"off\"",
                "2:14 c = \"c\"",
                "2:17 q é = \"\\\"q é\\\"\"",
                "3:1 d = \"d\"",
                "4:3 list",
                "4:5 1.50 = \"1.50\"",
                "5:5 5s = \"5s\"",
                "6:1 e = \"e\"",
                "6:2 null",
                "7:1 f = \"f\"",
                "7:4 0x10 = \"0x10\"",
            ]
        );
        let Kind::Map(pairs) = &tree.node(root).kind else { panic!() };
        let list = pairs[2].1;
        let Kind::List(items) = &tree.node(list).kind else { panic!() };
        assert_eq!(tree.path(items[1]), "d[1]");
    }

    #[test]
    fn nesting_and_aliases_are_bounded() {
        let deep = "[".repeat(5000);
        assert!(Tree::read(&deep, &mut Mask::default()).is_err());
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let one = format!("*a{}, ", n - 1);
            bomb.push_str(&format!("a{n}: &a{n} [{}]\n", one.repeat(10)));
        }
        assert!(Tree::read(&bomb, &mut Mask::default()).is_err());
    }

    #[test]
    fn a_key_is_written_once() {
        let broken = Tree::read("a: 1\nb: 2\na: 3\n", &mut Mask::default()).unwrap_err();
        assert_eq!((broken.mark.line, broken.message.as_str()), (3, "this key is already written on line 1"));
    }
}
