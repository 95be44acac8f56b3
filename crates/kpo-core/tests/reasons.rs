//! The registry of reasons is whole, and docs/reasons.md says what it says.

use kpo_core::verdict::Cause;
use kpo_core::{Reason, exit};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

const HEAD: &str = "\
# Reasons

Why a task, or an attempt of it, is as it is: a closed list. Each reason has a stable code, which stands in the JSON of an Outcome, in
events and in `kpo why`. This page is made from the registry (`kpo_core::Reason`); `KPO_BLESS=1 cargo test -p kpo-core --test reasons`
rewrites it.

The exit code of `kpo run`, `attach` and `wait` is the container's own where the program ended by itself, also after running out of
memory or time. The code named below is kpo's, where there is none to return. A run that was left by a signal, with its pod under way, exits
with 128 and the signal's number (129 for SIGHUP, 143 for SIGTERM; `kpo run --help`, `--on-sigterm`).
";

/// kpo's own exit codes, and what they mean.
const EXITS: [(i32, &str); 13] = [
    (exit::SUCCESS, "the program succeeded"),
    (exit::FAILED, "the task failed, and its own container has no code to return"),
    (exit::USAGE, "the command line or the manifest is wrong; nothing was created"),
    (exit::BROKEN_RESULT, "the result that was asked for is missing or broken"),
    (exit::NO_POD, "there is no pod of the task"),
    (exit::DISRUPTED, "taken away, and not run again (any more)"),
    (exit::TAKEN_OVER, "another observer has taken the task over: how it ends is known there"),
    (exit::FORBIDDEN, "a right is missing"),
    (exit::TIMEOUT, "a clock ran out"),
    (exit::OWN, "kpo's own failure: no connection, a broken cluster, a bug"),
    (exit::LAUNCH_FAILED, "the program could not be launched"),
    (exit::CANCELLED, "cancelled by the user"),
    (exit::KILLED, "killed, where the kubelet reported no code"),
];

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n| exit code | meaning |\n|---|---|\n");
    for (code, meaning) in EXITS {
        writeln!(page, "| {code} | {meaning} |").unwrap();
    }
    for reason in Reason::ALL {
        let (anchor, code, exit) = (reason.anchor(), reason.code(), reason.exit_code());
        let (sentence, next, example) = (capital(reason.sentence()), reason.next_step(), reason.example());
        write!(page, "\n## {anchor}\n\n`{code}` · exit code {exit}\n\n{sentence}.\n\n**What to do.** {next}\n\n")
            .unwrap();
        writeln!(page, "```\n{example}\n```").unwrap();
    }
    page
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[test]
fn every_reason_has_all_that_is_demanded() {
    let (mut codes, mut anchors) = (BTreeSet::new(), BTreeSet::new());
    for reason in Reason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.code(), "the code is the name in JSON");
        assert_eq!(serde_json::from_value::<Reason>(reason.code().into()).unwrap(), reason);
        assert!(codes.insert(reason.code()) && anchors.insert(reason.anchor()), "{reason} is there twice");
        for (what, text) in
            [("sentence", reason.sentence()), ("next step", reason.next_step()), ("example", reason.example())]
        {
            assert!(text.len() > 10, "{reason} has no {what}");
            assert!(!text.contains('\n') && !text.contains("  "), "{reason}: its {what} is one line");
        }
        assert!(!reason.sentence().ends_with('.'), "{reason}: a clause without a full stop");
        assert!(reason.next_step().ends_with('.'), "{reason}: the next step is a sentence");
        assert!(EXITS.iter().any(|(code, _)| *code == reason.exit_code()), "{reason}: an exit code of the list");
        assert_eq!(reason.section(), format!("docs/reasons.md#{}", reason.anchor()));
    }
    assert_eq!(codes.len(), Reason::ALL.len());
}

/// No variant is missing from [`Reason::ALL`]: an unknown name makes serde list all that there are.
#[test]
fn the_list_names_every_variant() {
    let error = serde_json::from_str::<Reason>("\"\"").unwrap_err().to_string();
    let known = error.split('`').skip(3).step_by(2).collect::<Vec<_>>();
    assert_eq!(known, Reason::ALL.map(Reason::code), "{error}");
}

#[test]
fn exit_codes_are_stable_and_apart() {
    let codes = EXITS.map(|(code, _)| code);
    assert_eq!(codes, [0, 1, 2, 65, 66, 75, 76, 77, 124, 125, 126, 130, 137]);
}

#[test]
fn every_cause_has_a_reason_that_exits_as_disrupted() {
    let causes = [
        Cause::Preemption,
        Cause::CriticalPod,
        Cause::Eviction,
        Cause::Taint,
        Cause::NodePressure,
        Cause::NodeShutdown,
        Cause::NodeGone,
        Cause::NodeReboot,
        Cause::Rejected,
        Cause::Queue,
        Cause::Provider,
        Cause::Other,
        Cause::DeletedOutside,
        Cause::Vanished,
        Cause::Unreachable,
    ];
    let reasons: BTreeSet<Reason> = causes.into_iter().map(Reason::of_cause).collect();
    assert_eq!(reasons.len(), causes.len());
    for reason in reasons {
        assert_eq!(reason.exit_code(), exit::DISRUPTED, "{reason}");
        assert!(!reason.is_launch_failure() && !reason.is_retriable(), "{reason}");
    }
}

#[test]
fn the_page_is_the_registry() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reasons.md");
    if std::env::var_os("KPO_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/reasons.md is out of date: KPO_BLESS=1 cargo test -p kpo-core --test reasons");
}
