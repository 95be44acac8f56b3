//! Whether the program ran, and what proves that it did not (design rule 3).
//!
//! Exit code 137 and the field `started` prove nothing; neither does a phase that somebody else than a kubelet wrote.

use super::cause;
use crate::ledger::{Fact, Ledger};
use crate::pod::Pod;
use crate::spec::Template;
use crate::verdict::Proof;

/// Whether the program ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Proven.
    Never(Proof),
    /// Seen.
    Started,
    /// Neither.
    Unknown,
}

impl Life {
    pub(super) fn proof(self) -> Option<Proof> {
        match self {
            Life::Never(proof) => Some(proof),
            Life::Started | Life::Unknown => None,
        }
    }
}

/// Whether a container that counts ran. Anything ever seen to the contrary wins over any proof.
pub(super) fn life(ledger: &Ledger, template: &Template) -> Life {
    if ledger.started(template).next().is_some() {
        return Life::Started;
    }
    let proof = [
        never_bound(ledger).then_some(Proof::NeverBound),
        kubelet_rejected(ledger).then_some(Proof::KubeletRejected),
        kubelet_attested(ledger, template).then_some(Proof::KubeletAttested),
    ];
    proof.into_iter().flatten().next().map_or(Life::Unknown, Life::Never)
}

/// (a) Deletion was requested of a pod that was not bound: binding refuses such a pod (`assignPod` in
/// `pkg/registry/core/pod/storage/storage.go`), and a deletion request is never taken back.
fn never_bound(ledger: &Ledger) -> bool {
    !ledger.was_bound() && ledger.last.as_ref().is_some_and(Pod::is_terminating)
}

/// (b) A kubelet wrote the terminal phase together with the state of the containers, and it is no rejection: those write a fresh
/// status, which says nothing of what was there before.
fn kubelet_attested(ledger: &Ledger, template: &Template) -> bool {
    let Some(terminal) = terminal(ledger).filter(|terminal| terminal.kubelet && !terminal.rejected) else {
        return false;
    };
    let own = ledger.own(template);
    let told = ledger.last.as_ref().is_some_and(|pod| pod.status_of(own).is_some());
    told || (terminal.by_kubelets_name && covers_all(ledger))
}

/// (c) A kubelet refused it, and nothing of its life was missed.
fn kubelet_rejected(ledger: &Ledger) -> bool {
    terminal(ledger).is_some_and(|terminal| terminal.rejected && terminal.by_kubelets_name) && covers_all(ledger)
}

fn covers_all(ledger: &Ledger) -> bool {
    ledger.gapless && !ledger.in_gap
}

struct Terminal {
    kubelet: bool,
    by_kubelets_name: bool,
    rejected: bool,
}

fn terminal(ledger: &Ledger) -> Option<Terminal> {
    match ledger.fact(ledger.terminal?)? {
        Fact::Phase { reason, message, writer, kubelet, .. } => Some(Terminal {
            kubelet: *kubelet,
            by_kubelets_name: writer.as_deref().is_some_and(crate::ledger::may_be_kubelet),
            rejected: reason
                .as_deref()
                .and_then(|reason| cause::by_phase(reason, message.as_deref().unwrap_or_default()))
                .is_some_and(|by| by.is_rejection()),
        }),
        _ => None,
    }
}

/// Whether no process of the attempt can be alive: it never ran, or a kubelet wrote a terminal phase together with the state of the
/// containers, and every one that ever ran, counted or not, is reported as terminated. A rejection, too, tells of those that it ended.
pub(super) fn is_stopped(ledger: &Ledger, life: Life) -> bool {
    let Some(pod) = &ledger.last else { return false };
    let attested = terminal(ledger).is_some_and(|terminal| terminal.kubelet);
    let ended = |name: &String| {
        pod.status_of(name).is_some_and(|status| status.state.terminated.is_some() || status.lost().is_some())
    };
    let all = pod.statuses().next().is_some() && ledger.ran.keys().filter(|name| !name.is_empty()).all(ended);
    let proven = matches!(life, Life::Never(_)) && ledger.ran.is_empty();
    proven || (attested && all)
}
