//! The closed list of foreign types in the public API: what a caller sees of other crates, and so must upgrade with us.

use crate::run::{Step, all, cargo, say};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// The list, one type a line, by library.
const LIST: &str = "docs/foreign-types.txt";
/// The libraries that are promised to others.
const LIBRARIES: [&str; 2] = ["kpo-core", "kpo"];
/// Crates that are no foreigners: the standard library, and our own.
const OWN: [&str; 5] = ["std", "core", "alloc", "kpo_core", "kpo"];

/// Compares the list with what rustdoc finds; `--bless` writes it anew.
pub(crate) fn check(arguments: &[String]) -> Result<(), String> {
    let mut found = String::new();
    for library in LIBRARIES {
        for name in foreign_types(library)? {
            found += &format!("{library}: {name}\n");
        }
    }
    if arguments.iter().any(|argument| argument == "--bless") {
        return std::fs::write(LIST, found).map_err(|error| format!("{LIST}: {error}"));
    }
    let known = std::fs::read_to_string(LIST).map_err(|error| format!("{LIST}: {error}"))?;
    let (known, found): (BTreeSet<&str>, BTreeSet<&str>) = (known.lines().collect(), found.lines().collect());
    known.difference(&found).for_each(|gone| say(&format!("no longer in the public API: {gone}")));
    found.difference(&known).for_each(|new| say(&format!("new in the public API: {new}")));
    if known == found {
        Ok(())
    } else {
        Err(format!("{LIST} is not what the libraries show; if that is meant: cargo xtask api --bless"))
    }
}

/// Paths of the types of other crates in a library's public items.
fn foreign_types(library: &str) -> Result<BTreeSet<String>, String> {
    let doc = rustdoc(library)?;
    let mut ids = BTreeSet::new();
    for item in doc["index"].as_object().into_iter().flatten().map(|(_, item)| item) {
        // Implementations of foreign traits (Debug, Serialize) are no types that a caller names.
        if item["inner"].get("impl").is_none_or(|block| block["trait"].is_null()) {
            collect(&item["inner"], &mut ids);
        }
    }
    Ok(ids.iter().filter_map(|id| foreign(&doc, id)).collect())
}

/// Where it is documented: `RUSTC_BOOTSTRAP` would have every crate of the ordinary target built anew.
const TARGET: &str = "target/api";

/// The rustdoc JSON of a library. Its format is unstable, and the toolchain is pinned.
fn rustdoc(library: &str) -> Result<Value, String> {
    let mut command =
        cargo(&["rustdoc", "--quiet", "--locked", "--lib", "--target-dir", TARGET, "--package", library, "--"]);
    command.args(["-Zunstable-options", "--output-format", "json"]).env("RUSTC_BOOTSTRAP", "1");
    all([Step::new("rustdoc", command)])?;
    let path = Path::new(TARGET).join("doc").join(format!("{}.json", library.replace('-', "_")));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Ids of all types that are named in a value, at any depth.
fn collect(value: &Value, ids: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(id) = map.get("resolved_path").and_then(|path| path.get("id")) {
                ids.insert(id.to_string());
            }
            map.values().for_each(|value| collect(value, ids));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, ids)),
        _ => {}
    }
}

/// The path of a type, if it is another crate's.
fn foreign(doc: &Value, id: &str) -> Option<String> {
    let summary = &doc["paths"][id];
    let path: Vec<&str> = summary["path"].as_array()?.iter().filter_map(Value::as_str).collect();
    let is_own = path.first().is_none_or(|name| OWN.contains(name));
    (!is_own).then(|| path.join("::"))
}
