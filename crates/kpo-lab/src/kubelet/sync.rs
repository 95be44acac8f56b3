//! SyncPod (`kubelet.go`, `kuberuntime_manager.go`): status, volumes, sandbox, images, containers, one after the other.

use std::time::Duration;

use serde_json::Value;

use super::env::{self, Facts};
use super::images::{self, Pull};
use super::machine::{Ended, Instance, PodOnMachine, Sandbox};
use super::network;
use super::spec;
use super::status;
use super::volumes;
use super::worker::{Next, Node, Stage, Stopping, Worker, seconds};
use crate::events::Report;
use crate::pod;
use crate::runtime::{ContainerKind, PodSetup, StartError};
use crate::time::Time;
use crate::world::Cx;

/// The first wait after a volume could not be set up, doubling (`exponential_backoff.go`).
const FIRST_MOUNT_WAIT: Duration = Duration::from_millis(500);

/// The longest such wait.
const LONGEST_MOUNT_WAIT: Duration = Duration::from_secs(122);

/// After so many failures the sync has waited two minutes and fails (`podAttachAndMountTimeout`, 2 min 3 s).
const MOST_MOUNT_FAILURES: u32 = 7;

/// The reason of a container whose restart is backed off.
const CRASH_LOOP: &str = "CrashLoopBackOff";

impl Worker {
    /// The beginning of a sync.
    pub(super) fn sync(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, machine: &mut PodOnMachine) {
        self.failed = false;
        let status = self.generate(cx, node);
        let ends = pod::is_terminal_phase(status["phase"].as_str().unwrap_or_default());
        self.set_status(cx, status, false);
        if ends {
            self.last_sync = cx.now;
            let at = node.timing.next_look(node.origin, cx.now);
            return self.go(Stage::Terminating, at);
        }
        if self.only_sidecars_run() {
            return self.stop_sidecars(cx, node, machine);
        }
        if machine.mounted {
            self.go_on_to_sandbox(cx, node, machine);
        } else {
            self.go(Stage::Mount, cx.now + node.timing.mount);
        }
    }

    pub(super) fn mount(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, machine: &mut PodOnMachine) {
        let facts = Facts { store: cx.store, pod: &self.pod, host_ip: node.ip, pod_ip: "" };
        let prepared = volumes::volumes(&facts).and_then(|volumes| {
            let setup = PodSetup { pod: self.key.clone(), volumes };
            cx.runtime.prepare_pod(cx.now, &setup).map_err(|why| why.message)
        });
        match prepared {
            Ok(()) => {
                machine.mounted = true;
                self.go_on_to_sandbox(cx, node, machine);
            }
            Err(why) => {
                self.report(cx, node, &Report::warning("FailedMount", why));
                if self.mount_failures > MOST_MOUNT_FAILURES {
                    return self.give_up_mounting(cx, node);
                }
                let wait = FIRST_MOUNT_WAIT * 2u32.saturating_pow(self.mount_failures.min(16));
                self.mount_failures += 1;
                self.go(Stage::Mount, cx.now + wait.min(LONGEST_MOUNT_WAIT));
            }
        }
    }

    /// `WaitForAttachAndMount` does not wait for ever: the sync fails, and another begins, which looks at the deadline too.
    fn give_up_mounting(&mut self, cx: &mut Cx<'_>, node: &Node<'_>) {
        let volumes = pod::list(&self.pod["spec"], "volumes").iter().filter_map(|volume| volume["name"].as_str());
        let names: Vec<&str> = volumes.collect();
        let message = format!(
            "Unable to attach or mount volumes: unmounted volumes=[{}], unattached volumes=[], failed to process volumes=[]: context \
             deadline exceeded",
            names.join(" ")
        );
        self.report(cx, node, &Report::warning("FailedMount", message));
        self.mount_failures = 0;
        self.failed = true;
        self.end_sync(cx.now, node);
    }

    fn go_on_to_sandbox(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, machine: &mut PodOnMachine) {
        if machine.is_up() {
            self.plan(cx, node);
            self.go_on_starting(cx, node);
        } else if self.is_stranded(machine) {
            self.end_sync(cx.now, node);
        } else {
            self.go(Stage::Sandbox, cx.now + node.timing.sandbox);
        }
    }

    /// Whether its sandbox is down and is not made again, since it is never restarted and containers of it are known (`computePodActions`): it
    /// stays as it is.
    fn is_stranded(&self, machine: &PodOnMachine) -> bool {
        machine.sandbox.is_some() && pod::restart_policy(&self.pod) == "Never" && !machine.instances.is_empty()
    }

    pub(super) fn make_sandbox(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, machine: &mut PodOnMachine) {
        let tried = *self.sandbox_tried.get_or_insert(cx.now);
        if cx.network.fails_for(node.name).is_some_and(|time| cx.now < tried + time) {
            let why = format!("Failed to create pod sandbox: {}", network::WHY);
            self.report(cx, node, &Report::warning("FailedCreatePodSandBox", why));
            self.failed = true;
            return self.end_sync(cx.now, node);
        }
        *node.next_ip += 1;
        let ip = format!("10.{}.{}.{}", 88 + node.index / 256, node.index % 256, *node.next_ip % 253 + 2);
        machine.sandbox = Some(Sandbox { ip, alive: true });
        self.touch(node, cx.now);
        self.plan(cx, node);
        self.go_on_starting(cx, node);
    }

    /// Which containers this sync starts (`computePodActions`), from what was last seen.
    fn plan(&mut self, cx: &mut Cx<'_>, node: &Node<'_>) {
        self.next.clear();
        for container in pod::init_containers(&self.pod.clone()) {
            let name = container["name"].as_str().unwrap_or_default();
            let sidecar = pod::is_sidecar(container);
            let kind = if sidecar { ContainerKind::Sidecar } else { ContainerKind::Init };
            match self.seen.latest_started(name).map(Instance::exit_code) {
                Some(None) if sidecar => continue,
                Some(None) => return,
                Some(Some(0)) if !sidecar => continue,
                None => {}
                Some(Some(code))
                    if status::restarts(&self.pod, name, code.into()) && self.may_restart(cx, node, name) => {}
                Some(Some(_)) => return,
            }
            // A sidecar that died later on is started again beside the others.
            let resumed = sidecar && self.seen.latest(name).is_some() && self.has_run_main();
            self.next.push_back(Next { name: name.to_owned(), kind });
            if !resumed {
                return;
            }
        }
        self.plan_mains(cx, node);
    }

    fn plan_mains(&mut self, cx: &mut Cx<'_>, node: &Node<'_>) {
        for container in pod::containers(&self.pod.clone()) {
            let name = container["name"].as_str().unwrap_or_default();
            let starts = match self.seen.latest_started(name).map(Instance::exit_code) {
                Some(None) => false,
                None => true,
                Some(Some(code)) => status::restarts(&self.pod, name, code.into()) && self.may_restart(cx, node, name),
            };
            if starts {
                self.next.push_back(Next { name: name.to_owned(), kind: ContainerKind::Main });
            }
        }
    }

    fn has_run_main(&self) -> bool {
        pod::containers(&self.pod).iter().any(|c| self.seen.latest(c["name"].as_str().unwrap_or_default()).is_some())
    }

    /// The first restart is immediate, later ones are backed off: 10 s doubling to 5 min.
    fn may_restart(&mut self, cx: &mut Cx<'_>, node: &Node<'_>, name: &str) -> bool {
        if self.restarts.holds(name, cx.now).is_none() {
            self.restarts.fail(name, cx.now, "");
            return true;
        }
        let report = Report::warning(
            "BackOff",
            format!(
                "Back-off restarting failed container {name} in pod {}_{}({})",
                self.key.name, self.key.namespace, self.key.uid
            ),
        );
        self.report_container(cx, node.name, name, &report);
        let why = format!(
            "back-off restarting failed container={name} pod={}_{}({})",
            self.key.name, self.key.namespace, self.key.uid
        );
        self.reasons.insert(name.to_owned(), (CRASH_LOOP.to_owned(), why));
        self.failed = true;
        false
    }

    /// The next container, or the end of the sync.
    pub(super) fn go_on_starting(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>) {
        while let Some(next) = self.next.front().cloned() {
            match self.image_step(cx, node, &next.name) {
                Some((stage, at)) => return self.go(stage, at),
                None => {
                    self.next.pop_front();
                    // An init container that does not come up holds the rest back.
                    if next.kind != ContainerKind::Main {
                        self.next.clear();
                    }
                }
            }
        }
        self.end_sync(cx.now, node);
    }

    fn end_sync(&mut self, now: Time, node: &Node<'_>) {
        self.last_sync = now;
        self.stage = Stage::Idle;
        if std::mem::take(&mut self.ends) {
            return self.end(node, now);
        }
        let retry = self.failed.then(|| now + node.timing.retry);
        let deadline = self.deadline().map(|at| at.max(node.timing.next_look(node.origin, now)));
        let again = std::mem::take(&mut self.again).then(|| node.timing.next_look(node.origin, now));
        self.due = [retry, deadline, again].into_iter().flatten().min();
    }

    fn container(&self, name: &str) -> Value {
        let all = pod::init_containers(&self.pod).iter().chain(pod::containers(&self.pod));
        all.into_iter().find(|container| container["name"] == name).cloned().unwrap_or_default()
    }

    /// What has to happen before the container can be started; None if it cannot be.
    fn image_step(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, name: &str) -> Option<(Stage, Time)> {
        let container = self.container(name);
        let image = container["image"].as_str().unwrap_or_default();
        if !images::is_valid_name(image) {
            self.refuse_name(cx, node, name, image);
            return None;
        }
        let start = (Stage::Start, cx.now + node.timing.start);
        let always = container["imagePullPolicy"] == "Always";
        let rule = cx.images.pull(image, node.name).cloned();
        if (rule.is_none() || node.pulled.contains(image)) && !always {
            let present = format!("Container image \"{image}\" already present on machine");
            self.report_container(cx, node.name, name, &Report::normal("Pulled", present));
            return Some(start);
        }
        if container["imagePullPolicy"] == "Never" {
            let why = format!("Container image \"{image}\" is not present with pull policy of Never");
            self.report_container(cx, node.name, name, &Report::warning("ErrImageNeverPull", why.clone()));
            self.fail(cx, node, name, "ErrImageNeverPull", &why, "ErrImageNeverPull");
            return None;
        }
        if let Some(why) = self.pulls.holds(image, cx.now).map(str::to_owned) {
            let back_off = format!("Back-off pulling image \"{image}\"");
            self.report_container(cx, node.name, name, &Report::normal("BackOff", back_off.clone()));
            self.fail(
                cx,
                node,
                name,
                "ImagePullBackOff",
                &format!("{back_off}: ErrImagePull: {why}"),
                "ImagePullBackOff",
            );
            return None;
        }
        self.report_container(cx, node.name, name, &Report::normal("Pulling", format!("Pulling image \"{image}\"")));
        let pull = match rule {
            Some(pull) if !node.pulled.contains(image) => pull,
            _ => Pull::Takes(Duration::ZERO),
        };
        let (Pull::Takes(time) | Pull::Fails { after: time, .. }) = &pull;
        let done = cx.now + *time;
        Some((Stage::Pull(pull, cx.now), done))
    }

    fn refuse_name(&mut self, cx: &mut Cx<'_>, node: &Node<'_>, name: &str, image: &str) {
        let why = format!(
            "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
        );
        self.report_container(cx, node.name, name, &Report::warning("InspectFailed", why.clone()));
        self.fail(cx, node, name, "InvalidImageName", &why, "InvalidImageName");
    }

    /// Notes why a container does not come up, and says so. `error` is what the event shows after `Error: `.
    fn fail(&mut self, cx: &mut Cx<'_>, node: &Node<'_>, name: &str, reason: &str, message: &str, error: &str) {
        self.report_container(cx, node.name, name, &Report::warning("Failed", format!("Error: {error}")));
        self.reasons.insert(name.to_owned(), (reason.to_owned(), message.to_owned()));
        self.failed = true;
    }

    /// A pull has come to its end.
    pub(super) fn pulled(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, pull: &Pull, since: Time) {
        let Some(next) = self.next.front().cloned() else { return self.end_sync(cx.now, node) };
        let container = self.container(&next.name);
        let image = container["image"].as_str().unwrap_or_default().to_owned();
        match pull {
            Pull::Takes(_) => {
                node.pulled.insert(image.clone());
                let took = print_duration(cx.now.since(since));
                let message = format!(
                    "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: 1024 bytes."
                );
                self.report_container(cx, node.name, &next.name, &Report::normal("Pulled", message));
                self.go(Stage::Start, cx.now + node.timing.start);
            }
            Pull::Fails { message, .. } => {
                let failed = format!("Failed to pull image \"{image}\": {message}");
                self.report_container(cx, node.name, &next.name, &Report::warning("Failed", failed));
                self.pulls.fail(&image, cx.now, message);
                self.fail(cx, node, &next.name, "ErrImagePull", message, "ErrImagePull");
                self.next.pop_front();
                if next.kind != ContainerKind::Main {
                    self.next.clear();
                }
                self.go_on_starting(cx, node);
            }
        }
    }

    /// The container whose turn it is comes up, or not.
    pub(super) fn start(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, machine: &mut PodOnMachine) {
        if let Some(next) = self.next.pop_front()
            && self.start_one(cx, node, machine, &next)
        {
            self.touch(node, cx.now);
        }
        self.go_on_starting(cx, node);
    }

    /// Whether there is a container now, for the next look to find.
    fn start_one(&mut self, cx: &mut Cx<'_>, node: &Node<'_>, machine: &mut PodOnMachine, next: &Next) -> bool {
        let container = self.container(&next.name);
        let ip = machine.sandbox.as_ref().map(|sandbox| sandbox.ip.clone()).unwrap_or_default();
        let facts = Facts { store: cx.store, pod: &self.pod, host_ip: node.ip, pod_ip: &ip };
        let env = env::environment(&facts, &container);
        let env = match env.and_then(|env| spec::verify_non_root(&self.pod, &container).map(|()| env)) {
            Ok(env) => env,
            Err(why) => {
                self.fail(cx, node, &next.name, "CreateContainerConfigError", &why, &why);
                return false;
            }
        };
        let before = self.restart_count(machine, &next.name);
        let asked = spec::container(&self.key, &self.pod, &container, next.kind, before, env);
        match cx.runtime.start(cx.now, asked) {
            Ok(id) => {
                self.created(cx, node, &next.name);
                let started = format!("Started container {}", next.name);
                self.report_container(cx, node.name, &next.name, &Report::normal("Started", started));
                self.reasons.remove(&next.name);
                cx.owners.insert(id.clone(), (self.key.node.clone(), self.key.uid.clone()));
                self.add(
                    cx,
                    machine,
                    &next.name,
                    Instance { id, started: cx.now, restart_count: before, ended: None, only_created: false },
                );
                true
            }
            Err(StartError::NotExecutable { id, message }) => {
                self.created(cx, node, &next.name);
                self.fail(cx, node, &next.name, "RunContainerError", &message, &message);
                let ended = Ended { exit_code: 128, reason: "StartError".into(), message, at: cx.now };
                let (started, ended) = (Time(0), Some(ended));
                let instance = Instance { id, started, restart_count: before, ended, only_created: false };
                self.add(cx, machine, &next.name, instance);
                true
            }
            Err(StartError::Create { message }) => {
                self.fail(cx, node, &next.name, "CreateContainerError", &message, &message);
                false
            }
        }
    }

    fn created(&self, cx: &mut Cx<'_>, node: &Node<'_>, name: &str) {
        self.report_container(cx, node.name, name, &Report::normal("Created", format!("Created container: {name}")));
    }

    fn add(&self, cx: &mut Cx<'_>, machine: &mut PodOnMachine, name: &str, instance: Instance) {
        if let Some(oldest) = machine.add(name, instance) {
            cx.owners.remove(&oldest.id);
            cx.runtime.remove(&oldest.id);
        }
    }

    /// The next container's restart count: one more than the last one's, or than what was reported of one that is lost.
    fn restart_count(&self, machine: &PodOnMachine, name: &str) -> u32 {
        let known = machine.latest(name).map(|instance| instance.restart_count + 1);
        let lists = ["containerStatuses", "initContainerStatuses"];
        let reported = lists.iter().flat_map(|field| pod::list(&self.status, field));
        let reported =
            reported.filter(|status| status["name"] == name).find_map(|status| status["restartCount"].as_u64());
        known.unwrap_or_else(|| reported.and_then(|count| u32::try_from(count).ok()).unwrap_or(0))
    }

    /// Whether all regular containers have ended for good while sidecars run on.
    fn only_sidecars_run(&self) -> bool {
        let over = |container: &Value| {
            let name = container["name"].as_str().unwrap_or_default();
            let code = self.seen.latest(name).and_then(Instance::exit_code);
            code.is_some_and(|code| !status::restarts(&self.pod, name, code.into()))
        };
        pod::containers(&self.pod).iter().all(over) && self.seen.running().next().is_some()
    }

    fn stop_sidecars(&mut self, cx: &mut Cx<'_>, node: &Node<'_>, machine: &mut PodOnMachine) {
        let deadline = cx.now + seconds(pod::grace_seconds(&self.pod));
        let stopping = self.begin_stopping(cx, node.name, machine, deadline);
        self.go(Stage::StopSidecars(stopping.clone()), stopping.deadline);
        self.go_on_stopping(cx, node, machine, stopping);
    }

    /// The sidecars are down, and with them the sandbox: the next look shows a pod that has ended.
    pub(super) fn sidecars_stopped(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, machine: &mut PodOnMachine) {
        if let Some(sandbox) = &mut machine.sandbox {
            sandbox.alive = false;
        }
        self.touch(node, cx.now);
        self.end_sync(cx.now, node);
    }

    /// Tells the containers to end: regular ones at once, sidecars when their turn comes.
    pub(super) fn begin_stopping(
        &mut self,
        cx: &mut Cx<'_>,
        node: &str,
        machine: &PodOnMachine,
        deadline: Time,
    ) -> Stopping {
        let running: Vec<String> = machine.running().map(|(name, _)| name.to_owned()).collect();
        for name in &running {
            let message = format!("Stopping container {name}");
            self.report_container(cx, node, name, &Report::normal("Killing", message));
        }
        let all = pod::init_containers(&self.pod).iter().filter(|c| pod::is_sidecar(c));
        let sidecars = all.filter_map(|c| c["name"].as_str()).filter(|name| running.iter().any(|r| r == name));
        let sidecars: Vec<String> = sidecars.map(str::to_owned).collect();
        for name in running.iter().filter(|name| !sidecars.contains(name)) {
            signal(cx, machine, name, crate::runtime::Signal::Term);
        }
        Stopping { deadline, sidecars }
    }
}

/// Sends a signal to the container of that name, if it runs.
pub(super) fn signal(cx: &mut Cx<'_>, machine: &PodOnMachine, name: &str, signal: crate::runtime::Signal) {
    if let Some(instance) = machine.latest(name).filter(|instance| instance.runs()) {
        cx.runtime.signal(cx.now, &instance.id, signal);
    }
}

/// A duration as Go prints it, to milliseconds: `1.5s`, `250ms`, `1m30s`.
fn print_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let text = format!("{}.{:03}", rest / 1000, rest % 1000);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if minutes == 0 { format!("{text}s") } else { format!("{minutes}m{text}s") }
}
