//! The page of `kpo why`.

use super::asked::Asked;
use super::end::{self, Known};
use super::fact::fact;
use super::living;
use super::next::{self, Log, Preemptor};
use super::words::{self, clause, clock, program};
use crate::printer::visible;
use kpo_core::{
    AttemptRecord, Cause, Class, ClusterEvent, Fact, Ledger, Proof, Situation, Spec, Started, Template, Time, Verdict,
};
use std::collections::BTreeSet;

/// What a page is made of.
pub(crate) struct Case<'a> {
    /// What was observed.
    pub(crate) ledger: &'a Ledger,
    /// Which containers count, and which is its own.
    pub(crate) template: &'a Template,
    /// What became of it. `None`: it lives.
    pub(crate) verdict: Option<&'a Verdict>,
    /// What it is now.
    pub(crate) situation: &'a Situation,
    /// The task and the attempt. `None`: the pod is not kpo's.
    pub(crate) attempt: Option<(&'a str, &'a str)>,
    /// The attempt as an Outcome has it.
    pub(crate) record: &'a AttemptRecord,
    /// The task. `None`: the pod is not kpo's.
    pub(crate) spec: Option<&'a Spec>,
    /// The pod as it was asked for, or as it is.
    pub(crate) asked: Asked<'a>,
    /// Whether it is in the cluster now, and can be asked for more.
    pub(crate) is_there: bool,
    /// Who preempted it, where that was looked up.
    pub(crate) preemptor: Option<&'a Preemptor>,
    /// What followed. `None`: not known.
    pub(crate) then: Option<&'a str>,
    /// How many sights it rests on.
    pub(crate) sights: usize,
    /// The last of them.
    pub(crate) until: Time,
    /// The entries of which only the moment is known at which they were seen.
    pub(crate) undated: &'a BTreeSet<usize>,
    /// What is appended to a command that goes on with it.
    pub(crate) again: &'a str,
}

impl<'a> Case<'a> {
    /// What sentences on its end know beside the outcome.
    pub(crate) fn known(&self) -> Known<'a> {
        Known {
            container: self.own(),
            spec: self.spec,
            asked: self.asked,
            log: if self.is_there { Log::There } else { Log::Gone },
            preemptor: self.preemptor,
            again: self.again,
            ..Known::default()
        }
    }

    /// The container whose end is the pod's.
    pub(crate) fn own(&self) -> &'a str {
        self.ledger.own(self.template)
    }

    /// What it is while it lives, in a sentence.
    pub(crate) fn lives(&self) -> String {
        let name = self.ledger.name().unwrap_or_default();
        format!("pod {name} lives: {}.", living::situation(self))
    }
}

/// Width of the column of labels.
const LABEL: usize = 9;
/// Width of the lines behind it.
const WIDTH: usize = 105;
/// Width of a moment in the timeline.
const HANG: usize = 13;
/// Longest words of the cluster's in the timeline; `-o json` has all.
const LONGEST: usize = 200;

/// The page.
pub(crate) fn page(case: &Case<'_>) -> String {
    let verdict = case.verdict;
    let who = verdict.map_or(("who", Vec::new()), |verdict| who(verdict, case.ledger.node(), case.preemptor));
    let then = case.then.map(str::to_owned).into_iter().chain(living::after_disruption(case)).collect();
    let step = match verdict {
        Some(verdict) => step(verdict, case.record, case.known()),
        None => ("next", living::next(case).into_iter().collect()),
    };
    sections(&headline(case), [who, ("proof", proof(case)), ("seen", seen(case)), ("then", then), step])
}

/// The page of an attempt whose pod is gone, as its successor carries it: without what was seen.
pub(crate) fn record_page(record: &AttemptRecord, known: Known<'_>, then: &str) -> String {
    let verdict = record.verdict.as_ref().map(|judged| &judged.verdict);
    let what = verdict.map_or_else(|| "its end is not known".to_owned(), |verdict| verdict_line(verdict, known));
    let node = record.pod.node.as_deref();
    let because = verdict.and_then(|verdict| verdict.proof);
    let because = because.map(|proof| format!("{}: {}", code(proof), end::proof(proof, node, &[])));
    let who = verdict.map_or(("who", Vec::new()), |verdict| who(verdict, node, known.preemptor));
    let task = known.spec.map_or("", |spec| &spec.task);
    let headline = format!("{what}   (attempt {} of task {task})", record.number);
    let step = verdict.map_or(("next", Vec::new()), |verdict| step(verdict, record, known));
    sections(&headline, [who, ("proof", because.into_iter().collect()), ("then", vec![then.to_owned()]), step])
}

/// The page of a pod that is gone, and of which only events are left.
pub(crate) fn events_page(pod: &str, events: &[ClusterEvent], next: &[&str]) -> String {
    let mut told: Vec<&ClusterEvent> = events.iter().collect();
    told.sort_by_key(|event| event.time());
    // Another pod may have had the name before.
    let uids = told.iter().rev().map(|event| event.involved_object.uid.as_str());
    let last = uids.clone().find(|uid| !uid.is_empty()).unwrap_or_default().to_owned();
    told.retain(|event| event.involved_object.uid.is_empty() || event.involved_object.uid == last);
    let line = |event: &&ClusterEvent| {
        let at = event.time().map_or_else(|| "at some time".to_owned(), clock);
        let text = words::shortened(&clause(&event.message), LONGEST);
        format!("{at}  {}: {text} ({})", event.reason, event.reporter())
    };
    let seen = told.iter().map(line).collect();
    let proof = vec!["none: these are events only, which may be incomplete, and no verdict rests on them".to_owned()];
    let headline = format!("gone: what became of it is not known   (pod {pod})");
    sections(
        &headline,
        [("proof", proof), ("seen", seen), ("next", next.iter().map(|line| (*line).to_owned()).collect())],
    )
}

fn sections<const N: usize>(headline: &str, sections: [(&str, Vec<String>); N]) -> String {
    let mut text = visible(headline).into_owned();
    for (label, lines) in sections {
        for (index, line) in lines.iter().flat_map(|line| wrapped(&visible(line))).enumerate() {
            let label = if index == 0 { label } else { "" };
            text.push_str(&format!("\n  {label:<LABEL$}{line}"));
        }
    }
    text.push('\n');
    text
}

/// The line in lines of at most [`WIDTH`] characters, broken between words.
fn wrapped(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.last().map_or(0, |last| last.chars().count());
        if last > 0 && last + 1 + word.chars().count() > WIDTH {
            lines.push(String::new());
        }
        if let Some(last) = lines.last_mut() {
            if !last.is_empty() || word.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    // A moment stands before an entry of the timeline: what follows it goes on below its text.
    let hang = if line.get(2..3) == Some(":") && line.get(5..6) == Some(":") { HANG } else { 0 };
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| if index == 0 { line.clone() } else { format!("{:hang$}{line}", "") })
        .collect()
}

fn headline(case: &Case<'_>) -> String {
    let lives = || format!("lives: {}", living::situation(case));
    let what = case.verdict.map_or_else(lives, |verdict| verdict_line(verdict, case.known()));
    match case.attempt {
        Some((task, attempt)) => format!("{what}   (attempt {attempt} of task {task})"),
        None => format!("{what}   (pod {})", case.ledger.name().unwrap_or_default()),
    }
}

fn verdict_line(verdict: &Verdict, known: Known<'_>) -> String {
    match &verdict.class {
        Class::Disrupted { cause, started } => {
            let started = match started {
                Started::Never => "never started",
                Started::Started => "after its program had started",
                Started::Unknown => "not known whether its program ran",
            };
            format!("disrupted by {}; {started}", end::noun(*cause))
        }
        Class::Failed => format!("failed: {}", end::failure(&Verdict { detail: None, ..verdict.clone() }, known)),
        Class::LaunchFailed => format!("{}: {}", end::heading(verdict.reason), verdict.reason.sentence()),
        Class::Succeeded | Class::Cancelled => {
            let code = verdict.exit_code.map(|code| format!(", exit {code}")).unwrap_or_default();
            format!("{}: {}{code}", verdict.class.name(), verdict.reason.sentence())
        }
    }
}

/// Who did it, where it was somebody; else what the cluster says of it.
fn who(verdict: &Verdict, node: Option<&str>, preemptor: Option<&Preemptor>) -> (&'static str, Vec<String>) {
    let words = verdict.detail.as_deref().map(clause).filter(|words| !words.is_empty());
    let Class::Disrupted { cause, .. } = verdict.class else { return ("what", words.into_iter().collect()) };
    let on =
        |words: &str| node.filter(|node| !words.contains(node)).map(|node| format!(" on {node}")).unwrap_or_default();
    if let Some(preemptor) = preemptor.filter(|preemptor| preemptor.owner.is_some() || preemptor.priority.is_some()) {
        let pod = preemptor.owner.as_ref().map(|_| format!(", by its pod {}", preemptor.pod)).unwrap_or_default();
        return (
            "who",
            vec![format!("{}{pod}{}", preemptor.named(), node.map(|node| format!(", on {node}")).unwrap_or_default())],
        );
    }
    match cause {
        Cause::NodeGone | Cause::NodeReboot | Cause::Vanished | Cause::Unreachable => {
            ("what", words.map(|words| format!("{words}{}", on(&words))).into_iter().collect())
        }
        Cause::DeletedOutside => {
            ("who", vec!["nobody signed the deletion: no scheduler, autoscaler or node".to_owned()])
        }
        _ => {
            let words = words.unwrap_or_else(|| verdict.reason.sentence().to_owned());
            let on = on(&words);
            ("who", vec![format!("{words}{on}")])
        }
    }
}

fn proof(case: &Case<'_>) -> Vec<String> {
    let (Some(verdict), true) = (case.verdict, case.sights > 0) else { return Vec::new() };
    let Class::Disrupted { started, .. } = &verdict.class else { return Vec::new() };
    let sights = covered(case);
    match (started, verdict.proof) {
        (Started::Never, Some(proof)) => {
            let because = end::proof(proof, case.ledger.node(), &uncounted(case));
            let signs = if proof == Proof::NeverBound {
                ""
            } else {
                "; no container that counts had an ID, a start time or a Started event"
            };
            vec![format!("{}: {because}", code(proof)), format!("{sights}{signs}")]
        }
        (Started::Started, _) => {
            let ran: Vec<&str> = case.ledger.ran.keys().filter(|name| !name.is_empty()).map(String::as_str).collect();
            vec![
                format!("seen to have run: {}", if ran.is_empty() { "a container".to_owned() } else { ran.join(", ") }),
                sights,
            ]
        }
        _ => vec![format!("none that it never ran; {sights}")],
    }
}

/// Containers that ran and that the manifest does not name.
fn uncounted(case: &Case<'_>) -> Vec<String> {
    let ran = case.ledger.ran.keys().filter(|name| !name.is_empty() && !case.template.counts(name));
    ran.cloned().collect()
}

fn code(proof: Proof) -> &'static str {
    match proof {
        Proof::NeverBound => "never-bound",
        Proof::KubeletAttested => "kubelet-attested",
        Proof::KubeletRejected => "kubelet-rejected",
    }
}

fn covered(case: &Case<'_>) -> String {
    let sights = if case.sights == 1 { "1 observation".to_owned() } else { format!("{} observations", case.sights) };
    let cover =
        if case.ledger.gapless { "from its creation without a gap" } else { "not from its creation, or with a gap" };
    format!("{sights} of this pod, {cover}")
}

/// The timeline. Repeated entries are said once, with their number.
fn seen(case: &Case<'_>) -> Vec<String> {
    let mut lines: Vec<Line> = Vec::new();
    let once = case.sights == 1;
    for (index, entry) in case.ledger.entries.iter().enumerate().filter(|(_, entry)| !is_routine(&entry.fact)) {
        let rank = if once { rank(&entry.fact) } else { 0 };
        if once && matches!(entry.fact, Fact::FirstSeen { .. }) {
            let created = case.record.times.created;
            lines.extend(created.map(|at| Line { at, rank, text: "created".to_owned(), times: 1 }));
            continue;
        }
        let seen = if case.undated.contains(&index) { "seen: " } else { "" };
        let text = format!("{seen}{}", words::shortened(&fact(&entry.fact), LONGEST));
        match lines.last_mut() {
            Some(last) if last.text == text => last.times += 1,
            _ => lines.push(Line { at: entry.at, rank, text, times: 1 }),
        }
    }
    // Events are read after the pod, and tell of what was before.
    lines.sort_by_key(|line| (line.at, line.rank));
    let times = |times| if times > 1 { format!("   ({times} times)") } else { String::new() };
    let said = lines.into_iter().map(|line| format!("{}  {}{}", clock(line.at), line.text, times(line.times)));
    said.chain(last_look(case)).collect()
}

/// A line of the timeline.
struct Line {
    at: Time,
    rank: u8,
    text: String,
    times: usize,
}

/// The order of what a pod dates with the same second.
fn rank(fact: &Fact) -> u8 {
    match fact {
        Fact::FirstSeen { .. } => 0,
        Fact::Gated { .. } | Fact::Unschedulable { .. } | Fact::Nominated { .. } => 1,
        Fact::Assigned { .. } => 2,
        Fact::ContainerRan { .. } | Fact::Told { .. } => 3,
        Fact::ContainerWaiting { .. } | Fact::Condition { .. } | Fact::DeletionRequested { .. } => 4,
        Fact::ContainerEnded { .. } => 5,
        Fact::Phase { .. } | Fact::GapOpened | Fact::GapClosed { .. } | Fact::Gone { .. } => 6,
    }
}

/// When it was looked at last, where that is not its end.
fn last_look(case: &Case<'_>) -> Option<String> {
    let created = case.record.times.created.or_else(|| case.ledger.entries.first().map(|entry| entry.at))?;
    let age = words::span(case.until.since(created));
    match (case.sights, case.verdict) {
        (1, _) if case.is_there => Some(format!("{}  looked at, {age} after its creation", clock(case.until))),
        (1, _) => None,
        (_, None) => Some(format!("{}  last seen, {age} after its creation", clock(case.until))),
        (_, Some(_)) => None,
    }
}

/// Entries that say nothing to people: conditions that turn with every pod's life.
fn is_routine(fact: &Fact) -> bool {
    match fact {
        Fact::Condition { kind, .. } => !kind.ends_with("Target") && kind != "Ready",
        Fact::ContainerWaiting { reason, .. } => {
            matches!(reason.as_deref(), Some("ContainerCreating" | "PodInitializing"))
        }
        _ => false,
    }
}

/// What to do: against a disruption, so that it does not come again; else next.
fn step(verdict: &Verdict, record: &AttemptRecord, known: Known<'_>) -> (&'static str, Vec<String>) {
    if matches!(verdict.class, Class::Succeeded) {
        return ("next", Vec::new());
    }
    let mut steps = next::steps(verdict, record, known);
    let label = if next::prevents(verdict, steps.len()) { "prevent" } else { "next" };
    steps.push(format!("More: {} help {}", program(), verdict.reason.anchor()));
    (label, steps)
}
