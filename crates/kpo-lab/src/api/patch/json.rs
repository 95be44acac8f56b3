//! JSON patches (RFC 6902), as upstream's library does them (`gopkg.in/evanphx/json-patch.v4`).

use serde_json::{Value, json};

use crate::error::ApiError;

/// Applies its operations, in order.
///
/// # Errors
/// 400 where it is no list, 422 for an operation that does not fit.
pub(super) fn apply(object: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let malformed = "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp";
    let steps = patch.as_array().ok_or_else(|| ApiError::bad_request(malformed))?;
    for one in steps {
        step(object, one).map_err(|why| {
            // The reason is lost upstream too (`NewGenericServerResponse`).
            tracing::debug!(why, "a JSON patch does not fit");
            let message = "the server rejected our request due to an error in our request";
            ApiError { details: Some(json!({})), ..ApiError::new(422, "Invalid", message) }
        })?;
    }
    Ok(())
}

fn step(object: &mut Value, step: &Value) -> Result<(), String> {
    let text = |field: &str| step[field].as_str().ok_or_else(|| format!("a step without {field:?}"));
    let path = text("path")?;
    // Upstream's library takes a value that is missing for null, and what is missing in an object too, but for `remove`.
    let value = step.get("value").cloned().unwrap_or_default();
    let missing = |path: &str| format!("nothing at {path:?}");
    match text("op")? {
        "add" => put(object, path, value),
        "remove" => take(object, path).map(drop),
        "replace" => {
            // Upstream's library asks only of a list whether there is something.
            let in_list = |path: &str| {
                path.rsplit_once('/').and_then(|(parent, _)| object.pointer(parent)).is_some_and(Value::is_array)
            };
            if in_list(path) && object.pointer(path).is_none() {
                return Err(missing(path));
            }
            let _ = take(object, path);
            put(object, path, value)
        }
        "move" => {
            let moved = take(object, text("from")?)?;
            put(object, path, moved)
        }
        "copy" => {
            let from = text("from")?;
            let parent = from.rsplit_once('/').and_then(|(parent, _)| object.pointer(parent));
            let none = parent.filter(|parent| parent.is_object()).map(|_| Value::Null);
            let copied = object.pointer(from).cloned().or(none).ok_or_else(|| missing(from))?;
            put(object, path, copied)
        }
        "test" => {
            let holds = object.pointer(path).unwrap_or(&Value::Null) == &value;
            holds.then_some(()).ok_or_else(|| format!("testing value {path} failed"))
        }
        other => Err(format!("unknown operation {other:?}")),
    }
}

/// The pointer's parent and its last, unescaped token.
fn split<'a>(object: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), String> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| format!("{path:?} is no pointer"))?;
    let at = object.pointer_mut(parent).ok_or_else(|| format!("nothing at {parent:?}"))?;
    Ok((at, last.replace("~1", "/").replace("~0", "~")))
}

fn put(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *object = value;
        return Ok(());
    }
    let (parent, last) = split(object, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(last, value);
            Ok(())
        }
        Value::Array(list) if last == "-" => {
            list.push(value);
            Ok(())
        }
        Value::Array(list) => {
            let at = last.parse().ok().filter(|at| *at <= list.len());
            list.insert(at.ok_or_else(|| format!("no place {last:?} in the list"))?, value);
            Ok(())
        }
        _ => Err(format!("{path:?} is within a plain value")),
    }
}

fn take(object: &mut Value, path: &str) -> Result<Value, String> {
    let (parent, last) = split(object, path)?;
    let taken = match parent {
        Value::Object(map) => map.remove(&last),
        Value::Array(list) => {
            let at = last.parse().ok().filter(|at| *at < list.len());
            at.map(|at: usize| list.remove(at))
        }
        _ => None,
    };
    taken.ok_or_else(|| format!("nothing at {path:?}"))
}
