//! The rules that names and values follow, and upstream's sentences for what does not (`apimachinery/pkg/util/validation`).

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with \
    an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
    and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
    character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Letters, digits, `-`, `_` and `.`, a letter or digit at both ends; or empty.
fn is_loose(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
}

/// `IsDNS1123Label`.
pub(super) fn label_faults(text: &str) -> Vec<String> {
    let length = (text.len() > 63).then(|| too_long(63));
    length.into_iter().chain((!is_label(text)).then(|| LABEL_RULE.to_owned())).collect()
}

/// `IsDNS1123Subdomain`.
pub(super) fn subdomain_faults(text: &str) -> Vec<String> {
    let length = (text.len() > 253).then(|| too_long(253));
    length.into_iter().chain((!text.split('.').all(is_label)).then(|| SUBDOMAIN_RULE.to_owned())).collect()
}

/// `IsValidLabelValue`.
pub(in crate::api) fn label_value_faults(text: &str) -> Vec<String> {
    let length = (text.len() > 63).then(|| too_long(63));
    length.into_iter().chain((!is_loose(text)).then(|| VALUE_RULE.to_owned())).collect()
}

/// `IsQualifiedName`.
pub(in crate::api) fn qualified_name_faults(text: &str) -> Vec<String> {
    let parts: Vec<&str> = text.split('/').collect();
    let (prefix, name) = match parts.as_slice() {
        [name] => (None, *name),
        [prefix, name] => (Some(*prefix), *name),
        _ => {
            let rest = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a qualified name {QUALIFIED_RULE} {rest}")];
        }
    };
    let mut faults = match prefix {
        None => Vec::new(),
        Some("") => vec!["prefix part must be non-empty".to_owned()],
        Some(prefix) => subdomain_faults(prefix).iter().map(|fault| format!("prefix part {fault}")).collect(),
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        faults.push(format!("name part {}", too_long(63)));
    }
    if name.is_empty() || !is_loose(name) {
        faults.push(format!("name part {QUALIFIED_RULE}"));
    }
    faults
}
