//! Real processes. They end by what is done to them or by their own conditions; nothing here waits for time to pass.

use std::fs;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;
use crate::log::{LogOptions, LogRead};
use crate::runtime::{EnvVar, Exit, MessagePolicy, PodRef, SessionOutput, Volume, VolumeFile, VolumeSource};

/// How long a test waits for what has to come, before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A runtime in a folder of the test's own, with a bell that its waker rings.
struct Lab {
    runtime: Option<ProcessRuntime>,
    bell: Receiver<()>,
    parent: PathBuf,
}

impl Lab {
    fn new(name: &str) -> Self {
        Self::with(name, ProcessOptions::default(), |runtime| runtime)
    }

    fn with(name: &str, options: ProcessOptions, change: impl FnOnce(ProcessRuntime) -> ProcessRuntime) -> Self {
        let parent = std::env::temp_dir().join(format!("lab-test-{name}-{}", std::process::id()));
        fs::create_dir_all(&parent).unwrap();
        let options = ProcessOptions { parent: Some(parent.clone()), ..options };
        let mut runtime = change(ProcessRuntime::new(options).unwrap());
        let (ring, bell) = channel();
        runtime.set_waker(Arc::new(move || ring.send(()).unwrap_or_default()));
        Self { runtime: Some(runtime), bell, parent }
    }

    /// The lab if the kernel allows namespaces; what needs them is not tested elsewhere, and says so.
    fn isolated(name: &str) -> Option<Self> {
        let mut lab = Self::new(name);
        match lab.get().isolation() {
            Isolation::Namespaces { .. } => Some(lab),
            Isolation::Plain { reason } => {
                assert!(!reason.is_empty());
                None
            }
        }
    }

    fn get(&mut self) -> &mut ProcessRuntime {
        self.runtime.as_mut().unwrap()
    }

    fn start(&mut self, spec: ContainerSpec) -> ContainerId {
        self.get().start(Time(0), spec).unwrap()
    }

    fn exit(&mut self) -> Exit {
        loop {
            if let Some(RuntimeEvent::Exited { exit, .. }) = self.get().poll(Time(0)).pop() {
                return exit;
            }
            self.bell.recv_timeout(PATIENCE).expect("the container never ended");
        }
    }

    /// Runs a container to its end: exit and log.
    fn run(&mut self, spec: ContainerSpec) -> (Exit, String) {
        let id = self.start(spec);
        let exit = self.exit();
        let log = self.get().log(&id).unwrap();
        (exit, String::from_utf8_lossy(&log.last(1000)).into_owned())
    }

    fn sh(&mut self, script: &str) -> (i32, String) {
        let (exit, log) = self.run(sh(script));
        (exit.exit_code, log)
    }

    /// Waits until a container has said this.
    fn hears(&mut self, id: &ContainerId, words: &str) {
        let log = self.get().log(id).unwrap();
        let mut reader = log.reader(LogOptions { follow: true, ..LogOptions::default() });
        let mut heard = String::new();
        let listening = async {
            while !heard.contains(words) {
                heard.push_str(&String::from_utf8_lossy(&reader.next().await.expect("the log ended")));
            }
        };
        let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        tokio.block_on(async { tokio::time::timeout(PATIENCE, listening).await }).unwrap();
    }

    fn prepare(&mut self, volumes: Vec<Volume>) {
        self.get().prepare_pod(Time(0), &PodSetup { pod: pod(), volumes }).unwrap();
    }

    /// Ends the lab; nothing of it may be left.
    fn end(mut self) {
        drop(self.runtime.take());
        assert_eq!(fs::read_dir(&self.parent).unwrap().count(), 0);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.runtime.take());
        let _ = fs::remove_dir_all(&self.parent);
    }
}

fn pod() -> PodRef {
    PodRef { namespace: "default".into(), name: "task".into(), uid: "u1".into(), node: "node-1".into() }
}

fn sh(script: &str) -> ContainerSpec {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    ContainerSpec { pod: pod(), name: "base".into(), command, ..ContainerSpec::default() }
}

fn mount(volume: &str, path: &str) -> Mount {
    Mount { volume: volume.into(), path: path.into(), ..Mount::default() }
}

fn empty_dir(name: &str) -> Volume {
    Volume { name: name.into(), source: VolumeSource::EmptyDir, optional: false }
}

fn files(name: &str, files: &[(&str, u32, &str)]) -> Volume {
    let file = |(path, mode, content): &(&str, u32, &str)| VolumeFile {
        path: (*path).to_owned(),
        mode: *mode,
        content: (*content).to_owned().into(),
    };
    Volume { name: name.into(), source: VolumeSource::Files(files.iter().map(file).collect()), optional: false }
}

/// Processes of the machine whose command line holds these words.
fn processes(words: &str) -> usize {
    let command_line = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let lines = fs::read_dir("/proc").unwrap().flatten().map(command_line);
    lines.filter(|line| String::from_utf8_lossy(line).replace('\0', " ").contains(words)).count()
}

#[test]
fn a_program_runs_and_its_output_and_exit_code_are_kept() {
    let mut lab = Lab::new("runs");
    assert_eq!(lab.sh("echo out; echo err >&2; exit 3"), (3, "out\nerr\n".into()));
    assert_eq!(lab.sh("printf unfinished"), (0, "unfinished".into()));
    lab.end();
}

#[test]
fn exit_codes_are_0_to_255_and_128_plus_a_signal() {
    let mut lab = Lab::new("codes");
    assert_eq!(lab.sh("exit 255").0, 255);
    // Process 1 cannot kill itself: a child does, and the shell passes its code on. (`$$` is the kubelet's `$`.)
    assert_eq!(lab.sh("sh -c 'kill -9 $$$$'; exit $?").0, 137);
    assert_eq!(lab.sh("sh -c 'kill -SEGV $$$$'; exit $?").0, 139);
    lab.end();
}

#[test]
fn the_environment_is_the_containers_alone() {
    let mut lab = Lab::new("env");
    let spec = ContainerSpec { env: vec![EnvVar::new("A", "x y"), EnvVar::new("B", "2")], ..sh("env | sort") };
    let (_, log) = lab.run(spec);
    let names: Vec<&str> = log.lines().filter_map(|line| line.split('=').next()).filter(|name| *name != "_").collect();
    // PWD is the shell's own.
    assert_eq!(names, ["A", "B", "HOME", "HOSTNAME", "PATH", "PWD"], "{log}");
    assert!(log.contains("A=x y\n") && log.contains("HOSTNAME=task\n"), "{log}");
    lab.end();
}

#[test]
fn arguments_alone_are_a_command_and_references_are_expanded() {
    let mut lab = Lab::new("args");
    let args = ["echo", "$(WHO)", "$(NOBODY)", "a  b"].map(str::to_owned).to_vec();
    let spec = ContainerSpec { args, command: vec![], env: vec![EnvVar::new("WHO", "me")], ..sh("") };
    assert_eq!(lab.run(spec).1, "me $(NOBODY) a  b\n");
    lab.end();
}

#[test]
fn what_cannot_start_says_why() {
    let mut lab = Lab::new("nostart");
    let mut message = |command: &[&str]| {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        match lab.get().start(Time(0), ContainerSpec { command, ..sh("") }) {
            Err(StartError::NotExecutable { message, .. }) => message,
            other => format!("{other:?}"),
        }
    };
    assert!(message(&["nope"]).ends_with("exec: \"nope\": executable file not found in $PATH: unknown"));
    assert!(message(&["/no/such/program"]).ends_with("stat /no/such/program: no such file or directory: unknown"));
    assert!(message(&["/etc/passwd"]).ends_with("exec: \"/etc/passwd\": permission denied: unknown"));
    assert!(message(&[]).contains("no command specified: images are only names"));
    let nowhere = ContainerSpec { working_dir: Some("/usr/no/such".into()), ..sh("true") };
    let error = lab.get().start(Time(0), nowhere).unwrap_err().to_string();
    assert!(error.contains("chdir to cwd (\"/usr/no/such\") set in config.json failed: no such file"), "{error}");
    assert_eq!(lab.get().poll(Time(0)), []);
    // What was made for them is gone.
    let pods = fs::read_dir(lab.get().folder().join("pods")).unwrap().flatten();
    let left = pods.flat_map(|pod| fs::read_dir(pod.path().join("containers")).unwrap());
    assert_eq!(left.count(), 0);
    lab.end();
}

#[test]
fn term_reaches_a_handler_and_kill_ends_what_has_none() {
    let mut lab = Lab::new("term");
    let trapping = lab.start(sh("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done"));
    lab.hears(&trapping, "ready");
    lab.get().signal(Time(0), &trapping, Signal::Term);
    let exit = lab.exit();
    assert_eq!((exit.exit_code, exit.signal), (7, None));
    let hanging = lab.start(sh("trap '' TERM; echo ready; while :; do sleep 0.05; done"));
    lab.hears(&hanging, "ready");
    lab.get().signal(Time(0), &hanging, Signal::Term);
    lab.get().signal(Time(0), &hanging, Signal::Kill);
    let exit = lab.exit();
    assert_eq!((exit.exit_code, exit.signal), (137, Some(9)));
    assert_eq!(lab.get().state(&hanging), Some(ContainerState::Exited(exit)));
    lab.end();
}

#[test]
fn descendants_die_with_their_container() {
    let Some(mut lab) = Lab::isolated("descendants") else { return };
    // A session of its own does not help it; its argument is what it is known by.
    let id = lab.start(sh("setsid sh -c 'sleep 98765.1' & sleep 98765.1 & echo started; read x < /dev/zero; wait"));
    lab.hears(&id, "started");
    lab.get().signal(Time(0), &id, Signal::Kill);
    lab.exit();
    assert_eq!(processes("98765.1"), 0);
    lab.end();
}

#[test]
fn a_container_has_a_root_of_its_own() {
    let Some(mut lab) = Lab::isolated("root") else { return };
    let (code, log) = lab.sh("echo $$$$; hostname; pwd; ls /root /home /mnt; touch /tmp/x /y && ls /tmp; id -u");
    assert_eq!((code, log.as_str()), (0, "1\ntask\n/\n/home:\n\n/mnt:\n\n/root:\nx\n0\n"));
    // The machine's own folders are not to be written to.
    let (code, log) = lab.sh("touch /usr/lab-was-here || touch /etc/lab-was-here");
    assert!(code != 0 && log.contains("Read-only file system"), "{log}");
    assert!(!Path::new("/y").exists());
    lab.end();
}

#[test]
fn a_read_only_root_can_still_take_a_message_and_volumes() {
    let Some(mut lab) = Lab::isolated("readonly") else { return };
    lab.prepare(vec![empty_dir("work")]);
    let script = "touch /x; touch /work/x && echo said > /dev/termination-log && echo fine";
    let spec = ContainerSpec { read_only_root: true, mounts: vec![mount("work", "/work")], ..sh(script) };
    let (exit, log) = lab.run(spec);
    assert_eq!((exit.exit_code, exit.message.as_str()), (0, "said\n"));
    assert!(log.contains("Read-only file system") && log.contains("fine\n"), "{log}");
    lab.end();
}

#[test]
fn volumes_are_at_their_mount_paths() {
    let Some(mut lab) = Lab::isolated("volumes") else { return };
    let settings = files("settings", &[("a.txt", 0o644, "alpha"), ("deep/b.txt", 0o600, "beta")]);
    lab.prepare(vec![empty_dir("xcom"), settings.clone(), empty_dir("cache")]);
    let mounts = vec![
        mount("xcom", "/airflow/xcom"),
        // Below a folder of the machine where there is nothing, and inside another volume.
        Mount { read_only: true, ..mount("settings", "/etc/lab-settings") },
        mount("cache", "/airflow/xcom/cache"),
        Mount { sub_path: Some("a.txt".into()), ..mount("settings", "/usr/share/lab/alpha.txt") },
        Mount { sub_path: Some("not/there".into()), ..mount("cache", "/sub") },
    ];
    let script = "cat /etc/lab-settings/a.txt /usr/share/lab/alpha.txt /etc/lab-settings/deep/b.txt; echo; \
                  stat -c %a /etc/lab-settings/deep/b.txt; echo 42 > /airflow/xcom/return.json; echo > /airflow/xcom/cache/x; \
                  echo > /sub/y; ls /etc/passwd /usr/bin/env; touch /etc/lab-settings/new";
    let (exit, log) = lab.run(ContainerSpec { mounts: mounts.clone(), ..sh(script) });
    assert!(log.starts_with("alphaalphabeta\n600\n/etc/passwd\n/usr/bin/env\n"), "{log}");
    assert!(exit.exit_code == 1 && log.contains("Read-only file system"), "{log}");
    // The next container of the pod sees what this one wrote.
    let spec = ContainerSpec { mounts, ..sh("cat /airflow/xcom/return.json; ls /airflow/xcom/cache") };
    assert_eq!(lab.run(spec).1, "42\nnot\nx\n");
    assert_eq!(lab.get().volume_usage("u1", "nope"), None);
    assert!(lab.get().volume_usage("u1", "xcom").is_some_and(|bytes| bytes >= 3));
    lab.end();
}

#[test]
fn files_of_a_volume_are_renewed() {
    let Some(mut lab) = Lab::isolated("renew") else { return };
    lab.prepare(vec![files("s", &[("a", 0o644, "1"), ("b", 0o644, "2")])]);
    lab.prepare(vec![files("s", &[("a", 0o644, "3")])]);
    let (_, log) = lab.run(ContainerSpec { mounts: vec![mount("s", "/s")], ..sh("ls /s; cat /s/a") });
    assert_eq!(log, "a\n3");
    lab.end();
}

#[test]
fn a_folder_of_the_machine_outlives_the_pod() {
    let Some(mut lab) = Lab::isolated("host-path") else { return };
    let folder = std::env::temp_dir().join(format!("kpo-lab-host-path-{}", std::process::id()));
    let volume = |make| Volume {
        name: "host".into(),
        source: VolumeSource::HostPath { path: folder.clone(), make },
        optional: false,
    };
    let setup = |make| PodSetup { pod: pod(), volumes: vec![volume(make)] };
    let error = lab.get().prepare_pod(Time(0), &setup(false)).unwrap_err();
    assert!(error.message.ends_with("is not a directory"), "{error}");
    for _ in 0..2 {
        lab.prepare(vec![volume(true)]);
        let spec = ContainerSpec { mounts: vec![mount("host", "/host")], ..sh("echo started >> /host/starts") };
        assert_eq!(lab.run(spec).0.exit_code, 0);
    }
    lab.end();
    assert_eq!(fs::read_to_string(folder.join("starts")).unwrap(), "started\nstarted\n");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn volumes_cannot_be_left_by_a_path() {
    let Some(mut lab) = Lab::isolated("escape") else { return };
    let outside = files("s", &[("../../x", 0o644, "1")]);
    assert!(lab.get().prepare_pod(Time(0), &PodSetup { pod: pod(), volumes: vec![outside] }).is_err());
    lab.prepare(vec![empty_dir("e")]);
    let up = Mount { sub_path: Some("../..".into()), ..mount("e", "/e") };
    assert!(lab.get().start(Time(0), ContainerSpec { mounts: vec![up], ..sh("true") }).is_err());
    let unknown = ContainerSpec { mounts: vec![mount("nope", "/e")], ..sh("true") };
    let error = lab.get().start(Time(0), unknown).unwrap_err();
    assert_eq!(error, StartError::Create { message: "volume \"nope\" is not set up".into() });
    lab.end();
}

#[test]
fn a_path_in_a_container_cannot_lead_out_of_its_root() {
    let Some(mut lab) = Lab::isolated("dots") else { return };
    let stray = std::env::temp_dir().join(format!("kpo-lab-stray-{}", std::process::id()));
    let name = stray.file_name().unwrap().to_string_lossy().into_owned();
    lab.prepare(vec![empty_dir("work")]);
    let up = "/..".repeat(20);
    for path in [format!("{up}{}", stray.display()), format!("/work{up}{}", stray.display())] {
        let in_volume = vec![mount("work", "/work"), mount("work", &path)];
        let (exit, log) =
            lab.run(ContainerSpec { mounts: in_volume, ..sh(&format!("echo 1 > /tmp/{name}/x; cat /work/x")) });
        assert_eq!((exit.exit_code, log.as_str()), (0, "1\n"), "{path}");
        let mounts = vec![mount("work", "/work")];
        let (exit, log) = lab.run(ContainerSpec { working_dir: Some(path.clone()), mounts, ..sh("pwd") });
        assert_eq!((exit.exit_code, log), (0, format!("/tmp/{name}\n")), "{path}");
        assert!(!stray.exists(), "{path}");
    }
    lab.end();
}

#[test]
fn termination_messages() {
    let Some(mut lab) = Lab::isolated("message") else { return };
    lab.prepare(vec![empty_dir("xcom")]);
    let (exit, _) = lab.run(sh("printf done > /dev/termination-log; exit 1"));
    assert_eq!(exit.message, "done");
    // At a result's path in a volume; a `mv` onto it fails, and of a long one the last 4096 bytes are read.
    let path = "/airflow/xcom/return.json".to_owned();
    let at_result = |script: &str| ContainerSpec {
        termination_message_path: path.clone(),
        mounts: vec![mount("xcom", "/airflow/xcom")],
        ..sh(script)
    };
    let (exit, log) = lab.run(at_result("echo 1 > /tmp/x; mv /tmp/x /airflow/xcom/return.json"));
    assert!(exit.exit_code != 0 && log.contains("busy"), "{log}");
    let (exit, _) =
        lab.run(at_result("{ head -c 5000 /dev/zero | tr '\\0' x; printf end; } > /airflow/xcom/return.json"));
    assert_eq!(exit.message, format!("{}end", "x".repeat(4093)));
    let fallback = ContainerSpec {
        termination_message_policy: MessagePolicy::FallbackToLogsOnError,
        ..sh("echo the last words; exit 1")
    };
    assert_eq!(lab.run(fallback).0.message, "the last words\n");
    lab.end();
}

#[test]
fn another_user_is_who_the_spec_says() {
    let Some(mut lab) = Lab::isolated("user") else { return };
    lab.prepare(vec![empty_dir("w")]);
    let script =
        "id -u; id -g; echo x > /w/x; echo y > /tmp/y; echo said > /dev/termination-log; echo to-stdout > /dev/stdout";
    let mounts = vec![mount("w", "/w")];
    let spec = ContainerSpec { run_as_user: Some(1234), run_as_group: Some(5678), mounts, ..sh(script) };
    let (exit, log) = lab.run(spec);
    assert_eq!((log.as_str(), exit.message.as_str(), exit.exit_code), ("1234\n5678\nto-stdout\n", "said\n", 0));
    lab.end();
}

#[test]
fn a_container_over_its_memory_limit_is_killed_and_that_is_said() {
    let mut lab = Lab::new("memory");
    // The shell doubles a variable until it is stopped.
    let spec = ContainerSpec { memory_limit: Some(40 << 20), ..sh("x=0123456789abcdef; while :; do x=$x$x; done") };
    let (exit, _) = lab.run(spec);
    assert_eq!((exit.exit_code, exit.oom_killed), (137, true));
    lab.end();
}

#[test]
fn times_are_those_of_the_cluster() {
    let mut lab = Lab::new("times");
    let start = Time::from_secs(2_000_000_000);
    let id = lab.get().start(start, sh("echo hello")).unwrap();
    let exit = lab.exit();
    assert_eq!(lab.get().state(&id), Some(ContainerState::Exited(exit.clone())));
    assert!(exit.at > start && exit.at.since(start) < PATIENCE, "{:?}", exit.at);
    let log = lab.get().log(&id).unwrap();
    let LogRead::Data(line) = log.reader(LogOptions { timestamps: true, ..LogOptions::default() }).read() else {
        panic!("no line");
    };
    assert!(line.starts_with(b"2033-05-18T03:33:"), "{line:?}");
    lab.end();
}

#[test]
fn lines_written_at_once_have_timestamps_of_their_own() {
    let mut lab = Lab::new("stamps");
    let id = lab.start(sh("i=0; while [ $i -lt 500 ]; do echo same; i=$((i+1)); done"));
    lab.exit();
    let log = lab.get().log(&id).unwrap();
    let mut reader = log.reader(LogOptions { timestamps: true, ..LogOptions::default() });
    let mut text = Vec::new();
    while let LogRead::Data(bytes) = reader.read() {
        text.extend_from_slice(&bytes);
    }
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 500);
    assert!(lines.is_sorted_by(|before, after| before < after));
    lab.end();
}

#[test]
fn a_great_deal_of_output_arrives_whole() {
    let options = ProcessOptions { rotation: Rotation::NEVER, ..ProcessOptions::default() };
    let mut lab = Lab::with("much", options, |runtime| runtime);
    let id = lab.start(sh("head -c 5000000 /dev/zero | tr '\\0' x; echo; seq 100000"));
    lab.exit();
    let log = lab.get().log(&id).unwrap();
    let numbers: usize = (1..=100_000_usize).map(|number| number.to_string().len() + 1).sum();
    assert_eq!(log.last(u64::MAX - 1).len(), 5_000_001 + numbers);
    assert!(log.last(1) == b"100000\n");
    lab.end();
}

async fn collect(mut session: Session) -> (String, String, Option<i32>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(piece) = session.output.recv().await {
        match piece {
            SessionOutput::Stdout(bytes) => out.extend_from_slice(&bytes),
            SessionOutput::Stderr(bytes) => err.extend_from_slice(&bytes),
            SessionOutput::Exited(code) => {
                return (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), Some(code));
            }
        }
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), None)
}

fn exec(words: &[&str], stdin: bool) -> ExecRequest {
    ExecRequest { command: words.iter().map(|word| (*word).to_owned()).collect(), stdin, stdout: true, stderr: true }
}

/// What both kinds of containers do on exec.
fn exec_works(mut lab: Lab, mark: &str) {
    let spec = ContainerSpec { env: vec![EnvVar::new("A", "1")], ..sh("echo ready; read x < /dev/zero") };
    let id = lab.start(spec);
    lab.hears(&id, "ready");
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let script = "echo $A; echo oops >&2; exit 5";
    let session = lab.get().exec(Time(0), &id, exec(&["sh", "-c", script], false)).unwrap();
    assert_eq!(tokio.block_on(collect(session)), ("1\n".into(), "oops\n".into(), Some(5)));
    let mut session = lab.get().exec(Time(0), &id, exec(&["cat"], true)).unwrap();
    let stdin = session.stdin.take().unwrap();
    tokio.block_on(stdin.send("through".into())).unwrap();
    drop(stdin);
    assert_eq!(tokio.block_on(collect(session)), ("through".into(), String::new(), Some(0)));
    let error = lab.get().exec(Time(0), &id, exec(&["nope"], false)).unwrap_err().to_string();
    assert!(error.starts_with("OCI runtime exec failed: ") && error.contains("executable file not found"), "{error}");
    // One that nobody waits for any more ends with the lab at the latest.
    drop(lab.get().exec(Time(0), &id, exec(&["sleep", mark], false)).unwrap());
    lab.get().signal(Time(0), &id, Signal::Kill);
    lab.exit();
    assert_eq!(lab.get().exec(Time(0), &id, exec(&["true"], false)).err(), Some(SessionError::NotRunning));
    lab.end();
    assert_eq!(processes(mark), 0);
}

#[test]
fn exec_runs_beside_a_container() {
    exec_works(Lab::new("exec"), "98765.2");
}

#[test]
fn a_peer_that_does_not_read_holds_up_neither_its_container_nor_the_lab() {
    let mut lab = Lab::new("slowpeer");
    let id = lab.start(sh("echo ready; read x < /dev/zero"));
    lab.hears(&id, "ready");
    let unread = lab.get().exec(Time(0), &id, exec(&["yes"], false)).unwrap();
    lab.get().signal(Time(0), &id, Signal::Kill);
    assert_eq!(lab.exit().exit_code, 137);
    lab.end();
    drop(unread);
}

#[test]
fn exec_sees_what_the_container_sees() {
    let Some(mut lab) = Lab::isolated("execview") else { return };
    let id = lab.start(sh("echo mine > /tmp/file; echo ready; read x < /dev/zero"));
    lab.hears(&id, "ready");
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let session = lab.get().exec(Time(0), &id, exec(&["sh", "-c", "cat /tmp/file; kill -0 1 && hostname"], false));
    assert_eq!(tokio.block_on(collect(session.unwrap())), ("mine\ntask\n".into(), String::new(), Some(0)));
    lab.end();
}

#[test]
fn attach_shows_and_feeds_a_running_container() {
    let mut lab = Lab::new("attach");
    let id = lab.start(ContainerSpec { stdin: true, ..sh("read line; echo got $line; read line || exit 4") });
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let output = tokio.block_on(async {
        let mut session = lab.get().attach(Time(0), &id, true).unwrap();
        let stdin = session.stdin.take().unwrap();
        stdin.send("words\n".into()).await.unwrap();
        drop(stdin);
        collect(session).await
    });
    assert_eq!(output, ("got words\n".into(), String::new(), Some(4)));
    lab.end();
}

#[test]
fn without_namespaces_pods_run_unless_they_mount() {
    let mut lab =
        Lab::with("plain", ProcessOptions::default(), |runtime| runtime.without_isolation("Operation not permitted"));
    let optional = Volume { optional: true, ..empty_dir("token") };
    lab.prepare(vec![optional]);
    let spec = ContainerSpec { mounts: vec![mount("token", "/var/run/token")], ..sh("echo hello; pwd; exit 3") };
    let (exit, log) = lab.run(spec);
    assert!(exit.exit_code == 3 && log.starts_with("hello\n/") && log.ends_with("/home\n"), "{log}");
    let setup = PodSetup { pod: pod(), volumes: vec![empty_dir("work")] };
    let error = lab.get().prepare_pod(Time(0), &setup).unwrap_err().to_string();
    assert_eq!(
        error,
        "volume \"work\" cannot be mounted: this machine gives the lab no mount namespace (Operation not permitted)"
    );
    // SIGTERM has its default there: the program is not process 1.
    let id = lab.start(sh("echo ready; read x < /dev/zero"));
    lab.hears(&id, "ready");
    lab.get().signal(Time(0), &id, Signal::Term);
    assert_eq!(lab.exit().exit_code, 143);
    lab.end();
}

#[test]
fn exec_works_without_namespaces() {
    exec_works(
        Lab::with("plainexec", ProcessOptions::default(), |runtime| runtime.without_isolation("test")),
        "98765.3",
    );
}

#[test]
fn removing_a_pod_ends_its_containers_without_a_word() {
    let mut lab = Lab::new("remove");
    let id = lab.start(sh("echo ready; read x < /dev/zero"));
    lab.hears(&id, "ready");
    let mut follower = lab.get().log(&id).unwrap().reader(LogOptions { follow: true, ..LogOptions::default() });
    lab.get().remove_pod("u1");
    assert_eq!(lab.get().state(&id), None);
    assert!(matches!(follower.read(), LogRead::Data(_)));
    assert_eq!(follower.read(), LogRead::End);
    assert_eq!(lab.get().poll(Time(0)), []);
    lab.end();
}

#[test]
fn dropping_the_lab_leaves_no_process_no_mount_and_no_folder() {
    let mut lab = Lab::new("drop");
    let mounts = |_: &ProcessRuntime| fs::read_to_string("/proc/self/mounts").unwrap();
    let before = mounts(lab.get());
    let id = lab.start(sh("sleep 98765.4 & echo ready; chmod 0 /tmp; wait"));
    lab.hears(&id, "ready");
    assert_eq!(mounts(lab.get()), before);
    assert!(processes("98765.4") >= 1);
    lab.end();
    assert_eq!(processes("98765.4"), 0);
    assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), before);
}

#[test]
fn what_a_dead_lab_left_is_swept_and_what_lives_is_not() {
    let mut lab = Lab::new("sweep");
    let dead = lab.parent.join("kpo-lab-1-0-dead");
    fs::create_dir_all(dead.join("pods/1/volumes")).unwrap();
    fs::write(dead.join("lock"), "").unwrap();
    let foreign = lab.parent.join("kpo-lab-without-lock");
    fs::create_dir(&foreign).unwrap();
    let [ended, lives, no_kubeconfig] = ["1", "2", "3"].map(|number| lab.parent.join(format!("kpo-lab-{number}.yaml")));
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: lab\nusers: []\n";
    for (path, text) in [(&ended, kubeconfig), (&lives, kubeconfig), (&no_kubeconfig, "kind: Pod\n")] {
        fs::write(path, text).unwrap();
    }
    let held = fs::File::open(&lives).unwrap();
    held.lock_shared().unwrap();
    let other =
        ProcessRuntime::new(ProcessOptions { parent: Some(lab.parent.clone()), ..ProcessOptions::default() }).unwrap();
    assert!(!dead.exists() && foreign.exists() && lab.get().folder().exists());
    assert_eq!([ended.exists(), lives.exists(), no_kubeconfig.exists()], [false, true, true]);
    drop(other);
    fs::remove_dir(&foreign).unwrap();
    [lives, no_kubeconfig].iter().for_each(|path| fs::remove_file(path).unwrap());
    lab.end();
}

#[test]
fn labs_that_start_at_once_do_not_sweep_each_other() {
    let lab = Lab::new("race");
    let start = |parent: PathBuf| move || drop(LabFolder::create(&parent).unwrap());
    for _ in 0..20 {
        let threads = [(); 4].map(|()| thread::spawn(start(lab.parent.clone())));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
    lab.end();
}

/// The folder in which [`victim`] makes its lab.
const VICTIM: &str = "KPO_LAB_TEST_VICTIM";

/// Not a test of its own: a lab with a container and an exec that waits to be killed.
#[test]
#[ignore = "it is the other process of a_killed_lab_leaves_no_process_and_its_folder_is_swept"]
fn victim() {
    let Some(parent) = std::env::var_os(VICTIM).map(PathBuf::from) else { return };
    let options = ProcessOptions { parent: Some(parent.clone()), ..ProcessOptions::default() };
    let mut runtime = ProcessRuntime::new(options).unwrap();
    let id = runtime.start(Time(0), sh("setsid sleep 98765.5 & trap '' TERM HUP; sleep 98765.5")).unwrap();
    let _session = runtime.exec(Time(0), &id, exec(&["sleep", "98765.5"], false)).unwrap();
    while processes("sleep 98765.5") < 3 {
        thread::park_timeout(Duration::from_millis(5));
    }
    fs::write(parent.join("ready"), "").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_lab_leaves_no_process_and_its_folder_is_swept() {
    let Some(mut lab) = Lab::isolated("killed") else { return };
    let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::tests::victim", "--ignored", "--quiet"])
        .env(VICTIM, &lab.parent)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ready = lab.parent.join("ready");
    within_patience(|| ready.exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    // The kernel kills what is left, in its own time.
    within_patience(|| processes("sleep 98765.5") == 0);
    fs::remove_file(ready).unwrap();
    assert_eq!(fs::read_dir(&lab.parent).unwrap().count(), 2);
    lab.runtime = Some(
        ProcessRuntime::new(ProcessOptions { parent: Some(lab.parent.clone()), ..ProcessOptions::default() }).unwrap(),
    );
    lab.end();
}

/// Looks until it is so: for what another process does, of which nothing tells.
fn within_patience(so: impl Fn() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !so() {
        assert!(std::time::Instant::now() < end, "it never came");
        thread::park_timeout(Duration::from_millis(5));
    }
}
