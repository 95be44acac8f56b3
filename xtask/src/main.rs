//! The project's own commands: `cargo xtask`.

mod api;
mod bench;
mod cluster;
mod picture;
mod prove;
mod python;
mod run;

use run::{Step, cargo};
use std::process::ExitCode;

/// A command of this project's.
struct Task {
    name: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<(), String>,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        help: "all that a plain machine with Rust can check: every test, the docs' examples",
        run: test,
    },
    Task { name: "lint", help: "formatting, clippy, rustdoc; every warning is an error", run: lint },
    Task { name: "deny", help: "licences, bans and sources of the dependencies (needs cargo-deny)", run: deny },
    Task {
        name: "api",
        help: "foreign types in the public API, against docs/foreign-types.txt (--bless writes it)",
        run: api::check,
    },
    Task { name: "picture", help: "run the main job and put what it printed into the README", run: picture::write },
    Task {
        name: "bench",
        help: "figures beside their targets, of a release build (NAME…, --check: a miss is an error, --small: a try)",
        run: bench::run,
    },
    Task {
        name: "test-python",
        help: "the Python package: builds it, checks its types, runs its tests (needs a Python and PyPI; pytest's arguments)",
        run: python::test,
    },
    Task {
        name: "test-airflow",
        help: "the operator in Airflow 3 and 2: types, and the same tests (needs Python 3.11 and PyPI; pytest's arguments)",
        run: python::test_airflow,
    },
    Task {
        name: "airflow-real",
        help: "the operator in Airflow 3 as it is run, a process each part, on lab or cluster (is brought up; needs as above; pytest's arguments)",
        run: python::airflow_real,
    },
    Task {
        name: "airflow-figures",
        help: "what tasks and a long log cost in such an Airflow on the lab, beside upstream's (pytest's arguments)",
        run: python::airflow_figures,
    },
    Task {
        name: "wheels",
        help: "the Python package's wheels, as they are released, into target/wheels; the one for this machine is tried",
        run: python::wheels,
    },
    Task {
        name: "cluster",
        help: "a real Kubernetes on this machine: up, down, status, logs, signal, start (needs root; cluster/README.md)",
        run: cluster::run,
    },
    Task {
        name: "conformance",
        help: "the same bodies against lab, cluster (brought up) or KUBECONFIG (NAME…: only these)",
        run: cluster::conformance,
    },
    Task {
        name: "differ",
        help: "random API requests to the lab and the real cluster (brought up), compared (COUNT, default 200; FROM seed, default 1)",
        run: cluster::differ,
    },
    Task {
        name: "record",
        help: "plays causes on a real cluster of one node, brought up anew, and writes recordings (NAME…: only these)",
        run: cluster::record,
    },
    Task {
        name: "crowd",
        help: "many tasks at once on simulated nodes of the real cluster (brought up), beside kubectl and Jobs (COUNT, default 500)",
        run: bench::crowd,
    },
    Task {
        name: "prove",
        help: "the long run, each stage once a commit; writes docs/proof (STAGE…: only these; --age: how old each proof is)",
        run: prove::run,
    },
    Task {
        name: "docs",
        help: "write the generated docs anew (docs/cli.md, docs/reasons.md) and the snapshots",
        run: docs,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(task) = arguments.first().and_then(|name| TASKS.iter().find(|task| task.name == name)) else {
        return usage(arguments.first());
    };
    match (task.run)(&arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Lists the commands. Asking for none is fine; asking for one that there is not is an error.
fn usage(asked: Option<&String>) -> ExitCode {
    if let Some(name) = asked.filter(|name| !["help", "--help", "-h"].contains(&name.as_str())) {
        run::say(&format!("error: there is no command {name:?}"));
    }
    run::say("cargo xtask COMMAND\n");
    for task in TASKS {
        run::say(&format!("  {:12} {}", task.name, task.help));
    }
    let known = asked.is_none_or(|name| ["help", "--help", "-h"].contains(&name.as_str()));
    if known { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn test(rest: &[String]) -> Result<(), String> {
    run::all([Step::new("tests", cargo(&["test", "--workspace", "--locked"])).args(rest)])
}

fn lint(_: &[String]) -> Result<(), String> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    let doc = ["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"];
    run::all([
        Step::new("formatting", cargo(&["fmt", "--all", "--", "--check"])),
        Step::new("clippy", cargo(&clippy)),
        Step::new("rustdoc", cargo(&doc)).env("RUSTDOCFLAGS", "-D warnings"),
    ])
}

fn deny(_: &[String]) -> Result<(), String> {
    run::all([Step::new("cargo deny", cargo(&["deny", "--locked", "check", "licenses", "bans", "sources"]))])
}

/// The tests compare generated files with what is there; told to bless, they write them.
fn docs(_: &[String]) -> Result<(), String> {
    let tests = Step::new("docs", cargo(&["test", "--workspace", "--locked"]));
    run::all([tests.env("KPO_BLESS", "1").env("INSTA_UPDATE", "always")])
}
