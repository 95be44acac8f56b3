//! Results: the tables, and the very scripts run by the machine's shell.

use std::{
    fs,
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::testing::{Reply, ScriptedServer};

fn options() -> SidecarOptions {
    SidecarOptions { path: "/r/out.json".into(), ..SidecarOptions::new("box:1") }
}

fn sum(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn inline(content: &str) -> String {
    format!("kpo-result/1 inline {} {}\n{content}", content.len(), sum(content.as_bytes()))
}

fn program() -> Value {
    json!({
        "metadata": {"name": "a-1", "namespace": "ns"},
        "spec": {
            "x-unknown": {"kept": true},
            "initContainers": [{"name": "prepare", "image": "i"}],
            "containers": [{"name": "base", "image": "b", "env": [{"name": "A", "value": "1"}]}, {"name": "proxy", "image": "p"}],
        },
    })
}

/// A pod in which a container ended with a message.
fn ended(container: &str, message: Option<&str>) -> Pod {
    let state = json!({"terminated": {"exitCode": 0, "message": message}});
    let status = json!({"name": container, "state": state});
    serde_json::from_value(json!({
        "metadata": {"name": "a-1", "namespace": "ns", "uid": "u"},
        "spec": {"containers": [{"name": "base"}, {"name": "x"}, {"name": "y"}], "initContainers": [{"name": CONTAINER}]},
        "status": {"containerStatuses": [status]},
    }))
    .expect("a pod")
}

#[test]
fn the_sidecar_is_added_and_nothing_else_is_touched() {
    let mut pod = program();
    let plan = add_sidecar(&mut pod, "base", &options()).expect("it fits");
    assert_eq!(plan, Plan::Sidecar { path: "/r/out.json".into(), limit: 4 << 20 });
    assert_eq!(detect(&pod, "base"), Some(plan));
    let mut sidecar = pod["spec"]["initContainers"][1].take();
    let command = sidecar["command"].take();
    assert_eq!(
        sidecar,
        json!({
            "name": "kpo-result", "image": "box:1", "command": null, "restartPolicy": "Always",
            "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "50m", "memory": "32Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
                "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumeMounts": [{"name": "kpo-result", "mountPath": "/r"}],
        })
    );
    // 12288 bytes among four containers, or among twelve once eight were injected; less the report's first line.
    let arguments: Vec<_> = command.as_array().expect("a list")[4..].to_vec();
    assert_eq!(json!(arguments), json!(["/r/out.json", "914", "2962", "4194304"]));

    let mut expected = program();
    expected["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "kpo-result", "mountPath": "/r"}]);
    expected["spec"]["volumes"] = json!([{"name": "kpo-result", "emptyDir": {}}]);
    expected["spec"]["initContainers"] = json!([{"name": "prepare", "image": "i"}, null]);
    assert_eq!(pod, expected);
}

#[test]
fn a_volume_that_is_mounted_there_already_is_shared() {
    let mut pod = program();
    let mount = json!({"name": "mine", "mountPath": "/r/", "subPath": "s"});
    pod["spec"]["containers"][0]["volumeMounts"] = json!([mount]);
    pod["spec"]["volumes"] = json!([{"name": "mine", "emptyDir": {}}]);
    let before = pod.clone();
    add_sidecar(&mut pod, "base", &options()).expect("it fits");
    assert_eq!(pod["spec"]["initContainers"][1]["volumeMounts"], json!([mount]));
    assert_eq!(pod["spec"]["containers"], before["spec"]["containers"]);
    assert_eq!(pod["spec"]["volumes"], before["spec"]["volumes"]);
}

#[test]
fn the_sidecar_runs_as_the_programs_user() {
    for (on_pod, on_container, expected) in [
        (Value::Null, Value::Null, json!(65532)),
        (json!(1000), Value::Null, json!(1000)),
        (json!(1000), json!(2000), json!(2000)),
        (Value::Null, json!(0), json!(65532)),
    ] {
        let mut pod = program();
        pod["spec"]["securityContext"] = json!({"runAsUser": on_pod});
        pod["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": on_container});
        add_sidecar(&mut pod, "base", &options()).expect("it fits");
        assert_eq!(pod["spec"]["initContainers"][1]["securityContext"]["runAsUser"], expected);
    }
    let mut pod = program();
    add_sidecar(&mut pod, "base", &SidecarOptions { user: None, ..options() }).expect("it fits");
    assert_eq!(pod["spec"]["initContainers"][1]["securityContext"].get("runAsUser"), None);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_the_manifest_as_it_was() {
    let with = |path: &str| SidecarOptions { path: path.into(), ..options() };
    for path in ["", "out.json", "/out.json", "/r/", "/r/../out", "/r//out", "/./out", "r/out", "/r/.."] {
        let mut pod = program();
        assert_eq!(add_sidecar(&mut pod, "base", &with(path)), Err(ManifestError::Path(path.into())));
        assert_eq!(pod, program());
    }
    let mut pod = program();
    assert_eq!(add_sidecar(&mut pod, "bsae", &options()), Err(ManifestError::NoContainer("bsae".into())));
    assert_eq!(pod, program());
    for (list, kind) in [("containers", "container"), ("initContainers", "container"), ("volumes", "volume")] {
        let mut pod = program();
        pod["spec"][list] = json!([{"name": "kpo-result"}]);
        let before = pod.clone();
        assert_eq!(add_sidecar(&mut pod, "base", &options()), Err(ManifestError::NameTaken { kind }));
        assert_eq!(pod, before);
    }
}

/// Each container has its share of 12 KiB; what is less than a report's first line carries nothing.
#[test]
fn a_pod_of_too_many_containers_has_no_room_for_a_report() {
    let pod = |others: usize| {
        let mut pod = program();
        let containers = pod["spec"]["containers"].as_array_mut().unwrap();
        containers.extend((containers.len()..others).map(|nth| json!({"name": format!("c{nth}"), "image": "i"})));
        pod
    };
    let taken = |others| add_sidecar(&mut pod(others), "base", &options()).map_err(|error| error.to_string());
    assert!(taken(96).is_ok() && taken(109).is_ok());
    let said = "the pod has 112 containers: each has 109 bytes of their termination messages, and kpo's needs 110 to report a result";
    assert_eq!(taken(110).unwrap_err(), said);
    assert!(taken(200).is_err());
}

#[test]
fn the_programs_own_termination_message() {
    let mut pod = program();
    let plan = add_message(&mut pod, "base", "/r/out.json").expect("it fits");
    assert_eq!(pod["spec"]["containers"][0]["terminationMessagePath"], "/r/out.json");
    assert_eq!(pod["spec"]["containers"][0]["terminationMessagePolicy"], "File");
    assert_eq!(detect(&pod, "base"), Some(plan.clone()));
    assert_eq!(add_message(&mut pod, "base", "/r/out.json"), Ok(plan));
    let taken = ManifestError::MessageTaken { container: "base".into(), path: "/r/out.json".into() };
    assert_eq!(add_message(&mut pod, "base", "/r/other.json"), Err(taken));
    assert_eq!(detect(&program(), "base"), None);
}

#[test]
fn the_container_that_waits_for_an_exec() {
    let mut pod = program();
    let plan = add_waiter(&mut pod, "base", &options()).expect("it fits");
    assert_eq!(plan, Plan::Exec { path: "/r/out.json".into(), limit: 4 << 20 });
    assert_eq!(detect(&pod, "base"), Some(plan));
    assert_eq!(pod["spec"]["containers"][2]["name"], "kpo-result");
    let mut other = program();
    add_sidecar(&mut other, "base", &options()).expect("it fits");
    assert_eq!(pod["spec"]["containers"][2]["command"], other["spec"]["initContainers"][1]["command"]);
    assert_eq!(pod["spec"]["containers"][2].get("restartPolicy"), None);
}

#[test]
fn each_container_has_its_share_of_the_messages() {
    let shares = [1, 2, 3, 4, 5, 12, 40].map(message_limit);
    assert_eq!(shares, [4096, 4096, 4096, 3072, 2457, 1024, 307]);
}

#[test]
fn reports() {
    let found = |report: &str| match decode_frame(report.as_bytes(), "/r/out.json", 5000) {
        Ok(Report::Complete(bytes)) => String::from_utf8(bytes).expect("text"),
        Ok(Report::InLog { length, .. }) => format!("in the log: {length}"),
        Ok(Report::Cut { length, got, .. }) => format!("cut: {got} of {length}"),
        Err(error) => error.to_string(),
    };
    let not_understood =
        r#"the report of container "kpo-result" is not understood: is its image or command another one?"#;
    for (report, expected) in [
        (inline("{\"a\":\n1}"), "{\"a\":\n1}"),
        (inline(""), ""),
        (inline("ü"), "ü"),
        (inline("abcdef").replace("abcdef", "abc"), "cut: 3 of 6"),
        (inline("abcdef").replace("abcdef", "abcdeg"), DAMAGED),
        (inline("abc") + "d", DAMAGED),
        // A byte that was no text: the API server has put a character there.
        (inline("\"a?\"").replace('?', "\u{fffd}"), NO_TEXT),
        ("kpo-result/1 log 9000 00".into(), "in the log: 9000"),
        ("kpo-result/1 too-large 6000\n".into(), "the result is too large: it has 6000 bytes, the limit is 5000 bytes"),
        (
            "kpo-result/1 missing\n".into(),
            r#"the program left no result: before it ends it must write one JSON value to the file "/r/out.json""#,
        ),
        (
            "kpo-result/1 unreadable\n".into(),
            "the result \"/r/out.json\" cannot be read by kpo's container: make the file readable, or run both as the same user",
        ),
        (
            "kpo-result/1 waiting\n".into(),
            "nothing was handed over: container \"kpo-result\" left no report (it was stopped before it could look for the result)",
        ),
        ("kpo-result/2 inline 1 x\n1".into(), not_understood),
        ("sh: base64: not found".into(), not_understood),
    ] {
        assert_eq!(found(&report), expected, "{report}");
    }
}

const DAMAGED: &str = "the result was damaged on its way: its checksum does not match";
const NO_TEXT: &str = "the result is not UTF-8 text (its byte 3 belongs to no character): write other bytes as base64";

#[test]
fn the_programs_message_counts_at_the_limit_only_if_it_is_whole() {
    let read = |message: &str| decode_message(message, "/r/out.json", 20).map_err(|e| e.to_string());
    let too_large = Err("the result is too large: it reaches the limit, the limit is 20 bytes".to_owned());
    for (message, whole) in [
        (r#"{"a": 1}"#, true),
        ("1234567890123456", true),       // below the limit by four
        ("12345678901234567", false),     // a number may go on
        (r#"{"a": "0123456789"}"#, true), // an object that ends is whole
        (r#"{"a": "01234567890""#, false),
        ("[1, 2, 3, 4, 5, 6,7]", true),
        (r#""01234567890123456""#, false), // the tail of a longer string may look like this
        ("{\"a\": \"0123456\u{fffd}", false),
    ] {
        let expected = if whole { Ok(message.to_owned()) } else { too_large.clone() };
        assert_eq!(read(message), expected, "{message}");
    }
    assert!(matches!(decode_message(" \n", "/r/o", 20), Err(ResultError::Missing { .. })));
    let replaced = decode_message("\"a\u{fffd}\"", "/r/o", 20).unwrap_err();
    assert_eq!(
        replaced.to_string(),
        "the result has the character U+FFFD at byte 3, which a termination message has where bytes are no UTF-8 text: \
         write only UTF-8 text; one that means that character must go by the sidecar"
    );
}

#[test]
fn a_result_is_one_json_value() {
    let error = |text: &str| parse_json(text.as_bytes()).expect_err("not JSON").to_string();
    assert_eq!(error(""), "the result is not JSON: line 1, column 0: it is empty");
    assert_eq!(error("{\n\"a\":"), "the result is not JSON: line 2, column 4: it ends too early");
    assert_eq!(
        error("{\"secret\": CANARY}"),
        "the result is not JSON: line 1, column 12: not the JSON that is expected here"
    );
    assert_eq!(error("1 2"), "the result is not JSON: line 1, column 3: not the JSON that is expected here");
    for text in ["null", "1", "\"x\"", " [1, {\"a\": null}]\n"] {
        parse_json(text.as_bytes()).expect(text);
    }
    assert_eq!(parse_json(b"\"a\xff\"").expect_err("no text").to_string(), NO_TEXT);
    assert_eq!(text(b"\"a\xff\"".to_vec()).expect_err("no text").to_string(), NO_TEXT);
}

async fn read_from(script: Vec<Reply>, pod: &Pod, plan: &Plan) -> (Result<String, String>, Vec<String>) {
    let server = ScriptedServer::new(script);
    let result = read(server.hook().requests(), pod, plan, Call::forever()).await.map_err(|e| e.to_string());
    (result, server.transcript())
}

fn sidecar_plan() -> Plan {
    Plan::Sidecar { path: "/r/out.json".into(), limit: 30_000 }
}

fn log_of(content: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let code = STANDARD.encode(content);
    let lines: Vec<_> = code.as_bytes().chunks(76).map(|l| std::str::from_utf8(l).expect("ASCII")).collect();
    let (length, sum) = (content.len(), sum(content));
    format!("noise\nkpo-result/1 begin {length} {sum}\n{}\nkpo-result/1 end\n", lines.join("\n"))
}

#[tokio::test(start_paused = true)]
async fn a_small_result_is_in_the_status_and_asks_for_nothing() {
    let pod = ended(CONTAINER, Some(&inline("[1]")));
    assert_eq!(read_from(vec![], &pod, &sidecar_plan()).await, (Ok("[1]".into()), vec![]));
    let own = Plan::Message { path: "/r/out.json".into(), container: "base".into() };
    assert_eq!(read_from(vec![], &ended("base", Some("[1]")), &own).await, (Ok("[1]".into()), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_large_result_is_one_request_for_the_sidecars_log() {
    let content = format!("[{}]", "12345, ".repeat(3000) + "0");
    let large = format!("kpo-result/1 log {} {}\n", content.len(), sum(content.as_bytes()));
    let script = || vec![Reply::foreign(200, &log_of(content.as_bytes()))];
    let (result, asked) = read_from(script(), &ended(CONTAINER, Some(&large)), &sidecar_plan()).await;
    assert_eq!(result.as_deref(), Ok(content.as_str()));
    assert_eq!(asked, ["0 GET /api/v1/namespaces/ns/pods/a-1/log?container=kpo-result&limitBytes=106136"]);

    // The message was cut since a webhook added containers: the log has it as well.
    let cut = &inline(&content)[..3000];
    let (result, _) = read_from(script(), &ended(CONTAINER, Some(cut)), &sidecar_plan()).await;
    assert_eq!(result.as_deref(), Ok(content.as_str()));

    let log = log_of(content.as_bytes());
    for (log, expected) in [
        (&log[..log.len() / 2], "the result was cut: 10473 of 21003 bytes arrived"),
        (&log.replacen("MTIz", "MTIx", 1), DAMAGED),
        ("nothing", "the report of container \"kpo-result\" is not understood: is its image or command another one?"),
    ] {
        // The same for five seconds is all there is.
        let script = (0..3).map(|_| Reply::foreign(200, log)).collect();
        let (result, _) = read_from(script, &ended(CONTAINER, Some(&large)), &sidecar_plan()).await;
        assert_eq!(result, Err(expected.to_owned()));
    }
}

/// Losing sight of a result is not losing it: the log is read again for as long as it takes.
#[tokio::test(start_paused = true)]
async fn a_log_that_breaks_falls_silent_or_ends_too_early_is_read_again() {
    let content = format!("[{}]", "12345, ".repeat(3000) + "0");
    let large = format!("kpo-result/1 log {} {}\n", content.len(), sum(content.as_bytes()));
    let log = log_of(content.as_bytes());
    let half = || bytes::Bytes::copy_from_slice(&log.as_bytes()[..log.len() / 2]);
    let unavailable = || Reply::status(503, "ServiceUnavailable", "starting");
    let script = vec![
        Reply::Stream { chunks: vec![half()], cut: true },
        Reply::Timed { steps: vec![(0, half())], end: crate::testing::Ending::Hang },
        unavailable(),
        unavailable().header("retry-after", "7"),
        Reply::Stream { chunks: vec![half()], cut: false },
        Reply::foreign(200, &log),
    ];
    let (result, asked) = read_from(script, &ended(CONTAINER, Some(&large)), &sidecar_plan()).await;
    assert_eq!(result.as_deref(), Ok(content.as_str()));
    let at: Vec<_> = asked.iter().map(|line| line.split(' ').next().expect("a time").to_owned()).collect();
    assert_eq!(at, ["0", "500", "31500", "33500", "40500", "41500"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_may_not_be_read_is_an_error_at_once() {
    let large = format!("kpo-result/1 log 9000 {}\n", sum(b""));
    let script = vec![Reply::status(403, "Forbidden", "pods \"a-1\" is forbidden")];
    let (result, asked) = read_from(script, &ended(CONTAINER, Some(&large)), &sidecar_plan()).await;
    assert_eq!((result, asked.len()), (Err("the log with the result could not be read".to_owned()), 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_report_it_says_what_is_known() {
    for (pod, expected) in
        [(ended(CONTAINER, None), "it ended with exit code 0"), (ended("base", Some("x")), "it has no status")]
    {
        let (result, _) = read_from(vec![], &pod, &sidecar_plan()).await;
        let expected = format!("nothing was handed over: container \"kpo-result\" left no report ({expected})");
        assert_eq!(result, Err(expected));
    }
}

/// The recording of a real cluster, whose sidecar wrote the file as it was.
#[test]
fn the_recorded_sidecar_ended_after_the_program_with_its_message() {
    let recording = include_str!("../../../kpo-core/tests/recordings/native_sidecar_result.jsonl");
    let events = recording.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON lines"));
    let last = events.rev().find(|event| event["kind"] == "Pod").expect("a pod");
    let pod: Pod = serde_json::from_value(last["object"].clone()).expect("a pod");
    assert_eq!(termination_message(&pod, "result").expect("a message").trim(), r#"{"answer": 42}"#);
}

// The scripts, run by the machine's own `sh`. The termination message is a named pipe here: to read it is to wait for it.

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kpo-result-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ends what a broken script would leave waiting for ever.
struct Watchdog(#[expect(dead_code, reason = "its drop calls the watchdog off")] mpsc::Sender<()>);

impl Watchdog {
    fn over(child: u32, pipe: &str) -> Self {
        let (sender, off) = mpsc::channel();
        let pipe = pipe.to_owned();
        std::thread::spawn(move || {
            if off.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &child.to_string()]).status();
                let _ = fs::OpenOptions::new().read(true).write(true).open(pipe);
            }
        });
        Self(sender)
    }
}

/// Runs the sidecar as it is built for a pod of three containers, lets it find `content`, and stops it: its message and its log.
fn run_sidecar(name: &str, content: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
    run_sidecar_with(options(), name, content)
}

fn run_sidecar_with(options: SidecarOptions, name: &str, content: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
    let folder = Folder::new(name);
    let (file, message) = (folder.path("out.json"), folder.path("message"));
    assert!(Command::new("mkfifo").arg(&message).status().expect("mkfifo").success());
    let mut pod = program();
    add_sidecar(&mut pod, "base", &SidecarOptions { path: file.clone(), limit: 100_000, ..options }).expect("it fits");
    let sidecar = &mut pod["spec"]["initContainers"][1];
    let command: Vec<String> = serde_json::from_value(sidecar["command"].take()).expect("a command");
    let env = sidecar["env"].as_array().into_iter().flatten();
    let env = env.map(|env| (env["name"].as_str().expect("a name"), env["value"].as_str().expect("a value")));
    let mut shell = Command::new(&command[0]);
    let mut child = shell.args(&command[1..]).arg(&message).envs(env).stdout(Stdio::piped()).spawn().expect("a shell");
    let _watch = Watchdog::over(child.id(), &message);
    assert_eq!(fs::read(&message).expect("the first word"), b"kpo-result/1 waiting\n");
    if let Some(content) = content {
        fs::write(&file, content).expect("the result");
    }
    let mut stdout = child.stdout.take().expect("piped");
    let log = std::thread::spawn(move || {
        let mut log = Vec::new();
        stdout.read_to_end(&mut log).map(|_| log)
    });
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill").success());
    let report = fs::read(&message).expect("the report");
    assert!(child.wait().expect("an end").success());
    (report, log.join().expect("no panic").expect("a log"))
}

#[test]
fn the_script_hands_over_what_the_file_holds() {
    for (name, content) in [
        ("small", &br#"{"answer": 42}"#[..]),
        ("empty", b""),
        ("lines", b"[1,\n2]\n\n"),
        ("quotes", br#"{"a": "'$(rm -rf /)`\\n%s"}"#),
    ] {
        let (message, log) = run_sidecar(name, Some(content));
        assert_eq!(decode_frame(&message, "/r", 1).expect(name), Report::Complete(content.to_vec()));
        assert_eq!(log, b"");
    }
}

#[test]
fn the_script_writes_to_its_log_what_may_not_fit() {
    let content: Vec<u8> = (0..2000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    for size in [914, 915, 2962, 2963, 8000] {
        let content = &content[..size];
        let (message, log) = run_sidecar("large", Some(content));
        match decode_frame(&message, "/r", 1).expect("a report") {
            Report::Complete(bytes) => assert!(size <= 2962 && bytes == content, "{size}"),
            Report::InLog { length, .. } => assert!(size > 2962 && length == size, "{size}"),
            Report::Cut { .. } => panic!("cut"),
        }
        assert!(message.len() <= message_limit(4), "{size}");
        if size > 914 {
            assert!(decode_log(&log, size, &sum(content)).expect("whole") == content);
        } else {
            assert_eq!(log, b"");
        }
    }
}

#[test]
fn the_script_says_what_is_wrong() {
    let said = |name, content: Option<&[u8]>| String::from_utf8(run_sidecar(name, content).0).expect("text");
    assert_eq!(said("missing", None), "kpo-result/1 missing\n");
    assert_eq!(said("too-large", Some(&[b'x'; 100_001])), "kpo-result/1 too-large 100001\n");
}

#[test]
fn what_a_missing_or_empty_file_stands_for_is_handed_over_where_it_is_said() {
    let with = |value: &str| SidecarOptions { absent: Some(value.to_owned()), ..options() };
    let read = |report: &[u8]| decode_frame(report, "/r/o", 9).and_then(Report::into_bytes).expect("whole");
    for (name, content) in [("absent-missing", None), ("absent-empty", Some(&b""[..]))] {
        assert_eq!(read(&run_sidecar_with(with("null"), name, content).0), b"null", "{name}");
    }
    assert_eq!(read(&run_sidecar_with(with("null"), "absent-there", Some(b"7")).0), b"7");

    let folder = Folder::new("absent-exec");
    let command = Plan::read_command(&folder.path("out.json"), 9);
    let output = Command::new(&command[0]).args(&command[1..]).env("KPO_RESULT_ABSENT", "null").output();
    assert_eq!(read(&output.expect("a shell").stdout), b"null");
}

#[test]
fn the_script_for_exec_prints_the_same_report() {
    let folder = Folder::new("exec");
    let file = folder.path("out.json");
    let run = |command: Vec<String>| Command::new(&command[0]).args(&command[1..]).output().expect("a shell").stdout;
    let report = |limit| run(Plan::read_command(&file, limit));
    assert_eq!(report(9), b"kpo-result/1 missing\n");
    fs::write(&file, "[1,\n2]").expect("the result");
    let bytes = decode_frame(&report(9), &file, 9).and_then(Report::into_bytes).expect("whole");
    assert_eq!(bytes, b"[1,\n2]");
    assert_eq!(report(5), b"kpo-result/1 too-large 6\n");
}
