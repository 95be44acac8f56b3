//! The right that a refusal asks for, from the API server's own words
//! (`cannot create resource "pods" in API group "" in the namespace "prod"`; `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go`).

use super::words::clause;

/// What `kpo run` needs where not even the create is allowed: all of it, so that it is not learnt one right at a time.
const FOR_RUN: [&str; 3] = [
    r#"  - {apiGroups: [""], resources: [pods], verbs: [create, get, list, watch, patch, delete]}"#,
    r#"  - {apiGroups: [""], resources: [pods/log], verbs: [get]}"#,
    r#"  - {apiGroups: [""], resources: [events], verbs: [list]}"#,
];

/// A right that somebody lacks.
struct Denied<'a> {
    user: &'a str,
    verb: &'a str,
    resource: &'a str,
    group: &'a str,
    scope: Scope<'a>,
    /// What an authorizer that is not RBAC adds (`: requires one of ["container.pods.delete"] permission(s).`).
    more: &'a str,
}

/// Where it is lacking.
#[derive(PartialEq, Eq)]
enum Scope<'a> {
    Namespace(&'a str),
    Cluster,
    Untold,
}

impl<'a> Denied<'a> {
    /// The refusal that a text ends with, and what stands before it. `None`: the text is about something else than a right.
    fn find(text: &'a str) -> Option<(&'a str, Self)> {
        let (head, rest) = text.split_once(" is forbidden: User \"")?;
        let before = &head[..head.rfind(": ").map_or(0, |at| at + 2)];
        let (user, rest) = rest.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once("\" in API group \"")?;
        let (group, rest) = rest.split_once('"')?;
        let in_namespace = rest.strip_prefix(" in the namespace \"").and_then(|rest| rest.split_once('"'));
        let (scope, more) = match (in_namespace, rest.strip_prefix(" at the cluster scope")) {
            (Some((namespace, more)), _) => (Scope::Namespace(namespace), more),
            (None, Some(more)) => (Scope::Cluster, more),
            (None, None) => (Scope::Untold, rest),
        };
        Some((before, Self { user, verb, resource, group, scope, more }))
    }

    /// `service account default/kpo may not delete pods in namespace prod`.
    fn sentence(&self) -> String {
        let account = self.user.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
        let who = match account {
            Some((namespace, name)) => format!("service account {namespace}/{name}"),
            None => format!("user {}", self.user),
        };
        let place = match self.scope {
            Scope::Namespace(namespace) => format!(" in namespace {namespace}"),
            Scope::Cluster => " in all namespaces".to_owned(),
            Scope::Untold => String::new(),
        };
        clause(&format!("{who} may not {} {}{place}{}", self.verb, self.resource, self.more))
    }

    /// The rule to add, in as many lines as it takes.
    fn rule(&self) -> Vec<String> {
        let kind = if self.scope == Scope::Cluster { "ClusterRole" } else { "Role" };
        if (self.verb, self.resource) == ("create", "pods") {
            let rules = FOR_RUN.iter().map(|rule| (*rule).to_owned());
            return std::iter::once(format!("Add to its {kind}:")).chain(rules).collect();
        }
        let Self { verb, resource, group, .. } = self;
        let rule = format!("{{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{verb}]}}");
        vec![clause(&format!("Add to its {kind}: - {rule}"))]
    }
}

/// The text, who may not do what in plain words, and the lines that name the rule to add; none where it is about something else.
pub(crate) fn explained(text: &str) -> (String, Vec<String>) {
    match Denied::find(text) {
        Some((before, denied)) => (clause(&format!("{before}{}", denied.sentence())), denied.rule()),
        None => (clause(text), Vec::new()),
    }
}

/// Who may not do what, if that is what the text says.
pub(super) fn denied(text: &str) -> Option<(String, Vec<String>)> {
    Denied::find(text).map(|(_, denied)| (denied.sentence(), denied.rule()))
}

/// Whether the text says that somebody lacks a right.
pub(crate) fn is_denied(text: &str) -> bool {
    Denied::find(text).is_some()
}

/// The text, and below it the rule that it asks for, if it does.
pub(crate) fn with_rule(text: &str) -> String {
    let (text, rule) = explained(text);
    std::iter::once(text).chain(rule).collect::<Vec<_>>().join("\n  ")
}

/// A request that fails and is tried again.
pub(crate) fn failing(what: &str, why: &str) -> String {
    format!("cannot {what} yet ({}); it is tried again", clause(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(verb: &str, resource: &str, place: &str) -> String {
        let user = "system:serviceaccount:team:kpo";
        format!(
            "{resource} \"x\" is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"\"{place}"
        )
    }

    #[test]
    fn a_missing_right_is_said_plainly_with_the_rule_that_gives_it() {
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
            let text = refused(verb, resource, " in the namespace \"n\"");
            let said = format!("service account team/kpo may not {verb} {resource} in namespace n");
            let rule = format!("Add to its Role: - {{apiGroups: [\"\"], resources: [{resource}], verbs: [{verb}]}}");
            assert_eq!(with_rule(&text), format!("{said}\n  {rule}"));
            assert_eq!(with_rule(&format!("it cannot be had: {text}")), format!("it cannot be had: {said}\n  {rule}"));
        }
        assert_eq!(with_rule("exceeded quota: team-a"), "exceeded quota: team-a");
    }

    #[test]
    fn of_a_run_all_rules_are_named_at_once() {
        insta::assert_snapshot!(with_rule(&refused("create", "pods", " in the namespace \"n\"")), @r#"
        service account team/kpo may not create pods in namespace n
          Add to its Role:
            - {apiGroups: [""], resources: [pods], verbs: [create, get, list, watch, patch, delete]}
            - {apiGroups: [""], resources: [pods/log], verbs: [get]}
            - {apiGroups: [""], resources: [events], verbs: [list]}
        "#);
    }

    #[test]
    fn what_is_asked_of_all_namespaces_takes_a_cluster_role() {
        insta::assert_snapshot!(with_rule(&refused("list", "pods", " at the cluster scope")), @r#"
        service account team/kpo may not list pods in all namespaces
          Add to its ClusterRole: - {apiGroups: [""], resources: [pods], verbs: [list]}
        "#);
        let other = "pods is forbidden: User \"u@example.com\" cannot list resource \"pods\" in API group \"\" in the namespace \"n\": requires one of [\"container.pods.list\"] permission(s).";
        let said = "user u@example.com may not list pods in namespace n: requires one of [\"container.pods.list\"] permission(s)";
        assert_eq!(explained(other).0, said);
    }
}
