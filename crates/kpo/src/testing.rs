//! An API server made of a script, for tests: it records what it is asked and when, and answers in the order of the script. No sockets;
//! it runs on tokio's paused clock.

mod local;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

pub(crate) use local::{LocalServer, TestDir};

use crate::{
    hook::KubernetesHook,
    request::{Backoff, Jitter, RequestOptions},
};

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// Since the server was made.
    pub at: Duration,
    pub method: String,
    pub path: String,
    /// As it was sent, encoded.
    pub query: String,
    /// `Null` if there was none.
    pub body: Value,
}

/// What the server does with a request.
pub(crate) enum Reply {
    /// Answers with a code, headers and a body.
    Answer(u16, Vec<(&'static str, String)>, Bytes),
    /// Answers a create with 201: what was sent, and over it what the server sets.
    Created(Value),
    /// Takes the request and never answers.
    Silence,
    /// Breaks the connection after the request was taken.
    Cut,
    /// Answers 200 and sends these chunks; then the connection breaks, or ends cleanly.
    Stream { chunks: Vec<Bytes>, cut: bool },
    /// Answers 200 and sends these chunks again and again, for as long as somebody takes them; counts the bytes taken.
    Endless(Vec<Bytes>, Arc<AtomicUsize>),
    /// Answers 200 and sends each chunk so many milliseconds after the one before; then it ends as told.
    Timed { steps: Vec<(u64, Bytes)>, end: Ending },
}

/// How a [`Reply::Timed`] ends.
#[derive(Clone, Copy)]
pub(crate) enum Ending {
    Clean,
    Cut,
    /// The connection stays open and silent.
    Hang,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self::Answer(200, vec![], body.to_string().into())
    }

    /// A Kubernetes Status.
    pub(crate) fn status(code: u16, reason: &str, message: &str) -> Self {
        Self::status_with(code, reason, message, json!({}))
    }

    pub(crate) fn status_with(code: u16, reason: &str, message: &str, details: Value) -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code,
        });
        Self::Answer(code, vec![], status.to_string().into())
    }

    pub(crate) fn not_found(name: &str) -> Self {
        let details = json!({"name": name, "kind": "pods"});
        Self::status_with(404, "NotFound", &format!("pods {name:?} not found"), details)
    }

    /// An answer that is no Kubernetes Status.
    pub(crate) fn foreign(code: u16, body: &str) -> Self {
        Self::Answer(code, vec![], Bytes::copy_from_slice(body.as_bytes()))
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

/// What the server answers to a request; `None`: nothing is left of the script.
type Answering = dyn FnMut(&Seen) -> Option<Reply> + Send;

/// The server. Clones share script and record.
#[derive(Clone)]
pub(crate) struct ScriptedServer {
    begun: Instant,
    answering: Arc<Mutex<Box<Answering>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl ScriptedServer {
    /// A server that answers with these, in order. A request beyond the script is answered with 418, which nothing retries.
    pub(crate) fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: VecDeque<Reply> = replies.into_iter().collect();
        Self::scripted(Box::new(move |_| replies.pop_front()))
    }

    /// A server that answers by what it is asked, in whatever order.
    pub(crate) fn answering(mut answer: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        Self::scripted(Box::new(move |asked| Some(answer(asked))))
    }

    fn scripted(answering: Box<Answering>) -> Self {
        Self { begun: Instant::now(), answering: Arc::new(Mutex::new(answering)), seen: Arc::default() }
    }

    /// A hook whose client talks to this server, namespace `ns`, without jitter.
    pub(crate) fn hook(&self) -> KubernetesHook {
        self.hook_with(exact_options())
    }

    pub(crate) fn hook_with(&self, options: RequestOptions) -> KubernetesHook {
        KubernetesHook::from_client(self.client(), options)
    }

    pub(crate) fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| {
            let server = server.clone();
            async move { server.handle(request).await }
        });
        kube::Client::new(service, "ns")
    }

    /// What was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests as `<milliseconds> <METHOD> <path>[?query]`, the form in which tests assert them.
    pub(crate) fn transcript(&self) -> Vec<String> {
        let line = |seen: Seen| {
            let query = if seen.query.is_empty() { String::new() } else { format!("?{}", seen.query) };
            format!("{} {} {}{query}", seen.at.as_millis(), seen.method, seen.path)
        };
        self.seen().into_iter().map(line).collect()
    }

    async fn handle(&self, request: Request<Body>) -> io::Result<Response<UnsyncBoxBody<Bytes, io::Error>>> {
        let at = self.begun.elapsed();
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let asked = Seen {
            at,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        };
        let reply = (self.answering.lock().unwrap_or_else(PoisonError::into_inner))(&asked);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        match reply.unwrap_or_else(|| Reply::foreign(418, "beyond the script")) {
            Reply::Answer(code, headers, body) => Ok(answer(code, headers, body)),
            Reply::Created(set) => {
                let mut object = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                merge(&mut object, set);
                Ok(answer(201, vec![], object.to_string().into()))
            }
            Reply::Silence => std::future::pending().await,
            Reply::Cut => Err(io::ErrorKind::ConnectionReset.into()),
            Reply::Stream { chunks, cut } => Ok(streamed(chunks, cut)),
            Reply::Timed { steps, end } => Ok(timed(steps, end)),
            Reply::Endless(chunks, taken) => Ok(endless(chunks, taken)),
        }
    }
}

/// Sets what is given, deep down; the rest stays.
fn merge(object: &mut Value, set: Value) {
    match (object, set) {
        (Value::Object(object), Value::Object(set)) => {
            for (key, value) in set {
                merge(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, set) => *object = set,
    }
}

/// The default options without jitter and without a limit on the rate.
pub(crate) fn exact_options() -> RequestOptions {
    let mut options = RequestOptions {
        backoff: Backoff { jitter: Jitter::none(), ..Backoff::default() },
        ..RequestOptions::default()
    };
    options.limit.per_second = 0;
    options
}

fn answer(code: u16, headers: Vec<(&'static str, String)>, body: Bytes) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let mut builder = Response::builder().status(code);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    let body = http_body_util::Full::new(body).map_err(|never: Infallible| match never {});
    builder.body(body.boxed_unsync()).expect("a scripted answer is valid")
}

fn streamed(chunks: Vec<Bytes>, cut: bool) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let mut frames: Vec<io::Result<http_body::Frame<Bytes>>> =
        chunks.into_iter().map(|c| Ok(http_body::Frame::data(c))).collect();
    if cut {
        frames.push(Err(io::ErrorKind::ConnectionReset.into()));
    }
    let body = StreamBody::new(futures::stream::iter(frames).boxed());
    Response::new(BodyExt::boxed_unsync(body))
}

fn endless(chunks: Vec<Bytes>, taken: Arc<AtomicUsize>) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let frames = futures::stream::iter(chunks.into_iter().cycle()).map(move |chunk| {
        taken.fetch_add(chunk.len(), Ordering::SeqCst);
        // A copy: what is shared would take no memory.
        Ok(http_body::Frame::data(Bytes::copy_from_slice(&chunk)))
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames.boxed())))
}

fn timed(steps: Vec<(u64, Bytes)>, end: Ending) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let steps = futures::stream::iter(steps).then(|(millis, chunk)| async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(http_body::Frame::data(chunk))
    });
    let end = futures::stream::once(async move {
        match end {
            Ending::Clean => None,
            Ending::Cut => Some(Err(io::ErrorKind::ConnectionReset.into())),
            Ending::Hang => std::future::pending().await,
        }
    });
    let body = StreamBody::new(steps.chain(end.filter_map(std::future::ready)).boxed());
    Response::new(BodyExt::boxed_unsync(body))
}
