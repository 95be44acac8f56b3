//! Exec against a websocket server on the loopback. Every test ends by an event, none by a clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::SinkExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::Role,
    },
};

use super::{
    ExecCommand, ExecError, ExecOutput,
    exec::{Hindered, converse_until},
};
use crate::{
    hook::{ConnectOptions, KubernetesHook, Source},
    request::{Backoff, Jitter, Notice, Observer, RequestOptions},
    testing::exact_options,
};

type Server = WebSocketStream<TcpStream>;

/// Serves one pod `p`; an exec's websocket is handed to `talk`. Returns the port, and counts websockets.
async fn serve<F, Fut>(protocol: &'static str, uid: &'static str, talk: F) -> (u16, Arc<AtomicUsize>)
where
    F: Fn(Server) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    serve_reads(protocol, move |_| ("200 OK", pod(uid)), talk).await
}

/// The same; `read` answers the nth read of the pod.
async fn serve_reads<F, Fut>(
    protocol: &'static str,
    read: impl Fn(usize) -> (&'static str, Value) + Send + Sync + 'static,
    talk: F,
) -> (u16, Arc<AtomicUsize>)
where
    F: Fn(Server) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (read, reads) = (Arc::new(read), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (talk, count) = (talk.clone(), Arc::clone(&count));
            let (read, reads) = (Arc::clone(&read), Arc::clone(&reads));
            tokio::spawn(async move {
                let mut start = [0; 64];
                let length = stream.peek(&mut start).await.unwrap();
                if !String::from_utf8_lossy(&start[..length]).contains("/exec?") {
                    let (status, body) = read(reads.fetch_add(1, Ordering::SeqCst));
                    return answer_once(stream, status, &body).await;
                }
                count.fetch_add(1, Ordering::SeqCst);
                #[allow(clippy::result_large_err)] // tungstenite's signature
                let negotiate = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                    let offered = request.headers()["sec-websocket-protocol"].to_str().unwrap();
                    assert_eq!(offered, "v5.channel.k8s.io, v4.channel.k8s.io");
                    let query = "container=base&stdout=true&stderr=true&command=cat&command=%2Fa%20b";
                    assert_eq!(request.uri().query(), Some(query));
                    response.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
                    Ok(response)
                };
                talk(accept_hdr_async(stream, negotiate).await.unwrap()).await;
            });
        }
    });
    (port, opened)
}

/// A connection that was kept would carry the exec, too.
async fn answer_once(mut stream: TcpStream, status: &str, body: &Value) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let body = body.to_string();
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn pod(uid: &str) -> Value {
    json!({"kind": "Pod", "metadata": {"name": "p", "uid": uid}})
}

async fn run(port: u16, command: &ExecCommand) -> Result<ExecOutput, ExecError> {
    connect(port, exact_options()).await.pods("ns").exec("p", "u", command).await
}

async fn connect(port: u16, requests: RequestOptions) -> KubernetesHook {
    let kubeconfig = json!({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
    });
    let source = Source::Text(kubeconfig.to_string());
    let options = ConnectOptions { source, requests, ..ConnectOptions::default() };
    KubernetesHook::connect(options).await.unwrap()
}

fn cat() -> ExecCommand {
    ExecCommand::new("base", ["cat", "/a b"])
}

fn frame(channel: u8, data: impl AsRef<[u8]>) -> Message {
    Message::binary([&[channel], data.as_ref()].concat())
}

fn exit(code: i32) -> Message {
    let status = json!({"status": "Failure", "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}});
    frame(3, status.to_string())
}

#[tokio::test]
async fn output_of_both_streams_and_the_exit_code_arrive() {
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io"] {
        let (port, _) = serve(protocol, "u", |mut socket| async move {
            // More than any pipe's buffer, both streams in turn; a byte that is no UTF-8; data after the status.
            for _ in 0..100 {
                socket.send(frame(1, [0xff; 1000])).await.unwrap();
                socket.send(frame(2, [b'e'; 1000])).await.unwrap();
            }
            socket.send(exit(3)).await.unwrap();
            socket.send(frame(1, "last")).await.unwrap();
            socket.close(None).await.unwrap();
        })
        .await;
        let output = run(port, &cat()).await.unwrap();
        assert_eq!((output.exit_code, output.stdout.len(), output.stderr.len()), (3, 100_004, 100_000));
        assert!(output.stdout.ends_with(b"\xfflast") && output.confirmed);
        assert_eq!(
            format!("{output:?}"),
            "ExecOutput { exit_code: 3, stdout: 100004 B, stderr: 100000 B, confirmed: true }"
        );
    }
}

#[tokio::test]
async fn a_success_is_0() {
    let (port, _) = serve("v5.channel.k8s.io", "u", |mut socket| async move {
        socket.send(frame(3, r#"{"status":"Success"}"#)).await.unwrap();
        socket.close(None).await.unwrap();
    })
    .await;
    assert_eq!(run(port, &cat()).await.unwrap().exit_code, 0);
}

#[tokio::test]
async fn a_socket_that_breaks_is_an_error_at_once() {
    let (port, opened) = serve("v5.channel.k8s.io", "u", |mut socket| async move {
        socket.send(frame(1, "half")).await.unwrap();
        drop(socket);
    })
    .await;
    assert!(matches!(run(port, &cat()).await, Err(ExecError::Broken)));
    assert_eq!(opened.load(Ordering::SeqCst), 1, "it is not run again");
}

#[tokio::test]
async fn what_the_runtime_cannot_run_is_told_in_its_words() {
    let (port, _) = serve("v4.channel.k8s.io", "u", |mut socket| async move {
        let status =
            json!({"status": "Failure", "reason": "InternalError", "message": "executable file not found in $PATH"});
        socket.send(frame(3, status.to_string())).await.unwrap();
    })
    .await;
    let error = run(port, &cat()).await.unwrap_err();
    assert_eq!(error.to_string(), "the command could not be run: executable file not found in $PATH");
}

/// That nobody can say at once in which pod it ran is no reason to run it again.
#[tokio::test]
async fn a_command_that_ran_is_not_run_again_for_want_of_an_answer() {
    for (uid, ran) in [("u", true), ("another", false)] {
        let reads = move |nth| match nth {
            0 => ("200 OK", pod("u")),
            1 => ("503 Unavailable", json!({})),
            _ => ("200 OK", pod(uid)),
        };
        let (port, opened) = serve_reads("v5.channel.k8s.io", reads, |mut socket| async move {
            socket.send(frame(3, r#"{"status":"Success"}"#)).await.unwrap();
            socket.close(None).await.unwrap();
        })
        .await;
        // The next try of the short look would come too late.
        let backoff = Backoff { first: Duration::from_secs(10), jitter: Jitter::none(), ..Backoff::default() };
        let hook = connect(port, RequestOptions { backoff, ..exact_options() }).await;
        let ended = hook.pods("ns").exec_again("p", "u", &cat()).await;
        assert_eq!(ended.is_ok(), ran);
        assert_eq!(opened.load(Ordering::SeqCst), 1);
    }
}

/// A server that lets nobody in, and says when to come again.
#[tokio::test]
async fn the_time_that_a_refusal_asks_for_is_waited() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (first, _) = listener.accept().await.unwrap();
        answer_once(first, "200 OK", &pod("u")).await;
        let (second, _) = listener.accept().await.unwrap();
        answer_once(second, "503 Unavailable\r\nretry-after: 7", &json!({})).await;
    });
    let (told, mut notices) = tokio::sync::mpsc::unbounded_channel();
    let observer: Observer = Arc::new(move |notice| {
        if let Notice::Retrying { delay, target, .. } = notice {
            told.send((target.to_string(), *delay)).unwrap();
        }
    });
    let options = RequestOptions { observer: Some(observer), ..exact_options() };
    let pods = connect(port, options).await.pods("ns");
    let command = cat();
    tokio::select! {
        ended = pods.exec_again("p", "u", &command) => panic!("{ended:?}"),
        notice = notices.recv() => {
            let (what, delay) = notice.unwrap();
            assert_eq!((what.as_str(), delay.as_secs()), ("get pods/exec \"p\" in namespace \"ns\"", 7));
        }
    }
}

#[tokio::test]
async fn more_than_the_limit_ends_it() {
    let (port, _) = serve("v5.channel.k8s.io", "u", |mut socket| async move {
        while socket.send(frame(1, [b'x'; 1000])).await.is_ok() {}
    })
    .await;
    let command = ExecCommand { limit: 10_000, ..cat() };
    assert!(matches!(run(port, &command).await, Err(ExecError::TooLarge(10_000))));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_does_not_end_runs_out_of_time() {
    let (ours, theirs) = tokio::io::duplex(1024);
    let socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    let mut server = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
    server.send(frame(1, "half")).await.unwrap();
    let begun = Instant::now();
    let ended = converse_until(Some(begun + Duration::from_secs(60)), socket, &cat()).await;
    assert!(matches!(ended, Err(ExecError::Timeout(_))));
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_falls_silent_is_given_up() {
    let (ours, theirs) = tokio::io::duplex(1024);
    let socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    let mut server = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
    tokio::spawn(async move {
        for _ in 0..10 {
            server.send(frame(1, "more")).await.unwrap();
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
        std::future::pending::<()>().await;
    });
    let begun = Instant::now();
    let command = ExecCommand { timeout: None, idle: Duration::from_secs(10), ..cat() };
    let ended = converse_until(None, socket, &command).await;
    assert!(matches!(ended, Err(ExecError::Timeout(_))));
    assert_eq!(begun.elapsed().as_secs(), 91);
}

#[tokio::test]
async fn a_namesake_is_not_entered() {
    let (port, opened) = serve("v5.channel.k8s.io", "another", |_| async {}).await;
    assert!(matches!(run(port, &cat()).await, Err(ExecError::Gone)));
    assert_eq!(opened.load(Ordering::SeqCst), 0);
}

fn not_run() -> ExecError {
    ExecError::NotRun("OCI runtime exec failed".to_owned())
}

#[tokio::test(start_paused = true)]
async fn what_hinders_each_try_is_borne_for_ten_minutes() {
    let mut hindered = Hindered::default();
    for _ in 0..20 {
        assert!(hindered.for_long(not_run()).is_ok());
        tokio::time::advance(Duration::from_secs(30)).await;
    }
    assert!(matches!(hindered.for_long(not_run()), Err(ExecError::NotRun(_))));
}

/// An outage says nothing of the runtime.
#[tokio::test(start_paused = true)]
async fn another_failure_in_between_begins_that_time_anew() {
    let mut hindered = Hindered::default();
    for error in [not_run(), ExecError::Broken, not_run()] {
        assert!(hindered.for_long(error).is_ok());
        tokio::time::advance(Duration::from_secs(590)).await;
    }
    assert!(hindered.for_long(not_run()).is_ok());
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(hindered.for_long(not_run()).is_err());
}
