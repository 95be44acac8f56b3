//! Scripts: what a cluster consists of, and what happens in it, in a small text format.
//!
//! One grammar serves `kpo lab --script`, `kpo run --lab=FILE` and the cluster part of a scenario. A line is a statement; `#` begins a comment;
//! a line that begins with white space goes on with the one before. Durations are `300ms`, `3s`, `2m`, `1h`; text with spaces is put in
//! double quotes; `*` in a name stands for any text; a pod is named `NAME` (in the namespace `default`, or in any where it is looked for) or
//! `NAMESPACE/NAME`.
//!
//! ```text
//! # The cluster
//! timing upstream                                   # kubelets as slow as real ones; default: quick
//! distribution k3s                                  # one binary is all components: its name is theirs in managedFields
//! node node-1 cpu=2 memory=4Gi pods=110 label zone=a taint gpu=yes:NoSchedule
//! namespace team-a restricted                       # Pod Security "restricted"
//! priority-class urgent 1000 [default] [never-preempts]
//! quota team-a pods=5 requests.cpu=2
//! daemonset kube-system/node-agent cpu=500m priority-class=system-node-critical selector ready=yes
//! pod default/filler node=node-1 cpu=1 priority-class=urgent grace=5
//! config-map default/settings key=value             # also: secret
//! image busybox* pulls in 2s [on node-1]
//! image nowhere.invalid/* fails "no such host" [after 1s]
//! container base [of task-*] [image=I] [on node-1] [restart=0] runs 10s exit 3 says "hello" says "late" at 5s
//! container base runs forever on-term exits 0 after 2s   # or: on-term ignored; runs until result ends
//! container base oom after 3s                       # or: not-executable "why", cannot-start "why"
//! container base writes /airflow/xcom/return.json "{}" at 1s
//! container result runs forever hands-over /airflow/xcom/return.json
//! webhook injects-mesh                              # or: renames A to B, denies "why"
//! provisioner karpenter after 300ms [at-most 3]     # or: cluster-autoscaler
//! provides node-* cpu=4 pods=1 label ready=yes later 700ms
//!
//! # What happens
//! at 3s: preempt pod task-1
//! when pod task-1 running: delete it
//! when pod task-* waiting for 2s: node node-1 silent
//! whenever pod task-* running: evict it             # each such pod once
//! then after 20s: node node-1 answers               # after the happening before it
//! ```
//!
//! A pod may be: `created`, `gated`, `unschedulable`, `scheduled`, `starting` (the kubelet has spoken), `waiting` (a container waits for another
//! reason than its creation), `running`, `ended`, `succeeded`, `failed`, `disrupted`, `terminating`, `gone`.
//!
//! What can happen to a pod (`it` or `pod NAME`): `delete`, `delete … grace=0`, `evict`, `evict … by karpenter` (or `cluster-autoscaler`),
//! `preempt`, `evict … for memory` (node pressure), `evict … over volume x`, `kueue-evict`, `lose records of`, `mark … Reason "message"` (the
//! condition DisruptionTarget alone), `unmark`, `fail … Reason "message" by virtual-kubelet` (phase Failed by another writer), `label … k=v`, `unlabel … k`, `annotate … k=v`, `set-finalizer … name`,
//! `drop-finalizer … name`. To a node: `node N silent | answers | off | deleted | rebooted [records lost] | shuts down [in 5s] | cordoned |
//! uncordoned | rejects Reason "message" | accepts | low-on memory | recovered | labelled k=v | tainted k=v:Effect | untainted k`. To a kubelet: `kubelet N stopped | started | restarted`. To the cluster: any
//! statement of its own part that makes something (`node`, `pod`, `config-map`, `image`, …), `delete config-map NAME`, `compact`. To the API
//! server's clients: `api down 30s`, `api answers 500 to create pods [2 times] [after all] [retry-after 3] [for 10s]`, `api loses reply to create
//! pods`, `api drops watch pods`, `api hangs watch pods for 20s`, `api delays get pods by 2s`, `tokens expire [for 5s]` (401 until then).

use std::fmt;

mod act;
mod behaviour;
mod builtin;
mod cluster;
mod director;
mod happen;
mod lex;

use std::time::Duration;

use serde_json::Value;

use crate::api::{Injection, Rule, User};
use crate::kubelet::{Pull, Records, Timing};
use crate::nodes::NodeSpec;
use crate::provisioner::{ProvisionerKind, ProvisionerSpec};
use crate::resource::Resource;
use crate::runtime::{MixedRuntime, Runtime};
use crate::scripted::{Behaviour, Matching, ScriptedRuntime};

pub use behaviour::json_of;
pub use builtin::{NAMES, built_in};
pub(crate) use director::Director;

/// A script: a cluster and what happens in it.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What there is, in the order of the lines.
    pub cluster: Vec<Statement>,
    /// What happens, in the order of the lines.
    pub happenings: Vec<Happening>,
    /// What scripted containers do; those further down outrank those above.
    pub behaviours: Vec<(Matching, Behaviour)>,
}

/// One thing that a cluster has.
#[derive(Clone, Debug)]
pub enum Statement {
    /// How long kubelets take.
    Timing(Timing),
    /// One binary is all components, under this name.
    Distribution(String),
    /// So many ended pods are kept; older ones are collected.
    PodGc(usize),
    /// A node.
    Node(NodeSpec),
    /// An object, created as by a client.
    Object(Resource, Value),
    /// How images are pulled: a pattern, on a node or on all.
    Image(String, Option<String>, Pull),
    /// A mutating webhook for pods.
    Webhook(Injection),
    /// Pods of such a name wait at the scheduler's Permit for so long.
    Permit(String, Duration),
    /// A user, known by a token of his own, and what he may do.
    Token(String, Rule),
    /// What adds nodes.
    Provisioner(ProvisionerSpec),
    /// One more node that the provisioner adds.
    Provides(NodeSpec),
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Happening {
    /// The line of the script, counted from 1.
    pub line: usize,
    /// When it happens.
    pub when: When,
    /// What happens.
    pub action: Action,
}

/// When something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// This long after the beginning.
    At(Duration),
    /// This long after the happening before it.
    Then(Duration),
    /// When a pod is in a state, and has been for a while.
    Pod {
        /// Which pod.
        pod: PodPattern,
        /// Its state.
        state: PodState,
        /// For how long.
        lasting: Duration,
        /// For each such pod once, instead of only for the first.
        each: bool,
    },
}

/// Which pods are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPattern {
    /// The namespace; None for any.
    pub namespace: Option<String>,
    /// The name, with `*` for any text.
    pub name: String,
}

/// What a pod may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// It is there.
    Created,
    /// It has scheduling gates.
    Gated,
    /// The scheduler found no node.
    Unschedulable,
    /// It is assigned to a node.
    Scheduled,
    /// The kubelet has written a status.
    Starting,
    /// A container waits for something that went wrong.
    Waiting,
    /// Its phase is Running.
    Running,
    /// It succeeded or failed.
    Ended,
    /// Its phase is Succeeded.
    Succeeded,
    /// Its phase is Failed.
    Failed,
    /// The condition DisruptionTarget is true.
    Disrupted,
    /// Its deletion was asked for.
    Terminating,
    /// Its object is gone.
    Gone,
}

/// To whom it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The pod that the condition was about.
    It,
    /// A pod by name: the first that fits.
    Pod(PodPattern),
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// Something happens to a pod.
    Pod(Target, PodAction),
    /// Something happens to a node, or to its kubelet.
    Node(String, NodeAction),
    /// Something is added to the cluster.
    Add(Box<Statement>),
    /// An object that is no pod is deleted.
    DeleteObject(Resource, String, String),
    /// The store forgets its changes (410).
    Compact,
    /// Something happens to the API server's clients.
    Api(ApiTrouble),
}

/// What happens to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodAction {
    /// It is deleted by hand; with this grace in seconds, or its own.
    Delete(Option<i64>),
    /// It is evicted by the eviction API; with the events of `cluster-autoscaler` or `karpenter`, if one of them does it.
    Evict(Option<ProvisionerKind>),
    /// The condition DisruptionTarget is set, with this reason and message; nothing else happens.
    Mark(String, String),
    /// The condition DisruptionTarget turns False.
    Unmark,
    /// Its phase turns Failed, with this reason and message, written by this field manager instead of a kubelet.
    Fail(String, String, String),
    /// It is preempted by one of higher priority.
    Preempt,
    /// The kubelet evicts it because its node is low on this.
    EvictForPressure(String),
    /// The kubelet evicts it because this volume of it is over its limit.
    EvictForVolume(String),
    /// Kueue takes it back.
    KueueEvict,
    /// Its phase turns Unknown, with this reason and message, written by this field manager.
    LoseSight(String, String, String),
    /// The runtime breaks down under its containers, and knows this of them afterwards.
    BreakRuntime(Records),
    /// A label is set, or removed.
    Label(String, Option<String>),
    /// An annotation is set.
    Annotate(String, String),
    /// A finalizer is added (true) or removed.
    Finalizer(String, bool),
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAction {
    /// Its kubelet is not heard of; containers run on.
    Silent,
    /// Its kubelet is heard again.
    Answers,
    /// The machine is off for good.
    Off,
    /// Its object is deleted; the machine stays. True: by the cloud's controller, which says why.
    Deleted(bool),
    /// The machine is started anew; what its runtime knows then.
    Rebooted(Records),
    /// It shuts down gracefully, within this time.
    ShutDown(Duration),
    /// It takes no new pods (true), or does again.
    Cordoned(bool),
    /// Its kubelet rejects new pods with this reason and message; None: no more.
    Rejects(Option<(String, String)>),
    /// It is low on `memory`, `disk` or `pids` and takes no new pods; None: no more.
    LowOn(Option<String>),
    /// It gets a label.
    Labelled(String, String),
    /// It gets a taint: key, value, effect.
    Tainted(String, String, String),
    /// It loses the taints with this key.
    Untainted(String),
    /// Its kubelet's process stops.
    KubeletStopped,
    /// Its kubelet's process starts.
    KubeletStarted,
    /// Its kubelet's process stops and starts.
    KubeletRestarted,
}

/// What happens to the API server's clients. None for verb or resource means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiTrouble {
    /// What befalls them.
    pub kind: ApiTroubleKind,
    /// Only requests with this verb.
    pub verb: Option<String>,
    /// Only requests for this resource.
    pub resource: Option<String>,
    /// Only the first so many requests.
    pub times: Option<u64>,
    /// Only for so long; None: for good.
    pub lasting: Option<Duration>,
}

/// What befalls a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ApiTroubleKind {
    /// The connection breaks, nothing is done.
    #[default]
    Drops,
    /// It is done, but the reply is lost.
    LosesReply,
    /// It is answered with this code and `Retry-After`; `done`: after it was done all the same.
    Answers {
        /// The HTTP status code.
        code: u16,
        /// The `Retry-After` header in seconds.
        retry_after: Option<u32>,
        /// Whether it is done all the same.
        done: bool,
    },
    /// It is answered this much later.
    Delays(Duration),
    /// Nothing more is heard, open streams included.
    Hangs,
    /// The answer's body breaks after so many bytes.
    Cuts(u64),
    /// A stream is answered, and ends at once, properly and empty.
    Closes,
    /// No token is good any more (401).
    TokensExpire,
}

/// What is wrong with a script, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScriptError {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1, in characters.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Reads a script.
///
/// # Errors
/// The first line that is none, with what could be written there.
///
/// # Example
/// ```
/// let script = kpo_lab::script::parse("node node-1 cpu=2\nwhen pod task-1 running: delete it\n")?;
/// assert_eq!((script.cluster.len(), script.happenings.len()), (1, 1));
/// # Ok::<(), kpo_lab::script::ScriptError>(())
/// ```
pub fn parse(text: &str) -> Result<Script, ScriptError> {
    parse_from(text, 1)
}

/// The same for a part of a larger text: `first` is the number of its first line.
///
/// # Errors
/// As [`parse`].
pub fn parse_from(text: &str, first: usize) -> Result<Script, ScriptError> {
    let mut script = Script::default();
    for mut line in lex::lines(text, first)? {
        statement(&mut script, &mut line)?;
        line.end()?;
    }
    Ok(script)
}

/// Whether a line begins a statement of a script: for texts that hold other things too.
pub fn is_statement(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    happen::STARTS.contains(&word) || cluster::STARTS.contains(&word) || word == behaviour::START
}

fn statement(script: &mut Script, line: &mut lex::Line) -> Result<(), ScriptError> {
    let word = line.peek().map(|word| word.text.clone()).unwrap_or_default();
    if happen::STARTS.contains(&word.as_str()) {
        let happening = happen::happening(line, script.happenings.is_empty())?;
        script.happenings.push(happening);
    } else if word == behaviour::START {
        script.behaviours.push(behaviour::container(line)?);
    } else {
        let statement = cluster::statement(line)?;
        script.cluster.push(statement);
    }
    Ok(())
}

impl Script {
    /// A runtime whose containers do what the script says. What the cluster itself brings along (DaemonSets, fillers) runs until it is stopped.
    pub fn runtime(&self) -> ScriptedRuntime {
        let mut runtime = ScriptedRuntime::new().with(Matching::image("lab/*"), Behaviour::forever());
        for (matching, behaviour) in &self.behaviours {
            runtime.add_rule(matching.clone(), behaviour.clone());
        }
        runtime
    }

    /// The user of that name, with all that the script says he may do.
    pub fn user(&self, name: &str) -> Option<User> {
        let rules = self.cluster.iter().filter_map(|statement| match statement {
            Statement::Token(user, rule) if user == name => Some(rule.clone()),
            _ => None,
        });
        let rules: Vec<Rule> = rules.collect();
        (!rules.is_empty()).then(|| User::with_rules(name, rules))
    }

    /// The same beside a runtime with real containers, which has all that the script says nothing of: for a live lab.
    pub fn runtime_beside(&self, others: Box<dyn Runtime>) -> MixedRuntime {
        MixedRuntime::new(self.runtime(), others)
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    crate::scripted::glob(pattern, text)
}

#[cfg(test)]
mod tests;
