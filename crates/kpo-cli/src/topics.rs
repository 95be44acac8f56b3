//! Pages of help that belong to no single command.

/// When a task runs again.
const RERUN: &str = "\
When a task whose pod was taken away runs again

A pod that was preempted, evicted or lost does not come back by itself. kpo makes another one, but never so that the program runs
twice unless it was told that it may. --rerun says when:

  never             Not at all.
  if-not-started    With proof that no container of it ever ran (the default): the pod was never bound to a node, or its kubelet
                    closed it and in all that was observed no container had an ID, a start time or a Started event.
  until-commit      Also after a start, while the program has not passed its point of no return: it writes \"committed\" to its
                    termination message (/dev/termination-log) before its first side effect.
  idempotent        Always. The program may run twice, even at once where a machine is lost and not dead.

Each has a budget of its own: --rerun-never-started (8) and --rerun-started (3), with a wait of 2, 4, 8, 16, 32, 60 s between. Failures of
the program itself are another thing: --retries (0).

A deletion that nobody signed (no scheduler, autoscaler or node; somebody's kubectl delete) ends the task:
--on-unsigned-delete=recreate treats it as a disruption.

Each attempt finds KPO_TASK, KPO_ATTEMPT and KPO_PREVIOUS_VERDICT in its environment.
";

/// Their names.
pub(crate) const NAMES: [&str; 3] = ["rerun", "scripts", "exit-codes"];

/// The page of that name.
pub(crate) fn topic(name: &str) -> Option<String> {
    match name {
        "rerun" => Some(RERUN.to_owned()),
        "scripts" => Some(kpo_lab::script::GRAMMAR.to_owned()),
        "exit-codes" => Some(exit_codes()),
        _ => None,
    }
}

fn exit_codes() -> String {
    let mut text = String::from("Exit codes\n\n");
    for (code, meaning) in crate::error::exit_codes() {
        text.push_str(&format!("  {code:<10}{meaning}\n"));
    }
    text
}
