//! Who asks (bearer tokens) and what they may do (rules as RBAC has them).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use crate::error::ApiError;
use crate::time::Time;

/// A user, with what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name, as refusals print it: `admin`, `system:serviceaccount:default:kpo`.
    pub name: String,
    /// What it may do.
    pub access: Access,
}

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everything (`cluster-admin`).
    #[default]
    Everything,
    /// What one of the rules allows.
    Rules(Vec<Rule>),
}

/// A rule: like a Role's, with its namespaces. `*` matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or `*`.
    pub verbs: Vec<String>,
    /// `pods`, `pods/log`, `daemonsets`, or `*` (which covers subresources).
    pub resources: Vec<String>,
    /// The namespaces. Empty: all, and what is in none.
    pub namespaces: Vec<String>,
}

impl Rule {
    /// A rule of lists that are written with commas: `Rule::new("get,watch", "pods,pods/log")`; in all namespaces.
    pub fn new(verbs: &str, resources: &str) -> Rule {
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        Rule { verbs: list(verbs), resources: list(resources), namespaces: Vec::new() }
    }

    /// The rule in one namespace only.
    pub fn within(mut self, namespace: &str) -> Rule {
        self.namespaces.push(namespace.to_owned());
        self
    }

    fn allows(&self, asked: &Attributes) -> bool {
        let has = |list: &[String], value: &str| list.iter().any(|known| known == value || known == "*");
        let here = self.namespaces.is_empty() || has(&self.namespaces, &asked.namespace);
        here && has(&self.verbs, &asked.verb) && has(&self.resources, &asked.full_resource())
    }
}

/// What a request wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attributes {
    /// The verb: `get`, `list`, `watch`, …; of a path that is no resource the lower-case method.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, also one that is not served; empty for a path that is no resource.
    pub resource: String,
    /// The subresource, or empty.
    pub subresource: String,
    /// The namespace, or empty.
    pub namespace: String,
    /// The object's name, or empty.
    pub name: String,
    /// The path.
    pub path: String,
}

impl Attributes {
    /// `pods`, or `pods/log`.
    pub fn full_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

impl User {
    /// A user who may do everything.
    pub fn admin() -> User {
        User { name: "admin".to_owned(), access: Access::Everything }
    }

    /// A user with rules.
    pub fn with_rules(name: impl Into<String>, rules: Vec<Rule>) -> User {
        User { name: name.into(), access: Access::Rules(rules) }
    }

    /// Whether the user may.
    pub fn may(&self, asked: &Attributes) -> bool {
        match &self.access {
            Access::Everything => true,
            // system:discovery and system:public-info-viewer are everybody's.
            Access::Rules(_) if asked.resource.is_empty() => true,
            Access::Rules(rules) => {
                asked.group == "authorization.k8s.io" || rules.iter().any(|rule| rule.allows(asked))
            }
        }
    }

    /// Refuses what the user may not do.
    ///
    /// # Errors
    /// 403 as `endpoints/handlers/responsewriters/errors.go` words it.
    pub fn authorize(&self, asked: &Attributes) -> Result<(), ApiError> {
        if self.may(asked) { Ok(()) } else { Err(self.forbidden(asked)) }
    }

    fn forbidden(&self, asked: &Attributes) -> ApiError {
        let whole = match asked.group.as_str() {
            "" => asked.resource.clone(),
            group => format!("{}.{group}", asked.resource),
        };
        let whole = if asked.name.is_empty() { whole } else { format!("{whole} {:?}", asked.name) };
        let place = match asked.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let message = format!(
            "{whole} is forbidden: User {:?} cannot {} resource {:?} in API group {:?} {place}",
            self.name,
            asked.verb,
            asked.full_resource(),
            asked.group
        );
        let mut details = json!({ "kind": asked.resource });
        for (field, value) in [("name", &asked.name), ("group", &asked.group)] {
            if !value.is_empty() {
                details[field] = value.clone().into();
            }
        }
        ApiError { details: Some(details), ..ApiError::new(403, "Forbidden", message) }
    }
}

#[derive(Clone)]
struct Token {
    user: User,
    expires: Option<Time>,
}

/// The tokens that the cluster knows. `Debug` prints none of them.
#[derive(Clone, Default)]
pub struct Tokens {
    tokens: BTreeMap<String, Token>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tokens.values().map(|token| &token.user.name)).finish()
    }
}

impl Tokens {
    /// Makes a token a user's; one that is known changes hands.
    pub fn grant(&mut self, token: impl Into<String>, user: User) {
        self.tokens.insert(token.into(), Token { user, expires: None });
    }

    /// Makes a token invalid from an instant on.
    pub fn expire(&mut self, token: &str, at: Time) {
        if let Some(token) = self.tokens.get_mut(token) {
            token.expires = Some(at);
        }
    }

    /// The user of an `Authorization` header.
    ///
    /// # Errors
    /// 401 without a valid bearer token.
    pub fn authenticate(&self, now: Time, authorization: &str) -> Result<User, ApiError> {
        let token = authorization.strip_prefix("Bearer ").map(str::trim);
        let known = token.and_then(|token| self.tokens.get(token));
        let valid = known.filter(|token| token.expires.is_none_or(|at| now < at));
        valid.map(|token| token.user.clone()).ok_or_else(ApiError::unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(verb: &str, subresource: &str, name: &str) -> Attributes {
        Attributes {
            verb: verb.into(),
            resource: "pods".into(),
            subresource: subresource.into(),
            namespace: "y".into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn refusals_are_worded_as_upstream() {
        let user = User::with_rules("x", vec![Rule::new("get,watch", "pods,pods/log").within("y")]);
        assert_eq!(user.authorize(&asked("get", "log", "a")), Ok(()));
        let refused = |asked: &Attributes| user.authorize(asked).expect_err("refused").message;
        assert_eq!(
            refused(&asked("create", "", "")),
            "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group \"\" in the namespace \"y\""
        );
        assert_eq!(
            refused(&asked("get", "exec", "a")),
            "pods \"a\" is forbidden: User \"x\" cannot get resource \"pods/exec\" in API group \"\" in the namespace \"y\""
        );
        let elsewhere = Attributes { namespace: String::new(), ..asked("watch", "", "") };
        assert_eq!(
            refused(&elsewhere),
            "pods is forbidden: User \"x\" cannot watch resource \"pods\" in API group \"\" at the cluster scope"
        );
    }

    #[test]
    fn tokens_expire() {
        let mut tokens = Tokens::default();
        tokens.grant("t", User::admin());
        let at = |now| tokens.authenticate(Time::from_secs(now), "Bearer t").map_err(|error| error.code);
        assert_eq!(at(5), Ok(User::admin()));
        tokens.expire("t", Time::from_secs(10));
        let at = |now| tokens.authenticate(Time::from_secs(now), "Bearer t").map_err(|error| error.code);
        assert_eq!((at(9), at(10)), (Ok(User::admin()), Err(401)));
        assert_eq!(tokens.authenticate(Time::default(), "").map_err(|error| error.code), Err(401));
        assert!(!format!("{tokens:?}").contains("\"t\""));
    }
}
