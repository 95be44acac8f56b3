use std::time::Duration;

use super::*;

fn error(text: &str) -> String {
    parse(text).expect_err("no script").to_string()
}

/// The lines of the grammar that are statements, with all that may be left out.
fn shown() -> Vec<String> {
    let lines = GRAMMAR.lines().filter(|line| line.starts_with("  "));
    lines.map(|line| line.trim().replace(['[', ']'], "")).collect()
}

#[test]
fn what_the_grammar_shows_can_be_read() {
    let script = parse(&shown().join("\n")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((script.cluster.len(), script.behaviours.len(), script.happenings.len()), (22, 14, 47));
}

#[test]
fn every_word_that_can_be_written_is_in_the_grammar() {
    let words: Vec<&str> = GRAMMAR.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '=')).collect();
    let all = [&happen::STARTS[..], &happen::ACTIONS, &happen::NODE_ACTIONS, &cluster::STARTS, &behaviour::WORDS];
    for word in all.into_iter().flatten().chain(happen::STATES.iter().map(|(word, _)| word)) {
        let known = |other: &&str| other == word || word.ends_with('=') && other.starts_with(word);
        assert!(words.iter().any(known), "{word}");
    }
}

#[test]
fn of_a_scenario_only_the_script_is_read() {
    let text = "# Title\ntask t --rerun=idempotent\n  init setup\nnode node-1\nb sends nothing\nat 3s: compact\nuser cancels at 3s\n";
    let script = parse_scenario(text).expect("reads");
    assert_eq!((script.cluster.len(), script.happenings[0].line), (1, 6));
    assert_eq!(parse_scenario("task t\nnod n").expect_err("a mistake is one").line, 2);
}

#[test]
fn every_script_of_the_labs_own_reads() {
    for name in NAMES {
        assert!(built_in(name).is_some(), "{name}");
    }
    assert!(built_in("none").is_none());
}

#[test]
fn happenings_say_when_and_what() {
    let script = parse(
        "at 3s: preempt pod a/task-1\nwhen pod task-* running for 2s: delete it grace=0\nthen after 20s: node n silent\n",
    );
    let script = script.expect("reads");
    assert_eq!(script.happenings[0].when, When::At(Duration::from_secs(3)));
    let pod = PodPattern { namespace: None, name: "task-*".into() };
    let when = When::Pod { pod, state: PodState::Running, lasting: Duration::from_secs(2), each: false };
    assert_eq!(script.happenings[1].when, when);
    assert!(matches!(script.happenings[1].action, Action::Pod(Target::It, PodAction::Delete(Some(0)))));
    assert!(matches!(&script.happenings[2].action, Action::Node(node, NodeAction::Silent) if node == "n"));
}

#[test]
fn api_trouble_is_read_in_full() {
    let script =
        parse("at 1s: api answers 500 to create pods 2 times after all retry-after 3 for 10s\n").expect("reads");
    let Action::Api(trouble) = &script.happenings[0].action else { panic!("another action") };
    let kind = ApiTroubleKind::Answers { code: 500, retry_after: Some(3), done: true };
    let lasting = Some(Duration::from_secs(10));
    let (verb, resource) = (Some("create".to_owned()), Some("pods".to_owned()));
    assert_eq!(*trouble, ApiTrouble { kind, verb, resource, times: Some(2), lasting });
}

#[test]
fn errors_say_where_and_what_to_do() {
    for (text, message) in [
        ("nod node-1", "1:1: \"nod\" is not understood here; did you mean \"node\"?"),
        ("\n\nnode n cpu=lots", "3:8: \"lots\" is no quantity; write one as 500m, 2 or 4Gi"),
        (
            "node n taint a=b",
            "1:14: \"a=b\" is no taint; write key=value:Effect, the effect one of NoSchedule, PreferNoSchedule, NoExecute",
        ),
        ("at soon: compact", "1:4: \"soon\" is no duration; write one as 300ms, 3s, 2m or 1h"),
        ("at 3s: delete it", "1:15: \"it\" is the pod of a condition, and there is none; write pod NAME"),
        ("then after 3s: compact", "1:1: there is no happening before this one; begin with at or when"),
        ("when pod a runing: evict it", "1:12: \"runing:\" is not understood here; did you mean \"running\"?"),
        ("at 3s:", "1:7: what happens is missing"),
        ("image a fails \"b", "1:15: the quotation mark that begins here is never closed; add a \" at its end"),
        ("at 3s: compact now", "1:16: \"now\" is not understood here; the statement could end before it"),
        ("at 1s: api drops create pods after all", "1:30: \"after all\" goes with answers only; leave it out"),
        ("at 1s: api hangs any retry-after 3", "1:22: \"retry-after\" goes with answers only; leave it out"),
        ("at 1s: api down 3s retry-after 3", "1:20: \"retry-after\" goes with answers only; leave it out"),
        (
            "container * oom after 1s exit 3",
            "1:26: \"exit\" says how it ends, and \"oom\" does already; write one of them",
        ),
        (
            "container * exit 3 oom after 1s",
            "1:20: \"oom\" says how it ends, and \"exit\" does already; write one of them",
        ),
        (
            "container * killed exit 3",
            "1:20: \"exit\" says how it ends, and \"killed\" does already; write one of them",
        ),
        (
            "container * oom after 1s runs 3s",
            "1:26: \"runs\" says how long it runs, and \"oom after\" does already; write one of them",
        ),
        (
            "container * runs 3s oom after 1s",
            "1:21: \"oom after\" says how long it runs, and \"runs\" does already; write one of them",
        ),
        ("token lab may get on pods", "1:7: \"lab\" is the administrator's own name; choose another"),
        (
            "token r may get,fly on pods",
            "1:13: \"fly\" is not understood here; write one of: get, list, watch, create, update, patch, delete, deletecollection, *",
        ),
        ("token r may get on pods/log,pod", "1:20: \"pod\" is not understood here; did you mean \"pods\"?"),
        (
            "token \"a: b\" may get on pods",
            "1:7: \"a: b\" is no name for a token; write small letters, digits, \"-\" and \".\"",
        ),
        ("  node n", "1:3: there is no statement that this line could go on with; begin it in the first column"),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
}
