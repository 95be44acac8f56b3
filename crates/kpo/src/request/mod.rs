//! The one place through which every request to the API server goes.
//!
//! # Guarantees
//! - Bodies are raw JSON: nothing is dropped that this crate does not know.
//! - Every unary attempt has a timeout; a silent server hangs nobody.
//! - What can happen to an attempt is a closed list, [`ApiFailure`], with the HTTP code also where a proxy answered in its own words.
//! - Transport errors, 401, 429, 5xx, the `Conflict` of `resourcequotas` and whatever is not in the API server's words (a proxy's 404) are
//!   tried again until the [`Call`]'s deadline; nothing else is, in particular no 403 and no 404 of the API server's (the read retry on 404
//!   is [`PodManager::read_pod`](crate::manager::PodManager::read_pod)'s).
//! - A create is never sent again while its effect is unknown: [`Requests::send`] then returns, and the caller looks first.
//! - All requests of a process share one limit ([`RateLimit`]).
//!
//! # Caveats
//! kube's own retry is not used (it repeats POST), nor its tracing layer (it logs an ERROR for each 5xx, retried or not). What is said is
//! said by [`Notice`], and by `tracing` events with the target `kpo::request`. Other parts of kube do log; a command line does well to
//! mute the target `kube_client`.

mod attempts;
mod failure;
mod limit;
mod retry;
mod target;
mod transport;
mod upgrade;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::time::Instant;

use crate::hook::{Connection, CredentialError};

pub use failure::{ApiFailure, ApiStatus, Effect, TransportKind};
pub use limit::RateLimit;
pub use retry::{Backoff, Jitter};
pub use target::{ApiRequest, ContentType, Target, Verb};

pub(crate) use attempts::{Attempts, Turn};
use limit::Limiter;

/// How requests are made; one for a process.
#[derive(Clone)]
pub struct RequestOptions {
    /// Time for one unary attempt, headers and body. Default 30 s.
    pub timeout: Duration,
    /// The client-wide limit.
    pub limit: RateLimit,
    /// Waiting between attempts.
    pub backoff: Backoff,
    /// How long the very first request is tried while no API server has answered yet: a wrong address shall fail soon. `None`: as long as
    /// any other. Default 10 s. An untrusted certificate and credentials that are not accepted even after a refresh fail at once then.
    pub first_contact: Option<Duration>,
    /// Told of each failed attempt that is tried again, and of the success after it. `None`: only `tracing` is.
    pub observer: Option<Observer>,
}

/// See [`RequestOptions::observer`]. It must not block.
pub type Observer = Arc<dyn Fn(&Notice<'_>) + Send + Sync>;

impl Default for RequestOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            limit: RateLimit::default(),
            backoff: Backoff::default(),
            first_contact: Some(Duration::from_secs(10)),
            observer: None,
        }
    }
}

impl fmt::Debug for RequestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestOptions")
            .field("timeout", &self.timeout)
            .field("limit", &self.limit)
            .field("backoff", &self.backoff)
            .field("first_contact", &self.first_contact)
            .finish_non_exhaustive()
    }
}

/// What an [`Observer`] is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// An attempt failed; it is made again after `delay`.
    Retrying {
        /// What is tried.
        target: &'a Target,
        /// Attempts so far, from 1.
        attempts: u32,
        /// Why the last one failed.
        failure: &'a ApiFailure,
        /// The wait before the next one.
        delay: Duration,
    },
    /// A request succeeded after failed attempts.
    Recovered {
        /// What was tried.
        target: &'a Target,
        /// Attempts in all.
        attempts: u32,
        /// From the first attempt to the success.
        after: Duration,
    },
}

/// How long a request is tried.
///
/// ```
/// use kpo::request::Call;
/// use std::time::Duration;
/// let patient = Call::forever();
/// let hasty = Call::within(Duration::from_secs(5));
/// assert!(patient.deadline.is_none() && hasty.timeout.is_none());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Call {
    /// No attempt is begun after it, and none runs beyond it. `None`: for ever.
    pub deadline: Option<Instant>,
    /// Time for one attempt (a stream's headers). `None`: [`RequestOptions::timeout`] for unary requests; streams wait for their headers
    /// without limit, since the API server sends none for a log follow before the container's first byte.
    pub timeout: Option<Duration>,
}

impl Call {
    /// Until it succeeds or fails for good.
    pub fn forever() -> Self {
        Self::default()
    }

    /// For this long from now.
    pub fn within(duration: Duration) -> Self {
        Self::until(Some(Instant::now() + duration))
    }

    /// Until a deadline; `None` is for ever.
    pub fn until(deadline: Option<Instant>) -> Self {
        Self { deadline, timeout: None }
    }

    /// With a time of its own for each attempt.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// A request that did not succeed, after all attempts it was given.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {target}{}", after_attempts(*.attempts))]
pub struct RequestError {
    /// What was tried.
    pub target: Box<Target>,
    /// Attempts made.
    pub attempts: u32,
    /// How the last one failed.
    #[source]
    pub failure: ApiFailure,
}

fn after_attempts(attempts: u32) -> String {
    match attempts {
        0 | 1 => String::new(),
        n => format!(" after {n} attempts"),
    }
}

/// The rule that would have allowed a request that RBAC refused, as a Role's `rules` hold it.
///
/// ```
/// use kpo::request::{ApiRequest, MissingRule};
/// let rule = MissingRule::for_target(&ApiRequest::get("batch", "pods", "p").subresource("log").target);
/// assert_eq!(rule.to_string(), r#"{apiGroups: [""], resources: ["pods/log"], verbs: ["get"]}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRule {
    /// The API group, `""` for the core group.
    pub group: String,
    /// The resource, with its subresource: `pods/log`.
    pub resource: String,
    /// The verb.
    pub verb: Verb,
    /// Where the Role (or, without, the ClusterRole) has to be.
    pub namespace: Option<String>,
}

impl MissingRule {
    /// The rule that allows a request.
    pub fn for_target(target: &Target) -> Self {
        Self {
            group: target.group.to_owned(),
            resource: target.rbac_resource(),
            verb: target.verb,
            namespace: target.namespace.clone(),
        }
    }
}

impl fmt::Display for MissingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verb, namespace: _ } = self;
        write!(f, r#"{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}"#)
    }
}

impl RequestError {
    /// The rule to add, if RBAC refused. Other 403s (quota, admission) have no rule.
    pub fn missing_rule(&self) -> Option<MissingRule> {
        self.failure.is_a_missing_right().then(|| MissingRule::for_target(&self.target))
    }
}

/// The bytes of an answer as they arrive. An `Err` is the last item.
pub type ByteStream = BoxStream<'static, Result<Bytes, ApiFailure>>;

/// Sends requests. Clones share the connection, the limit and the memory of a first contact.
#[derive(Clone)]
pub struct Requests {
    inner: Arc<Inner>,
}

struct Inner {
    connection: Arc<Connection>,
    options: RequestOptions,
    limiter: Limiter,
    /// Whether an API server ever answered (or a proxy for it, that it does not: a 5xx).
    answered: AtomicBool,
    /// Whether the credentials were ever accepted.
    accepted: AtomicBool,
    /// Whether a request may ever have reached an API server: one answered, or none did in time.
    reached: AtomicBool,
    /// When an API server was last away, or unwell. `None`: it never was.
    away: Mutex<Option<Instant>>,
}

/// For so long after an API server was away, what it forbids may only not be known to it yet: one that starts serves before it has read its Roles and
/// their bindings (seen on v1.34 for a second; kubernetes `pkg/controlplane/server.go` starts the informers of both beside the server).
const KNOWS_ITS_ROLES: Duration = Duration::from_secs(10);

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Requests {
    /// Requests over a connection.
    pub(crate) fn new(connection: Arc<Connection>, options: RequestOptions) -> Self {
        let inner = Inner {
            limiter: Limiter::new(options.limit),
            connection,
            options,
            answered: AtomicBool::new(false),
            accepted: AtomicBool::new(false),
            reached: AtomicBool::new(false),
            away: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The options in force.
    pub fn options(&self) -> &RequestOptions {
        &self.inner.options
    }

    /// Sends a unary request, again where that is sound and sensible, and returns the answer's JSON.
    ///
    /// # Errors
    /// The last attempt's failure: one that does not pass by itself, the deadline, or (for a create) an unknown effect.
    pub async fn send(&self, request: &ApiRequest, call: Call) -> Result<Value, RequestError> {
        self.send_made(|| Cow::Borrowed(request), call).await
    }

    /// The same with a request that is made anew for each attempt when its turn has come: the limit may let it wait for long.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn send_made<'r>(
        &self,
        make: impl Fn() -> Cow<'r, ApiRequest>,
        call: Call,
    ) -> Result<Value, RequestError> {
        let first = make();
        let mut attempts = self.attempts(&first, call);
        loop {
            match attempts.unary(&make).await? {
                (_, Ok(value)) => return Ok(attempts.succeeded(value)),
                (generation, Err(failure)) => attempts.failed(generation, failure).await?,
            }
        }
    }

    /// Sends a request whose answer is read as it comes (a watch, a log). It is tried again until its headers have come; what happens
    /// after them is the stream's: it is not resumed here.
    ///
    /// With [`Call::timeout`] the headers have that long and hold a slot in flight meanwhile; without, they may take for ever and hold none.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn open(&self, request: &ApiRequest, call: Call) -> Result<ByteStream, RequestError> {
        let mut attempts = self.attempts(request, call);
        loop {
            match attempts.stream(request).await? {
                (_, Ok(stream)) => return Ok(attempts.succeeded(stream)),
                (generation, Err(failure)) => attempts.failed(generation, failure).await?,
            }
        }
    }

    /// Reads a stream to its end, all of it. One that breaks, or brings nothing for so long, is begun anew: nobody has had a part of it yet.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) async fn read(&self, request: &ApiRequest, idle: Duration, call: Call) -> Result<Vec<u8>, RequestError> {
        let mut attempts = self.attempts(request, call);
        loop {
            let (generation, opened) = attempts.stream(request).await?;
            let read = match opened {
                Ok(body) => {
                    self.remember(None);
                    transport::read(&self.inner.connection, body, idle, call.deadline).await
                }
                Err(failure) => Err(failure),
            };
            match read {
                Ok(bytes) => return Ok(attempts.succeeded(bytes)),
                Err(failure) => attempts.failed(generation, failure).await?,
            }
        }
    }

    /// Opens a websocket. Tried again as long as nothing can have come of it; once opened it is the caller's.
    pub(crate) async fn websocket(&self, request: &ApiRequest, call: Call) -> Result<upgrade::Socket, RequestError> {
        let timeout = call.timeout.unwrap_or(self.inner.options.timeout);
        let mut attempts = self.attempts(request, call).never_twice();
        loop {
            let (limit, slot) = attempts.begin(true).await?;
            let (generation, answer) =
                upgrade::websocket(&self.inner.connection, request, sooner(timeout, limit)).await;
            drop(slot);
            match answer {
                Ok(socket) => return Ok(attempts.succeeded(socket)),
                Err(failure) => attempts.failed(generation, failure).await?,
            }
        }
    }

    pub(crate) fn attempts<'a>(&'a self, request: &'a ApiRequest, call: Call) -> Attempts<'a> {
        Attempts::new(self, &request.target, call)
    }

    /// Makes one attempt at opening a stream, for one who keeps it standing at a pace of his own: no retry; the limit holds. After a 401
    /// the credentials are read again, for the next attempt. `timeout` is as [`Call::timeout`] in [`open`](Self::open).
    ///
    /// # Errors
    /// The attempt's failure.
    pub async fn open_once(&self, request: &ApiRequest, timeout: Option<Duration>) -> Result<ByteStream, ApiFailure> {
        self.inner.limiter.turn().await;
        let slot = match timeout {
            Some(_) => Some(self.inner.limiter.slot().await),
            None => None,
        };
        let (generation, answer) = transport::stream(&self.inner.connection, request, timeout).await;
        drop(slot);
        self.remember(answer.as_ref().err());
        match answer {
            Err(failure @ ApiFailure::Unauthorized(_)) => match self.inner.connection.renew(generation).await {
                Err(error) if *error != CredentialError::Fixed => Err(ApiFailure::Credentials(error)),
                _ => Err(failure),
            },
            answer => answer,
        }
    }

    /// Makes one attempt at a unary request: no retry, no refresh of credentials; the limit holds.
    ///
    /// # Errors
    /// The attempt's failure.
    pub async fn once(&self, request: &ApiRequest, timeout: Option<Duration>) -> Result<Value, ApiFailure> {
        self.inner.limiter.turn().await;
        let _slot = self.inner.limiter.slot().await;
        let timeout = timeout.unwrap_or(self.inner.options.timeout);
        let (_, answer) = transport::unary(&self.inner.connection, request, timeout).await;
        self.remember(answer.as_ref().err());
        answer
    }

    /// What a connection of another kind came to, in the words of a request's failure.
    pub(crate) fn no_answer(&self, kind: TransportKind) -> ApiFailure {
        ApiFailure::Transport { effect: Effect::Unknown, kind, server: self.inner.connection.place(), source: None }
    }

    /// Whether an API server ever answered.
    pub(crate) fn has_contact(&self) -> bool {
        self.inner.answered.load(Ordering::Relaxed)
    }

    /// Whether a request may ever have reached an API server. A page of somebody else's, and nothing else ever, is none.
    pub(crate) fn may_have_reached(&self) -> bool {
        self.inner.reached.load(Ordering::Relaxed)
    }

    /// Whether what was forbidden now may be allowed in a moment: the API server has just come, and has not read its Roles.
    pub(crate) fn may_be_allowed_soon(&self, failure: &ApiFailure) -> bool {
        let away = self.inner.away.lock().unwrap_or_else(PoisonError::into_inner);
        failure.is_a_missing_right() && away.is_some_and(|at| at.elapsed() < KNOWS_ITS_ROLES)
    }

    fn remember(&self, failure: Option<&ApiFailure>) {
        if failure.is_some_and(ApiFailure::is_an_absence) {
            *self.inner.away.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        let reached = failure.is_none_or(|f| !f.is_foreign() && (f.code().is_some() || f.effect() == Effect::Unknown));
        self.inner.reached.fetch_or(reached, Ordering::Relaxed);
        let answered = failure.is_none_or(|f| f.code().is_some() && !f.is_foreign());
        let accepted = failure.is_none_or(ApiFailure::is_of_the_server);
        self.inner.answered.fetch_or(answered, Ordering::Relaxed);
        self.inner.accepted.fetch_or(accepted, Ordering::Relaxed);
    }
}

/// What is left of an attempt's time, which a deadline may shorten.
fn sooner(timeout: Duration, limit: Option<Instant>) -> Duration {
    match limit {
        Some(limit) => timeout.min(limit.saturating_duration_since(Instant::now())),
        None => timeout,
    }
}
