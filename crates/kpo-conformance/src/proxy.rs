//! A proxy of the test's between kpo and the API server: plain HTTP/1.1 on the loopback towards kpo, which is given a kubeconfig of the
//! proxy's; the namespace's account behind it. A rule says what befalls each request; a book keeps them all.

mod wire;

use crate::Error;
use crate::cluster::Namespace;
use crate::target::forwarding_client;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
pub(crate) use wire::Exchange;
use wire::{Line, Metered};

/// Before the API server has the request, or after it has done what was asked and kpo has not heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// In whose words a refusal is: a Status of the API server's, or the plain text of something in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    Server,
    Gateway,
}

/// What befalls a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Pass,
    /// The connection ends before the API server has the request.
    Lose,
    /// The connection ends after so many bytes of the answer, its header counted; by a reset that may overtake them, or in good order.
    Cut { after: u64, reset: bool },
    /// After so many bytes of the answer nothing more comes, and the connection stays: a machine in between that is gone.
    Stall { after: u64 },
    /// Another answer than the API server's; `Retry-After` in seconds.
    Answer { code: u16, retry_after: Option<u32>, words: Words, moment: Moment },
    /// 200 and nothing: a watch that ends as soon as it begins.
    Empty,
    /// No answer for as long as kpo lives; [`Proxy::held`] tells of it.
    Hold(Moment),
}

/// Which request: its verb and resource, and which of those that are alike, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) what: String,
    pub(crate) nth: usize,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.what, self.nth)
    }
}

type Rule = Box<dyn Fn(&Asked) -> Fault + Send + Sync>;

pub(crate) struct Proxy {
    kubeconfig: PathBuf,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    client: Client,
    rule: Rule,
    book: Mutex<Book>,
    held: Notify,
    cut: Notify,
}

#[derive(Default)]
struct Book {
    exchanges: Vec<Arc<Exchange>>,
    counts: BTreeMap<String, usize>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
        // It leads to nobody any more.
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

impl Proxy {
    /// Serves until it is dropped.
    pub(crate) async fn start(
        namespace: &Namespace<'_>,
        rule: impl Fn(&Asked) -> Fault + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let client = forwarding_client(namespace.kubeconfig()).await?;
        let shared = Arc::new(Shared {
            client,
            rule: Box::new(rule),
            book: Mutex::default(),
            held: Notify::new(),
            cut: Notify::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let kubeconfig = write_kubeconfig(port)?;
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { kubeconfig, shared, serving })
    }

    /// What leads kpo here.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Every request so far.
    pub(crate) fn exchanges(&self) -> Vec<Arc<Exchange>> {
        self.shared.book().exchanges.clone()
    }

    /// How many requests something has befallen.
    pub(crate) fn befallen(&self) -> usize {
        self.exchanges().iter().filter(|exchange| exchange.is_befallen()).count()
    }

    /// Ends every connection that there is.
    pub(crate) fn cut(&self) {
        self.shared.cut.notify_waiters();
    }

    /// How many such requests there were so far.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.exchanges().iter().filter(|exchange| exchange.asked.what == what).count()
    }

    /// Every request, and what befell it, for a person.
    pub(crate) fn told(&self) -> String {
        let exchanges = self.exchanges();
        let line = |exchange: &Arc<Exchange>| {
            let after = exchange.came.duration_since(exchanges[0].came).as_secs_f64();
            let fault = if exchange.is_befallen() { format!("{:?}", exchange.fault) } else { String::new() };
            format!("  {after:5.1} s {}: {} bytes {fault}\n", exchange.asked, exchange.written())
        };
        format!("the proxy saw\n{}", exchanges.iter().map(line).collect::<String>())
    }

    /// Waits until a request is held.
    pub(crate) async fn held(&self) {
        self.shared.held.notified().await;
    }
}

fn write_kubeconfig(port: u16) -> Result<PathBuf, Error> {
    let cluster = json!({"name": "proxy", "cluster": {"server": format!("http://127.0.0.1:{port}")}});
    let context = json!({"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}});
    let config = json!({"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context],
        "users": [{"name": "nobody", "user": {}}], "current-context": "proxy"});
    let path = std::env::temp_dir().join(format!("kpo-conformance-{}-{port}.kubeconfig", std::process::id()));
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // They end with this.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// A connection that breaks off is what a test wants of it.
async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let line = Line::default();
    let metered = TokioIo::new(Metered::new(stream, line.clone()));
    let ours = Arc::clone(&shared);
    let service = service_fn(move |request| {
        let (shared, line) = (Arc::clone(&ours), line.clone());
        async move { shared.answer(request, &line).await }
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(metered, service);
    tokio::select! {
        _ = served => (),
        () = shared.cut.notified() => (),
    }
}

impl Shared {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, request: &Request<Incoming>) -> Arc<Exchange> {
        let what = what(request);
        let mut book = self.book();
        let nth = book.counts.entry(what.clone()).and_modify(|count| *count += 1).or_insert(1);
        let asked = Asked { what, nth: *nth };
        let fault = (self.rule)(&asked);
        let exchange = Arc::new(Exchange::new(asked, fault));
        book.exchanges.push(Arc::clone(&exchange));
        exchange
    }

    /// An error ends the connection without an answer.
    async fn answer(&self, request: Request<Incoming>, line: &Line) -> io::Result<Response<Body>> {
        let exchange = self.enter(&request);
        line.carries(&exchange);
        match exchange.fault {
            Fault::Pass | Fault::Cut { .. } | Fault::Stall { .. } => self.forward(request).await,
            Fault::Lose => {
                exchange.befalls();
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Fault::Answer { code, retry_after, words, moment } => {
                if moment == Moment::After {
                    self.forward(request).await?;
                }
                exchange.befalls();
                refusal(code, retry_after, words).map_err(io::Error::other)
            }
            Fault::Empty => {
                exchange.befalls();
                Ok(Response::new(Body::empty()))
            }
            Fault::Hold(moment) => {
                // Its body is not read: of one that streams there may be no end.
                let _answer = if moment == Moment::After { Some(self.forward(request).await?) } else { None };
                exchange.befalls();
                self.held.notify_one();
                std::future::pending().await
            }
        }
    }

    async fn forward(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (mut head, body) = request.into_parts();
        for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            head.headers.remove(name);
        }
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let answer = self.client.send(Request::from_parts(head, Body::from(body))).await;
        let mut answer = answer.map_err(io::Error::other)?;
        for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
            answer.headers_mut().remove(name);
        }
        Ok(answer)
    }
}

/// As the API server, or something in front of it, refuses.
fn refusal(code: u16, retry_after: Option<u32>, words: Words) -> http::Result<Response<Body>> {
    let reason = match code {
        403 => "Forbidden",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        _ => "Timeout",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": "the test's proxy says no"});
    let (kind, body) = match words {
        Words::Server => ("application/json", status.to_string()),
        Words::Gateway => ("text/plain", "the test's gateway says no".to_owned()),
    };
    let mut answer = Response::builder().status(code).header(header::CONTENT_TYPE, kind);
    if let Some(seconds) = retry_after {
        answer = answer.header(header::RETRY_AFTER, seconds);
    }
    answer.body(Body::from(body.into_bytes()))
}

/// Verb and resource, with an attempt's number in place of its pod's name; of a log its container, and whether it is read again.
fn what(request: &Request<Incoming>) -> String {
    let query = request.uri().query().unwrap_or_default();
    let parts: Vec<&str> = request.uri().path().split('/').skip(5).collect();
    let verb = match request.method().as_str() {
        "GET" if query.contains("watch=true") => "watch",
        "GET" if parts.len() < 2 => "list",
        "GET" => "get",
        "POST" => "create",
        "PATCH" => "patch",
        "DELETE" => "delete",
        other => other,
    };
    let attempt = parts.get(1).map(|name| format!("/{}", name.rsplit('-').next().unwrap_or(name))).unwrap_or_default();
    let sub = parts.get(2).map(|sub| format!("/{sub}")).unwrap_or_default();
    let container = query.split('&').find_map(|pair| pair.strip_prefix("container=")).map(|name| format!(" {name}"));
    let how = match sub.as_str() {
        "/log" if !query.contains("follow=true") => " again",
        _ if query.contains("dryRun=") => " dry",
        _ => "",
    };
    format!("{verb} {}{attempt}{sub}{}{how}", parts.first().unwrap_or(&""), container.unwrap_or_default())
}
