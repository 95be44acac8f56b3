//! What a proxy of ours makes of the door to the API server, each time in one way, to the end.

use super::preempted::SUCCEEDED;
use super::{ENDURES, WAITS_FOR_SETTINGS, is_running, is_waiting, same, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::container::SIDECAR;
use crate::ledger::Ledger;
use crate::proxy::{Asked, Fault, Moment, Proxy, Words};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A switch of a rule's.
#[derive(Clone, Default)]
pub(super) struct Switch(Arc<AtomicBool>);

impl Switch {
    pub(super) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Namespace<'_> {
    /// A proxy through which such requests meet this fault while the switch is on.
    pub(super) async fn switched(&self, what: &'static str, fault: Fault) -> Result<(Proxy, Switch), Error> {
        let switch = Switch::default();
        let asked = switch.clone();
        let rule = move |now: &Asked| if now.what.starts_with(what) && asked.is_on() { fault } else { Fault::Pass };
        Ok((Proxy::start(self, rule).await?, switch))
    }
}

pub(super) fn refused(code: u16, retry_after: Option<u32>) -> Fault {
    Fault::Answer { code, retry_after, words: Words::Server, moment: Moment::Before }
}

/// The first requests of all are lost; the first contact is tried again for ten seconds.
pub(super) async fn api_down_at_the_create(namespace: &Namespace<'_>) -> Result<(), Error> {
    let count = AtomicUsize::new(0);
    let rule = move |_: &Asked| if count.fetch_add(1, Ordering::Relaxed) < 3 { Fault::Lose } else { Fault::Pass };
    let proxy = Proxy::start(namespace, rule).await?;
    let ended = namespace.start_as(proxy.kubeconfig(), "run", &shell(&["-o", "json"], "echo hello"))?.ended().await?;
    ended.exits(0)?.came_to(&[SUCCEEDED])?.has_line("hello", 1)?;
    same("requests that were lost", &json!(proxy.befallen()), &json!(3))?;
    namespace.is_empty().await
}

/// It is found by name and nonce, and not created twice.
pub(super) async fn create_reply_is_lost(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let is_it = |asked: &Asked| asked.what == "create pods" && asked.nth == 1;
    let rule = move |asked: &Asked| if is_it(asked) { Fault::Cut { after: 0, reset: false } } else { Fault::Pass };
    let proxy = Proxy::start(namespace, rule).await?;
    let run = ledger.run("task", &["-o", "json"], "echo hello");
    let ended = namespace.start_as(proxy.kubeconfig(), "run", &run)?.ended().await?;
    ended.exits(0)?.came_to(&[SUCCEEDED])?.has_line("hello", 1)?;
    same("replies that were lost", &json!(proxy.befallen()), &json!(1))?;
    ledger.shows("task", &[1])?;
    namespace.is_empty().await
}

/// Waited for as asked.
pub(super) async fn storm_of_429(namespace: &Namespace<'_>) -> Result<(), Error> {
    let is_it = |asked: &Asked| asked.what == "create pods" && asked.nth <= 5;
    let rule = move |asked: &Asked| if is_it(asked) { refused(429, Some(1)) } else { Fault::Pass };
    let proxy = Proxy::start(namespace, rule).await?;
    let ended = namespace.start_as(proxy.kubeconfig(), "run", &shell(&["-o", "json"], "echo hello"))?.ended().await?;
    ended.exits(0)?.came_to(&[SUCCEEDED])?.has_line("hello", 1)?;
    same("creates", &json!(proxy.count("create pods")), &json!(6))?;
    namespace.is_empty().await
}

/// A follow breaks in the middle of a line, again and again, and is refused in between: each line once, and whole.
pub(super) async fn log_is_cut_in_a_line(namespace: &Namespace<'_>) -> Result<(), Error> {
    let rule = |asked: &Asked| match (asked.what.as_str(), asked.nth) {
        ("get pods/1/log base", nth) if nth <= 4 && nth % 3 == 0 => Fault::Lose,
        ("get pods/1/log base", nth) if nth <= 4 => Fault::Cut { after: 1000, reset: nth % 2 == 0 },
        _ => Fault::Pass,
    };
    let proxy = Proxy::start(namespace, rule).await?;
    let words = "x".repeat(80);
    let script = format!("i=0; while [ $i -lt 100 ]; do echo {words} $i; i=$((i+1)); sleep 0.1; done");
    let ended = namespace.start_as(proxy.kubeconfig(), "run", &shell(&[], &script))?.ended().await?;
    let all: String = (0..100).map(|number| format!("{words} {number}\n")).collect();
    ended.exits(0)?.prints(&all)?.never_says("gap: ")?;
    same("follows that were cut", &json!(proxy.befallen()), &json!(4))?;
    namespace.is_empty().await
}

/// The server ends each watch at once, clean and empty: nothing is missed.
pub(super) async fn watch_ends_at_once(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let (proxy, ends) = namespace.switched("watch pods", Fault::Empty).await?;
    let script = "until [ -e /ledger/stop ]; do sleep 0.1; done; echo hello";
    let task = namespace.start_as(proxy.kubeconfig(), "run", &ledger.run("task", &["-o", "json"], script))?;
    namespace.pod("task-1", "runs", is_running).await?;
    ends.set(true);
    proxy.cut();
    let before = proxy.count("watch pods");
    namespace.saw(&proxy, "watch pods", before + 4).await?;
    ledger.allow("stop")?;
    namespace.saw(&proxy, "watch pods", before + 5).await?;
    ends.set(false);
    task.ended().await?.exits(0)?.came_to(&[SUCCEEDED])?.has_line("hello", 1)?;
    ledger.shows("task", &[1])?;
    namespace.is_empty().await
}

/// It succeeds while the watch is broken, and others delete the finished pod at once: read from the history, a success all the same, and its result with
/// it where the kubelet has written it down.
pub(super) async fn collected_right_after_success(namespace: &Namespace<'_>) -> Result<(), Error> {
    let by = |how: &'static str| vec!["--result", "--results", how, "--results-image", SIDECAR];
    for (flags, result) in [(vec![], Value::Null), (by("message"), json!([1, 2, 3])), (by("sidecar"), json!([1, 2, 3]))]
    {
        let ended = collected(namespace, &flags).await?.exits(0)?.came_to(&[SUCCEEDED])?;
        same("result", &ended.outcome()?["result"], &result)?;
    }
    Ok(())
}

async fn collected(namespace: &Namespace<'_>, flags: &[&str]) -> Result<crate::command::Ended, Error> {
    let ledger = Ledger::open(namespace).await?;
    let (proxy, blind) = namespace.switched("watch pods", Fault::Lose).await?;
    let script =
        "until [ -e /ledger/stop ]; do sleep 0.1; done; [ ! -d /airflow ] || echo [1,2,3] > /airflow/xcom/return.json";
    let run = ledger.run("task", &[&["-o", "json"], flags].concat(), script);
    let task = namespace.start_as(proxy.kubeconfig(), "run", &run)?;
    namespace.wait("it has begun", || async { Ok(!ledger.starts()?.is_empty()) }).await?;
    blind.set(true);
    proxy.cut();
    ledger.allow("stop")?;
    namespace.pod("task-1", "has succeeded", |pod| pod["status"]["phase"] == "Succeeded").await?;
    namespace.delete(&namespace.path("pods/task-1"), &json!({"gracePeriodSeconds": 0})).await?;
    namespace.is_empty().await?;
    blind.set(false);
    task.ended().await
}

/// The starting clock ends, the delete is put off, and the program starts and fails by itself meanwhile: its own failure counts, and is tried again.
pub(super) async fn fails_while_it_is_stopped(namespace: &Namespace<'_>) -> Result<(), Error> {
    let (proxy, puts_off) = namespace.switched("delete pods", refused(503, Some(1))).await?;
    puts_off.set(true);
    let flags = ["-o", "json", "--retries", "1", "--start-timeout", "5s", "--set", WAITS_FOR_SETTINGS];
    let task = namespace.start_as(proxy.kubeconfig(), "run", &shell(&flags, "exit 3"))?;
    namespace.pod("task-1", "waits for its settings", is_waiting).await?;
    namespace.saw(&proxy, "delete pods/1", 1).await?;
    namespace.give_settings().await?;
    namespace.pod("task-1", "has failed", |pod| pod["status"]["phase"] == "Failed").await?;
    puts_off.set(false);
    task.ended().await?.exits(3)?.came_to(&["failed programFailed 3"; 2])?;
    namespace.is_empty().await
}

/// Nobody may watch, and the pod is taken away between two looks: kpo's finalizer keeps its last state for the next one.
pub(super) async fn watch_is_forbidden(namespace: &Namespace<'_>) -> Result<(), Error> {
    let (proxy, forbids) = namespace.switched("watch pods", refused(403, None)).await?;
    forbids.set(true);
    let task = namespace.start_as(proxy.kubeconfig(), "run", &shell(&["-o", "json"], ENDURES))?;
    let is_protected = |pod: &Value| is_running(pod) && pod["metadata"]["finalizers"][0] == "kpo.rs/protect";
    namespace.pod("task-1", "runs, and is protected", is_protected).await?;
    namespace.evict("task-1").await?;
    task.ended().await?.exits(75)?.came_to(&["disrupted eviction started evicted 143"])?;
    namespace.is_empty().await
}
