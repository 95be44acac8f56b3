//! Opening a websocket. kube's own way forgets the headers of a refusal, and with them its `Retry-After`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::time::timeout as within;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::{client::generate_key, derive_accept_key},
        protocol::Role,
    },
};

use super::{
    ApiFailure, ApiRequest,
    transport::{Attempt, broken, send, timed_out},
};
use crate::hook::Connection;

/// A websocket over a connection to the API server.
pub(crate) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// What is spoken over it (apimachinery `pkg/util/remotecommand/constants.go`), the best first.
const PROTOCOLS: &str = "v5.channel.k8s.io, v4.channel.k8s.io";

/// One attempt at opening a websocket within `timeout`.
pub(super) async fn websocket(connection: &Connection, request: &ApiRequest, timeout: Duration) -> Attempt<Socket> {
    let (generation, client) = connection.current();
    let opened = within(timeout, open(connection, &client, request)).await;
    (generation, opened.unwrap_or_else(|_| Err(timed_out(connection))))
}

async fn open(connection: &Connection, client: &kube::Client, request: &ApiRequest) -> Result<Socket, ApiFailure> {
    let key = generate_key();
    let answer = send(connection, client, request, upgrade_request(request, &key)).await?;
    if !is_upgraded(&answer, &key) {
        return Err(ApiFailure::Unreadable { code: answer.status().as_u16() });
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(|error| broken(connection, Box::new(error)))?;
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
}

fn upgrade_request(request: &ApiRequest, key: &str) -> Request<Body> {
    let builder = Request::get(request.uri())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOLS);
    builder.body(Body::empty()).expect("an encoded path and static headers are valid")
}

/// RFC 6455, section 4.1, and one of our protocols.
fn is_upgraded(answer: &Response<Body>, key: &str) -> bool {
    let headers = answer.headers();
    let says = |name, words: &str| text(headers, name).is_some_and(|text| text.eq_ignore_ascii_case(words));
    let protocol = text(headers, header::SEC_WEBSOCKET_PROTOCOL);
    answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && says(header::UPGRADE, "websocket")
        && says(header::CONNECTION, "upgrade")
        && text(headers, header::SEC_WEBSOCKET_ACCEPT) == Some(&derive_accept_key(key.as_bytes()))
        && protocol.is_some_and(|protocol| PROTOCOLS.split(", ").any(|ours| ours == protocol))
}

fn text(headers: &HeaderMap<HeaderValue>, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
