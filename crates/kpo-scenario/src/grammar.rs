//! From a text to a scenario.

use crate::expect::{self, Expected};
use crate::sidecar;
use crate::task::{self, TaskPart};
use crate::text::{Mistake, ScenarioError, Statement, Word, statements};
use kpo_lab::ScriptedRuntime;
use kpo_lab::api::User;
use kpo_lab::script::{self, Action, ApiTroubleKind, Script, When};
use std::collections::BTreeSet;
use std::time::Duration;

/// A scenario: a cluster, a task, what happens, and what is expected.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What its file is called.
    pub file: String,
    /// All of it.
    pub text: String,
    /// Its first comment: what it is about.
    pub title: String,
    /// The cluster, and what happens in it.
    pub script: Script,
    /// The task.
    pub task: TaskPart,
    /// What observers and the user do.
    pub doings: Vec<Doing>,
    /// What is expected, in the order of the lines.
    pub expected: Vec<Expected>,
    /// Why two lives, or a create after a start, are permitted: the user took the risk, or the design names the limit. `None`: they are not.
    pub permits: Option<String>,
    /// Why it runs on the engine only. `None`: it runs on the core too.
    pub engine_only: Option<String>,
    /// Why it may end as disrupted after a crash or a lost reply: what the undisturbed observer saw cannot be proven then. `None`: it may not.
    pub may_prove_less: Option<String>,
}

/// What an observer or the user does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// Its line.
    pub line: usize,
    /// The observer.
    pub observer: String,
    /// What.
    pub deed: Deed,
    /// When.
    pub when: Moment,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The user cancels, at this observer.
    Cancels,
    /// The observer shuts down.
    Leaves,
    /// The observer's process is gone.
    Dies,
    /// Another observer attaches and follows.
    Follows,
    /// Another observer attaches and takes over.
    TakesOver,
}

/// When it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// This long after the beginning.
    At(Duration),
    /// When a pod is first seen in this state in the store.
    When {
        /// The pod's name.
        pod: String,
        /// `created`, `gated`, `scheduled`, `running`, `terminating`, `ended` or `gone`.
        state: String,
    },
}

const STATES: [&str; 7] = ["created", "gated", "scheduled", "running", "terminating", "ended", "gone"];
const DEEDS: [(&str, Deed); 5] = [
    ("cancels", Deed::Cancels),
    ("leaves", Deed::Leaves),
    ("dies", Deed::Dies),
    ("follows", Deed::Follows),
    ("takes-over", Deed::TakesOver),
];

impl Deed {
    /// As a scenario says it.
    pub fn name(self) -> &'static str {
        DEEDS.iter().find(|(_, deed)| *deed == self).map_or("", |(name, _)| *name)
    }
}

impl Scenario {
    /// Reads a scenario; `file` is what its text is called in messages.
    ///
    /// # Errors
    /// The first statement that is none, with its place and what could be written there.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let named = |mistake: Mistake| ScenarioError {
            file: file.to_owned(),
            line: mistake.line,
            column: mistake.column,
            message: mistake.message,
        };
        let mut draft = Draft::default();
        for statement in statements(text).map_err(named)? {
            draft.statement(statement).map_err(named)?;
        }
        let script = script::parse(&draft.script).map_err(|error| ScenarioError {
            file: file.to_owned(),
            line: error.line,
            column: error.column,
            message: error.message,
        })?;
        draft.finish(file, text, script).map_err(named)
    }

    /// The scenario again for each thing that happens in it, without that thing: its line, and the rest.
    pub fn without_each(&self) -> Vec<(usize, Scenario)> {
        let all = &self.script.happenings;
        let mut variants = Vec::new();
        for (index, happening) in all.iter().enumerate() {
            // What comes "then" falls with what it comes after.
            let after = all[index + 1..].iter().take_while(|next| matches!(next.when, When::Then(_))).count();
            let mut rest = self.clone();
            rest.script.happenings.drain(index..=index + after);
            variants.push((happening.line, rest));
        }
        for (index, doing) in self.doings.iter().enumerate() {
            let mut rest = self.clone();
            rest.doings.remove(index);
            variants.push((doing.line, rest));
        }
        variants
    }

    /// Containers do what the script says, and what hands a result over does what kpo made it for.
    pub(crate) fn runtime(&self) -> ScriptedRuntime {
        let mut runtime = self.script.runtime();
        let (matching, behaviour) = sidecar::rule();
        runtime.add_rule(matching, behaviour);
        runtime
    }

    /// Who kpo is to the API server.
    pub(crate) fn user(&self) -> User {
        let user = self.task.user.as_ref().and_then(|name| self.script.user(name));
        user.unwrap_or_else(User::admin)
    }

    /// Whether the user has told that observer to cancel: the wish dies with a process, and is told to the next one again.
    pub(crate) fn has_cancelled(&self, observer: &str, done: &BTreeSet<usize>) -> bool {
        let doings = self.doings.iter().enumerate().filter(|(index, _)| done.contains(index));
        doings.into_iter().any(|(_, doing)| doing.observer == observer && doing.deed == Deed::Cancels)
    }

    /// When the run is ended though the task goes on. `None`: never.
    pub(crate) fn cut_at(&self) -> Option<Duration> {
        let waits = self.expected.iter().filter_map(|expected| match expected.what {
            expect::Expectation::Waits(_, at) => Some(at),
            _ => None,
        });
        waits.max()
    }
}

#[derive(Default)]
struct Draft {
    /// The lab's part, each statement on its own line; all else is empty lines.
    script: String,
    task: Option<TaskPart>,
    doings: Vec<Doing>,
    expected: Vec<Expected>,
    permits: Option<String>,
    engine_only: Option<String>,
    may_prove_less: Option<String>,
}

impl Draft {
    fn statement(&mut self, mut statement: Statement) -> Result<(), Mistake> {
        if statement.is_empty() {
            self.script.push('\n');
            return Ok(());
        }
        if script::is_statement(&statement.text) {
            self.script += &format!("{}\n", statement.text);
            return Ok(());
        }
        self.script += &"\n".repeat(statement.text.lines().count());
        let word = statement.next("a statement")?;
        match word.text.as_str() {
            "task" if self.task.is_some() => return Err(word.mistake("a scenario has one task")),
            "task" => self.task = Some(task::task(&mut statement)?),
            "user" => self.doing("a".to_owned(), &mut statement)?,
            "observer" => {
                let observer = statement.next("the observer's letter")?.text;
                self.doing(observer, &mut statement)?;
            }
            "permits" => {
                self.permits = Some(statement.next("why a second life is permitted, in quotation marks")?.text)
            }
            "engine-only" => self.engine_only = Some(statement.next("why, in quotation marks")?.text),
            "may-prove-less" => self.may_prove_less = Some(statement.next("why, in quotation marks")?.text),
            text if expect::STARTS.contains(&text) => self.expects("a", &word, &mut statement)?,
            text if text.len() == 1 && statement.peek().is_some_and(|next| expect::STARTS.contains(&next)) => {
                let start = statement.next("what is expected")?;
                self.expects(text, &start, &mut statement)?;
            }
            _ => return Err(unknown(&word)),
        }
        statement.end()
    }

    fn expects(&mut self, observer: &str, start: &Word, statement: &mut Statement) -> Result<(), Mistake> {
        let what = expect::expectation(start, statement)?;
        self.expected.push(Expected { line: statement.line, observer: observer.to_owned(), what });
        Ok(())
    }

    fn doing(&mut self, observer: String, statement: &mut Statement) -> Result<(), Mistake> {
        let word = statement.next("cancels, leaves, dies, follows or takes-over")?;
        let deed = DEEDS.iter().find(|(name, _)| *name == word.text).map(|(_, deed)| *deed);
        let deed = deed.ok_or_else(|| word.unknown(&DEEDS.map(|(name, _)| name)))?;
        let start = statement.next("at or when")?;
        let when = match start.text.as_str() {
            "at" => Moment::At(statement.next("the moment")?.duration()?),
            "when" => {
                statement.expect("pod")?;
                let pod = statement.next("the pod's name")?.text;
                let state = statement.next("its state")?;
                if !STATES.contains(&state.text.as_str()) {
                    return Err(state.unknown(&STATES));
                }
                Moment::When { pod, state: state.text }
            }
            _ => return Err(start.unknown(&["at", "when"])),
        };
        self.doings.push(Doing { line: statement.line, observer, deed, when });
        Ok(())
    }

    fn finish(self, file: &str, text: &str, script: Script) -> Result<Scenario, Mistake> {
        let nowhere =
            |message: &str| Mistake { line: text.lines().count().max(1), column: 1, message: message.to_owned() };
        let title = text.lines().next().and_then(|line| line.strip_prefix("# "));
        let title = title.ok_or_else(|| Mistake {
            line: 1,
            column: 1,
            message: "a scenario begins with a comment that says what it is about".to_owned(),
        })?;
        let nobody = |user: &&String| script.user(user).is_none();
        if let Some(user) = self.task.as_ref().and_then(|task| task.user.as_ref()).filter(nobody) {
            return Err(nowhere(&format!(
                "nobody has the token {user}; give him one, as: token {user} may get on pods"
            )));
        }
        let task = self.task.ok_or_else(|| nowhere("there is no task; add one, as: task t --rerun=idempotent"))?;
        if self.expected.is_empty() {
            return Err(nowhere("nothing is expected; add what is, as: outcome succeeded, exit 0"));
        }
        let engine_only = self.engine_only.or_else(|| needs_engine(&script, &task, &self.expected));
        Ok(Scenario {
            file: file.to_owned(),
            text: text.to_owned(),
            title: title.to_owned(),
            script,
            task,
            doings: self.doings,
            expected: self.expected,
            permits: self.permits,
            engine_only,
            may_prove_less: self.may_prove_less,
        })
    }
}

/// Whether something in it only means something with logs, results or a way to the API server.
fn needs_engine(script: &Script, task: &TaskPart, expected: &[Expected]) -> Option<String> {
    use expect::Expectation::{Prints, Requests, Result};
    let transport =
        script.happenings.iter().any(|happening| matches!(happening.action, Action::Api(_) | Action::Compact));
    let expired =
        |action: &Action| matches!(action, Action::Api(trouble) if trouble.kind == ApiTroubleKind::TokensExpire);
    let logs = |expected: &Expected| matches!(expected.what, Prints(_) | Requests(_) | Result(_));
    if task.user.is_some() {
        return Some("permissions".to_owned());
    }
    if script.happenings.iter().any(|happening| expired(&happening.action)) {
        return Some("auth".to_owned());
    }
    if transport {
        return Some("transport".to_owned());
    }
    (task.spec.result.is_some() || expected.iter().any(logs)).then(|| "logs and results".to_owned())
}

fn unknown(word: &Word) -> Mistake {
    let own = "task, user, observer, permits, engine-only, may-prove-less";
    word.mistake(format!(
        "{:?} begins no statement; those of a scenario: {own}; of what is expected: {}; the cluster's and what happens: see kpo_lab::script",
        word.text,
        expect::STARTS.join(", ")
    ))
}
