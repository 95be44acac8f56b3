//! Paths into a manifest: `spec.containers[name=base].resources.limits.memory`.

use serde_json::{Map, Value};
use std::fmt;

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The entry of that name of a map.
    Key(String),
    /// The element of that number of a list, from 0.
    Index(usize),
    /// The first element of a list whose entry `.0` is the text `.1`.
    Where(String, String),
}

/// Where something stands in a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(pub(crate) Vec<Step>);

/// Why a path cannot be followed or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is not a path.
    #[error("this is not a path: {0}")]
    Syntax(&'static str),
    /// A map was expected at this part of the path.
    #[error("{0} is no map, so it has no entries")]
    NotAMap(String),
    /// A list has elements, not entries.
    #[error("{path} is a list: an element of it is written {written}")]
    IsAList {
        /// The list.
        path: String,
        /// The path as it was probably meant.
        written: String,
    },
    /// A list was expected at this part of the path.
    #[error("{0} is no list, so it has no elements")]
    NotAList(String),
    /// The list is shorter.
    #[error("{path} has {len} elements; the next one to add is [{len}]")]
    OutOfRange {
        /// The list.
        path: String,
        /// How many elements it has.
        len: usize,
    },
    /// No element matches.
    #[error("{path} has no element with that {key}; it has: {known}")]
    NoMatch {
        /// The list.
        path: String,
        /// The entry that was compared.
        key: String,
        /// What that entry is in the elements that are there.
        known: String,
    },
}

impl Path {
    /// Parses `a.b[0].c[name=x]."d.e/f"` (a backslash before a dot does as well as quotes).
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            rest = match rest.strip_prefix('[') {
                Some(inner) => bracket(inner, &mut steps)?,
                None => name(rest, &mut steps)?,
            };
            rest = match rest.strip_prefix('.') {
                Some("") => return Err(PathError::Syntax("it ends with a dot")),
                Some(more) => more,
                None if rest.is_empty() || rest.starts_with('[') => rest,
                None => return Err(PathError::Syntax("a dot or a bracket is missing")),
            };
        }
        match steps.first() {
            Some(Step::Key(_)) => Ok(Self(steps)),
            _ => Err(PathError::Syntax("it begins with a name")),
        }
    }

    /// This path and one step more.
    pub(crate) fn and(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// This path and an entry of that name.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.and(Step::Key(key.to_owned()))
    }

    /// This path and the element of that number.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.and(Step::Index(index))
    }

    /// This path below another.
    pub(crate) fn under(&self, parent: &Path) -> Self {
        Self(parent.0.iter().chain(&self.0).cloned().collect())
    }

    /// All paths from this one up to the root, longest first.
    pub(crate) fn upwards(&self) -> impl Iterator<Item = Path> + '_ {
        (0..=self.0.len()).rev().map(|len| Path(self.0[..len].to_vec()))
    }

    /// Writes `value` there; maps that are missing on the way are made, and an element can be added to the end of a list.
    /// The path comes back with its searches resolved to indexes.
    pub(crate) fn set(&self, root: &mut Value, value: Value) -> Result<Path, PathError> {
        let mut at = root;
        let mut done = Path::default();
        for (index, step) in self.0.iter().enumerate() {
            if let (Value::Array(_), Step::Key(key)) = (&*at, step) {
                return Err(is_a_list(&done, key, &self.0[index + 1..]));
            }
            (at, done) = descend(at, done, step)?;
        }
        *at = value;
        Ok(done)
    }
}

fn bracket<'a>(inner: &'a str, steps: &mut Vec<Step>) -> Result<&'a str, PathError> {
    let (content, rest) = inner.split_once(']').ok_or(PathError::Syntax("a ] is missing"))?;
    steps.push(match content.split_once('=') {
        Some((key, value)) => Step::Where(key.to_owned(), value.to_owned()),
        None => Step::Index(content.parse().map_err(|_| PathError::Syntax("in [ ] stands a number or name=value"))?),
    });
    Ok(rest)
}

fn name<'a>(text: &'a str, steps: &mut Vec<Step>) -> Result<&'a str, PathError> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (name, rest) = quoted.split_once('"').ok_or(PathError::Syntax("a quote is not closed"))?;
            (name.to_owned(), rest)
        }
        None => bare(text),
    };
    if name.is_empty() {
        return Err(PathError::Syntax("a name is missing"));
    }
    steps.push(Step::Key(name));
    Ok(rest)
}

fn bare(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => name.push(c),
        }
    }
    (name, "")
}

fn descend<'v>(at: &'v mut Value, done: Path, step: &Step) -> Result<(&'v mut Value, Path), PathError> {
    match step {
        Step::Key(key) => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let map = at.as_object_mut().ok_or_else(|| PathError::NotAMap(done.to_string()))?;
            Ok((map.entry(key).or_insert(Value::Null), done.key(key)))
        }
        Step::Index(index) => {
            if at.is_null() {
                *at = Value::Array(Vec::new());
            }
            let list = at.as_array_mut().ok_or_else(|| PathError::NotAList(done.to_string()))?;
            if *index == list.len() {
                list.push(Value::Null);
            }
            let (len, path) = (list.len(), done.to_string());
            let element = list.get_mut(*index).ok_or(PathError::OutOfRange { path, len })?;
            Ok((element, done.index(*index)))
        }
        Step::Where(key, wanted) => {
            let list = at.as_array_mut().ok_or_else(|| PathError::NotAList(done.to_string()))?;
            let found = list.iter().position(|element| element.get(key).and_then(Value::as_str) == Some(wanted));
            let index = found.ok_or_else(|| no_match(list, &done, key))?;
            Ok((&mut list[index], done.index(index)))
        }
    }
}

/// `a.0.b`, where `a` is a list, was probably meant as `a[0].b`, and `a.b` as some element's `b`.
fn is_a_list(list: &Path, key: &str, rest: &[Step]) -> PathError {
    let number = key.parse();
    let mut meant = list.index(number.clone().unwrap_or(0));
    if number.is_err() {
        meant = meant.key(key);
    }
    let written = Path(meant.0.into_iter().chain(rest.iter().cloned()).collect()).to_string();
    PathError::IsAList { path: list.to_string(), written }
}

fn no_match(list: &[Value], path: &Path, key: &str) -> PathError {
    let known: Vec<&str> = list.iter().filter_map(|element| element.get(key)?.as_str()).collect();
    PathError::NoMatch { path: path.to_string(), key: key.to_owned(), known: known.join(", ") }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) => {
                    let dot = if at == 0 { "" } else { "." };
                    let quote = if key.contains(['.', '[']) { "\"" } else { "" };
                    write!(f, "{dot}{quote}{key}{quote}")?;
                }
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Where(key, value) => write!(f, "[{key}={value}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_are_parsed_and_printed_again() {
        for text in ["spec.containers[0].image", "spec.containers[name=base].args[2]", "metadata.annotations.\"a.b/c\""]
        {
            assert_eq!(Path::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Path::parse(r"a.b\.c").unwrap(), Path::parse("a.\"b.c\"").unwrap());
        for bad in ["", "[0]", "a.", "a..b", "a[x]", "a[0", "a[0]b", "\"a", ".a"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }

    fn set(root: &Value, path: &str) -> Result<Value, PathError> {
        let mut root = root.clone();
        Path::parse(path).unwrap().set(&mut root, json!(1)).map(|_| root)
    }

    #[test]
    fn what_is_missing_on_the_way_is_made() {
        assert_eq!(set(&json!({}), "a.b[0].c"), Ok(json!({"a": {"b": [{"c": 1}]}})));
        assert_eq!(set(&json!({"a": [5]}), "a[1]"), Ok(json!({"a": [5, 1]})));
        let list = json!({"a": [{"name": "x"}, {"name": "y"}]});
        assert_eq!(set(&list, "a[name=y].z"), Ok(json!({"a": [{"name": "x"}, {"name": "y", "z": 1}]})));
    }

    #[test]
    fn what_cannot_be_written_is_said_with_what_is_there() {
        let root = json!({"a": [{"name": "x"}], "s": "text"});
        let said = |path| set(&root, path).unwrap_err().to_string();
        assert_eq!(said("a[2]"), "a has 1 elements; the next one to add is [1]");
        assert_eq!(said("a[name=q].z"), "a has no element with that name; it has: x");
        assert_eq!(said("a.0.env"), "a is a list: an element of it is written a[0].env");
        assert_eq!(said("a.name"), "a is a list: an element of it is written a[0].name");
        assert_eq!(said("s.t"), "s is no map, so it has no entries");
        assert_eq!(said("s[0]"), "s is no list, so it has no elements");
    }
}
