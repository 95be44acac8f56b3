//! The right that a refusal asks for, from the API server's own words
//! (`cannot create resource "pods" in API group "" in the namespace "prod"`; `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go`).

use super::words::clause;

/// What `kpo run` needs where not even the create is allowed: all of it, so that it is not learnt one right at a time.
const FOR_RUN: &str = r#"- {apiGroups: [""], resources: [pods], verbs: [create, get, list, watch, patch, delete]}
                   - {apiGroups: [""], resources: [pods/log], verbs: [get]}
                   - {apiGroups: [""], resources: [events], verbs: [list]}"#;

/// The line that names the rule to add. `None`: the words are about something else than a right.
pub(crate) fn missing_rule(words: &str) -> Option<String> {
    let (before, rest) = words.split_once(" resource \"")?;
    let (_, verb) = before.rsplit_once(" cannot ")?;
    let (resource, rest) = rest.split_once("\" in API group \"")?;
    let (group, _) = rest.split_once('"')?;
    if (verb, resource) == ("create", "pods") {
        return Some(format!("Add to its Role: {FOR_RUN}"));
    }
    Some(clause(&format!("Add to its Role: - {{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{verb}]}}")))
}

/// The text, and below it the rule that it asks for, if it does.
pub(crate) fn with_rule(text: &str) -> String {
    missing_rule(text).map_or_else(|| clause(text), |rule| format!("{}\n  {rule}", clause(text)))
}

/// A request that fails and is tried again.
pub(crate) fn failing(what: &str, why: &str) -> String {
    format!("cannot {what} yet ({}); it is tried again", clause(why))
}

#[cfg(test)]
mod tests {
    use super::with_rule;

    #[test]
    fn a_missing_right_is_named_with_the_rule_that_gives_it() {
        let denied = |verb: &str, resource: &str| {
            format!(
                "x is forbidden: User \"u\" cannot {verb} resource \"{resource}\" in API group \"\" in the namespace \"n\""
            )
        };
        for (verb, resource) in [
            ("get", "pods"),
            ("list", "pods"),
            ("watch", "pods"),
            ("patch", "pods"),
            ("delete", "pods"),
            ("get", "pods/log"),
            ("create", "pods/exec"),
            ("list", "events"),
        ] {
            let text = denied(verb, resource);
            let rule = format!("Add to its Role: - {{apiGroups: [\"\"], resources: [{resource}], verbs: [{verb}]}}");
            assert_eq!(with_rule(&text), format!("{text}\n  {rule}"));
        }
        let told = with_rule(&format!("events cannot be read: {}", denied("list", "events")));
        assert!(told.ends_with("Add to its Role: - {apiGroups: [\"\"], resources: [events], verbs: [list]}"), "{told}");
        let all = with_rule(&denied("create", "pods"));
        for part in [
            "pods], verbs: [create, get, list, watch, patch, delete]",
            "pods/log], verbs: [get]",
            "events], verbs: [list]",
        ] {
            assert!(all.contains(part), "{all}");
        }
        assert_eq!(with_rule("exceeded quota: team-a"), "exceeded quota: team-a");
    }
}
