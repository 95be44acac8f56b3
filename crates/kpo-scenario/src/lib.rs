//! Scenarios: the cluster, the task, what happens, what is expected; and the runs that check them.
//!
//! A scenario is a text of ten to thirty lines; each file in `scenarios/` is a test. A line is a statement; `#` begins a comment; a line that
//! begins with white space goes on with the one before. Commas and colons at the end of a word are for the reader only. Durations are
//! `300ms`, `3s`, `2m`, `1h30m`; text with spaces is put in double quotes.
//!
//! ```
//! let text = r#"# Preempted while its node has no network yet: nothing ran, so it runs again.
//! node node-1
//! network fails for 5s
//! container base runs 1s
//!
//! task t cpu=1
//!
//! at 2s: preempt pod t-1
//!
//! sends create t-1
//! verdict 1: disrupted by preemption, never started, proof kubelet-attested, then rerun
//! sends create t-2 gated, at once
//! sends ungate t-2 2s..2.4s later
//! verdict 2: succeeded, exit 0
//! sends delete t-2
//! outcome succeeded, exit 0"#;
//! let scenario = kpo_scenario::Scenario::parse("preempted", text)?;
//! let run = kpo_scenario::run_on_core(&scenario, kpo_scenario::Upset::None, None);
//! assert!(run.is_good(), "{:?}", run.faults);
//! # Ok::<(), kpo_scenario::ScenarioError>(())
//! ```
//!
//! # The cluster, and what happens in it
//! The statements of [`kpo_lab::script`]: `node`, `daemonset`, `image`, `container NAME runs 3s exit 1 says "x"`, `at 3s: preempt pod t-1`,
//! `when pod t-1 running: evict it`, …. The first line is a comment that says what the scenario is about.
//!
//! # The task
//! `task NAME`, then of its pod `grace=SECONDS deadline=SECONDS priority-class=C node=N gate=G volume=NAME[:LIMIT]`, of its own
//! container, `base`, `image=I cpu=C memory=M ephemeral-storage=E mount=VOLUME:PATH`; `init NAME`, `sidecar NAME` (a native one) and `main NAME` add
//! a container, of which the words after it speak. The command line's flags by their names: `--rerun=idempotent --retries=2 --protect
//! --on-finish=keep-failed=2h --timeout=1h --set=PATH=VALUE …`. Also: `fixed-name` (the pod is called as the task), `no-gates` (the cluster has
//! none), `beside-others` (one watch by label, shared, instead of one by name), `as=USER` (with that `token`).
//!
//! # What observers and the user do
//! ```text
//! user cancels at 3s                          # at observer a, who created the task
//! observer a leaves when pod t-1 running      # shuts down; also: dies
//! observer b follows at 3s                    # attaches; also: takes-over
//! ```
//! A pod may be `created`, `gated`, `scheduled`, `running`, `terminating`, `ended`, `gone`.
//!
//! # What is expected
//! ```text
//! sends create t-1 [gated] [protected] [deadline 60s] [avoiding node-1]   # also: read, delete, ungate, protect, release
//! sends annotate t-1 [deadline 1s] [expiring in 2h]
//! sends ungate t-2 2s..2.4s later             # than the verdict, or what was sent, before it; also: at once
//! sends nothing
//! verdict 1: disrupted by preemption, never started, proof never-bound, reason preempted, then rerun
//! verdict 2: failed, reason programFailed, exit 3, then end budget
//! says running 1                              # an event; between it and the next others may come
//! outcome succeeded, exit 0, reason succeeded, on node-1, attempt 1, saying "a part of the one line"   # also: disrupted by preemption
//! keeps t-1                                   # left at the end; without it, nothing is
//! waits for queue at 2h                       # and the run is ended there
//! prints "hello" at 2s                        # all that its own container prints, line by line, and when; prints nothing; prints 1000 lines
//! prints proxy "hi"                           # all that another container prints
//! prints gap                                  # a gap in its log is named
//! result "{}"                                 # also: json of 5000 bytes, none
//! requests at most 5                          # counted by the server
//! b outcome succeeded                         # of another observer
//! permits "the user opted into a second life" # why the first two invariants do not count
//! engine-only "why"
//! may-prove-less "why"                        # after a crash or a lost reply it may end as disrupted
//! ```
//! `sends`, where there is one, is complete and in order, and after the last there is silence; verdicts are complete. On the engine reads are left out: they
//! are its own affair.
//!
//! # Runs
//! On the core ([`on_core`]): `kpo_core::Task` and the lab's cluster, synchronous, under virtual time. Then again with a crash of the observer at
//! each command it gives, before and after its effect, going on from the cluster alone and from a snapshot; and with a lost reply at each
//! write. On the engine ([`on_engine`]): `kpo`'s driver over the lab's API server in-process, under tokio's paused clock, with a crash before and
//! after each write, and a lost reply at each. On the engine without each thing that happens in turn ([`without_each`]): a statement without which
//! nothing differs shows nothing. [`Invariant`]s are checked in all runs, against a book that is kept below the kubelets.

mod audit;
mod core_run;
mod engine_run;
mod expect;
mod grammar;
mod lines;
mod printed;
mod rerun;
mod seat;
mod sidecar;
mod task;
mod text;
mod transcript;
mod wire;

pub use audit::{Invariant, Violation};
pub use core_run::{Run, Sabotage, Upset, run as run_on_core};
pub use engine_run::run as run_on_engine;
pub use expect::{EndsAs, Expectation, Expected, Rigour};
pub use grammar::{Deed, Doing, Moment, Scenario};
pub use printed::{Prints, PrintsWhat};
pub use rerun::{Report, on_core, on_engine, without_each};
pub use task::TaskPart;
pub use text::ScenarioError;
pub use transcript::{Piece, Printed, Record, Sent, What};
