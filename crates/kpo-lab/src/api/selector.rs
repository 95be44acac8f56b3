//! Label and field selectors (`k8s.io/apimachinery/pkg/labels`, `fields`).

use serde_json::Value;

use crate::error::ApiError;
use crate::resource::Resource;

mod labels;

/// What a list or a watch is limited to. The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LabelTerm {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    path: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Reads the two query parameters; empty ones match everything.
    ///
    /// # Errors
    /// 400, worded as upstream.
    pub fn parse(resource: Resource, labels: &str, fields: &str) -> Result<Selector, ApiError> {
        Ok(Selector { labels: labels::parse(labels)?, fields: parse_fields(resource, fields)? })
    }

    /// A `metav1.LabelSelector` as objects carry it (a disruption budget's). None where it is malformed.
    pub fn of_object(selector: &Value) -> Option<Selector> {
        let mut labels = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let test = Test::In(vec![value.as_str()?.to_owned()]);
            labels.push(LabelTerm { key: key.clone(), test });
        }
        for term in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = term["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|v| v.as_str().map(str::to_owned)).collect();
            let test = match term["operator"].as_str()? {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Missing,
                _ => return None,
            };
            let key = term["key"].as_str()?.to_owned();
            labels.push(LabelTerm { key, test });
        }
        let fields = Vec::new();
        Some(Selector { labels, fields })
    }

    /// Whether nothing is excluded.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|term| term.test.holds(labels[&term.key].as_str()))
            && self.fields.iter().all(|term| (field(object, &term.path) == term.value) == term.equal)
    }

    /// The name that a field selector demands, where it does.
    pub fn name(&self) -> Option<&str> {
        let term = self.fields.iter().find(|term| term.equal && term.path == "metadata.name")?;
        Some(&term.value)
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(list) => value.is_some_and(|v| list.iter().any(|known| known == v)),
            Test::NotIn(list) => value.is_none_or(|v| list.iter().all(|known| known != v)),
            Test::Greater(bound) => number().is_some_and(|n| n > *bound),
            Test::Less(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

/// The text of a field; empty where it is missing, `false` and `0` included as upstream's field sets have them.
fn field(object: &Value, path: &str) -> String {
    if path == "reportingComponent" || path == "source" {
        let source = &object["source"]["component"];
        let source = source.as_str().or(object["reportingComponent"].as_str());
        return source.unwrap_or_default().to_owned();
    }
    // events.k8s.io names the same field otherwise.
    let names = path.split('.').map(|name| if name == "regarding" { "involvedObject" } else { name });
    let value = names.fold(object, |at, name| &at[name]);
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        _ if path == "spec.unschedulable" || path == "spec.hostNetwork" => "false".to_owned(),
        _ => String::new(),
    }
}

/// The fields that each resource can be selected by (`pkg/apis/core/v1/conversion.go`).
fn selectable(resource: Resource) -> &'static [&'static str] {
    match resource {
        Resource::Pods => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        Resource::Nodes => &["spec.unschedulable"],
        Resource::Events => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        Resource::Namespaces => &["status.phase"],
        Resource::Secrets => &["type"],
        _ => &[],
    }
}

fn parse_fields(resource: Resource, text: &str) -> Result<Vec<FieldTerm>, ApiError> {
    let mut terms: Vec<&str> = split_terms(text).into_iter().filter(|term| !term.is_empty()).collect();
    terms.sort_unstable();
    let unclear = |term: &str| ApiError::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'"));
    let parsed: Vec<FieldTerm> =
        terms.into_iter().map(|term| parse_field(term).ok_or_else(|| unclear(term))).collect::<Result<_, _>>()?;
    for FieldTerm { path, .. } in &parsed {
        let known = ["metadata.name", "metadata.namespace"].contains(&path.as_str());
        if !known && !selectable(resource).contains(&path.as_str()) {
            return Err(ApiError::bad_request(format!("field label not supported: {path}")));
        }
    }
    Ok(parsed)
}

/// The terms between commas that no backslash precedes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let splits = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
    .collect()
}

/// The first operator of a term parts it.
fn parse_field(term: &str) -> Option<FieldTerm> {
    let at = term
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| term[*at..].starts_with('=') || term[*at..].starts_with("!="))?;
    let (path, rest) = term.split_at(at);
    let operator = ["!=", "==", "="].into_iter().find(|operator| rest.starts_with(operator))?;
    Some(FieldTerm { path: path.to_owned(), value: unescape(&rest[operator.len()..]), equal: operator != "!=" })
}

/// `fields.UnescapeValue`: `\,`, `\=` and `\\`.
fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(labels: &str, fields: &str) -> bool {
        let pod = json!({
            "metadata": { "name": "a", "namespace": "n", "labels": { "app": "x", "kpo.rs/task": "t", "n": "5" } },
            "spec": { "nodeName": "node-1" }, "status": { "phase": "Running" },
        });
        Selector::parse(Resource::Pods, labels, fields).expect("a selector").matches(&pod)
    }

    #[test]
    fn labels_select_as_upstream() {
        let table = [
            ("", true),
            ("app=x", true),
            ("app==x,kpo.rs/task", true),
            ("app!=x", false),
            ("missing!=x", true),
            ("!missing", true),
            ("!app", false),
            ("app in (y, x)", true),
            ("app notin (y,z),n>4", true),
            ("n<5", false),
        ];
        for (text, expected) in table {
            assert_eq!(selects(text, ""), expected, "{text}");
        }
    }

    #[test]
    fn fields_select_as_upstream() {
        let table = [
            ("metadata.name=a", true),
            ("metadata.name=b", false),
            ("spec.nodeName=node-1,status.phase!=Succeeded", true),
            ("status.phase==Running,metadata.namespace=m", false),
        ];
        for (text, expected) in table {
            assert_eq!(selects("", text), expected, "{text}");
        }
        for (text, words) in [
            ("spec.image=x", "field label not supported: spec.image"),
            ("status.phase", "invalid selector: 'status.phase'; can't understand 'status.phase'"),
            ("spec.a=b,status.phase", "invalid selector: 'spec.a=b,status.phase'; can't understand 'status.phase'"),
        ] {
            let error = Selector::parse(Resource::Pods, "", text).expect_err(text);
            assert_eq!((error.code, error.message.as_str()), (400, words));
        }
    }
}
