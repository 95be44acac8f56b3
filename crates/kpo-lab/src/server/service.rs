//! The way in without sockets: a tower service, as `kube::Client::new` takes it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;

use super::respond::{Incoming, respond};
use super::{BODY_LIMIT, Body, Cluster, Shared};
use crate::api::User;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A lab's API server as a service: no sockets, so it also works under a paused clock. A request without a bearer token is
/// [`LabService`]'s own user's.
pub struct LabService<C> {
    shared: Arc<Shared<C>>,
    user: User,
}

impl<C> Clone for LabService<C> {
    fn clone(&self) -> LabService<C> {
        LabService { shared: self.shared.clone(), user: self.user.clone() }
    }
}

impl<C> std::fmt::Debug for LabService<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LabService").field("user", &self.user.name).finish_non_exhaustive()
    }
}

impl<C: Cluster> LabService<C> {
    pub(crate) fn new(shared: Arc<Shared<C>>, user: User) -> LabService<C> {
        LabService { shared, user }
    }
}

impl<C, B> tower::Service<http::Request<B>> for LabService<C>
where
    C: Cluster,
    B: http_body::Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<http::Response<Body>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (shared, user) = (self.shared.clone(), self.user.clone());
        Box::pin(async move {
            if request.headers().contains_key(header::UPGRADE) {
                return upgraded(shared, user, request).await;
            }
            serve(shared, Some(user), request, None).await
        })
    }
}

/// Reads a request's body and answers it.
pub(super) async fn serve<C, B>(
    shared: Arc<Shared<C>>,
    user: Option<User>,
    request: http::Request<B>,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> io::Result<http::Response<Body>>
where
    C: Cluster,
    B: http_body::Body + Send,
    B::Data: Buf + Send,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let body = match collect(body).await {
        Ok(body) => body,
        Err(error) if error.is::<LengthLimitError>() => return Ok(too_large()),
        Err(error) => return Err(io::Error::other(error)),
    };
    respond(shared, Incoming { parts, body, user, upgrade }).await
}

async fn collect<B>(body: B) -> Result<Bytes, BoxError>
where
    B: http_body::Body,
    B::Data: Buf,
    B::Error: Into<BoxError>,
{
    Ok(Limited::new(body, BODY_LIMIT).collect().await?.to_bytes())
}

/// 413, as `apimachinery/pkg/api/errors` words it.
fn too_large() -> http::Response<Body> {
    let message = format!("Request entity too large: limit is {BODY_LIMIT}");
    let status = crate::error::ApiError::new(413, "RequestEntityTooLarge", message).to_status();
    let body = http_body_util::Full::new(Bytes::from(status.to_string())).map_err(|never| match never {});
    let mut response = http::Response::new(BodyExt::boxed_unsync(body));
    *response.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
    response
}

/// An upgrade needs a connection: a pipe in memory, with a client on this end and the server on the other.
async fn upgraded<C, B>(
    shared: Arc<Shared<C>>,
    user: User,
    request: http::Request<B>,
) -> io::Result<http::Response<Body>>
where
    C: Cluster,
    B: http_body::Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError>,
{
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(connection(shared, Some(user), far));
    let (mut sender, client) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // The request's own future tells of what goes wrong.
        let _ = client.with_upgrades().await;
    });
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).parse();
    parts.uri = path.map_err(io::Error::other)?;
    parts.headers.entry(header::HOST).or_insert(header::HeaderValue::from_static("lab"));
    let body = collect(body).await.map_err(io::Error::other)?;
    let request = http::Request::from_parts(parts, http_body_util::Full::new(body));
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(response.map(|body| BodyExt::boxed_unsync(body.map_err(io::Error::other))))
}

/// Serves one connection until it ends.
pub(super) async fn connection<C, I>(shared: Arc<Shared<C>>, user: Option<User>, io: I)
where
    C: Cluster,
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        let (shared, user) = (shared.clone(), user.clone());
        let wants = request.headers().contains_key(header::UPGRADE);
        let upgrade = wants.then(|| hyper::upgrade::on(&mut request));
        async move { serve(shared, user, request, upgrade).await }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
    if let Err(error) = connection.with_upgrades().await {
        tracing::debug!(%error, "connection broke");
    }
}
