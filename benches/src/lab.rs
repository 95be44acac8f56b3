//! The cluster that is measured against, in a process of its own: steered by lines on its standard input, answering each with a line
//! of JSON.

use crate::{Error, say};
use kpo_lab::api::{LogTarget, SessionTarget};
use kpo_lab::log::{Rotation, Stream};
use kpo_lab::runtime::{Session, Waker};
use kpo_lab::scripted::{Behaviour, Ending, Matching, Run, Volume};
use kpo_lab::{
    ApiError, ChangeKind, Cluster, ContainerLog, Fault, Faults, Lab, LabOptions, Match, NodeSpec, Resource,
    ScriptedRuntime, Store, Time, World,
};
use serde_json::{Value, json};
use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// From one line of the long log to the next.
const LINE_EVERY: Duration = Duration::from_micros(20);
/// How long a log that is to be cut may not be asked for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two cuts of a log.
const CUT_EVERY: Duration = Duration::from_millis(90);

/// Serves until standard input ends. `scale`: a whole number by which the sizes are divided.
pub(crate) async fn serve(scale: &str) -> Result<(), Error> {
    let lab = Lab::serve(Recorded::new(world(scale.parse()?)?), LabOptions::default()).await?;
    let authority = lab.kubeconfig().unwrap_or_default();
    say(&json!({"kubeconfig": authority, "url": lab.url(), "token": lab.token()}).to_string());
    let mut lines = stdin();
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words.as_slice() {
            ["journal"] => journal(&lab),
            ["writes"] => Value::Array(lab.with(|_, cluster| cluster.writes.clone())),
            ["cut", times] => cut(&lab, times.parse()?).await,
            _ => return Err(format!("the lab does not know {line:?}").into()),
        };
        say(&answer.to_string());
    }
    Ok(())
}

fn stdin() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        // The receiver goes away only at the end.
        std::io::stdin().lock().lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    lines
}

/// One node with room for all; what containers do is told by their image.
fn world(scale: u64) -> Result<World, Error> {
    let mut world = World::new(Time::wall_clock(), 1, Box::new(runtime(scale)));
    let plenty = [("cpu", "100000"), ("memory", "1000Ti"), ("pods", "10000")];
    let allocatable = plenty.map(|(name, amount)| (name.to_owned(), amount.to_owned())).into();
    world.add_node(NodeSpec { allocatable, ..NodeSpec::named("node-1") });
    let happens = (0..EVICTED).map(eviction).collect::<String>();
    world.play(&kpo_lab::script::parse(&happens).map_err(|error| error.to_string())?);
    Ok(world)
}

/// How many tasks are evicted: `evicted0` and so on, each with an image of its own, since one that was pulled once is there for all.
pub(crate) const EVICTED: usize = 7;

/// Its first attempt finds no image and is evicted; its second one finds it.
fn eviction(number: usize) -> String {
    let (pod, image) = (format!("evicted{number}-1"), format!("bench/slow{number}"));
    format!(
        "when pod {pod} created: image {image} fails none\n\
         when pod {pod} waiting: evict it\n\
         when pod {pod} disrupted: image {image} pulls in 1ms\n"
    )
}

fn runtime(scale: u64) -> ScriptedRuntime {
    let short = Behaviour::runs(Duration::from_millis(100), Ending::exit(0)).says(Duration::ZERO, "hello");
    let (gib, million) = ((1 << 30) / scale, 1_000_000 / scale);
    let (wide, long) = (volume(gib / 128, 127, Duration::ZERO), volume(million, 60, LINE_EVERY));
    let speaking = LINE_EVERY * u32::try_from(million).unwrap_or(u32::MAX) + Duration::from_millis(200);
    ScriptedRuntime::new()
        .with_rotation(Rotation::NEVER)
        .with(Matching::all(), short.clone())
        .with(Matching::image("bench/idle"), Behaviour::forever().says(Duration::ZERO, "up"))
        .with(Matching::image("bench/gib"), Behaviour { volumes: vec![wide], lines: Vec::new(), ..short.clone() })
        .with(
            Matching::image("bench/million"),
            Behaviour { volumes: vec![long], lines: Vec::new(), run: Run::For(speaking), ..short },
        )
}

fn volume(lines: u64, width: u32, every: Duration) -> Volume {
    Volume { after: Duration::ZERO, every, lines, width, stream: Stream::Stdout }
}

fn journal(lab: &Lab<Recorded>) -> Value {
    let seen = lab.journal().into_iter();
    seen.map(|seen| {
        json!({"at": seen.at.0, "verb": seen.verb, "resource": seen.resource, "name": seen.name, "agent": seen.agent})
    })
    .collect()
}

/// Breaks the log that is being read, again and again, each time after it was taken up; until it is no longer.
async fn cut(lab: &Lab<Recorded>, times: u64) -> Value {
    let opened = || lab.requests().iter().filter(|(kind, _)| kind.resource == "pods/log").map(|(_, n)| n).sum::<u64>();
    let (mut before, mut done) = (0, 0);
    while done < times && until(|| opened() > before).await {
        before = opened();
        tokio::time::sleep(CUT_EVERY).await;
        // Only what is open: who comes back at once must not be met by the same fault.
        let _spared = lab.faults().inject(Match::of("get", "pods/log").times(u64::MAX - 1), Fault::Pass);
        let fault = lab.faults().inject(Match::of("get", "pods/log"), Fault::Drop);
        if !until(|| fault.hits() > 0).await {
            break;
        }
        done += 1;
    }
    json!({"cuts": done})
}

/// Waits until something is so; whether it came to be in time.
async fn until(is_so: impl Fn() -> bool) -> bool {
    let poll = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.is_ok()
}

/// A world that remembers when the containers of its pods ended, and when its pods were gone.
struct Recorded {
    world: World,
    /// Up to which version it was looked at.
    looked: u64,
    writes: Vec<Value>,
}

impl Recorded {
    fn new(world: World) -> Self {
        Self { world, looked: 0, writes: Vec::new() }
    }

    fn look(&mut self, now: Time) {
        let Ok(changes) = self.world.store().changes_since(self.looked) else { return };
        for change in changes.filter(|change| change.resource == Resource::Pods) {
            let (object, is_gone) = (&change.object, change.kind == ChangeKind::Deleted);
            let ended = object["status"]["containerStatuses"][0]["state"]["terminated"].is_object();
            let what = if is_gone {
                "gone"
            } else if ended {
                "ended"
            } else {
                continue;
            };
            self.writes.push(json!({"at": now.0, "pod": object["metadata"]["name"], "what": what}));
        }
        self.looked = self.world.store().rv();
    }
}

impl Cluster for Recorded {
    fn store(&self) -> &Store {
        self.world.store()
    }

    fn store_mut(&mut self, now: Time) -> &mut Store {
        self.world.store_mut(now)
    }

    /// What was written by the way is stamped with its beginning: the latest that it can be too early by is what one advance takes.
    fn advance(&mut self, now: Time) {
        Cluster::advance(&mut self.world, now);
        self.look(now);
    }

    fn next_wakeup(&self) -> Option<Time> {
        self.world.next_wakeup()
    }

    fn open_log(&mut self, target: &LogTarget) -> Result<Option<Arc<ContainerLog>>, ApiError> {
        self.world.open_log(target)
    }

    fn open_session(&mut self, now: Time, target: &SessionTarget) -> Result<Session, ApiError> {
        self.world.open_session(now, target)
    }

    fn set_waker(&mut self, waker: Waker) {
        self.world.set_waker(waker);
    }

    fn set_faults(&mut self, faults: Faults) {
        self.world.set_faults(faults);
    }
}
