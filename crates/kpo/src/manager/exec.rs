//! Running a command in a container, over a websocket (`v5.channel.k8s.io`, else `v4`).

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message},
};

use super::PodManager;
use crate::request::{ApiFailure, ApiRequest, Call, Effect, RequestError, TransportKind, Verb};

/// What is run, and within which limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecCommand {
    /// The container.
    pub container: String,
    /// Program and arguments; no shell is put around them.
    pub command: Vec<String>,
    /// Time for connecting and running. `None`: as long as it takes. Default 60 s.
    pub timeout: Option<Duration>,
    /// Time that may pass without output, once connected. Default 60 s.
    pub idle: Duration,
    /// Bytes of stdout and stderr together, at most. Default 16 MiB.
    pub limit: usize,
}

impl ExecCommand {
    /// A command with the default limits.
    pub fn new<S: Into<String>>(container: impl Into<String>, command: impl IntoIterator<Item = S>) -> Self {
        Self {
            container: container.into(),
            command: command.into_iter().map(Into::into).collect(),
            timeout: Some(Duration::from_secs(60)),
            idle: Duration::from_secs(60),
            limit: 16 << 20,
        }
    }
}

/// A command that ran to its end.
#[derive(Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code.
    pub exit_code: i32,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
    /// Whether the pod still had its UID afterwards, so that the command surely ran in it. `false`: it vanished meanwhile.
    pub confirmed: bool,
}

/// Output may hold a secret: only its size is shown.
impl std::fmt::Debug for ExecOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { exit_code, stdout, stderr, confirmed } = self;
        write!(f, "ExecOutput {{ exit_code: {exit_code}, stdout: {} B, ", stdout.len())?;
        write!(f, "stderr: {} B, confirmed: {confirmed} }}", stderr.len())
    }
}

/// Why a command did not run to its end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExecError {
    /// There is no pod of that name and UID any more.
    #[error("the pod is gone")]
    Gone,
    /// The connection was not opened. The command did not run, unless the failure's effect is unknown.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The container's runtime could not run it; its words.
    #[error("the command could not be run: {0}")]
    NotRun(String),
    /// The connection ended before the command's status came: what became of it is not known.
    #[error("the connection ended before the command did")]
    Broken,
    /// The time is over, in all or since the last output.
    #[error("the command did not end within {0:?}")]
    Timeout(Duration),
    /// It wrote more than the limit.
    #[error("the command wrote more than {0} bytes")]
    TooLarge(usize),
}

/// Time that data after the status is waited for; the server closes at once.
const AFTER_STATUS: Duration = Duration::from_secs(1);

/// Channels of `v4.channel.k8s.io` and later (apimachinery `pkg/util/remotecommand/constants.go`).
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;

/// What a websocket runs over.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Connection for S {}

impl PodManager {
    /// Runs a command in a container.
    ///
    /// ```no_run
    /// # async fn example(pods: kpo::PodManager) -> Result<(), Box<dyn std::error::Error>> {
    /// use kpo::manager::ExecCommand;
    /// let cat = ExecCommand::new("base", ["cat", "/airflow/xcom/return.json"]);
    /// let output = pods.exec("nightly-1", "6f0c…", &cat).await?;
    /// println!("{} {:?}", output.exit_code, output);
    /// # Ok(()) }
    /// ```
    ///
    /// The pod is the one with this UID; all output is collected. stdout and stderr are drained together; a socket that
    /// breaks ends it with an error, at once.
    ///
    /// # Caveats
    /// The API binds an exec to a name, not to a UID: the pod is read before and afterwards ([`ExecOutput::confirmed`]). The command is not sent
    /// again once it may have been run.
    ///
    /// # Errors
    /// See [`ExecError`]. An exit code other than 0 is none.
    pub async fn exec(&self, name: &str, uid: &str, command: &ExecCommand) -> Result<ExecOutput, ExecError> {
        let deadline = command.timeout.map(|timeout| Instant::now() + timeout);
        let call = Call::until(deadline);
        if !self.is_same(name, uid, call).await? {
            return Err(ExecError::Gone);
        }
        let socket = self.requests().websocket(&exec_request(self.namespace(), name, command), call).await?;
        let mut output = converse_until(deadline, socket, command).await?;
        output.confirmed = self.is_same(name, uid, Call::within(AFTER_STATUS)).await.unwrap_or(false);
        Ok(output)
    }

    /// Runs a command that does no harm when it is run again, until it has run to its end in that very pod. What comes in between (a
    /// connection that breaks or falls silent, an API server or a node in distress) is ridden out and told as a request's failures are.
    ///
    /// # Errors
    /// The pod is gone, exec is refused or hindered for ten minutes, or the output is too large.
    pub(crate) async fn exec_again(
        &self,
        name: &str,
        uid: &str,
        command: &ExecCommand,
    ) -> Result<ExecOutput, ExecError> {
        let request = exec_request(self.namespace(), name, command);
        let mut attempts = self.requests().attempts(&request, Call::forever());
        let mut hindered = Hindered::default();
        loop {
            // The tries are counted here; their requests take turns and slots of their own.
            attempts.begin(false).await?;
            let failure = match self.exec(name, uid, command).await {
                Ok(output) if output.confirmed || self.is_same(name, uid, Call::forever()).await? => {
                    return Ok(attempts.succeeded(output));
                }
                Ok(_) => return Err(ExecError::Gone),
                Err(error) => self.passing(hindered.for_long(error)?)?,
            };
            attempts.again(failure).await?;
        }
    }

    /// What passes by itself, as the failure of a request.
    fn passing(&self, error: ExecError) -> Result<ApiFailure, ExecError> {
        match error {
            ExecError::Broken => Ok(self.requests().no_answer(TransportKind::Broken)),
            ExecError::Timeout(_) => Ok(self.requests().no_answer(TransportKind::Timeout)),
            // Not found: the container has yet to be started, or its pod is gone, which the next look tells.
            ExecError::Request(error) if error.failure.is_transient() || error.failure.is_not_found() => {
                Ok(error.failure)
            }
            // The container runs, and its shell with it: what hinders a second one is its node's trouble.
            ExecError::NotRun(words) => Ok(ApiFailure::from_status_object(&json!({"code": 500, "message": words}))),
            other => Err(other),
        }
    }

    async fn is_same(&self, name: &str, uid: &str, call: Call) -> Result<bool, RequestError> {
        Ok(self.get(name, call).await?.is_some_and(|pod| pod["metadata"]["uid"] == uid))
    }
}

/// How long it is borne that a command is hindered each time, though its pod is there and the API server answers. A node that is short of
/// memory or processes recovers within minutes, or evicts pods, which the watch shows; a runtime that runs no second process in a container
/// never will, nor a proxy that opens no websocket: nothing else would ever end that wait.
const HINDERED_FOR: Duration = Duration::from_secs(600);

/// Since when each try has met a hindrance that may not pass.
#[derive(Default)]
pub(super) struct Hindered(Option<Instant>);

impl Hindered {
    /// Bears it, unless it has lasted for too long.
    pub(super) fn for_long(&mut self, error: ExecError) -> Result<ExecError, ExecError> {
        let may_last = match &error {
            ExecError::NotRun(_) => true,
            ExecError::Request(error) => error.failure.is_foreign(),
            _ => false,
        };
        if !may_last {
            self.0 = None;
            return Ok(error);
        }
        let since = *self.0.get_or_insert_with(Instant::now);
        if since.elapsed() < HINDERED_FOR { Ok(error) } else { Err(error) }
    }
}

/// A GET: RFC 6455 asks for it.
fn exec_request(namespace: &str, name: &str, command: &ExecCommand) -> ApiRequest {
    let request = ApiRequest::core(Verb::Get, namespace, "pods", Some(name)).subresource("exec");
    let request = request.query("container", &command.container).query("stdout", "true").query("stderr", "true");
    command.command.iter().fold(request, |request, word| request.query("command", word))
}

pub(super) async fn converse_until<S: Connection>(
    deadline: Option<Instant>,
    socket: WebSocketStream<S>,
    command: &ExecCommand,
) -> Result<ExecOutput, ExecError> {
    let talk = converse(socket, command);
    match deadline.zip(command.timeout) {
        Some((deadline, limit)) => timeout_at(deadline, talk).await.unwrap_or(Err(ExecError::Timeout(limit))),
        None => talk.await,
    }
}

async fn converse<S: Connection>(
    mut socket: WebSocketStream<S>,
    command: &ExecCommand,
) -> Result<ExecOutput, ExecError> {
    let ExecCommand { limit, idle, .. } = *command;
    let mut output = ExecOutput { exit_code: 0, stdout: Vec::new(), stderr: Vec::new(), confirmed: false };
    let status = loop {
        match timeout(idle, next_frame(&mut socket)).await.map_err(|_| ExecError::Timeout(idle))? {
            Some(frame) => match take(&mut output, frame, limit)? {
                Some(status) => break status,
                None => continue,
            },
            None => return Err(ExecError::Broken),
        }
    };
    // Data of the other streams may be under way still.
    let rest = async {
        while let Some(frame) = next_frame(&mut socket).await {
            take(&mut output, frame, limit)?;
        }
        Ok::<_, ExecError>(())
    };
    if let Ok(end) = timeout(AFTER_STATUS, rest).await {
        end?;
    }
    let _ = socket.close(None).await;
    output.exit_code = exit_code(&status)?;
    Ok(output)
}

/// The next message with a channel; `None` when the connection has ended or broken. Pings are answered.
async fn next_frame<S: Connection>(socket: &mut WebSocketStream<S>) -> Option<Vec<u8>> {
    loop {
        match socket.next().await? {
            Ok(Message::Binary(bytes)) => return Some(bytes.into()),
            Ok(Message::Text(text)) => return Some(text.as_bytes().to_vec()),
            Ok(Message::Ping(_)) => socket.flush().await.ok()?,
            Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed) => return None,
            Ok(_) => (),
            Err(_) => return None,
        }
    }
}

/// Files a frame under its channel; returns the status when it comes.
fn take(output: &mut ExecOutput, frame: Vec<u8>, limit: usize) -> Result<Option<Value>, ExecError> {
    let Some((channel, data)) = frame.split_first() else { return Ok(None) };
    match *channel {
        STDOUT => output.stdout.extend_from_slice(data),
        STDERR => output.stderr.extend_from_slice(data),
        STATUS => return Ok(Some(serde_json::from_slice(data).unwrap_or(Value::Null))),
        _ => (), // v5's close of a channel
    }
    if output.stdout.len() + output.stderr.len() > limit {
        return Err(ExecError::TooLarge(limit));
    }
    Ok(None)
}

/// `Success` is 0; `NonZeroExitCode` carries the code as a cause (apiserver, `pkg/util/remotecommand` v4).
fn exit_code(status: &Value) -> Result<i32, ExecError> {
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes.into_iter().flatten().find(|cause| cause["reason"] == "ExitCode");
    match code.and_then(|cause| cause["message"].as_str()?.parse().ok()) {
        Some(code) if status["reason"] == "NonZeroExitCode" => Ok(code),
        _ => Err(ExecError::NotRun(status["message"].as_str().unwrap_or("the status is not readable").to_owned())),
    }
}

impl ExecError {
    /// Whether the command may have run, wholly or in part.
    pub fn effect(&self) -> Effect {
        match self {
            ExecError::Gone | ExecError::NotRun(_) => Effect::None,
            ExecError::Request(error) => match error.failure {
                ApiFailure::Transport { effect, .. } => effect,
                _ => Effect::None,
            },
            ExecError::Broken | ExecError::Timeout(_) | ExecError::TooLarge(_) => Effect::Unknown,
        }
    }
}
