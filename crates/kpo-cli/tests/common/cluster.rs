//! A lab in the test's own process, with users, faults and a look at its pods.

use kpo_lab::api::{Rule, User};
use kpo_lab::process::ProcessOptions;
use kpo_lab::{Fault, FaultGuard, Lab, LabOptions, Match, ProcessRuntime, Resource, Time, World, script};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Who asks, as refusals print it.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:default:kpo";

/// All that kpo may want to do.
const RIGHTS: [(&str, &str); 10] = [
    ("create", "pods"),
    ("get", "pods"),
    ("list", "pods"),
    ("watch", "pods"),
    ("patch", "pods"),
    ("delete", "pods"),
    ("get", "pods/log"),
    ("list", "events"),
    // Which of the two an exec by websocket asks for changed with 1.35.
    ("get", "pods/exec"),
    ("create", "pods/exec"),
];

/// Waits until it is so. What never comes fails the test.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never comes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A cluster that ends with this value.
pub(crate) struct Cluster {
    lab: Option<Lab<World>>,
    folder: PathBuf,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    users: AtomicU32,
}

impl Cluster {
    /// A cluster of that script.
    pub(crate) fn of(script: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("kpo-cli-cluster-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let script = script::parse(script).unwrap_or_else(|error| panic!("{error}"));
        let (give, take) = mpsc::channel();
        let (end, is_over) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let processes = ProcessRuntime::new(ProcessOptions::default()).unwrap();
                let mut world = World::new(Time::wall_clock(), 1, Box::new(script.runtime_beside(Box::new(processes))));
                world.play(&script);
                give.send(Lab::serve(world, LabOptions::default()).await.unwrap()).unwrap();
                let _ = is_over.await;
            });
        });
        let lab = Some(take.recv().unwrap());
        Self { lab, folder, end: Some(end), thread: Some(thread), users: AtomicU32::new(0) }
    }

    pub(crate) fn lab(&self) -> &Lab<World> {
        self.lab.as_ref().expect("it lives")
    }

    /// A kubeconfig of the admin's.
    pub(crate) fn admin(&self) -> String {
        self.file("admin.yaml", &self.lab().kubeconfig().unwrap())
    }

    /// A kubeconfig of somebody who may do all that kpo wants, but for these.
    pub(crate) fn without(&self, denied: &[(&str, &str)]) -> String {
        let rules = RIGHTS.iter().filter(|right| !denied.contains(right)).map(|(verb, what)| Rule::new(verb, what));
        let number = self.users.fetch_add(1, Ordering::Relaxed);
        let token = format!("token-{number}");
        self.lab().grant(&token, User::with_rules(ACCOUNT, rules.collect()));
        self.file(&format!("user-{number}.yaml"), &self.lab().kubeconfig_for(&token).unwrap())
    }

    /// A file in a folder of the test's; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn fault(&self, when: Match, fault: Fault) -> FaultGuard {
        self.lab().faults().inject(when, fault)
    }

    /// The pod of that name in the namespace `default`. `None`: it is not there.
    pub(crate) fn pod(&self, name: &str) -> Option<Value> {
        self.lab().with(|_, world| world.store().get(Resource::Pods, "default", name).map(|pod| Value::clone(&pod)))
    }

    /// Changes the pod of that name, as somebody else's controller might.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut pod = self.pod(name).expect("it is there");
        change(&mut pod);
        let writer = kpo_lab::Writer::new("somebody");
        self.lab().with(|now, world| world.store_mut(now).update(now, Resource::Pods, pod, &writer)).unwrap();
    }

    /// How many pods there are in the namespace `default`.
    pub(crate) fn pods(&self) -> usize {
        self.lab().with(|_, world| world.store().list(Resource::Pods, Some("default")).count())
    }

    /// Waits until the pod is so. A cluster that never gets there fails the test.
    pub(crate) fn wait_until(&self, name: &str, is: impl Fn(&Value) -> bool) {
        until(|| self.pod(name).is_some_and(|pod| is(&pod)));
    }

    /// Waits until the pod runs.
    pub(crate) fn wait_until_running(&self, name: &str) {
        self.wait_until(name, |pod| pod["status"]["phase"] == "Running");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.lab = None;
        drop(self.end.take());
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
