//! Protobuf bodies, as kubectl's typed commands send them (`drain`, `create namespace`, `auth can-i`): the few kinds that these commands send,
//! read into JSON. Answers are always JSON, which every client takes.
//!
//! Field numbers are those of `generated.proto` in `k8s.io/api` and `k8s.io/apimachinery`.

use base64::Engine as _;
use serde_json::{Map, Value};

/// The first bytes of an enveloped object (`runtime/serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

/// What a field holds.
#[derive(Clone, Copy)]
enum Type {
    Text,
    Number,
    Flag,
    Message(&'static [Field]),
    /// A map from text to text.
    Texts,
    /// A map from text to bytes, which JSON has in base64.
    Bytes,
    /// A map from text to quantities.
    Quantities,
}

/// A field: its number, its name in JSON, what it holds, whether it repeats.
struct Field(u64, &'static str, Type, bool);

const META: &[Field] = &[
    Field(1, "name", Type::Text, false),
    Field(2, "generateName", Type::Text, false),
    Field(3, "namespace", Type::Text, false),
    Field(5, "uid", Type::Text, false),
    Field(6, "resourceVersion", Type::Text, false),
    Field(11, "labels", Type::Texts, false),
    Field(12, "annotations", Type::Texts, false),
    Field(14, "finalizers", Type::Text, true),
];

const PRECONDITIONS: &[Field] = &[Field(1, "uid", Type::Text, false), Field(2, "resourceVersion", Type::Text, false)];

const DELETE_OPTIONS: &[Field] = &[
    Field(1, "gracePeriodSeconds", Type::Number, false),
    Field(2, "preconditions", Type::Message(PRECONDITIONS), false),
    Field(4, "propagationPolicy", Type::Text, false),
    Field(5, "dryRun", Type::Text, true),
];

const ATTRIBUTES: &[Field] = &[
    Field(1, "namespace", Type::Text, false),
    Field(2, "verb", Type::Text, false),
    Field(3, "group", Type::Text, false),
    Field(5, "resource", Type::Text, false),
    Field(6, "subresource", Type::Text, false),
    Field(7, "name", Type::Text, false),
];

const QUOTA: &[Field] = &[Field(1, "hard", Type::Quantities, false)];
const REVIEW: &[Field] = &[Field(1, "resourceAttributes", Type::Message(ATTRIBUTES), false)];
const METADATA: Field = Field(1, "metadata", Type::Message(META), false);

/// The fields of a kind. None for kinds that are not read.
fn fields(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "DeleteOptions" => DELETE_OPTIONS,
        "Eviction" => &[METADATA, Field(2, "deleteOptions", Type::Message(DELETE_OPTIONS), false)],
        "Namespace" | "ServiceAccount" => &[METADATA],
        "ConfigMap" => &[METADATA, Field(2, "data", Type::Texts, false), Field(3, "binaryData", Type::Bytes, false)],
        "Secret" => &[METADATA, Field(2, "data", Type::Bytes, false), Field(3, "type", Type::Text, false)],
        "PriorityClass" => &[
            METADATA,
            Field(2, "value", Type::Number, false),
            Field(3, "globalDefault", Type::Flag, false),
            Field(4, "description", Type::Text, false),
            Field(5, "preemptionPolicy", Type::Text, false),
        ],
        "ResourceQuota" => &[METADATA, Field(2, "spec", Type::Message(QUOTA), false)],
        "SelfSubjectAccessReview" => &[METADATA, Field(2, "spec", Type::Message(REVIEW), false)],
        _ => return None,
    })
}

/// Reads an enveloped object. None where it is none, or of a kind that is not read.
pub(super) fn decode(body: &[u8]) -> Option<Value> {
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for (number, value) in parts(body.strip_prefix(MAGIC)?)? {
        match (number, value) {
            (1, Wire::Bytes(meta)) => {
                for (number, value) in parts(meta)? {
                    match (number, value) {
                        (1, Wire::Bytes(text)) => version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut object = message(raw, fields(&kind)?)?;
    object.insert("apiVersion".into(), version.into());
    object.insert("kind".into(), kind.into());
    Some(Value::Object(object))
}

fn utf8(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn message(bytes: &[u8], fields: &[Field]) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    for (number, wire) in parts(bytes)? {
        let Some(Field(_, name, kind, repeated)) = fields.iter().find(|field| field.0 == number) else { continue };
        let value = match (kind, wire) {
            (Type::Text, Wire::Bytes(bytes)) => utf8(bytes)?.into(),
            (Type::Number, Wire::Varint(number)) => (number as i64).into(),
            (Type::Flag, Wire::Varint(number)) => (number != 0).into(),
            (Type::Message(fields), Wire::Bytes(bytes)) => Value::Object(message(bytes, fields)?),
            (Type::Texts | Type::Bytes | Type::Quantities, Wire::Bytes(bytes)) => {
                let (key, value) = entry(bytes, *kind)?;
                object.entry(*name).or_insert_with(|| Value::Object(Map::new()))[key] = value;
                continue;
            }
            _ => return None,
        };
        match object.get_mut(*name).and_then(Value::as_array_mut) {
            Some(list) if *repeated => list.push(value),
            _ if *repeated => drop(object.insert((*name).into(), Value::Array(vec![value]))),
            // An empty text is what is not set.
            _ if value == "" => {}
            _ => drop(object.insert((*name).into(), value)),
        }
    }
    Some(object)
}

/// An entry of a map: 1 is the key, 2 the value.
fn entry(bytes: &[u8], kind: Type) -> Option<(String, Value)> {
    let (mut key, mut value) = (String::new(), &[][..]);
    for (number, wire) in parts(bytes)? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => key = utf8(bytes)?,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    let value = match kind {
        Type::Bytes => base64::engine::general_purpose::STANDARD.encode(value),
        Type::Quantities => match parts(value)?.into_iter().next()? {
            (1, Wire::Bytes(text)) => utf8(text)?,
            _ => return None,
        },
        _ => utf8(value)?,
    };
    Some((key, value.into()))
}

/// A field as it is on the wire.
enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Fixed numbers, which none of these kinds has.
    Other,
}

fn parts(mut bytes: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(&mut bytes)?),
            1 => take(&mut bytes, 8).map(|_| Wire::Other)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Wire::Bytes(take(&mut bytes, length)?)
            }
            5 => take(&mut bytes, 4).map(|_| Wire::Other)?,
            _ => return None,
        };
        found.push((tag >> 3, wire));
    }
    Some(found)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(length)?;
    *bytes = tail;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A length-delimited field.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
        out.extend_from_slice(bytes);
        out
    }

    fn envelope(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn reads_what_kubectl_sends() {
        let labels = field(11, &[field(1, b"a"), field(2, b"b")].concat());
        let meta = field(1, &[field(1, b"web"), field(2, b""), labels].concat());
        let options = field(2, &[vec![1 << 3, 0xac, 0x02], field(5, b"All")].concat());
        let eviction = decode(&envelope("policy/v1", "Eviction", &[meta.clone(), options].concat()));
        let expected = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "web", "labels": { "a": "b" } },
            "deleteOptions": { "gracePeriodSeconds": 300, "dryRun": ["All"] },
        });
        assert_eq!(eviction, Some(expected));
        let data = field(2, &[field(1, b"k"), field(2, b"\x00\x01")].concat());
        let secret = decode(&envelope("v1", "Secret", &[meta, data].concat())).expect("read");
        assert_eq!(secret["data"], json!({ "k": "AAE=" }));
    }

    #[test]
    fn refuses_the_rest() {
        assert_eq!(decode(b"{}"), None);
        assert_eq!(decode(&envelope("v1", "Pod", &[])), None);
        assert_eq!(decode(&[MAGIC, &[0x12, 0xff][..]].concat()), None);
    }
}
