//! How the fields of a request are read where serde's own ways are not strict enough.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::execution::quantity::Seconds;
use crate::execution::request::MAX_ENV;

/// For a field that may be left out and can't be `null`.
pub(super) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// As [`given`], for a text of which only the bytes matter.
pub(super) fn given_bytes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Bytes>, D::Error> {
    String::deserialize(deserializer).map(|text| Some(text.into()))
}

/// As [`given`], for bytes in base64.
pub(super) fn given_base64<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Bytes>, D::Error> {
    struct Base64;
    impl Visitor<'_> for Base64 {
        type Value = Option<Bytes>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            from_base64(text.as_bytes()).map(Some).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Base64)
}

/// What is written in base64.
///
/// # Errors
/// The rule. The decoder's own words would repeat a byte of the content.
pub(super) fn from_base64(text: &[u8]) -> Result<Bytes, &'static str> {
    let bytes = STANDARD.decode(text);
    bytes.map(Bytes::from).map_err(|_| "this is not base64 (RFC 4648, padded)")
}

/// As [`given`], for a time, which is a number only.
pub(super) fn given_seconds<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Seconds>, D::Error> {
    let number = f64::deserialize(deserializer)
        .map_err(|_| D::Error::custom("write a number of seconds, such as 2.5"))?;
    number.to_string().parse().map(Some).map_err(D::Error::custom)
}

/// As [`given`], for a whole number.
pub(super) fn given_count<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    let number = u32::deserialize(deserializer);
    number.map(Some).map_err(|_| D::Error::custom("write a whole number, such as 64"))
}

/// A JSON object and nothing else: serde's structs would also be read from an array, by position.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Map(PhantomData))
    }
}

/// A list of so many at most. The rest is not read: each entry takes more memory than its text.
pub(super) fn list<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T, const MOST: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                if items.len() == MOST {
                    return Err(too_many(MOST));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    deserializer.deserialize_seq(List::<T, MOST>(PhantomData))
}

fn too_many<E: Error>(most: usize) -> E {
    E::custom(format_args!("there are too many entries; the most is {most}"))
}

/// A [`list`] of [`Object`]s.
pub(super) fn objects<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let objects = list::<D, Object<T>, MOST>(deserializer)?;
    Ok(objects.into_iter().map(|Object(item)| item).collect())
}

/// Names and values in the order given. A map that names one key twice keeps both, for the door
/// to refuse.
#[derive(Debug, Default)]
pub struct Pairs(pub(super) Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names to texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    if pairs.len() == MAX_ENV {
                        return Err(too_many(MAX_ENV));
                    }
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Names)
    }
}
