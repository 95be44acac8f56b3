//! The decisions of kpo: a value and a function, without clocks, IO or randomness.
//!
//! A [`Task`] is driven from outside: `handle(now, input)`, then drain `poll()` until it returns a [`Wait`]. Commands, waits and
//! verdicts are data; sentences are made at the edge. See [`Task`] for the contract.

pub mod classify;
pub mod contract;
pub mod ledger;
pub mod marks;
pub mod outcome;
pub mod pod;
pub mod reason;
pub mod spec;
pub mod sweep;
pub mod task;
pub mod time;
pub mod verdict;

pub use contract::{
    Because, Carried, Command, CommandId, Create, Event, Found, Hindrance, Input, Next, NoRerun, Output, Refusal,
    Reply, Sight, Stop, Wait,
};
pub use ledger::{Absence, End, Entry, Fact, Ledger, Sign, Situation};
pub use outcome::{AttemptRecord, AttemptVerdict, Outcome, PodRef, Times};
pub use pod::{ClusterEvent, Pod};
pub use reason::{Reason, exit};
pub use spec::{Clocks, Naming, OnFinish, OnUnsignedDelete, Rerun, RerunPolicy, ResultBy, Spec, Template};
pub use task::{Attach, AttachError, Misuse, Observer, RestoreError, State, Task};
pub use time::Time;
pub use verdict::{Cause, Class, Proof, Started, Verdict};

/// Version of the serialised state: [`Carried`] and the snapshot of a task. A greater one is refused, by name.
pub const STATE_VERSION: u32 = 1;
/// Version of the [`Event`] stream.
pub const EVENT_VERSION: u32 = 1;
