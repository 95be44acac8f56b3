//! Scripts: what a cluster consists of, and what happens in it, in a small text format.
//!
//! One grammar serves `kpo lab --script`, `kpo run --lab=FILE` and the cluster part of a scenario:
#![doc = "```text"]
#![doc = include_str!("script/scripts.txt")]
#![doc = "```"]

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

/// The grammar, for people: what `kpo help scripts` prints.
pub const GRAMMAR: &str = include_str!("script/scripts.txt");

/// The words with which statements begin that a scenario has beside a script's: of its task, of who watches it, of what is expected.
pub const OF_SCENARIOS: [&str; 15] = [
    "task",
    "user",
    "observer",
    "permits",
    "engine-only",
    "may-prove-less",
    "sends",
    "verdict",
    "says",
    "outcome",
    "result",
    "prints",
    "keeps",
    "waits",
    "requests",
];

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
    /// For how long after a pod's first try no sandbox of it comes up, on a node or on all.
    Network(Option<String>, Duration),
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
    /// A scheduling gate is lifted.
    LiftGate(String),
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

/// Reads a script, or the part of a scenario that is one: what a scenario says beside is passed over.
///
/// # Errors
/// As [`parse`].
///
/// # Example
/// ```
/// let scenario = "# Two lives.\nnode node-1\ntask t\nat 5s: delete pod t-1\nsends create t-1\nb outcome none\n";
/// let script = kpo_lab::script::parse_scenario(scenario)?;
/// assert_eq!((script.cluster.len(), script.happenings[0].line), (1, 4));
/// # Ok::<(), kpo_lab::script::ScriptError>(())
/// ```
pub fn parse_scenario(text: &str) -> Result<Script, ScriptError> {
    let mut script = Script::default();
    for mut line in lex::lines(text, 1)? {
        if !is_of_a_scenario(&line) {
            statement(&mut script, &mut line)?;
            line.end()?;
        }
    }
    Ok(script)
}

/// Whether a statement is a scenario's alone; one about another observer has his letter first.
fn is_of_a_scenario(line: &lex::Line) -> bool {
    let mut words = line.words().map(|word| word.text.trim_end_matches([',', ':']));
    let first = words.next().unwrap_or_default();
    let of_scenarios = |word: &str| OF_SCENARIOS.contains(&word);
    of_scenarios(first) || first.len() == 1 && words.next().is_some_and(of_scenarios)
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
