//! The attempts at one request: when the next one is due, and when there is none.

use std::{borrow::Cow, sync::atomic::Ordering, time::Duration};

use serde_json::Value;
use tokio::{
    sync::OwnedSemaphorePermit as Slot,
    time::{Instant, sleep, timeout_at},
};

use super::{
    ApiFailure, ApiRequest, ByteStream, Call, Effect, KNOWS_ITS_ROLES, Notice, RequestError, Requests, Target,
    TransportKind, sooner, transport,
};
use crate::hook::CredentialError;

/// What may be allowed in a moment is asked for again after this.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// A turn that has come: the instant at which the attempt must be over, and the slot in flight.
pub(crate) type Turn = (Option<Instant>, Option<Slot>);

/// Counts, waits and tells; the exchange itself is the caller's: `begin`, then `succeeded` or `failed`, in a loop.
pub(crate) struct Attempts<'a> {
    requests: &'a Requests,
    target: &'a Target,
    call: Call,
    begun: Instant,
    made: u32,
    unauthorized: u32,
    /// Whether the credentials are others now than those that the last attempt used.
    renewed: bool,
    repeatable: bool,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(requests: &'a Requests, target: &'a Target, call: Call) -> Self {
        Self {
            requests,
            target,
            call,
            begun: Instant::now(),
            made: 0,
            unauthorized: 0,
            renewed: false,
            repeatable: target.verb.is_repeatable(),
        }
    }

    /// Not once it may have had an effect, whatever its verb.
    pub(crate) fn never_twice(mut self) -> Self {
        self.repeatable = false;
        self
    }

    /// Waits for the rate's turn and, where one is needed, for a slot in flight.
    ///
    /// # Errors
    /// The deadline passed meanwhile: there was no (other) attempt.
    pub(crate) async fn begin(&mut self, in_flight: bool) -> Result<Turn, RequestError> {
        let limiter = &self.requests.inner.limiter;
        let admitted = async {
            limiter.turn().await;
            if in_flight { Some(limiter.slot().await) } else { None }
        };
        let slot = match self.call.deadline {
            Some(deadline) => timeout_at(deadline, admitted).await.map_err(|_| self.no_turn())?,
            None => admitted.await,
        };
        self.made += 1;
        Ok((self.deadline(), slot))
    }

    fn no_turn(&self) -> RequestError {
        let server = self.requests.inner.connection.place();
        let failure = ApiFailure::Transport { effect: Effect::None, kind: TransportKind::Turn, server, source: None };
        RequestError { target: Box::new(self.target.clone()), attempts: self.made, failure }
    }

    /// One attempt at a unary request, with its turn and its slot; the request is made when its turn has come.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub(crate) async fn unary<'r>(
        &mut self,
        make: impl Fn() -> Cow<'r, ApiRequest>,
    ) -> Result<transport::Attempt<Value>, RequestError> {
        let turn = self.begin(true).await?;
        Ok(self.unary_in(turn, make).await)
    }

    /// The same in a turn that has come.
    pub(crate) async fn unary_in<'r>(
        &self,
        (limit, _slot): Turn,
        make: impl Fn() -> Cow<'r, ApiRequest>,
    ) -> transport::Attempt<Value> {
        let inner = &self.requests.inner;
        let timeout = sooner(self.call.timeout.unwrap_or(inner.options.timeout), limit);
        let answer = transport::unary(&inner.connection, &make(), timeout).await;
        self.requests.remember(answer.1.as_ref().err());
        answer
    }

    /// One attempt at opening a stream, with its turn; with [`Call::timeout`] it holds a slot until the headers have come.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub(crate) async fn stream(
        &mut self,
        request: &ApiRequest,
    ) -> Result<transport::Attempt<ByteStream>, RequestError> {
        let (limit, _slot) = self.begin(self.call.timeout.is_some()).await?;
        let timeout = match self.call.timeout {
            Some(timeout) => Some(sooner(timeout, limit)),
            None => limit.map(|limit| limit.saturating_duration_since(Instant::now())),
        };
        Ok(transport::stream(&self.requests.inner.connection, request, timeout).await)
    }

    /// Tells of a success that took more than one attempt.
    pub(crate) fn succeeded<T>(&self, value: T) -> T {
        self.requests.remember(None);
        if self.made > 1 {
            let after = self.begun.elapsed();
            tracing::info!(target: "kpo::request", request = %self.target, attempts = self.made, ?after, "request succeeded after failures");
            self.tell(&Notice::Recovered { target: self.target, attempts: self.made, after });
        }
        value
    }

    /// Renews credentials that were refused, and waits until the next attempt is due.
    ///
    /// # Errors
    /// There is to be no other attempt.
    pub(crate) async fn failed(&mut self, generation: u64, failure: ApiFailure) -> Result<(), RequestError> {
        self.requests.remember(Some(&failure));
        let failure = self.renewed(generation, failure).await;
        let sound = self.repeatable || failure.effect() == Effect::None;
        let delay = if sound { self.delay(&failure) } else { None };
        self.pause(failure, delay).await
    }

    /// Waits until the next attempt is due after a failure whose effect was unknown, and of which the caller now knows that there was none.
    ///
    /// # Errors
    /// There is to be no other attempt.
    pub(crate) async fn again(&mut self, failure: ApiFailure) -> Result<(), RequestError> {
        let delay = self.requests.inner.options.backoff.delay(self.made, failure.retry_after());
        self.pause(failure, Some(delay)).await
    }

    async fn pause(&self, failure: ApiFailure, delay: Option<Duration>) -> Result<(), RequestError> {
        let late = |delay: &Duration| self.deadline().is_some_and(|deadline| Instant::now() + *delay >= deadline);
        let Some(delay) = delay.filter(|delay| !late(delay)) else {
            return Err(RequestError { target: Box::new(self.target.clone()), attempts: self.made, failure });
        };
        self.say_retrying(&failure, delay);
        sleep(delay).await;
        Ok(())
    }

    /// After a 401: the credentials are read again. If that fails, its failure says more than the 401.
    async fn renewed(&mut self, generation: u64, failure: ApiFailure) -> ApiFailure {
        self.renewed = false;
        if !matches!(failure, ApiFailure::Unauthorized(_)) {
            return failure;
        }
        self.unauthorized += 1;
        match self.requests.inner.connection.renew(generation).await {
            Ok(renewed) => self.renewed = renewed,
            Err(error) if *error != CredentialError::Fixed => return ApiFailure::Credentials(error),
            Err(_) => (),
        }
        failure
    }

    /// The wait before the next attempt; `None` if there is to be none.
    fn delay(&self, failure: &ApiFailure) -> Option<Duration> {
        let is_young = self.begun.elapsed() < KNOWS_ITS_ROLES;
        if self.requests.may_be_allowed_soon(failure) || (is_young && failure.misses_a_role()) {
            return Some(ASKED_AGAIN);
        }
        if !failure.is_transient() || self.is_hopeless(failure) {
            return None;
        }
        if self.renewed {
            return Some(Duration::ZERO); // the new credentials are tried at once
        }
        let backoff = &self.requests.inner.options.backoff;
        Some(backoff.delay(self.made, failure.retry_after()))
    }

    /// Whether, before anything ever worked, the configuration must be wrong.
    fn is_hopeless(&self, failure: &ApiFailure) -> bool {
        let inner = &self.requests.inner;
        if inner.options.first_contact.is_none() {
            return false;
        }
        match failure {
            ApiFailure::Unauthorized(_) => {
                !inner.accepted.load(Ordering::Relaxed) && (self.unauthorized > 1 || !inner.connection.can_renew())
            }
            ApiFailure::Credentials(_) => !inner.accepted.load(Ordering::Relaxed),
            ApiFailure::Transport { kind, .. } => kind.is_configuration() && !inner.answered.load(Ordering::Relaxed),
            _ => false,
        }
    }

    /// The call's deadline; while no API server ever answered, the first contact's if that is sooner.
    fn deadline(&self) -> Option<Instant> {
        let inner = &self.requests.inner;
        let answered = inner.answered.load(Ordering::Relaxed);
        let first = inner.options.first_contact.filter(|_| !answered).map(|patience| self.begun + patience);
        self.call.deadline.into_iter().chain(first).min()
    }

    fn say_retrying(&self, failure: &ApiFailure, delay: Duration) {
        tracing::info!(
            target: "kpo::request",
            request = %self.target, attempts = self.made, %failure, ?delay,
            "request failed; trying again"
        );
        self.tell(&Notice::Retrying { target: self.target, attempts: self.made, failure, delay });
    }

    fn tell(&self, notice: &Notice<'_>) {
        if let Some(observer) = &self.requests.inner.options.observer {
            observer(notice);
        }
    }
}
