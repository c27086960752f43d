//! What the raw structs are made of: values that know where they stand.

use super::scalar::{Name, Scalar};
use super::tree::NodeIndex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// The names by which `decode` knows the types below.
pub(crate) const LEAF: &str = "$leaf";
pub(crate) const IN: &str = "$in";
pub(crate) const ONE_OR_MANY: &str = "$one-or-many";

/// A leaf that is to be read as `T`: where it stands.
pub(crate) struct Leaf<T>(pub(crate) NodeIndex, PhantomData<T>);

/// A section, and where it stands.
#[derive(Debug)]
pub(crate) struct In<T> {
    pub(crate) at: NodeIndex,
    pub(crate) value: T,
}

/// Sections under names that the user chose, in the order of the file.
#[derive(Debug)]
pub(crate) struct Named<T>(pub(crate) Vec<(Leaf<Name>, In<T>)>);

/// A list, or its only element.
#[derive(Debug)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

/// What a leaf is for editors.
pub(crate) trait LeafSchema {
    fn leaf_schema(generator: &mut SchemaGenerator) -> Schema;
}

impl<S: Scalar> LeafSchema for S {
    fn leaf_schema(_: &mut SchemaGenerator) -> Schema {
        S::schema()
    }
}

impl<T> fmt::Debug for Leaf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

struct Visit<T>(PhantomData<T>);

fn node_index<E: Error>(value: u64) -> Result<NodeIndex, E> {
    usize::try_from(value).map(NodeIndex).map_err(E::custom)
}

impl<T> Visitor<'_> for Visit<Leaf<T>> {
    type Value = Leaf<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Leaf<T>, E> {
        Ok(Leaf(node_index(value)?, PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Visit<In<T>> {
    type Value = In<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<In<T>, A::Error> {
        let missing = || A::Error::custom("a section has two parts");
        let at = node_index(parts.next_element()?.ok_or_else(missing)?)?;
        Ok(In { at, value: parts.next_element()?.ok_or_else(missing)? })
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Visit<Named<T>> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Named<T>, A::Error> {
        let mut named = Vec::new();
        while let Some(pair) = pairs.next_entry()? {
            named.push(pair);
        }
        Ok(Named(named))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Visit<OneOrMany<T>> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(OneOrMany(list))
    }
}

impl<'de, T> Deserialize<'de> for Leaf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(LEAF, Visit::<Self>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for In<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(IN, Visit::<Self>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Visit::<Self>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(ONE_OR_MANY, Visit::<Self>(PhantomData))
    }
}

macro_rules! schema_of {
    ([$($bound:tt)*] $type:ty, $generator:ident => $schema:expr) => {
        impl<T: $($bound)*> JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($type))
            }

            fn schema_id() -> Cow<'static, str> {
                Cow::Borrowed(std::any::type_name::<Self>())
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

schema_of!([LeafSchema] Leaf<T>, generator => T::leaf_schema(generator));
schema_of!([JsonSchema] In<T>, generator => generator.subschema_for::<T>());
schema_of!([JsonSchema] Named<T>, generator => {
    let section = generator.subschema_for::<T>();
    json_schema!({ "type": "object", "additionalProperties": section })
});
schema_of!([JsonSchema] OneOrMany<T>, generator => {
    let one = generator.subschema_for::<T>();
    json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
});
