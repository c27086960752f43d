//! From the tree to the raw structs, through serde's derive, without ever stopping: what does not fit is noted and
//! left out, so that one run shows everything that is wrong.

use super::later::Later;
use super::mask::Mask;
use super::place::{IN, LEAF, ONE_OR_MANY};
use super::problem::Problem;
use super::tree::{Kind, NodeIndex, Tree};
use serde::de::value::{Error, SeqDeserializer, StrDeserializer, U64Deserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use std::cell::RefCell;
use std::ops::Range;

/// One file while it is read: its text as a tree, and what is wrong with it so far.
pub(crate) struct Context<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) mask: &'a Mask,
    problems: RefCell<Vec<Problem>>,
    /// Values of unknown keys: what they are is not known either.
    hidden: RefCell<Vec<Range<usize>>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(tree: &'a Tree, mask: &'a Mask) -> Self {
        Self { tree, mask, problems: RefCell::default(), hidden: RefCell::default() }
    }

    /// What is wrong, and what more must be hidden when it is told.
    pub(crate) fn into_problems(self) -> (Vec<Problem>, Vec<Range<usize>>) {
        (self.problems.into_inner(), self.hidden.into_inner())
    }

    /// Reads a subtree; what does not fit is noted and left at its default.
    pub(crate) fn decode<T: DeserializeOwned + Default>(&self, node: NodeIndex) -> T {
        let decoded = T::deserialize(At { context: self, node });
        decoded.unwrap_or_else(|_| {
            self.wrong(node, "does not fit here", "");
            T::default()
        })
    }

    /// Notes that the value at `node` is not what is allowed there.
    pub(crate) fn wrong(&self, node: NodeIndex, what: &str, allowed: &str) {
        let found = format!("{} {what}", self.found(node));
        self.note(node, found, allowed, None);
    }

    /// Notes that something of the wrong shape stands at `node`; what it is meant to be is not known, so it is hidden.
    fn misplaced(&self, node: NodeIndex, allowed: &str) {
        self.hide(node);
        let shape = match &self.tree.node(node).kind {
            Kind::Map(_) => "a map",
            Kind::List(_) => "a list",
            Kind::Scalar(_) | Kind::Null => "a single value",
        };
        self.note(node, format!("{shape} cannot stand here"), allowed, None);
    }

    /// Notes a problem at `node`; `found` and `help` must hold nothing that is hidden.
    pub(crate) fn note(&self, node: NodeIndex, found: String, allowed: &str, help: Option<String>) {
        let mark = self.tree.node(node).mark.clone();
        let path = self.tree.path(node);
        let problem = Problem { mark, path, found, allowed: allowed.to_owned(), help };
        self.problems.borrow_mut().push(problem);
    }

    /// The value at `node`, as an error may quote it.
    pub(crate) fn found(&self, node: NodeIndex) -> String {
        let node = self.tree.node(node);
        match &node.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
            Kind::Scalar(_) if self.mask.hides(&node.mark.span) => "`****`".to_owned(),
            Kind::Scalar(text) => {
                let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
                let short: String = clean.clone().take(60).collect();
                format!("`{short}{}`", if clean.count() > 60 { "…" } else { "" })
            }
        }
    }

    fn unknown(&self, key: NodeIndex, value: NodeIndex, section: &str, known: &[&str]) {
        let name = self.tree.text(key).unwrap_or_default();
        if let Some(later) = Later::find(section, name) {
            let off = match &self.tree.node(value).kind {
                Kind::Map(pairs) => pairs.iter().all(|(_, value)| self.is_empty(*value)) && later.is_off(""),
                Kind::List(items) => items.is_empty() && later.is_off(""),
                Kind::Scalar(text) => later.is_off(text),
                Kind::Null => true,
            };
            if !off {
                let help = format!("until then: {}", later.until_then);
                self.note(key, "this version does not have this key yet".to_owned(), "not yet", Some(help));
            }
            return;
        }
        self.hide(value);
        let near = known.iter().map(|known| (strsim::osa_distance(known, name), *known)).min();
        let near = near.filter(|(distance, known)| *distance <= known.len().max(3) / 3);
        let allowed = near.map_or_else(String::new, |(_, known)| format!("did you mean `{known}`?"));
        let help = format!("the keys here are {}", known.join(", "));
        self.note(key, "unknown key".to_owned(), &allowed, Some(help));
    }

    fn hide(&self, value: NodeIndex) {
        let node = self.tree.node(value);
        match &node.kind {
            Kind::Null => {}
            Kind::Scalar(_) => self.hidden.borrow_mut().push(node.mark.span.clone()),
            Kind::List(items) => items.iter().for_each(|item| self.hide(*item)),
            Kind::Map(pairs) => pairs.iter().for_each(|(_, value)| self.hide(*value)),
        }
    }

    fn is_empty(&self, node: NodeIndex) -> bool {
        match &self.tree.node(node).kind {
            Kind::Null => true,
            Kind::Scalar(text) => text.is_empty(),
            Kind::List(items) => items.is_empty(),
            Kind::Map(pairs) => pairs.is_empty(),
        }
    }
}

/// A deserializer for one node.
#[derive(Clone, Copy)]
struct At<'c, 'a> {
    context: &'c Context<'a>,
    node: NodeIndex,
}

impl<'c, 'a> At<'c, 'a> {
    fn kind(&self) -> &'a Kind {
        &self.context.tree.node(self.node).kind
    }

    fn at(&self, node: NodeIndex) -> Self {
        Self { context: self.context, node }
    }

    fn pairs(&self) -> &'a [(NodeIndex, NodeIndex)] {
        match self.kind() {
            Kind::Map(pairs) => pairs,
            Kind::Null => &[],
            _ => {
                self.context.misplaced(self.node, "expected keys with values");
                &[]
            }
        }
    }

    fn index(&self) -> u64 {
        u64::try_from(self.node.0).unwrap_or(u64::MAX)
    }

    fn seq<'de, V: Visitor<'de>>(&self, items: &[NodeIndex], visitor: V) -> Result<V::Value, Error> {
        let items = items.iter().map(|item| self.at(*item));
        visitor.visit_seq(SeqDeserializer::new(items))
    }
}

impl<'de> IntoDeserializer<'de, Error> for At<'_, '_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for At<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.index())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            LEAF => visitor.visit_u64(self.index()),
            IN => visitor.visit_seq(Placed { at: self, part: 0 }),
            ONE_OR_MANY => match self.kind() {
                Kind::List(items) => self.seq(items, visitor),
                Kind::Null => self.seq(&[], visitor),
                _ => self.seq(&[self.node], visitor),
            },
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::List(items) => self.seq(items, visitor),
            Kind::Null => self.seq(&[], visitor),
            _ => {
                self.context.misplaced(self.node, "expected a list: `[ one, two ]`");
                self.seq(&[], visitor)
            }
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let pairs = self.pairs().iter();
        visitor.visit_map(Pairs { at: self, pairs, value: None, by_name: false })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut known = Vec::new();
        for (key, value) in self.pairs() {
            if self.context.tree.text(*key).is_some_and(|text| fields.contains(&text)) {
                known.push((*key, *value));
            } else {
                self.context.unknown(*key, *value, name, fields);
            }
        }
        visitor.visit_map(Pairs { at: self, pairs: known.iter(), value: None, by_name: true })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct enum identifier ignored_any
    }
}

/// The entries of a map; keys as text for the fields of a struct, as nodes for names that the user chose.
struct Pairs<'c, 'a, 'p> {
    at: At<'c, 'a>,
    pairs: std::slice::Iter<'p, (NodeIndex, NodeIndex)>,
    value: Option<NodeIndex>,
    by_name: bool,
}

impl<'de> MapAccess<'de> for Pairs<'_, '_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.pairs.next() else { return Ok(None) };
        self.value = Some(*value);
        let decoded = if self.by_name {
            let name = self.at.context.tree.text(*key).unwrap_or_default();
            seed.deserialize(StrDeserializer::new(name))
        } else {
            seed.deserialize(self.at.at(*key))
        };
        decoded.map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.value.take().unwrap_or(self.at.node);
        seed.deserialize(self.at.at(value))
    }
}

/// A section as the pair (its node, its content).
struct Placed<'c, 'a> {
    at: At<'c, 'a>,
    part: u8,
}

impl<'de> SeqAccess<'de> for Placed<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.part = self.part.saturating_add(1);
        match self.part {
            1 => seed.deserialize(U64Deserializer::new(self.at.index())).map(Some),
            2 => seed.deserialize(self.at).map(Some),
            _ => Ok(None),
        }
    }
}
