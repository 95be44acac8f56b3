//! One document of YAML or JSON, and where each of its values stands.

use super::error::{ManifestError, Place, Problem};
use super::path::{Path, Step};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, MessageFormatter as _, Spanned, UserMessageFormatter};
use std::collections::BTreeMap;
use std::fmt;

/// A text and what it is called in messages.
#[derive(Clone)]
pub struct Source {
    /// Its file's name, or `standard input`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// The text may hold env values: it is never printed.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A place in a text: line and column, both from 1, and how many characters it spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters.
    pub width: usize,
}

/// A parsed document.
pub(super) struct Document {
    pub(super) source: Source,
    pub(super) value: Value,
    positions: BTreeMap<Path, Position>,
}

impl Document {
    /// Parses one document of YAML or JSON.
    pub(super) fn parse(source: Source) -> Result<Self, ManifestError> {
        // JSON goes first: YAML takes nearly all of it, but not a tab before a value.
        let json = source.text.trim_start().starts_with('{').then(|| serde_json::from_str(&source.text).ok()).flatten();
        let yaml = nodes(&source.text);
        let (value, positions) = match (json, yaml) {
            (Some(json), Ok(mut nodes)) if nodes.len() == 1 => (json, positions(&nodes.remove(0))),
            (Some(json), _) => (json, BTreeMap::new()),
            (None, Ok(nodes)) => single(&source, nodes)?,
            (None, Err(error)) => return Err(syntax(&source, &error)),
        };
        Ok(Self { source, value: fold(value), positions })
    }

    /// Where the value of that path stands. `None`: it is not there.
    pub(super) fn position(&self, path: &Path) -> Option<Position> {
        self.positions.get(path).copied()
    }
}

fn nodes(text: &str) -> Result<Vec<Spanned<Node>>, serde_saphyr::Error> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options)
}

/// A single value as YAML types it: for `--set`.
pub(super) fn scalar(text: &str) -> Option<Value> {
    match nodes(text) {
        Ok(mut nodes) if nodes.len() == 1 => Some(fold(nodes.remove(0).value.into_value())),
        Ok(nodes) if nodes.is_empty() => Some(Value::Null),
        _ => None,
    }
}

type Parsed = (Value, BTreeMap<Path, Position>);

fn single(source: &Source, mut nodes: Vec<Spanned<Node>>) -> Result<Parsed, ManifestError> {
    let problem = match nodes.len() {
        0 => Problem::Empty,
        1 => {
            let node = nodes.remove(0);
            let positions = positions(&node);
            return Ok((node.value.into_value(), positions));
        }
        count => Problem::Documents { count },
    };
    let position = nodes.get(1).map(|node| position(node.referenced, 1));
    Err(ManifestError::new(Place::new(source, position), problem))
}

fn syntax(source: &Source, error: &serde_saphyr::Error) -> ManifestError {
    let position = error.location().map(|location| position(location, 1));
    let message = UserMessageFormatter.format_message(error.without_snippet()).into_owned();
    ManifestError::new(Place::new(source, position), Problem::Syntax(message))
}

fn position(location: Location, width: usize) -> Position {
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Position { line: whole(location.line()), column: whole(location.column()), width }
}

fn positions(root: &Spanned<Node>) -> BTreeMap<Path, Position> {
    let mut found = BTreeMap::new();
    found.insert(Path::default(), position(root.referenced, 1));
    collect(&root.value, &Path::default(), &mut found);
    found
}

/// An entry of a map stands where its key does, an element of a list where it begins.
fn collect(node: &Node, path: &Path, found: &mut BTreeMap<Path, Position>) {
    match node {
        Node::Map(entries) => {
            for (key, value) in entries {
                let path = path.and(Step::Key(key.value.clone()));
                found.insert(path.clone(), position(key.referenced, key.value.chars().count()));
                collect(&value.value, &path, found);
            }
        }
        Node::List(elements) => {
            for (index, element) in elements.iter().enumerate() {
                let path = path.index(index);
                found.insert(path.clone(), position(element.referenced, 1));
                collect(&element.value, &path, found);
            }
        }
        Node::Scalar(_) => {}
    }
}

/// A float without a fraction is the integer that it was meant as (`8.08e3`, `1.0`), as the API server's decoder reads it.
fn fold(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(fold_number(number)),
        Value::Array(list) => list.into_iter().map(fold).collect(),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, fold(value))).collect()),
        other => other,
    }
}

fn fold_number(number: Number) -> Number {
    /// Integers up to here are exact in a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        #[allow(clippy::cast_possible_truncation)] // it has no fraction and is smaller than 2⁵³
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => (float as i64).into(),
        _ => number,
    }
}

enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl Node {
    fn into_value(self) -> Value {
        match self {
            Node::Scalar(value) => value,
            Node::List(elements) => elements.into_iter().map(|element| element.value.into_value()).collect(),
            Node::Map(entries) => Value::Object(
                entries.into_iter().map(|(key, value)| (key.value, value.value.into_value())).collect::<Map<_, _>>(),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        Node::deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Node::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(text: &str) -> Document {
        Document::parse(Source { name: "t.yaml".into(), text: text.into() }).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn scalars_are_typed_as_kubectl_types_them() {
        let text = "a: 0644\nb: 1e3\nc: yes\nd: '1'\ne: 1.5\nf:\ng: ~\nh: 2024-01-01\ni: 0x1F\nj: on\nk: 18446744073709551615\n";
        let wanted = json!({"a": 420, "b": 1000, "c": true, "d": "1", "e": 1.5, "f": null, "g": null, "h": "2024-01-01",
            "i": 31, "j": true, "k": 18_446_744_073_709_551_615_u64});
        assert_eq!(document(text).value, wanted);
    }

    #[test]
    fn an_entry_stands_at_its_key_and_an_element_where_it_begins() {
        let document = document("spec:\n  containers:\n  - name: a\n  - image: b\n");
        let at = |path| document.position(&Path::parse(path).unwrap()).map(|p| (p.line, p.column, p.width));
        assert_eq!(at("spec.containers"), Some((2, 3, 10)));
        assert_eq!(at("spec.containers[0].name"), Some((3, 5, 4)));
        assert_eq!(at("spec.containers[1]"), Some((4, 5, 1)));
        assert_eq!(at("spec.volumes[0]"), None);
    }

    #[test]
    fn json_with_tabs_is_read_too_and_a_comment_before_the_document_is_none() {
        assert_eq!(document("{\n\t\"a\": [1.0]\n}").value, json!({"a": [1]}));
        assert_eq!(document("# why\n---\na: 1\n---\n").value, json!({"a": 1}));
        assert_eq!(document("a: &x {b: 1}\nc: *x\n").value, json!({"a": {"b": 1}, "c": {"b": 1}}));
    }
}
