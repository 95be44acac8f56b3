//! A monkey at the other side of the contract: it answers, shows and stops whatever it likes, also what no cluster would. Whatever it does, the
//! contract holds, every move is a row of the table; and in all its games each row is taken.

use super::*;
use crate::spec::{OnUnsignedDelete, ResultBy};
use std::cell::RefCell;
use std::collections::BTreeSet;

thread_local! {
    static TAKEN: RefCell<BTreeSet<(StageName, StageName)>> = const { RefCell::new(BTreeSet::new()) };
}

/// Notes a move that a task of this thread has made.
pub(in crate::task) fn took(from: StageName, to: StageName) {
    TAKEN.with_borrow_mut(|taken| taken.insert((from, to)));
}

const GAMES: u64 = 3_000;
const TURNS: usize = 60;

/// Numbers from a seed: the same game each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let index = self.roll(from.len() as u64);
        from[usize::try_from(index).unwrap()].clone()
    }
}

fn spec(dice: &mut Dice) -> Spec {
    let mut spec = Spec::minimal("t", "default", "n");
    let policies = [RerunPolicy::Never, RerunPolicy::IfNotStarted, RerunPolicy::UntilCommit, RerunPolicy::Idempotent];
    spec.rerun.policy = dice.pick(&policies);
    spec.rerun.retries = 1;
    spec.naming = dice.pick(&[Naming::Numbered, Naming::Fixed]);
    spec.gates = !dice.one_in(2);
    spec.protect = dice.one_in(3);
    spec.fail_fast_images = dice.one_in(3);
    spec.on_unsigned_delete = dice.pick(&[OnUnsignedDelete::End, OnUnsignedDelete::Recreate]);
    spec.on_finish = dice.pick(&[OnFinish::None, OnFinish::All, OnFinish::Failed { lifetime: None }]);
    spec.result = dice.pick(&[None, Some(ResultBy::Sidecar), Some(ResultBy::Message)]);
    spec.replace_unreachable_after = dice.one_in(3).then_some(Duration::from_secs(60));
    let limit = |dice: &mut Dice| dice.one_in(2).then(|| Duration::from_secs(dice.pick(&[1, 30, 600])));
    spec.clocks =
        Clocks { queue: limit(dice), schedule: limit(dice), start: limit(dice), run: limit(dice), total: limit(dice) };
    spec
}

/// A pod of the attempt of that number, in some state.
fn pod(dice: &mut Dice, spec: &Spec, number: u32, carried: &str) -> Shown {
    let name = attempt::name_of(spec, number);
    let uid = if dice.one_in(12) { format!("uid-{number}-again") } else { format!("uid-{number}") };
    let shown = Shown::new(&name, number)
        .with("/metadata/uid", json!(uid))
        .with("/metadata/annotations/kpo.rs~1state", json!(carried))
        .with("/metadata/annotations/kpo.rs~1observer", json!(dice.pick(&["me/1", "me/1", "me/1", "you/2", "me/3"])));
    let shown = if dice.one_in(3) { shown.with("/metadata/finalizers", json!([marks::FINALIZER])) } else { shown };
    let pulling = json!([{"name": "base", "state": {"waiting": {"reason": "InvalidImageName", "message": "no name"}}}]);
    match dice.roll(10) {
        0 => shown,
        1 => shown.gated(),
        2 => shown.on("node-1"),
        3 => shown.on("node-1").with("/status/containerStatuses", pulling),
        4 => shown.on("node-1").running(),
        5 => shown.on("node-1").preempted().never_ran(),
        6 => shown.on("node-1").running().terminating(),
        7 => shown.terminating(),
        8 => shown.on("node-1").exited(dice.pick(&[0, 3, 3, 137])),
        _ => shown.on("node-1").preempted().exited(dice.pick(&[0, 137])),
    }
}

/// Some answer to a command, fitting or not.
fn answer(dice: &mut Dice, spec: &Spec, command: &Command, carried: &str) -> Reply {
    let refusal = |code: u16, message: &str| {
        Reply::Refused(Refusal { code, reason: String::new(), message: message.to_owned(), retry_after: None })
    };
    if dice.one_in(6) {
        return refusal(403, "pods is forbidden: User cannot create resource \"pods\"");
    }
    match command {
        Command::Create(create) => {
            let shown = Box::new(pod(dice, spec, create.attempt, carried).pod());
            match dice.roll(9) {
                0 => Reply::NameTaken { uid: "foreign".to_owned(), terminating: dice.one_in(2) },
                1 => Reply::Altered { pod: shown, differences: vec!["the label kpo.rs/task was changed".to_owned()] },
                2 => refusal(403, "exceeded quota: q"),
                3 => Reply::NotFound,
                4 => Reply::Withdrawn,
                _ => Reply::Pod(shown),
            }
        }
        Command::Read { .. } | Command::Ungate { .. } | Command::Protect { .. } | Command::Annotate { .. } => {
            let number = 1 + u32::try_from(dice.roll(3)).unwrap();
            let shown = Box::new(pod(dice, spec, number, carried).pod());
            dice.pick(&[Reply::Pod(shown.clone()), Reply::Pod(shown), Reply::NotFound, Reply::Conflict])
        }
        Command::ListEvents { .. } => Reply::Events(Vec::new()),
        Command::ReadResult { .. } => Reply::Result(dice.pick(&[Ok("1".to_owned()), Err("none".to_owned())])),
        Command::Deliver(_) | Command::CloseLogs { .. } => Reply::Done,
        _ => dice.pick(&[Reply::Done, Reply::Done, Reply::NotFound, Reply::Conflict]),
    }
}

/// A game: its task, and what is still to be answered.
struct Game {
    bench: Bench,
    open: Vec<(CommandId, Command)>,
    dice: Dice,
}

impl Game {
    fn begin(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let spec = spec(&mut dice);
        let mut creator = Bench::new(spec.clone());
        let create = creator.commands().remove(0).1;
        let Command::Create(create) = create else { panic!("a fresh task creates its pod") };
        if !dice.one_in(3) {
            return Self { bench: Bench::new(spec), open: Vec::new(), dice };
        }
        let found = pod(&mut dice, &spec, 1, &create.state.to_json()).pod();
        let how = Attach { has_manifest: !dice.one_in(4), ..attaching(dice.one_in(2)) };
        let task = Task::attach(Time::from_secs(1_000), &how, vec![found]).unwrap();
        Self { bench: Bench::of(task, Time::from_secs(1_000)), open: Vec::new(), dice }
    }

    fn turn(&mut self) {
        let input = self.input();
        self.bench.task.handle(self.bench.now, input).expect("the monkey keeps the contract");
        self.rest();
    }

    /// Takes what it commands, and holds it to what always holds.
    fn rest(&mut self) {
        let given = self.bench.commands();
        let Output::Wait(wait) = self.bench.task.poll() else { unreachable!("the queue is drained") };
        assert!(wait.until.is_none_or(|until| until > self.bench.now), "a wait that is over: {wait:?}");
        let creates = |commands: &[(CommandId, Command)]| {
            commands.iter().filter(|(_, command)| matches!(command, Command::Create(_))).count()
        };
        for (id, command) in given {
            if let Command::Delete { uid, resource_version, .. } = &command {
                assert!(!uid.is_empty() && !resource_version.is_empty(), "a delete without its preconditions");
            }
            if !matches!(command, Command::FollowLog { .. } | Command::Withdraw { .. }) {
                self.open.push((id, command));
            }
        }
        self.open.retain(|(id, _)| self.bench.task.state().pending.contains_key(id));
        assert!(creates(&self.open) <= 1 || self.has_late_creates(), "two creates at once: {:?}", self.open);
    }

    /// A create whose pod was seen, and judged, before its answer may still be open beside the next one.
    fn has_late_creates(&self) -> bool {
        let current = self.bench.task.state().current.number;
        let of_current = |command: &Command| matches!(command, Command::Create(create) if create.attempt == current);
        self.open.iter().filter(|(_, command)| of_current(command)).count() <= 1
    }

    fn input(&mut self) -> Input {
        let carried = self.bench.task.state().carried().to_json();
        let spec = self.bench.task.spec().clone();
        match self.dice.roll(16) {
            0..=6 if !self.open.is_empty() => {
                let index = usize::try_from(self.dice.roll(self.open.len() as u64)).unwrap();
                let (to, command) = self.open.swap_remove(index);
                Input::Reply { to, reply: answer(&mut self.dice, &spec, &command, &carried) }
            }
            0..=10 => {
                let current = self.bench.task.state().current.number;
                let number = self.dice.pick(&[current, current, current, current + 1, current.max(2) - 1]);
                let shown = pod(&mut self.dice, &spec, number, &carried);
                let sight = self.dice.pick(&[Sight::Present, Sight::Present, Sight::Deleted]);
                self.bench.versions += 1;
                let mut pod = shown.pod();
                pod.metadata.resource_version = self.bench.versions.to_string();
                if sight == Sight::Deleted && !self.dice.one_in(4) {
                    pod.metadata.deletion_timestamp = Some("2026-11-23T22:10:38Z".to_owned());
                    pod.metadata.deletion_grace_period_seconds = Some(0);
                }
                Input::Seen { sight, pod: Box::new(pod) }
            }
            11 => Input::Gap,
            12 => Input::Covered { gapless: self.dice.one_in(2) },
            13 => Input::Missing { uid: "uid-1".to_owned() },
            14 if self.dice.one_in(3) => Input::Stop(self.dice.pick(&[Stop::Shutdown, Stop::Deadline, Stop::User])),
            _ => {
                let step = self.dice.pick(&[1, 3, 8, 60, 700]);
                self.bench.now = self.bench.now + Duration::from_secs(step);
                Input::Tick
            }
        }
    }
}

#[test]
fn whatever_the_other_side_does_each_move_is_a_row_and_each_row_is_taken() {
    for seed in 0..GAMES {
        let mut game = Game::begin(seed);
        game.rest();
        for _ in 0..TURNS {
            if game.bench.task.is_over() {
                break;
            }
            game.turn();
        }
        let mut verdicts: BTreeMap<u32, &Verdict> = BTreeMap::new();
        for event in &game.bench.events {
            if let Event::Ended { attempt, verdict, .. } = event {
                assert_eq!(verdicts.entry(*attempt).or_insert(verdict), &verdict.as_ref(), "seed {seed}: it stands");
            }
        }
        // A snapshot of whatever it came to reads back as it was.
        let json = serde_json::to_string(game.bench.task.state()).unwrap();
        assert_eq!(&serde_json::from_str::<State>(&json).unwrap(), game.bench.task.state(), "seed {seed}");
        Task::restore(game.bench.now, game.bench.task.state().clone()).expect("a snapshot of this version");
    }
    let taken = TAKEN.with_borrow(BTreeSet::clone);
    let missing: Vec<_> = MOVES.iter().filter(|(from, to, _)| !taken.contains(&(*from, *to))).collect();
    assert!(missing.is_empty(), "moves that no game took: {missing:#?}");
}
