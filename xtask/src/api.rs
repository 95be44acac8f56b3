//! The closed list of foreign types and traits in the public API: what a caller sees of other crates, and so must upgrade with us.

use crate::run::{Step, all, cargo, say};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// The list, one type or trait a line, by library.
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

/// Paths of the types and traits of other crates in a library's public items: in signatures, in bounds, and what its types implement.
fn foreign_types(library: &str) -> Result<BTreeSet<String>, String> {
    let doc = rustdoc(library)?;
    let mut ids = BTreeSet::new();
    for item in doc["index"].as_object().into_iter().flatten().map(|(_, item)| item) {
        if item["inner"].get("impl").is_none_or(is_written) {
            collect(&item["inner"], &mut ids);
        }
    }
    Ok(ids.iter().filter_map(|id| foreign(&doc, id)).collect())
}

/// Whether an implementation is the library's own doing: not the compiler's (`Send`), nor another crate's for all types.
fn is_written(block: &Value) -> bool {
    block["is_synthetic"] == false && block["blanket_impl"].is_null()
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

/// Ids of all types and traits that are named in a value, at any depth.
fn collect(value: &Value, ids: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let named = ["resolved_path", "trait"].into_iter().filter_map(|key| map.get(key)?.get("id"));
            ids.extend(named.map(Value::to_string));
            map.values().for_each(|value| collect(value, ids));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, ids)),
        _ => {}
    }
}

/// The path of a type or trait, if it is another crate's.
fn foreign(doc: &Value, id: &str) -> Option<String> {
    let summary = &doc["paths"][id];
    let path: Vec<&str> = summary["path"].as_array()?.iter().filter_map(Value::as_str).collect();
    let is_own = path.first().is_none_or(|name| OWN.contains(name));
    (!is_own).then(|| path.join("::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn traits_in_bounds_and_implementations_count() {
        let path = |id: u32| json!({"path": "P", "id": id, "args": null});
        let function = json!({"function": {"sig": {"inputs": [["x", {"resolved_path": path(1)}]], "output": null},
            "generics": {"params": [{"name": "F", "kind": {"type": {"bounds": [{"trait_bound": {"trait": path(2)}}]}}}]}}});
        let block = json!({"impl": {"trait": path(3), "for": {"resolved_path": path(4)}, "is_synthetic": false, "blanket_impl": null}});
        let dynamic = json!({"type_alias": {"type": {"dyn_trait": {"traits": [{"trait": path(5)}]}}}});
        let mut ids = BTreeSet::new();
        [function, block.clone(), dynamic].iter().for_each(|item| collect(item, &mut ids));
        assert_eq!(ids.into_iter().collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
        assert!(is_written(&block["impl"]));
        assert!(!is_written(&json!({"is_synthetic": true, "blanket_impl": null})));
        assert!(!is_written(&json!({"is_synthetic": false, "blanket_impl": {"generic": "T"}})));
    }
}
