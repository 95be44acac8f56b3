//! Kinds of tasks: what a program does, what happens to it beside the faults, and what has to be seen of it.

use super::Case;
use crate::Error;
use crate::bodies::is_waiting;
use crate::command::Ended;
use crate::container::SIDECAR;
use futures::future::{FutureExt, LocalBoxFuture, ready};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// How many lines a program prints where nothing else is asked for.
const LINES: usize = 15;
/// More than a termination message holds: the sidecar's log carries it.
const LARGE: usize = 6000;

/// How a task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Ends well, with a result in its termination message.
    Succeeds,
    /// Ends with exit code 7.
    Fails,
    /// Ends well, with a result that is large.
    LargeResult,
    /// Its first attempt is evicted before it starts; then it succeeds.
    Evicted,
    /// Its first attempt fails, and is tried again; then it succeeds.
    Retried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) course: Course,
    /// With a finalizer.
    pub(super) protected: bool,
    /// How many lines it prints, a tenth of a second apart.
    pub(super) lines: usize,
}

impl From<Course> for Kind {
    fn from(course: Course) -> Self {
        Self { course, protected: false, lines: LINES }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}{}", self.course, if self.protected { " with --protect" } else { "" })
    }
}

impl Course {
    pub(super) const ALL: [Self; 5] = [Self::Succeeds, Self::Fails, Self::LargeResult, Self::Evicted, Self::Retried];

    /// The attempts whose program is to start.
    pub(super) fn starts(self) -> &'static [u32] {
        match self {
            Self::Succeeds | Self::Fails | Self::LargeResult => &[1],
            Self::Evicted => &[2],
            Self::Retried => &[1, 2],
        }
    }

    pub(super) fn story<'a>(self, case: &'a Case<'_>) -> LocalBoxFuture<'a, Result<(), Error>> {
        match self {
            Self::Evicted => case.evicted().boxed_local(),
            _ => ready(Ok(())).boxed_local(),
        }
    }
}

impl Kind {
    pub(super) fn protected(self) -> Self {
        Self { protected: true, ..self }
    }

    pub(super) fn exit(self) -> i32 {
        if self.course == Course::Fails { 7 } else { 0 }
    }

    /// Flags of `run`. Settings that are waited for have the case's name.
    pub(super) fn flags(self, case: &str) -> Vec<String> {
        let waits = format!("spec.containers[0].envFrom={}", json!([{"configMapRef": {"name": case}}]));
        let by_message = ["--result", "--results", "message"];
        let flags = match self.course {
            Course::Fails => vec![],
            Course::Succeeds => by_message.to_vec(),
            Course::LargeResult => vec!["-o", "json", "--result", "--results-image", SIDECAR],
            Course::Evicted => [&by_message[..], &["--set", &waits]].concat(),
            Course::Retried => [&by_message[..], &["--retries", "1"]].concat(),
        };
        let protect = self.protected.then_some("--protect");
        flags.into_iter().chain(protect).map(str::to_owned).collect()
    }

    pub(super) fn script(self) -> String {
        let prints = format!("i=1; while [ $i -le {} ]; do echo line $i; i=$((i+1)); sleep 0.1; done", self.lines);
        let writes = |what: &str| format!("mkdir -p /airflow/xcom; {what} > /airflow/xcom/return.json");
        let (first, last) = match self.course {
            Course::Fails => ("", "exit 7".to_owned()),
            Course::LargeResult => {
                ("", writes(&format!(r#"(printf '"'; head -c {LARGE} /dev/zero | tr '\0' x; printf '"')"#)))
            }
            Course::Retried => ("[ $KPO_ATTEMPT != 1 ] || exit 7; ", writes("echo 41")),
            Course::Succeeds | Course::Evicted => ("", writes("echo 41")),
        };
        format!("{first}{prints}; {last}")
    }

    /// All that the program prints.
    pub(super) fn printed(self) -> String {
        (1..=self.lines).map(|number| format!("line {number}\n")).collect()
    }

    /// Whether all that is to be seen was, and nothing twice: lines, result, end.
    pub(super) fn sees_whole(self, ended: &Ended) -> bool {
        match self.course {
            Course::LargeResult => {
                let result = ended.outcome().map(|outcome| outcome["result"] == "x".repeat(LARGE));
                let lines = ended.stderr.lines().filter(|line| line.starts_with("line "));
                result.unwrap_or(false) && lines.map(|line| format!("{line}\n")).collect::<String>() == self.printed()
            }
            Course::Fails => ended.stdout == self.printed() && ended.stderr.contains("exited 7"),
            _ => ended.stdout == self.printed() && ended.stderr.matches("result: 41\n").count() == 1,
        }
    }
}

impl Case<'_> {
    /// Evicts the first attempt before it starts, and gives its settings to whichever comes then. Not before its observer knows of it: whose create is
    /// not answered may never have had a pod, and makes it again.
    async fn evicted(&self) -> Result<(), Error> {
        self.namespace.wait("its observer watches it", async || Ok(self.is_watched.load(Ordering::Relaxed))).await?;
        let first = self.namespace.pod(&self.pod(), "waits for its settings", is_waiting).await?;
        self.namespace.evict(&self.pod()).await?;
        self.namespace.wait("another takes its place", || self.has_another(&first["metadata"]["uid"])).await?;
        let settings = json!({"metadata": {"name": self.name}, "data": {"A": "b"}});
        self.namespace.post(&self.namespace.path("configmaps"), &settings).await.map(drop)
    }

    /// Whether there is a pod of the task beside the one of that UID.
    async fn has_another(&self, uid: &Value) -> Result<bool, Error> {
        let of_the_task = |pod: &&Value| pod["metadata"]["labels"]["kpo.rs/task"] == self.name.as_str();
        let pods = self.namespace.pods().await?;
        Ok(pods.iter().filter(of_the_task).any(|pod| pod["metadata"]["uid"] != *uid))
    }
}
