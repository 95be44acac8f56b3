//! Where watching is forbidden.

use super::*;

const EVERY: Duration = Duration::from_secs(5);

impl Bench {
    fn is_unwatched(&mut self) {
        self.silence();
        let input = Input::Unwatched { message: "cannot watch".to_owned(), every: EVERY };
        self.task.handle(self.now, input).unwrap();
    }

    /// Whether the pod was said to be protected, each time it was said that it is not watched.
    fn said(&self) -> Vec<bool> {
        let said = |event: &Event| match event {
            Event::Unwatched { protected, every: EVERY, message } if message == "cannot watch" => Some(*protected),
            _ => None,
        };
        self.events.iter().filter_map(said).collect()
    }

    /// Answers the request for the finalizer.
    fn protect(&mut self, reply: Reply) {
        let (id, Command::Protect { name, uid }) = self.command() else { panic!("it is to be protected") };
        assert_eq!((name.as_str(), uid.as_str()), ("t-1", "uid-1"));
        assert_eq!(self.said(), [false; 0], "what is covered is known with the answer");
        self.reply(id, reply);
    }
}

fn protected(shown: &Shown) -> Shown {
    shown.clone().with("/metadata/finalizers", json!([marks::FINALIZER]))
}

#[test]
fn a_pod_that_nobody_watches_is_protected_and_so_are_its_successors() {
    let mut bench = Bench::default();
    let shown = Shown::new("t-1", 1);
    assert!(!bench.create(&shown).protect);
    bench.is_unwatched();
    let shown = protected(&shown);
    bench.protect(Reply::Pod(Box::new(shown.pod())));
    bench.silence();
    bench.is_unwatched();
    bench.silence();
    assert_eq!(bench.said(), [true], "once");
    bench.see(&shown.on("node-1").preempted().never_ran());
    bench.tell(vec![]);
    let (_, Command::Create(second)) = bench.command() else { panic!("the replacement is created at once") };
    assert!(second.protect);
}

#[test]
fn where_finalizers_may_not_be_written_it_says_what_is_not_covered() {
    let mut bench = Bench::default();
    bench.create(&Shown::new("t-1", 1));
    bench.is_unwatched();
    bench.protect(Reply::Refused(forbidden("patch")));
    bench.pass(EVERY);
    bench.is_unwatched();
    bench.silence();
    assert_eq!(bench.said(), [false]);
}

#[test]
fn a_follower_writes_no_finalizer() {
    let mut follower = attached(false, |shown| vec![shown]);
    follower.is_unwatched();
    follower.silence();
    assert_eq!(follower.said(), [false]);
}

#[test]
fn watching_that_is_allowed_again_is_said_and_forbidden_anew_too() {
    let mut spec = Spec::minimal("t", "default", "n");
    spec.protect = true;
    let mut bench = Bench::new(spec);
    bench.create(&protected(&Shown::new("t-1", 1)));
    bench.is_unwatched();
    bench.silence();
    bench.task.handle(bench.now, Input::Covered { gapless: false }).unwrap();
    bench.silence();
    bench.is_unwatched();
    bench.silence();
    assert_eq!(bench.said(), [true, true]);
    assert_eq!(bench.events.iter().filter(|event| matches!(event, Event::Sight { watching: true })).count(), 1);
}
