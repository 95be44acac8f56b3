//! The entries that a verdict rests on.

use super::proof::Life;
use crate::ledger::{Fact, Ledger};
use crate::spec::Template;
use crate::verdict::{Class, Proof};

/// Indexes of the entries that a verdict of that class rests on, in order.
pub(super) fn of(ledger: &Ledger, template: &Template, class: &Class, life: &Life) -> Vec<u32> {
    let cites = |fact: &Fact| match class {
        Class::Disrupted { .. } => cites_disruption(ledger, template, fact, life),
        Class::Succeeded | Class::Failed | Class::LaunchFailed | Class::Cancelled => cites_end(fact),
    };
    let numbered = (0u32..).zip(&ledger.entries);
    numbered.filter(|(_, entry)| cites(&entry.fact)).map(|(number, _)| number).collect()
}

/// What an end is told by.
fn cites_end(fact: &Fact) -> bool {
    match fact {
        Fact::ContainerEnded { .. } | Fact::DeletionRequested { .. } => true,
        Fact::Phase { phase, .. } => phase.is_terminal(),
        _ => is_signature(fact) || fact.refuses_a_node(),
    }
}

/// What a disruption is told by, and whether the program ran. Containers that ran and do not count are named too.
fn cites_disruption(ledger: &Ledger, template: &Template, fact: &Fact, life: &Life) -> bool {
    match fact {
        Fact::FirstSeen { .. } | Fact::GapOpened | Fact::GapClosed { .. } => {
            *life == Life::Never(Proof::KubeletRejected) || *life == Life::Unknown
        }
        Fact::Assigned { .. } | Fact::ContainerRan { .. } | Fact::Gone { .. } => true,
        // The node controller's word that the node is silent.
        Fact::Condition { kind, status, reason: None, .. } if kind == "Ready" => status == "False",
        Fact::ContainerWaiting { container, .. } => {
            matches!(life, Life::Never(_)) && template.counts(container) && !ledger.ends.contains_key(container)
        }
        _ => cites_end(fact),
    }
}

/// Who signed.
fn is_signature(fact: &Fact) -> bool {
    match fact {
        Fact::Condition { kind, status, .. } => kind.ends_with("Target") && status == "True",
        Fact::Told { reason, .. } => crate::ledger::explains(reason),
        _ => false,
    }
}
