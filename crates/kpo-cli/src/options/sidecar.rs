//! The values of the flags that shape the sidecar of a result.

use serde_json::{Map, Value};

/// Requests and limits alike.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resources(pub(crate) Map<String, Value>);

/// `cpu=50m,memory=32Mi`, as `kubectl run --limits` had it.
pub(crate) fn resources(text: &str) -> Result<Resources, String> {
    let pair = |pair: &str| {
        let (name, quantity) =
            pair.split_once('=').filter(|(name, quantity)| !name.is_empty() && !quantity.is_empty())?;
        Some((name.to_owned(), Value::from(quantity)))
    };
    let pairs: Option<Map<String, Value>> = text.split(',').map(pair).collect();
    pairs.map(Resources).ok_or_else(|| "write it as cpu=50m,memory=32Mi".to_owned())
}

/// A map, in YAML or JSON.
pub(crate) fn security_context(text: &str) -> Result<Value, String> {
    match serde_saphyr::from_str::<Value>(text) {
        Ok(value) if value.is_object() => Ok(value),
        _ => Err("write it as a map: '{runAsNonRoot: true, runAsUser: 1000}'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_shapes_the_sidecar_is_read() {
        let read = |text| resources(text).map(|resources| Value::Object(resources.0));
        assert_eq!(read("cpu=50m,memory=32Mi"), Ok(json!({"cpu": "50m", "memory": "32Mi"})));
        assert_eq!(security_context("{runAsUser: 1000}"), Ok(json!({"runAsUser": 1000})));
        for bad in ["", "cpu", "cpu=", "=1", "cpu=1,,memory=1"] {
            assert_eq!(read(bad), Err("write it as cpu=50m,memory=32Mi".to_owned()), "{bad}");
        }
        for bad in ["", "7", "[a]", "{a"] {
            assert!(security_context(bad).is_err(), "{bad}");
        }
    }
}
