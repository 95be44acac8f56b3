//! Faults of the way to the API server, as values with a guard: which requests, what befalls them, until the guard is dropped.
//!
//! The first rule that matches a request decides. Rules without a request number also befall streams that are open already
//! ([`Fault::HalfOpen`], [`Fault::Drop`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::error::ApiError;
use crate::time::Time;

/// What befalls a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing: an exception before a wider rule.
    Pass,
    /// The request is handled this much later.
    Delay(Duration),
    /// An error is answered instead: nothing was done.
    Status(Reply),
    /// It is done, and an error is answered all the same.
    StatusAfterEffect(Reply),
    /// The connection breaks before anything is done. An open stream breaks in the middle.
    Drop,
    /// It is done, and the connection breaks before the answer: the lost reply.
    DropReplyAfterEffect,
    /// Nothing more is ever delivered, and nothing says so. Of a request that is no stream: no answer, no effect.
    HalfOpen,
    /// The answer's body breaks after this many bytes.
    CutAfter(u64),
    /// A stream answers 200 and ends at once, properly and empty.
    CloseEmpty,
}

/// An error answer of a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status code.
    pub code: u16,
    /// The body, as it is. None: a `metav1.Status` that fits the code.
    pub body: Option<String>,
    /// Seconds for a `Retry-After` header. None: no header.
    pub retry_after: Option<u32>,
}

impl Reply {
    /// A `metav1.Status` of this code.
    pub fn status(code: u16) -> Reply {
        Reply { code, body: None, retry_after: None }
    }

    /// A refusal of the API server's own: `Reply::refusal(&ApiError::outdated(Resource::ResourceQuotas, "team-a"))`.
    pub fn refusal(error: &ApiError) -> Reply {
        Reply { code: error.code, body: Some(error.to_status().to_string()), retry_after: error.retry_after }
    }

    /// The same with a `Retry-After`.
    pub fn retry_after(mut self, seconds: u32) -> Reply {
        self.retry_after = Some(seconds);
        self
    }

    /// The same with a foreign body, as a proxy's error page.
    pub fn body(mut self, text: impl Into<String>) -> Reply {
        self.body = Some(text.into());
        self
    }

    /// The Status of a reply without a body of its own.
    pub(crate) fn error(&self) -> ApiError {
        let (reason, message) = match self.code {
            401 => ("Unauthorized", "Unauthorized"),
            403 => ("Forbidden", "forbidden: injected by the lab"),
            409 => (
                "Conflict",
                "the object has been modified; please apply your changes to the latest version and try again",
            ),
            410 => ("Expired", "too old resource version: injected by the lab"),
            429 => ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
            500 => ("InternalError", "Internal error occurred: injected by the lab"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => (
                "Timeout",
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            ),
            _ => ("", "an error injected by the lab"),
        };
        let mut error = ApiError::new(self.code, reason, message);
        error.retry_after = self.retry_after;
        error
    }
}

/// A request, as rules, counters and the journal see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it arrived.
    pub at: Time,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// `pods`, `pods/log`; empty for a path that is no resource.
    pub resource: String,
    /// The namespace, or empty.
    pub namespace: String,
    /// The object's name: of the path, of the body of a create, of a field selector; or empty.
    pub name: String,
    /// The `User-Agent`.
    pub agent: String,
}

/// Which requests a rule is about. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    verb: Option<String>,
    resource: Option<String>,
    name: Option<String>,
    agent: Option<String>,
    from: u64,
    times: Option<u64>,
}

impl Match {
    /// Every request.
    pub fn any() -> Match {
        Match::default()
    }

    /// Requests with this verb and resource: `Match::of("create", "pods")`.
    pub fn of(verb: &str, resource: &str) -> Match {
        Match::any().verb(verb).resource(resource)
    }

    /// Only this verb.
    pub fn verb(mut self, verb: &str) -> Match {
        self.verb = Some(verb.to_owned());
        self
    }

    /// Only this resource, with its subresource: `pods/log`.
    pub fn resource(mut self, resource: &str) -> Match {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only this object.
    pub fn name(mut self, name: &str) -> Match {
        self.name = Some(name.to_owned());
        self
    }

    /// Only clients whose `User-Agent` contains this.
    pub fn agent(mut self, agent: &str) -> Match {
        self.agent = Some(agent.to_owned());
        self
    }

    /// Only the `n`th matching request, counted from 1.
    pub fn nth(mut self, n: u64) -> Match {
        (self.from, self.times) = (n.max(1), Some(1));
        self
    }

    /// Only the first `n` matching requests.
    pub fn times(mut self, n: u64) -> Match {
        self.times = Some(n);
        self
    }

    fn fits(&self, seen: &Seen) -> bool {
        let is = |asked: &Option<String>, value: &str| asked.as_deref().is_none_or(|asked| asked == value);
        is(&self.verb, &seen.verb)
            && is(&self.resource, &seen.resource)
            && is(&self.name, &seen.name)
            && self.agent.as_deref().is_none_or(|agent| seen.agent.contains(agent))
    }

    fn hits(&self, number: u64) -> bool {
        let from = self.from.max(1);
        number >= from && self.times.is_none_or(|times| number < from + times)
    }

    fn counts(&self) -> bool {
        self.from > 0 || self.times.is_some()
    }
}

#[derive(Debug)]
struct Rule {
    id: u64,
    when: Match,
    fault: Fault,
    seen: AtomicU64,
    hits: AtomicU64,
}

#[derive(Debug)]
struct Rules {
    rules: Mutex<Vec<Arc<Rule>>>,
    next: AtomicU64,
    changed: watch::Sender<u64>,
}

/// The faults of a lab. Clones share their rules.
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Rules>,
}

impl Default for Faults {
    fn default() -> Faults {
        let shared = Rules { rules: Mutex::default(), next: AtomicU64::new(1), changed: watch::Sender::new(0) };
        Faults { shared: Arc::new(shared) }
    }
}

impl Faults {
    /// Adds a rule behind those that are there. It holds until the guard is dropped.
    #[must_use = "a dropped guard lifts the fault"]
    pub fn inject(&self, when: Match, fault: Fault) -> FaultGuard {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let rule = Arc::new(Rule { id, when, fault, seen: AtomicU64::new(0), hits: AtomicU64::new(0) });
        self.rules().push(rule.clone());
        self.shared.changed.send_replace(id);
        FaultGuard { rule, shared: Arc::downgrade(&self.shared) }
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Arc<Rule>>> {
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What befalls a new request. Counts it.
    pub(crate) fn on_request(&self, seen: &Seen) -> Fault {
        let mut found = None;
        for rule in self.rules().iter().filter(|rule| rule.when.fits(seen)) {
            let number = rule.seen.fetch_add(1, Ordering::Relaxed) + 1;
            if found.is_none() && rule.when.hits(number) {
                rule.hits.fetch_add(1, Ordering::Relaxed);
                found = Some(rule.fault.clone());
            }
        }
        found.unwrap_or(Fault::Pass)
    }

    /// What befalls a stream that has been open since before the newest rule. Rules that count requests are not asked.
    pub(crate) fn on_open_stream(&self, seen: &Seen) -> Fault {
        let rules = self.rules();
        let rule = rules.iter().find(|rule| !rule.when.counts() && rule.when.fits(seen));
        match rule {
            Some(rule) if matches!(rule.fault, Fault::HalfOpen | Fault::Drop) => {
                rule.hits.fetch_add(1, Ordering::Relaxed);
                rule.fault.clone()
            }
            // Nothing else can befall what is under way.
            _ => Fault::Pass,
        }
    }

    /// Wakes whenever a rule is added.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }
}

/// Keeps a rule in force; dropping it lifts the fault.
#[derive(Debug)]
#[must_use = "a dropped guard lifts the fault"]
pub struct FaultGuard {
    rule: Arc<Rule>,
    shared: Weak<Rules>,
}

impl FaultGuard {
    /// How many requests and open streams it has befallen.
    pub fn hits(&self) -> u64 {
        self.rule.hits.load(Ordering::Relaxed)
    }

    /// How many requests its match fits, befallen or not.
    pub fn seen(&self) -> u64 {
        self.rule.seen.load(Ordering::Relaxed)
    }

    /// Leaves the rule in force for as long as the lab lives.
    pub fn keep(mut self) {
        self.shared = Weak::new();
    }
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut rules = shared.rules.lock().unwrap_or_else(PoisonError::into_inner);
            rules.retain(|rule| rule.id != self.rule.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(verb: &str, name: &str) -> Seen {
        Seen {
            at: Time::default(),
            verb: verb.into(),
            resource: "pods".into(),
            namespace: "default".into(),
            name: name.into(),
            agent: "kpo/0.1".into(),
        }
    }

    #[test]
    fn the_nth_request_is_hit_until_the_guard_is_dropped() {
        let faults = Faults::default();
        let guard = faults.inject(Match::of("create", "pods").agent("kpo").nth(2), Fault::DropReplyAfterEffect);
        let outcomes: Vec<Fault> = (0..3).map(|_| faults.on_request(&seen("create", "a"))).collect();
        assert_eq!(outcomes, [Fault::Pass, Fault::DropReplyAfterEffect, Fault::Pass]);
        assert_eq!(faults.on_request(&seen("get", "a")), Fault::Pass);
        assert_eq!((guard.seen(), guard.hits()), (3, 1));
        drop(guard);
        let guard = faults.inject(Match::any(), Fault::Drop);
        assert_eq!(faults.on_request(&seen("get", "a")), Fault::Drop);
        drop(guard);
        assert_eq!(faults.on_request(&seen("get", "a")), Fault::Pass);
    }

    #[test]
    fn the_first_rule_decides() {
        let faults = Faults::default();
        let _one = faults.inject(Match::any().name("a"), Fault::Pass);
        let _all = faults.inject(Match::any(), Fault::Status(Reply::status(503).retry_after(1)));
        assert_eq!(faults.on_request(&seen("get", "a")), Fault::Pass);
        assert!(matches!(faults.on_request(&seen("get", "b")), Fault::Status(_)));
        assert_eq!(Reply::status(503).error().reason, "ServiceUnavailable");
    }
}
