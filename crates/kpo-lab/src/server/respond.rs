//! One request: counted, befallen by faults, authenticated, handled, answered.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::streams::{self, Bodies, broken};
use super::{Body, Cluster, Shared, websocket};
use crate::api::{self, LogTarget, Query, Request, Response, SessionTarget, User};
use crate::error::ApiError;
use crate::faults::{Fault, Reply, Seen};
use crate::log::LogReader;

/// A request that has been read, and the connection's other half where it wants an upgrade.
pub(super) struct Incoming {
    pub(super) parts: http::request::Parts,
    pub(super) body: Bytes,
    /// Who asks, where the way in says so (in-process); else the bearer token does.
    pub(super) user: Option<User>,
    pub(super) upgrade: Option<hyper::upgrade::OnUpgrade>,
}

type Answer = io::Result<http::Response<Body>>;

/// Answers a request. The error is a connection that breaks.
pub(super) async fn respond<C: Cluster>(shared: Arc<Shared<C>>, incoming: Incoming) -> Answer {
    let request = read(&incoming);
    let seen = seen(&shared, &request);
    shared.record(&seen, &request.path);
    let fault = shared.faults.on_request(&seen);
    match &fault {
        Fault::Delay(duration) => tokio::time::sleep(*duration).await,
        Fault::Status(reply) => return Ok(injected(reply)),
        Fault::Drop => return Err(broken()),
        Fault::HalfOpen if !streaming(&seen, &request) => std::future::pending().await,
        _ => {}
    }
    let answer = handle(&shared, request, incoming, seen, &fault).await;
    match &fault {
        Fault::StatusAfterEffect(reply) => Ok(injected(reply)),
        Fault::DropReplyAfterEffect => Err(broken()),
        _ => answer,
    }
}

fn streaming(seen: &Seen, request: &Request) -> bool {
    seen.verb == "watch" || (seen.resource == "pods/log" && request.query.flag("follow"))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn read(incoming: &Incoming) -> Request {
    let (uri, headers) = (&incoming.parts.uri, &incoming.parts.headers);
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::new(incoming.parts.method.as_str(), target, User::default());
    request.content_type = text(headers, header::CONTENT_TYPE);
    request.accept = text(headers, header::ACCEPT);
    request.user_agent = text(headers, header::USER_AGENT);
    request.upgrade = incoming.upgrade.is_some();
    request.body = incoming.body.clone();
    request
}

fn seen<C: Cluster>(shared: &Shared<C>, request: &Request) -> Seen {
    let asked = api::attributes(request);
    let mut name = asked.name.clone();
    if name.is_empty() && asked.verb == "create" {
        name = request.decode().map_or_else(|_| String::new(), |body| named(&body));
    }
    if name.is_empty() {
        let fields = request.query.get("fieldSelector").split(',');
        name = fields.filter_map(|term| term.strip_prefix("metadata.name=")).next().unwrap_or_default().to_owned();
    }
    Seen {
        at: shared.clock.now(),
        verb: asked.verb.clone(),
        resource: asked.full_resource(),
        namespace: asked.namespace,
        name,
        agent: request.user_agent.clone(),
    }
}

fn named(body: &Value) -> String {
    body["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

async fn handle<C: Cluster>(
    shared: &Arc<Shared<C>>,
    mut request: Request,
    incoming: Incoming,
    seen: Seen,
    fault: &Fault,
) -> Answer {
    let authorization = text(&incoming.parts.headers, header::AUTHORIZATION);
    let user = match &incoming.user {
        Some(user) if authorization.is_empty() => Ok(user.clone()),
        _ => shared.tokens().authenticate(shared.clock.now(), &authorization),
    };
    match user {
        Ok(user) => request.user = user,
        // Probes come without a token (system:public-info-viewer).
        Err(_) if ["/healthz", "/livez", "/readyz", "/version"].contains(&request.path.as_str()) => {}
        Err(error) => return Ok(plain(Response::from(error))),
    }
    if request.path == "/lab/requests" {
        return Ok(plain(Response::object(200, counts(shared, &request.query))));
    }
    let handled = shared.with(|now, cluster| api::handle(now, cluster.store_mut(now), &request));
    let response = handled.ok_or_else(broken)?;
    match response {
        Response::Watch(watch) => {
            let inner = streams::watch(shared.clone(), watch);
            Ok(stream_of(shared, seen, fault, "application/json", inner))
        }
        Response::Log(target) => log(shared, seen, fault, &target),
        Response::Session(target) => session(shared, &target, incoming),
        response => befall_plain(response, fault),
    }
}

/// The requests so far, most asked first is not needed: by kind. `?agent=` limits them to clients whose name contains it.
fn counts<C: Cluster>(shared: &Shared<C>, query: &Query) -> Value {
    let agent = query.get("agent");
    let counts = shared.counts().into_iter().filter(|(kind, _)| kind.agent.contains(agent));
    let rows: Vec<Value> = counts
        .map(|(kind, count)| json!({ "verb": kind.verb, "resource": kind.resource, "userAgent": kind.agent, "count": count }))
        .collect();
    let total: u64 = rows.iter().filter_map(|row| row["count"].as_u64()).sum();
    json!({ "requests": rows, "total": total })
}

fn stream_of<C: Cluster>(
    shared: &Arc<Shared<C>>,
    seen: Seen,
    fault: &Fault,
    content_type: &str,
    inner: Bodies,
) -> http::Response<Body> {
    let inner = if *fault == Fault::CloseEmpty { Box::pin(stream::empty()) } else { inner };
    let bytes = streams::befallen(shared, seen, fault, inner);
    let frames = futures::StreamExt::map(bytes, |bytes| bytes.map(Frame::data));
    let body = BodyExt::boxed_unsync(StreamBody::new(frames));
    answer(200, content_type, None, body)
}

fn log<C: Cluster>(shared: &Arc<Shared<C>>, seen: Seen, fault: &Fault, target: &LogTarget) -> Answer {
    let opened = shared.with(|_, cluster| match target.container {
        Some(_) => cluster.open_log(target).map(|log| (log, cluster.connection(&target.node))),
        None => Ok((None, None)),
    });
    Ok(match opened.ok_or_else(broken)? {
        Ok((found, connection)) => {
            let reader: Option<LogReader> = found.map(|log| log.reader(target.options.clone()));
            let inner = reader.map_or_else(|| Box::pin(stream::empty()) as Bodies, streams::log);
            let inner = match connection {
                Some(connection) => streams::through(connection, inner),
                None => inner,
            };
            stream_of(shared, seen, fault, "text/plain", inner)
        }
        Err(error) => plain(Response::from(error)),
    })
}

fn session<C: Cluster>(shared: &Arc<Shared<C>>, target: &SessionTarget, incoming: Incoming) -> Answer {
    let Some(upgrade) = incoming.upgrade else {
        return Ok(plain(Response::from(ApiError::bad_request("Upgrade request required"))));
    };
    let handshake = match websocket::accept(&incoming.parts.headers) {
        Ok(handshake) => handshake,
        Err(error) => return Ok(plain(Response::from(error))),
    };
    let opened = shared.with(|now, cluster| cluster.open_session(now, target)).ok_or_else(broken)?;
    if let Err(error) = &opened
        && error.code != 500
    {
        return Ok(plain(Response::from(error.clone())));
    }
    // What fails behind the API server is said within the session, as the kubelet's streaming server does it.
    let response = handshake.response();
    tokio::spawn(websocket::serve(upgrade, opened, handshake, target.attach));
    Ok(response)
}

/// A body that is cut breaks the connection after so many bytes.
fn befall_plain(response: Response, fault: &Fault) -> Answer {
    let response = plain(response);
    let Fault::CutAfter(bytes) = fault else { return Ok(response) };
    let (parts, body) = response.into_parts();
    let keep = *bytes;
    let frames = futures::StreamExt::flat_map(http_body_util::BodyStream::new(body), move |frame| {
        let mut data = frame.ok().and_then(|frame| frame.into_data().ok()).unwrap_or_default();
        data.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        stream::iter([Ok(Frame::data(data)), Err(broken())])
    });
    Ok(http::Response::from_parts(parts, BodyExt::boxed_unsync(StreamBody::new(frames))))
}

fn injected(reply: &Reply) -> http::Response<Body> {
    match &reply.body {
        None => plain(Response::from(reply.error())),
        Some(text) => {
            let is_json = serde_json::from_str::<Value>(text).is_ok();
            let content_type = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
            answer(reply.code, content_type, reply.retry_after, full(text.clone().into()))
        }
    }
}

fn full(bytes: Bytes) -> Body {
    BodyExt::boxed_unsync(Full::new(bytes).map_err(|never| match never {}))
}

/// An answer that is no stream.
fn plain(response: Response) -> http::Response<Body> {
    match response {
        Response::Object { code, retry_after, body } => {
            let mut bytes = body.to_string().into_bytes();
            bytes.push(b'\n');
            answer(code, "application/json", retry_after, full(bytes.into()))
        }
        Response::Text { code, body } => answer(code, "text/plain; charset=utf-8", None, full(body.into())),
        // Streams are answered before.
        Response::Watch(_) | Response::Log(_) | Response::Session(_) => plain(Response::from(ApiError::no_such_path())),
    }
}

fn answer(code: u16, content_type: &str, retry_after: Option<u32>, body: Body) -> http::Response<Body> {
    let mut response = http::Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Ok(value) = content_type.parse() {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
