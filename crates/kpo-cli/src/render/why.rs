//! The page of `kpo why`.

use super::end;
use super::fact::fact;
use super::words::{self, clause, clock, sentence, span, unquoted};
use crate::printer::visible;
use kpo_core::{AttemptRecord, Class, Fact, Ledger, Proof, Situation, Started, Time, Verdict};

/// What a page is made of.
pub(crate) struct Case<'a> {
    /// What was observed.
    pub(crate) ledger: &'a Ledger,
    /// What became of it. `None`: it lives.
    pub(crate) verdict: Option<&'a Verdict>,
    /// What it is now.
    pub(crate) situation: &'a Situation,
    /// The task and the attempt. `None`: the pod is not kpo's.
    pub(crate) attempt: Option<(&'a str, &'a str)>,
    /// What followed. `None`: not known.
    pub(crate) then: Option<&'a str>,
    /// How many sights it rests on.
    pub(crate) sights: usize,
    /// The last of them.
    pub(crate) until: Time,
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
    let who = verdict.map(|verdict| who(verdict, case.ledger.node())).unwrap_or_default();
    let then: Vec<String> = case.then.map(str::to_owned).into_iter().collect();
    sections(
        &headline(case),
        [("who", who), ("proof", proof(case)), ("seen", seen(case)), ("then", then), step(verdict)],
    )
}

/// The page of an attempt whose pod is gone, as its successor carries it: without what was seen.
pub(crate) fn record_page(task: &str, record: &AttemptRecord, then: &str) -> String {
    let verdict = record.verdict.as_ref().map(|judged| &judged.verdict);
    let what = verdict.map_or_else(|| "its end is not known".to_owned(), verdict_line);
    let node = record.pod.node.as_deref();
    let because =
        verdict.and_then(|verdict| verdict.proof).map(|proof| format!("{}: {}", code(proof), end::proof(proof, node)));
    let who = verdict.map(|verdict| who(verdict, node)).unwrap_or_default();
    let headline = format!("{what}   (attempt {} of task {task})", record.number);
    sections(
        &headline,
        [("who", who), ("proof", because.into_iter().collect()), ("then", vec![then.to_owned()]), step(verdict)],
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
    let what = case.verdict.map_or_else(|| format!("lives: {}", situation(case.situation)), verdict_line);
    match case.attempt {
        Some((task, attempt)) => format!("{what}   (attempt {attempt} of task {task})"),
        None => format!("{what}   (pod {})", case.ledger.name().unwrap_or_default()),
    }
}

fn verdict_line(verdict: &Verdict) -> String {
    match &verdict.class {
        Class::Disrupted { cause, started } => {
            let started = match started {
                Started::Never => "never started",
                Started::Started => "after its program had started",
                Started::Unknown => "not known whether its program ran",
            };
            format!("disrupted by {}; {started}", end::noun(*cause))
        }
        class => {
            let code = verdict.exit_code.map(|code| format!(", exit {code}")).unwrap_or_default();
            format!("{}: {}{code}", class.name(), verdict.reason.sentence())
        }
    }
}

fn situation(situation: &Situation) -> String {
    match situation {
        Situation::Gated { others, .. } if others.is_empty() => "it waits before its attempt begins".to_owned(),
        Situation::Gated { others, .. } => format!("it is held by {}", others.join(", ")),
        Situation::Unscheduled { message, .. } => {
            let words = message.as_deref().map(|message| format!(": {}", clause(message))).unwrap_or_default();
            format!("it waits for a node{words}")
        }
        Situation::Starting { node, waiting, .. } => {
            let words = waiting.as_deref().map(|waiting| format!(": {waiting}")).unwrap_or_default();
            format!("it is starting on {node}{words}")
        }
        Situation::Running { node } => format!("it runs on {node}"),
        Situation::Terminating { node, .. } => {
            format!("it is being deleted{}", node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default())
        }
        Situation::Doubtful => "whether it is gone is not certain".to_owned(),
        Situation::Ended => "it has ended".to_owned(),
    }
}

fn who(verdict: &Verdict, node: Option<&str>) -> Vec<String> {
    let words = verdict.detail.as_deref().map(clause).filter(|words| !words.is_empty());
    if !matches!(verdict.class, Class::Disrupted { .. }) {
        return words.into_iter().collect();
    }
    let words = words.unwrap_or_else(|| verdict.reason.sentence().to_owned());
    let on = node.filter(|node| !words.contains(node)).map(|node| format!(" on {node}")).unwrap_or_default();
    vec![format!("{words}{on}")]
}

fn proof(case: &Case<'_>) -> Vec<String> {
    let (Some(verdict), true) = (case.verdict, case.sights > 0) else { return Vec::new() };
    let Class::Disrupted { started, .. } = &verdict.class else { return Vec::new() };
    let sights = covered(case);
    match (started, verdict.proof) {
        (Started::Never, Some(proof)) => {
            let because = end::proof(proof, case.ledger.node());
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
    let mut lines: Vec<(Time, String, usize)> = Vec::new();
    for entry in &case.ledger.entries {
        if is_routine(&entry.fact) {
            continue;
        }
        let text = words::shortened(&fact(&entry.fact), LONGEST);
        match lines.last_mut() {
            Some((_, last, times)) if *last == text => *times += 1,
            _ => lines.push((entry.at, text, 1)),
        }
    }
    // Events are read after the pod, and tell of what was before.
    lines.sort_by_key(|(at, ..)| *at);
    let times = |times| if times > 1 { format!("   ({times} times)") } else { String::new() };
    let mut lines: Vec<String> =
        lines.into_iter().map(|(at, text, count)| format!("{}  {text}{}", clock(at), times(count))).collect();
    if let Some(since) = case.verdict.is_none().then(|| case.ledger.entries.first()).flatten() {
        lines.push(format!("{}  last seen, {} later", clock(case.until), span(case.until.since(since.at))));
    }
    lines
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
fn step(verdict: Option<&Verdict>) -> (&'static str, Vec<String>) {
    let Some(verdict) = verdict.filter(|verdict| verdict.class != Class::Succeeded) else {
        return ("next", Vec::new());
    };
    let label = if matches!(verdict.class, Class::Disrupted { .. }) { "prevent" } else { "next" };
    (label, vec![sentence(&unquoted(verdict.reason.next_step())), verdict.reason.section()])
}
