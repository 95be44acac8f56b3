//! Exec and attach over a websocket: the protocols `v4.channel.k8s.io` and `v5.channel.k8s.io`
//! (`k8s.io/apimachinery/pkg/util/remotecommand`, `k8s.io/kubelet/pkg/cri/streaming/remotecommand/websocket.go`).

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};

use super::Body;
use crate::error::ApiError;
use crate::runtime::{Session, SessionOutput};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// v5: the client closes a channel.
const CLOSE: u8 = 255;

const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// An accepted handshake.
pub(super) struct Handshake {
    key: String,
    protocol: String,
}

/// Reads a client's handshake.
///
/// # Errors
/// 400 for anything but a websocket with a protocol that is served; SPDY is none.
pub(super) fn accept(headers: &HeaderMap) -> Result<Handshake, ApiError> {
    let text = |name: header::HeaderName| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.collect::<Vec<_>>().join(",")
    };
    if !text(header::UPGRADE).eq_ignore_ascii_case("websocket") {
        return Err(ApiError::bad_request("only websocket upgrades are served"));
    }
    let key = text(header::SEC_WEBSOCKET_KEY);
    let offered = text(header::SEC_WEBSOCKET_PROTOCOL);
    let offered: Vec<&str> = offered.split(',').map(str::trim).collect();
    let protocol = PROTOCOLS.into_iter().find(|known| offered.contains(known));
    let message = format!("unable to negotiate protocol: client supports {offered:?}, server accepts {PROTOCOLS:?}");
    let protocol = protocol.ok_or_else(|| ApiError::bad_request(message))?;
    Ok(Handshake { key, protocol: protocol.to_owned() })
}

impl Handshake {
    /// 101 Switching Protocols.
    pub(super) fn response(&self) -> http::Response<Body> {
        let mut response = http::Response::new(BodyExt::boxed_unsync(Empty::new().map_err(|never| match never {})));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept = derive_accept_key(self.key.as_bytes());
        for (name, value) in [(header::SEC_WEBSOCKET_ACCEPT, &accept), (header::SEC_WEBSOCKET_PROTOCOL, &self.protocol)]
        {
            if let Ok(value) = value.parse() {
                headers.insert(name, value);
            }
        }
        response
    }
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Carries a session, or why there is none, over an upgraded connection until one side ends.
pub(super) async fn serve(upgrade: OnUpgrade, session: Result<Session, ApiError>, handshake: Handshake, attach: bool) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "the client did not go through with the upgrade");
            return;
        }
    };
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    tracing::debug!(protocol = handshake.protocol, "session opened");
    let carried = match session {
        Ok(session) => carry(socket, session, attach).await,
        Err(error) => {
            let (mut sink, mut source) = socket.split();
            end(&mut sink, &mut source, &error.to_status()).await
        }
    };
    if let Err(error) = carried {
        tracing::debug!(%error, "session broke");
    }
}

type Broken = Box<tokio_tungstenite::tungstenite::Error>;

async fn carry(socket: Socket, session: Session, attach: bool) -> Result<(), Broken> {
    let (mut sink, mut source) = socket.split();
    let Session { mut output, stdin } = session;
    let mut stdin = Stdin { sender: stdin, waiting: None };
    loop {
        tokio::select! {
            piece = output.recv() => match piece {
                Some(SessionOutput::Stdout(bytes)) => sink.send(frame(STDOUT, &bytes)).await?,
                Some(SessionOutput::Stderr(bytes)) => sink.send(frame(STDERR, &bytes)).await?,
                Some(SessionOutput::Exited(code)) => {
                    // Attach ends well whatever the program's code: that is the pod's to say.
                    return end(&mut sink, &mut source, &exit_status(if attach { 0 } else { code })).await;
                }
                None => {
                    let gone = ApiError::new(500, "InternalError", "the container runtime went away");
                    return end(&mut sink, &mut source, &gone.to_status()).await;
                }
            },
            () = stdin.pass_on(), if stdin.waiting.is_some() => {}
            // A slow program makes its client wait, but not its own output.
            message = source.next(), if stdin.waiting.is_none() => match message {
                Some(Ok(Message::Binary(bytes))) => stdin.receive(bytes),
                Some(Ok(Message::Ping(bytes))) => sink.send(Message::Pong(bytes)).await?,
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            },
        }
    }
}

/// A program's standard input, as far as it is wanted.
struct Stdin {
    sender: Option<mpsc::Sender<Bytes>>,
    /// Received, but not taken yet.
    waiting: Option<Bytes>,
}

impl Stdin {
    /// Takes what a client sent: standard input, or its end.
    fn receive(&mut self, bytes: Bytes) {
        match bytes.first() {
            Some(&STDIN) if bytes.len() > 1 && self.sender.is_some() => self.waiting = Some(bytes.slice(1..)),
            Some(&CLOSE) if bytes.get(1) == Some(&STDIN) => self.sender = None,
            // Resizing has no meaning without a terminal.
            _ => {}
        }
    }

    /// Hands what waits to the program as soon as it takes it. Cancel-safe.
    async fn pass_on(&mut self) {
        let Some(sender) = self.sender.clone() else {
            self.waiting = None;
            return;
        };
        match (sender.reserve().await, self.waiting.take()) {
            (Ok(room), Some(bytes)) => room.send(bytes),
            // The program has closed its end.
            _ => self.sender = None,
        }
    }
}

/// The Status, and a proper close: kubectl takes any other code for a failure.
async fn end(
    sink: &mut SplitSink<Socket, Message>,
    source: &mut SplitStream<Socket>,
    status: &Value,
) -> Result<(), Broken> {
    sink.send(frame(ERROR, status.to_string().as_bytes())).await?;
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    sink.send(Message::Close(Some(normal))).await?;
    // The client's own close frame, or the end of its connection.
    while let Some(Ok(message)) = source.next().await {
        if message.is_close() {
            break;
        }
    }
    Ok(())
}

fn frame(channel: u8, bytes: &[u8]) -> Message {
    let mut frame = BytesMut::with_capacity(bytes.len() + 1);
    frame.put_u8(channel);
    frame.extend_from_slice(bytes);
    Message::Binary(frame.freeze())
}

/// The Status that ends a session (`kubelet/pkg/cri/streaming/remotecommand/exec.go`).
fn exit_status(code: i32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}
