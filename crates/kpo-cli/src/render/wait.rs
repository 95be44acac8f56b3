//! What a task waits for: the phase, the clock that runs and what is left of it.

use super::asked::Asked;
use super::quota;
use super::words::{clause, shortened, whole};
use kpo_core::{Because, Time};

/// A wait of a task's.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// For what.
    pub(super) because: Because,
    /// When that began.
    pub(super) since: Time,
    /// When what is being deleted is killed. `None`: it is not, or that is not known.
    pub(super) killed_at: Option<Time>,
}

/// What the task does, and what it waits for, for the live line.
pub(super) fn status(waiting: &Waiting, asked: Asked<'_>, now: Time) -> String {
    let Waiting { because, since, killed_at } = waiting;
    let mut parts = vec![phase(because)];
    parts.extend(detail(because, asked).map(|detail| format!("{detail} ({})", whole(now.since(*since)))));
    if parts.len() == 1 && shows_time(because) {
        parts[0].push_str(&format!(" for {}", whole(now.since(*since))));
    }
    parts.extend(left(because, now));
    parts.extend(killed_at.map(|at| killed(at, now)));
    parts.join(" · ")
}

/// What a follower waits for when the next attempt is due.
pub(super) fn for_observer(waiting: &Waiting, now: Time) -> String {
    format!("ended; waiting for its observer to make the next attempt for {}", whole(now.since(waiting.since)))
}

fn killed(at: Time, now: Time) -> String {
    if at > now {
        format!("killed in {}", whole(at.since(now)))
    } else {
        format!("its grace has been over for {}", whole(now.since(at)))
    }
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
        Because::Unreachable { node, may_pull: true } => {
            format!("{node} does not answer, or still pulls its image; the pod may yet run there")
        }
        Because::Unreachable { node, may_pull: false } => {
            format!("{node} does not answer; the pod may still run there")
        }
        Because::Completion => "ended; reading the rest of its log".to_owned(),
        Because::Finished => "finished".to_owned(),
        Because::Detached => "detached".to_owned(),
    }
}

fn detail(because: &Because, asked: Asked<'_>) -> Option<String> {
    match because {
        Because::Admission { message, .. } => Some(clause(message)),
        // The scheduler goes on with what preemption would have brought: the first sentence says what is missing.
        Because::Node { refused: Some(words), .. } => Some(clause(words)),
        Because::Node { message, .. } => message.as_deref().and_then(|words| words.split(". ").next()).map(clause),
        Because::Start { waiting, message, .. } => start(waiting.as_deref(), message.as_deref(), asked),
        _ => None,
    }
}

/// What hinders a start: the container and its reason, and the kubelet's sentence; where it has none, the image, which may be on its way.
fn start(waiting: Option<&str>, message: Option<&str>, asked: Asked<'_>) -> Option<String> {
    /// Longer sentences are cut: `kpo why` has all.
    const LONGEST: usize = 160;
    // The core hands the reason over as a message where the kubelet has no sentence.
    let message = message.filter(|message| waiting.is_none_or(|waiting| !waiting.ends_with(message)));
    let message = message.map(|message| shortened(&clause(message), LONGEST));
    let image = || asked.image(waiting?.split_once(": ")?.0).map(|image| format!("image {}", clause(image)));
    match (waiting.map(clause), message) {
        (Some(waiting), Some(message)) => Some(format!("{waiting}: {message}")),
        (Some(waiting), None) => Some(image().map_or(waiting.clone(), |image| format!("{waiting} · {image}"))),
        (None, message) => message,
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
            let message = message.as_deref().filter(|message| !waiting.ends_with(message));
            let message = message.map(|message| format!(": {}", clause(message))).unwrap_or_default();
            Some(format!("waiting: {waiting}{message}{}", cannot_heal(waiting)))
        }
        Because::Admission { message, .. } => {
            let never = quota::beyond(message).map(|over| format!(". It can never fit: {over}"));
            Some(format!("waiting: {}{}", clause(message), never.unwrap_or_default()))
        }
        Because::Node { .. } | Because::Queue { .. } | Because::Predecessor | Because::Unreachable { .. } => {
            let detail = detail(because, Asked::default()).map(|detail| format!(": {detail}")).unwrap_or_default();
            Some(format!("{}{detail}", phase(because)))
        }
        _ => None,
    }
}
