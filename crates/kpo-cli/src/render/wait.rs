//! What a task waits for: the phase, the clock that runs and what is left of it.

use super::words::{clause, shortened, whole};
use kpo_core::{Because, Time};

/// What the task does, and what it waits for, for the live line. `since`: when that began.
pub(super) fn status(because: &Because, since: Time, now: Time) -> String {
    let mut parts = vec![phase(because)];
    parts.extend(detail(because).map(|detail| format!("{detail} ({})", whole(now.since(since)))));
    if parts.len() == 1 && shows_time(because) {
        parts[0].push_str(&format!(" for {}", whole(now.since(since))));
    }
    parts.extend(left(because, now));
    parts.join(" · ")
}

fn phase(because: &Because) -> String {
    match because {
        Because::Creation => "creating its pod".to_owned(),
        Because::Admission { .. } => "refused for now; asking again".to_owned(),
        Because::Backoff => "waiting before the next attempt".to_owned(),
        Because::Predecessor => "waiting for the attempt before, which may still run, to be gone".to_owned(),
        Because::Queue { gates, .. } if gates.is_empty() => "waiting for its gate to be lifted".to_owned(),
        Because::Queue { gates, .. } => format!("queued by {}", gates.join(", ")),
        Because::Node { scaling_up: true, .. } => "waiting for a new node".to_owned(),
        Because::Node { refused: Some(_), .. } => "waiting for a node, and the autoscaler adds none".to_owned(),
        Because::Node { .. } => "waiting for a node".to_owned(),
        Because::Start { node, .. } => format!("starting on {node}"),
        Because::Program { node, .. } => format!("running on {node}"),
        Because::Termination { node: Some(node) } => format!("ending on {node}"),
        Because::Termination { node: None } => "being deleted".to_owned(),
        Because::Unreachable { node } => format!("{node} does not answer; the pod may still run there"),
        Because::Completion => "ended; reading the rest of its log".to_owned(),
        Because::Finished => "finished".to_owned(),
        Because::Detached => "detached".to_owned(),
    }
}

fn detail(because: &Because) -> Option<String> {
    match because {
        Because::Admission { message, .. } => Some(clause(message)),
        // The scheduler goes on with what preemption would have brought: the first sentence says what is missing.
        Because::Node { refused: Some(words), .. } => Some(clause(words)),
        Because::Node { message, .. } => message.as_deref().and_then(|words| words.split(". ").next()).map(clause),
        Because::Start { waiting, message, .. } => start(waiting.as_deref(), message.as_deref()),
        _ => None,
    }
}

/// What hinders a start: the container and its reason, and the kubelet's sentence.
fn start(waiting: Option<&str>, message: Option<&str>) -> Option<String> {
    /// Longer sentences are cut: `kpo why` has all.
    const LONGEST: usize = 160;
    let message = message.map(|message| shortened(&clause(message), LONGEST));
    match (waiting.map(clause), message) {
        (Some(waiting), Some(message)) => Some(format!("{waiting}: {message}")),
        (waiting, message) => waiting.or(message),
    }
}

/// Whether it is worth saying for how long.
fn shows_time(because: &Because) -> bool {
    matches!(
        because,
        Because::Queue { .. }
            | Because::Node { .. }
            | Because::Start { .. }
            | Because::Program { .. }
            | Because::Unreachable { .. }
    )
}

/// What is left of the clock that runs.
fn left(because: &Because, now: Time) -> Option<String> {
    let (deadline, what) = match because {
        Because::Admission { deadline, .. } | Because::Queue { deadline, .. } => (deadline, "left in the queue"),
        Because::Node { scaling_up: true, .. } => return Some("the clock stands still meanwhile".to_owned()),
        Because::Node { deadline, .. } => (deadline, "left to find one"),
        Because::Start { deadline, .. } => (deadline, "left to start"),
        Because::Program { deadline, .. } => (deadline, "left"),
        _ => return None,
    };
    deadline.map(|deadline| format!("{} {what}", whole(deadline.since(now))))
}

/// What ends a wait that is in vain.
fn cannot_heal(waiting: &str) -> &'static str {
    /// Reasons of a kubelet's that no time heals.
    const CERTAIN: [&str; 2] = ["InvalidImageName", "ErrImageNeverPull"];
    let certain = CERTAIN.iter().any(|reason| waiting.ends_with(reason));
    if certain { ". This cannot heal: --fail-fast-images ends at once" } else { "" }
}

/// What is worth a line of its own where there is no live line. `None`: a station of every task.
pub(super) fn worth_saying(because: &Because) -> Option<String> {
    /// Waiting reasons of every pod's start.
    const USUAL: [&str; 2] = ["ContainerCreating", "PodInitializing"];
    match because {
        Because::Node { message: None, scaling_up: false, refused: None, .. } => None,
        Because::Queue { gates, .. } if gates.is_empty() => None,
        Because::Start { waiting, message, .. } => {
            let waiting = waiting.as_deref().filter(|waiting| !USUAL.iter().any(|usual| waiting.ends_with(usual)))?;
            let message = message.as_deref().map(|message| format!(": {}", clause(message))).unwrap_or_default();
            Some(format!("waiting: {waiting}{message}{}", cannot_heal(waiting)))
        }
        Because::Admission { message, .. } => Some(format!("waiting: {}", clause(message))),
        Because::Node { .. } | Because::Queue { .. } | Because::Predecessor | Because::Unreachable { .. } => {
            let detail = detail(because).map(|detail| format!(": {detail}")).unwrap_or_default();
            Some(format!("{}{detail}", phase(because)))
        }
        _ => None,
    }
}
