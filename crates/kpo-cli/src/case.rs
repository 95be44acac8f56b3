//! A pod's ledger from what was recorded of it, and what became of it.

use crate::dates;
use crate::records::{Record, What};
use kpo_core::spec::ExitZeroAfterTerm;
use kpo_core::{
    AttemptRecord, AttemptVerdict, Carried, ClusterEvent, Fact, Ledger, Outcome, Pod, PodRef, Spec, Template, Time,
    Times, Verdict, classify, marks,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// A pod, all that is known of it, and the verdict.
pub(crate) struct PodCase {
    /// All that is known of it.
    pub(crate) ledger: Ledger,
    /// Which containers count, and which is its own.
    pub(crate) template: Template,
    /// What became of it. `None`: it lives.
    pub(crate) verdict: Option<Verdict>,
    /// Its first sight: name, labels.
    pub(crate) pod: Pod,
    /// How many sights there are.
    pub(crate) sights: usize,
    /// The last of them.
    pub(crate) until: Time,
    /// The first of them, whole.
    pub(crate) raw: Value,
    /// The task. `None`: the pod is not kpo's, or does not carry it.
    pub(crate) spec: Option<Spec>,
    /// The ledger's entries of which only the moment is known at which they were seen.
    pub(crate) undated: BTreeSet<usize>,
}

/// The pod of that name in the records; `None`: the first. `container`: what the user says is its own.
pub(crate) fn find(records: &[Record], name: Option<&str>, container: Option<&str>) -> Option<PodCase> {
    let mut pods = records.iter().filter_map(|record| match &record.what {
        What::Seen(_, pod, raw) => Some((record.at, pod, raw)),
        What::Told(_) => None,
    });
    let (at, pod, raw) = pods.find(|(_, pod, _)| name.is_none_or(|name| pod.metadata.name == name))?;
    let spec = spec(pod);
    let mut case = PodCase {
        ledger: Ledger::default(),
        template: template(pod, spec.as_ref(), container),
        verdict: None,
        sights: 0,
        until: Time::default(),
        raw: Value::clone(raw),
        pod: Pod::clone(pod),
        spec,
        undated: BTreeSet::new(),
    };
    records.iter().for_each(|record| case.take(record));
    case.verdict = classify::judge(&case.ledger, &case.template, ExitZeroAfterTerm::Success);
    case.date(at);
    Some(case)
}

/// The task that a pod of it carries.
fn spec(pod: &Pod) -> Option<Spec> {
    let state = pod.annotation(marks::STATE)?;
    serde_json::from_str::<Carried>(state).ok().map(|carried| carried.spec)
}

/// A task's pod carries its template; of any other all containers count.
fn template(pod: &Pod, spec: Option<&Spec>, container: Option<&str>) -> Template {
    let mut template = spec.map_or_else(|| Template::foreign(pod), |spec| spec.template.clone());
    if let Some(container) = container {
        template.container = container.to_owned();
    }
    template
}

impl PodCase {
    fn take(&mut self, record: &Record) {
        match &record.what {
            What::Seen(sight, pod, _) if pod.metadata.uid == self.pod.metadata.uid => {
                self.ledger.observe(record.at, *sight, pod);
                self.sights += 1;
                self.until = record.at;
            }
            What::Told(event) if self.is_about_it(event) => self.ledger.told(record.at, event),
            _ => {}
        }
    }

    /// Who first saw it later than from its creation saw much at once: when that happened the pod says itself.
    fn date(&mut self, first_sight: Time) {
        let entries = &self.ledger.entries;
        let late = entries.iter().any(|entry| entry.fact == Fact::FirstSeen { from_creation: false });
        if late || self.sights == 1 {
            self.undated = dates::date(&mut self.ledger.entries, first_sight, &self.pod, &self.raw);
        }
    }

    fn is_about_it(&self, event: &ClusterEvent) -> bool {
        let (about, own) = (&event.involved_object, &self.pod.metadata);
        let same_uid = if about.uid.is_empty() { about.name == own.name } else { about.uid == own.uid };
        same_uid && about.kind == "Pod" && (about.namespace.is_empty() || about.namespace == own.namespace)
    }

    /// The task and the attempt. `None`: the pod is not kpo's.
    pub(crate) fn attempt(&self) -> Option<(&str, &str)> {
        let label = |name: &str| self.pod.metadata.labels.get(name).map(String::as_str);
        label(marks::TASK).zip(label(marks::ATTEMPT))
    }

    /// The Outcome of this one attempt, without its sentence.
    pub(crate) fn outcome(&self) -> Outcome {
        let meta = &self.pod.metadata;
        let verdict = self.verdict.as_ref();
        Outcome {
            api_version: "kpo.rs/v1".to_owned(),
            kind: "Outcome".to_owned(),
            task: self.attempt().map_or(meta.name.as_str(), |(task, _)| task).to_owned(),
            namespace: meta.namespace.clone(),
            verdict: verdict.map(|verdict| verdict.class.name().to_owned()),
            exit_code: verdict.map(Verdict::process_code),
            reason: verdict.map(|verdict| verdict.reason),
            message: String::new(),
            result: None,
            attempts: vec![self.record()],
        }
    }

    /// The attempt as an Outcome has it.
    pub(crate) fn record(&self) -> AttemptRecord {
        let meta = &self.pod.metadata;
        AttemptRecord {
            number: self.attempt().and_then(|(_, number)| number.parse().ok()).unwrap_or(1),
            pod: PodRef {
                name: meta.name.clone(),
                namespace: meta.namespace.clone(),
                uid: meta.uid.clone(),
                node: self.ledger.node().map(str::to_owned),
            },
            verdict: self.verdict.clone().map(|verdict| AttemptVerdict::of(verdict, &self.ledger.entries)),
            last_status: self.ledger.last.as_ref().map(|pod| pod.status.clone()),
            times: self.times(),
        }
    }

    fn times(&self) -> Times {
        let first = |wanted: &dyn Fn(&Fact) -> bool| {
            self.ledger.entries.iter().find(|entry| wanted(&entry.fact)).map(|entry| entry.at)
        };
        let own = self.ledger.own(&self.template);
        let ended = |fact: &Fact| match fact {
            Fact::ContainerEnded { container, .. } => container == own,
            Fact::Phase { phase, .. } => phase.is_terminal(),
            Fact::Gone { .. } => true,
            _ => false,
        };
        // The node's own word on both ends of the run, where it has one: better than when they came to be seen.
        let last = self.ledger.last.as_ref().and_then(|pod| pod.status_of(own)?.state.terminated.as_ref());
        let told = |text: &Option<String>| text.as_deref().and_then(Time::parse).filter(|at| *at > Time::default());
        let run = last.and_then(|end| told(&end.started_at).zip(told(&end.finished_at)));
        Times {
            created: self.pod.metadata.creation_timestamp.as_deref().and_then(Time::parse),
            assigned: first(&|fact| matches!(fact, Fact::Assigned { .. })),
            started: run
                .map(|(started, _)| started)
                .or_else(|| first(&|fact| matches!(fact, Fact::ContainerRan { container, .. } if container == own))),
            ended: run.map(|(_, ended)| ended).or_else(|| self.verdict.as_ref().and_then(|_| first(&ended))),
        }
    }
}
