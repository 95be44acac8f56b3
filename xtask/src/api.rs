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
        let doc = rustdoc(library)?;
        let ids = shown(&doc);
        for name in ids.iter().filter_map(|id| foreign(&doc, id)).collect::<BTreeSet<_>>() {
            found += &format!("{library}: {name}\n");
        }
        if let Some(name) = ids.iter().find_map(|id| unnamed(&doc, id)) {
            return Err(format!("{library} shows {name}, which a caller cannot name: re-export it in its lib.rs"));
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

/// Ids of the types and traits in a library's public items: in signatures, in bounds, and what its types implement.
fn shown(doc: &Value) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for item in doc["index"].as_object().into_iter().flatten().map(|(_, item)| item) {
        if item["inner"].get("impl").is_none_or(is_written) {
            collect(&item["inner"], &mut ids);
        }
    }
    ids
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

/// The path of a type of kpo-core's that the library shows and neither defines nor re-exports, itself or with its module.
fn unnamed(doc: &Value, id: &str) -> Option<String> {
    let path = |id: &str| {
        let parts = doc["paths"][id]["path"].as_array()?.iter();
        Some(parts.filter_map(Value::as_str).collect::<Vec<_>>().join("::"))
    };
    let name = path(id).filter(|name| name.starts_with("kpo_core::") && doc["paths"][id]["crate_id"] != 0)?;
    let items = doc["index"].as_object().into_iter().flatten();
    let mut exported = items.filter_map(|(_, item)| path(&item["inner"]["use"]["id"].to_string()));
    let is_within =
        |module: &str| name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    (!exported.any(|export| is_within(&export))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_shown_of_the_core_must_be_exported_itself_or_with_its_module() {
        let path = |krate: u32, path: &[&str]| json!({"crate_id": krate, "path": path});
        let export = |id: u32| json!({"inner": {"use": {"id": id, "source": "s"}}});
        let doc = json!({
            "paths": {
                "1": path(7, &["kpo_core", "time", "Time"]), "2": path(7, &["kpo_core", "pod"]),
                "3": path(7, &["kpo_core", "pod", "Phase"]), "4": path(7, &["kpo_core", "podium", "Step"]),
                "5": path(0, &["kpo", "driver", "What"]), "6": path(9, &["std", "sync", "Arc"]),
            },
            "index": {"a": export(1), "b": export(2), "c": {"inner": {"struct": {}}}},
        });
        let unnamed: Vec<_> = ["1", "2", "3", "4", "5", "6"].into_iter().filter_map(|id| unnamed(&doc, id)).collect();
        assert_eq!(unnamed, ["kpo_core::podium::Step"]);
    }

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
