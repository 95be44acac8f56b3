//! One attempt: an HTTP exchange, and what its errors mean.

use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::{AuthError, Body};
use serde_json::Value;
use tokio::time::{Instant, timeout as within};

use super::{ApiFailure, ApiRequest, ByteStream, Effect, TransportKind, sooner};
use crate::hook::{Connection, CredentialError};

/// The answer of one attempt, with the generation of the credentials that it used.
pub(crate) type Attempt<T> = (u64, Result<T, ApiFailure>);

/// One attempt at a unary request: headers and body within `timeout`.
pub(super) async fn unary(connection: &Connection, request: &ApiRequest, timeout: Duration) -> Attempt<Value> {
    let (generation, client) = connection.current();
    let exchange = async {
        let answer = send(connection, &client, request, http_request(request, false)).await?;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await;
        let bytes = body.map_err(|error| broken(connection, Box::new(error)))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|_| ApiFailure::Unreadable { code })
    };
    let answer = within(timeout, exchange).await;
    (generation, answer.unwrap_or_else(|_| Err(timed_out(connection))))
}

/// One attempt at opening a stream: headers within `timeout` (`None`: without limit).
pub(super) async fn stream(
    connection: &Connection,
    request: &ApiRequest,
    timeout: Option<Duration>,
) -> Attempt<ByteStream> {
    let (generation, client) = connection.current();
    let opening = send(connection, &client, request, http_request(request, true));
    let answer = match timeout {
        Some(timeout) => within(timeout, opening).await.unwrap_or_else(|_| Err(timed_out(connection))),
        None => opening.await,
    };
    (generation, answer.map(|answer| byte_stream(answer, connection.place())))
}

/// Reads a stream to its end; nothing for `idle` is no answer.
pub(super) async fn read(
    connection: &Connection,
    mut body: ByteStream,
    idle: Duration,
    until: Option<Instant>,
) -> Result<Vec<u8>, ApiFailure> {
    let mut all = Vec::new();
    while let Some(chunk) = within(sooner(idle, until), body.next()).await.map_err(|_| timed_out(connection))? {
        all.extend_from_slice(&chunk?);
    }
    Ok(all)
}

fn byte_stream(answer: Response<Body>, server: Arc<str>) -> ByteStream {
    let bytes = answer.into_body().into_data_stream();
    bytes.map_err(move |error| transport(Arc::clone(&server), Effect::Unknown, Box::new(error))).boxed()
}

/// Sends, and turns an answer that is no success into its failure.
pub(super) async fn send(
    connection: &Connection,
    client: &kube::Client,
    request: &ApiRequest,
    http: Request<Body>,
) -> Result<Response<Body>, ApiFailure> {
    let begun = Instant::now();
    let answer = client.send(http).await;
    tell(request, begun, answer.as_ref().map(Response::status).ok());
    let answer = answer.map_err(|error| unsent_or_broken(connection, error))?;
    if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    let (head, body) = answer.into_parts();
    // Of a refusal whose body breaks off, the code is what counts.
    let bytes = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    Err(ApiFailure::from_answer(head.status.as_u16(), &head.headers, &bytes))
}

/// Verb, path and query hold names and selectors; headers and bodies, where secrets are, are not told.
fn tell(request: &ApiRequest, begun: Instant, status: Option<StatusCode>) {
    let (method, uri, took) = (request.target.verb.method(), request.uri(), begun.elapsed());
    match status {
        Some(status) => tracing::debug!(target: "kpo::request", "{method} {uri}: {} in {took:.1?}", status.as_u16()),
        None => tracing::debug!(target: "kpo::request", "{method} {uri}: no answer in {took:.1?}"),
    }
}

fn http_request(request: &ApiRequest, streaming: bool) -> Request<Body> {
    let mut builder = Request::builder().method(request.target.verb.method()).uri(request.uri());
    if request.target.subresource != Some("log") {
        builder = builder.header(header::ACCEPT, "application/json");
    }
    if streaming {
        // From Kubernetes 1.37 on watches are compressed one gzip member an event, of which tower-http decodes the first only.
        builder = builder.header(header::ACCEPT_ENCODING, "identity");
    }
    let body = match &request.body {
        Some((content_type, value)) => {
            builder = builder.header(header::CONTENT_TYPE, content_type.as_str());
            Body::from(value.to_string().into_bytes())
        }
        None => Body::empty(),
    };
    builder.body(body).expect("method, encoded path and static headers are valid")
}

pub(super) fn timed_out(connection: &Connection) -> ApiFailure {
    ApiFailure::Transport {
        effect: Effect::Unknown,
        kind: TransportKind::Timeout,
        server: connection.place(),
        source: None,
    }
}

pub(super) fn broken(connection: &Connection, error: Box<dyn StdError + Send + Sync>) -> ApiFailure {
    transport(connection.place(), Effect::Unknown, error)
}

/// kube hands errors of the service through: its own (building, credentials), hyper's, or ours, boxed.
fn unsent_or_broken(connection: &Connection, error: kube::Error) -> ApiFailure {
    let error: Box<dyn StdError + Send + Sync> = match error {
        kube::Error::Service(inner) => inner,
        other => Box::new(other),
    };
    if let Some(credentials) = find::<CredentialError>(&*error) {
        return ApiFailure::Credentials(Arc::new(credentials.clone()));
    }
    if let Some(auth) = find::<AuthError>(&*error) {
        return ApiFailure::Credentials(Arc::new(CredentialError::from_kube(auth)));
    }
    let legacy = find::<hyper_util::client::legacy::Error>(&*error);
    let effect = match legacy {
        Some(error) if error.is_connect() => Effect::None,
        _ => Effect::Unknown,
    };
    transport(connection.place(), effect, error)
}

fn transport(server: Arc<str>, effect: Effect, error: Box<dyn StdError + Send + Sync>) -> ApiFailure {
    let kind = match effect {
        Effect::None => connect_kind(&*error),
        Effect::Unknown => TransportKind::Broken,
    };
    ApiFailure::Transport { effect, kind, server, source: Some(Arc::new(Cause::of(&*error))) }
}

/// The innermost of a chain of errors, in its words: what is around it ("client error (Connect)") says nothing that the kind does not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Cause(String);

impl Cause {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let innermost = chain(error).last().map(ToString::to_string).unwrap_or_default();
        Self(innermost.lines().next().unwrap_or_default().to_owned())
    }
}

/// Where connecting failed. hyper-util and its proxies keep their error types private: where there is no type to ask, their words are
/// matched (hyper-util 0.1 `connect/http.rs`, `connect/dns.rs`, `connect/proxy/`).
fn connect_kind(error: &(dyn StdError + 'static)) -> TransportKind {
    let words = chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let io = chain(error).find_map(|e| e.downcast_ref::<io::Error>());
    if words.contains("dns error") {
        TransportKind::Dns
    } else if words.contains("invalid peer certificate") {
        TransportKind::Certificate
    } else if ["tunnel error", "SOCKS error"].iter().any(|w| words.contains(w)) {
        TransportKind::Proxy
    } else {
        match (io.map(io::Error::kind), io.and_then(io::Error::raw_os_error)) {
            (Some(io::ErrorKind::ConnectionRefused), _) => TransportKind::Refused,
            (Some(io::ErrorKind::TimedOut), _) => TransportKind::ConnectTimeout,
            (_, Some(ENFILE | EMFILE)) => TransportKind::Descriptors,
            _ => TransportKind::Connect,
        }
    }
}

/// The machine has no file left (the same number on Linux and macOS, `errno.h`).
const ENFILE: i32 = 23;
/// This process has none left.
const EMFILE: i32 = 24;

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|e| e.downcast_ref())
}

/// An error and its sources, at most 16 (a source may be a cycle).
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |e: &&'a (dyn StdError + 'static)| (*e).source()).take(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_is_named() {
        for (number, kind) in
            [(23, TransportKind::Descriptors), (24, TransportKind::Descriptors), (113, TransportKind::Connect)]
        {
            let error: Box<dyn StdError + Send + Sync> = Box::new(io::Error::from_raw_os_error(number));
            let failure = transport("h:1".into(), Effect::None, error);
            assert!(matches!(failure, ApiFailure::Transport { kind: found, .. } if found == kind), "{failure}");
        }
    }
}
