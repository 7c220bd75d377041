//! Reads a value that says inside of itself, by `"type"`, what it is.
//!
//! serde's own reading of such a value takes it apart into a tree first, since the tag may come last, and makes the value
//! from the tree. Of a log that is loaded that was most of the time: events are tagged, and so are the parts within them.
//! What we write has its tag in front. So it is read first, and the rest straight from the text; only a value whose tag
//! comes later takes the way by a tree.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

const TAG: &str = "type";

/// A type with a tag inside.
pub(crate) trait Tagged: Sized {
    /// Reads it as an enum whose tag stands outside; a derived function.
    fn from_variants<'de, D: Deserializer<'de>>(variants: D) -> Result<Self, D::Error>;
}

pub(crate) fn deserialize<'de, T: Tagged, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(TaggedVisitor(PhantomData))
}

struct TaggedVisitor<T>(PhantomData<T>);

impl<'de, T: Tagged> Visitor<'de> for TaggedVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a field `type`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        match map.next_key::<Key>()? {
            None => Err(Error::missing_field(TAG)),
            Some(Key::Tag) => T::from_variants(TagRead(map)),
            Some(Key::Other(first)) => tag_later(first, map),
        }
    }
}

/// By way of a tree.
fn tag_later<'de, T: Tagged, A: MapAccess<'de>>(first: String, mut map: A) -> Result<T, A::Error> {
    let mut fields = Map::new();
    fields.insert(first, map.next_value()?);
    while let Some((key, value)) = map.next_entry::<String, Value>()? {
        if fields.contains_key(&key) {
            return Err(Error::custom(format!("duplicate field `{key}`")));
        }
        fields.insert(key, value);
    }
    let tag = fields.remove(TAG).ok_or_else(|| Error::missing_field(TAG))?;
    let mut fields = MapDeserializer::new([(TAG.to_owned(), tag)].into_iter().chain(fields));
    let read = |map: &mut MapDeserializer<'_, _, serde_json::Error>| map.next_key::<IgnoredAny>();
    read(&mut fields).map_err(Error::custom)?;
    T::from_variants(TagRead(fields)).map_err(Error::custom)
}

enum Key {
    Tag,
    Other(String),
}

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
                Ok(if name == TAG { Key::Tag } else { Key::Other(name.to_owned()) })
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

/// A map of which the tag's key was read, and its value is next; to be read as an enum.
struct TagRead<A>(A);

impl<'de, A: MapAccess<'de>> Deserializer<'de> for TagRead<A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, A: MapAccess<'de>> EnumAccess<'de> for TagRead<A> {
    type Error = A::Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(mut self, seed: V) -> Result<(V::Value, Self), A::Error> {
        Ok((self.0.next_value_seed(seed)?, self))
    }
}

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for TagRead<A> {
    type Error = A::Error;

    fn unit_variant(mut self) -> Result<(), A::Error> {
        while self.0.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        seed.deserialize(MapAccessDeserializer::new(self.0))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, A::Error> {
        Err(Error::custom("several values without names have no place beside a tag"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_map(self.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Envelope, Event, Part};

    const REPLIED: &str = r#""iteration":1,"saw":4,"message":{"role":"assistant","parts":[{"type":"text","text":"I \"look\"."},
        {"id":"4.1","name":"bash","type":"tool_call","arguments":"{}","complete":true}]},"attempts":2,"later":[1,{"type":"x"}]"#;

    #[test]
    fn a_tag_in_front_in_the_middle_and_behind_reads_the_same() {
        let front: Event = serde_json::from_str(&format!(r#"{{"type":"model_replied",{REPLIED}}}"#)).unwrap();
        let behind: Event =
            serde_json::from_str(&format!(r#"{{{REPLIED},"type":"model_replied"}}"#)).unwrap();
        let middle = format!(r#"{{"first":null,"type":"model_replied",{REPLIED}}}"#);
        assert_eq!(serde_json::from_str::<Event>(&middle).unwrap(), front);
        assert_eq!(behind, front);
        let Event::ModelReplied { message, usage, attempts, .. } = front else { panic!("{front:?}") };
        assert_eq!((message.text().as_str(), usage, attempts), ("I \"look\".", None, 2));
        let Some(Part::ToolCall(call)) = message.parts.get(1) else { panic!("{message:?}") };
        assert_eq!((&*call.name, &call.wire_id, call.extra.len()), ("bash", &None, 0));
    }

    #[test]
    fn an_envelope_holds_its_event_among_its_own_fields_in_any_order() {
        let fields = r#""v":1,"seq":7,"epoch":2,"at":5"#;
        let event = r#""type":"recovered","cause":"why""#;
        let first: Envelope = serde_json::from_str(&format!("{{{fields},{event}}}")).unwrap();
        let last: Envelope = serde_json::from_str(&format!("{{{event},{fields}}}")).unwrap();
        assert_eq!(first, last);
        assert_eq!(first.event, Event::Recovered { cause: "why".into() });
        let written = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<Envelope>(&written).unwrap(), first);
    }

    /// Without a wildcard: who adds a kind of part comes by here, and to how it is read.
    fn kind(part: &Part) -> &'static str {
        match part {
            Part::Text { .. } => "text",
            Part::Image { .. } => "image",
            Part::Reasoning(_) => "reasoning",
            Part::ToolCall(_) => "tool_call",
            Part::ToolResult(_) => "tool_result",
            Part::Refusal { .. } => "refusal",
            Part::Opaque(_) => "opaque",
        }
    }

    #[test]
    fn every_kind_of_part_is_read() {
        let parts = [
            r#""type":"text","text":"a""#,
            r#""type":"image","mime":"image/png","source":{"url":"b"}"#,
            r#""type":"reasoning","text":"c""#,
            r#""type":"tool_call","id":"4.1","name":"d","arguments":"{}","complete":true"#,
            r#""type":"tool_result","call":"4.1","name":"d","content":[{"type":"text","text":"e"}]"#,
            r#""type":"refusal","text":"f""#,
            r#""type":"opaque","kind":"g","data":{"type":"h"}"#,
        ];
        for part in parts {
            let read: Part = serde_json::from_str(&format!("{{{part}}}")).unwrap();
            let name = format!(r#""type":"{}""#, kind(&read));
            assert!(part.starts_with(&name), "{part} is read as {read:?}");
            let written = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<Part>(&written).unwrap(), read);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| serde_json::from_str::<Event>(text).unwrap_err().to_string();
        assert!(error("{}").contains("missing field `type`"), "{}", error("{}"));
        assert!(error(r#"{"cause":"why"}"#).contains("missing field `type`"));
        for text in [r#"{"type":"forgotten","cause":"why"}"#, r#"{"cause":"why","type":"forgotten"}"#] {
            assert!(error(text).contains("unknown variant `forgotten`"), "{}", error(text));
        }
        for text in [r#"{"type":"recovered"}"#, r#"{"more":1,"type":"recovered"}"#] {
            assert!(error(text).contains("missing field `cause`"), "{}", error(text));
        }
        assert!(error(r#"{"cause":1,"cause":2,"type":"recovered"}"#).contains("duplicate field `cause`"));
        assert!(error(r#"{"type":"recovered","cause":"a","cause":"b"}"#).contains("duplicate field `cause`"));
        assert!(error("7").contains("an object with a field `type`"));
    }
}
