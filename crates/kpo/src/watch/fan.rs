//! From one watch to many tasks: who is told what, with bounded memory.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kpo_core::Pod;
use tokio::{sync::Notify, time::Instant};

use super::{Forbidden, Observation, PodVersion, Sighting};

/// What a subscriber is found by: the task's id, or nothing where the watch has one subscriber only.
pub(super) type Key = Arc<str>;

/// Whether the watch stands.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    /// Nothing was said yet.
    Unsaid,
    Gap {
        since: Instant,
    },
    Covered {
        gapless: bool,
    },
    Forbidden(Forbidden),
}

/// A pod that a subscriber knows of, and that a relist must therefore show.
#[derive(Debug)]
struct Known {
    uid: String,
    resource_version: String,
    key: Key,
}

#[derive(Debug)]
struct State {
    sight: Sight,
    /// Relists that were completed since the first word on whether the watch stands: nobody asks for a pod before.
    relists: u64,
    known: HashMap<String, Known>,
    queues: HashMap<Key, Arc<Queue>>,
    /// Takes pods that no subscriber asked for, from the beginning; only where pods are told apart.
    unclaimed: Option<Arc<Queue>>,
    /// Whether somebody reads these.
    claimed: bool,
}

/// The subscribers of one watch.
#[derive(Debug)]
pub(super) struct Fan {
    state: Mutex<State>,
    /// Wakes those who wait for the first word on whether the watch stands.
    turned: Notify,
    /// Whether pods are told apart by their task's label; else there is one subscriber, whose key is empty.
    by_task: bool,
    /// Observations that wait for one subscriber at most.
    limit: usize,
}

impl Fan {
    pub(super) fn new(by_task: bool, limit: usize) -> Self {
        let limit = limit.max(2);
        let state = State {
            sight: Sight::Unsaid,
            relists: 0,
            known: HashMap::new(),
            queues: HashMap::new(),
            unclaimed: by_task.then(|| Arc::new(Queue::new(limit))),
            claimed: false,
        };
        Self { state: Mutex::new(state), turned: Notify::new(), by_task, limit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A queue for a key; `None` if there is one already. It is told at once whether the watch stands.
    pub(super) fn subscribe(&self, key: Key) -> Option<Arc<Queue>> {
        let mut state = self.state();
        if state.queues.contains_key(&key) {
            return None;
        }
        let queue = Arc::new(Queue::new(self.limit));
        queue.tell_sight(&state.sight);
        state.queues.insert(key, Arc::clone(&queue));
        Some(queue)
    }

    /// The queue of the pods that nobody else asked for; `None` if somebody has it.
    pub(super) fn subscribe_unclaimed(&self) -> Option<Arc<Queue>> {
        let mut state = self.state();
        let free = !std::mem::replace(&mut state.claimed, true);
        state.unclaimed.clone().filter(|_| free)
    }

    pub(super) fn unsubscribe(&self, key: &Key, queue: &Arc<Queue>) {
        let mut state = self.state();
        if state.queues.get(key).is_some_and(|q| Arc::ptr_eq(q, queue)) {
            state.queues.remove(key);
            state.known.retain(|_, known| known.key != *key);
        }
    }

    pub(super) fn unsubscribe_unclaimed(&self) {
        self.state().claimed = false;
    }

    /// Until it is known whether the watch stands.
    pub(super) async fn said(&self) {
        loop {
            let turned = self.turned.notified();
            if !matches!(self.state().sight, Sight::Unsaid) {
                return;
            }
            turned.await;
        }
    }

    /// Relists that are complete.
    pub(super) fn relists(&self) -> u64 {
        self.state().relists
    }

    /// From now on, the absence of this pod is worth telling. It was asked for when so many relists were complete: one that was completed
    /// since, and has not shown it, may be newer than the pod.
    pub(super) fn expect(&self, key: &Key, pod: &PodVersion, relists: u64) {
        let mut state = self.state();
        if !state.queues.contains_key(key) || state.known.get(&pod.name).is_some_and(|k| k.uid == pod.uid) {
            return;
        }
        let (uid, resource_version) = (pod.uid.clone(), pod.resource_version.clone());
        state.known.insert(pod.name.clone(), Known { uid, resource_version, key: Arc::clone(key) });
        if state.relists != relists {
            state.absent(&pod.name);
        }
    }

    /// Names that subscribers know of.
    pub(super) fn known_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.state().known.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Tells the one whom it concerns of a pod. What a relist shows is news only if it changed.
    pub(super) fn seen(&self, sighting: Sighting, pod: Box<Pod>) {
        let mut state = self.state();
        let label = pod.metadata.labels.get(kpo_core::marks::TASK).map_or("", String::as_str);
        let key = if self.by_task { label } else { "" };
        let Some((key, queue)) = state.queues.get_key_value(key).map(|(k, q)| (Arc::clone(k), Arc::clone(q))) else {
            if let Some(queue) = &state.unclaimed {
                queue.push(Observation::Seen { sighting, pod: pod.into() });
            }
            return;
        };
        if state.note(sighting, &pod, key, &queue) {
            queue.push(Observation::Seen { sighting, pod: pod.into() });
        }
    }

    /// Says that this pod was not found where it should have been, and forgets it.
    pub(super) fn absent(&self, name: &str) {
        self.state().absent(name);
    }

    /// A relist is complete: what is known and was not shown is absent, also where it came to be known meanwhile: it may have been there
    /// before the list was made, and have gone.
    pub(super) fn end_relist(&self, shown: &HashSet<String>) {
        let mut state = self.state();
        state.relists += u64::from(!matches!(state.sight, Sight::Unsaid));
        let mut missing: Vec<_> = state.known.keys().filter(|name| !shown.contains(*name)).cloned().collect();
        missing.sort_unstable();
        missing.iter().for_each(|name| state.absent(name));
    }

    /// Changes what is known of the watch itself, and tells everyone if that is new.
    pub(super) fn turn(&self, sight: Sight) {
        let mut state = self.state();
        if std::mem::discriminant(&state.sight) == std::mem::discriminant(&sight) {
            return;
        }
        state.queues.values().for_each(|queue| queue.tell_sight(&sight));
        state.sight = sight;
        self.turned.notify_waiters();
    }

    /// Tells everyone.
    pub(super) fn tell(&self, observation: &Observation) {
        self.state().queues.values().for_each(|queue| queue.push(observation.clone()));
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        let state = self.state();
        state.queues.values().chain(&state.unclaimed).for_each(|queue| queue.close());
    }
}

impl State {
    /// Keeps the books on a pod; false if the subscriber knows this very state of it.
    fn note(&mut self, sighting: Sighting, pod: &Pod, key: Key, queue: &Queue) -> bool {
        let meta = &pod.metadata;
        if sighting == Sighting::Deleted {
            if self.known.get(&meta.name).is_some_and(|k| k.uid == meta.uid) {
                self.known.remove(&meta.name);
            }
            return true;
        }
        match self.known.get_mut(&meta.name) {
            Some(known) if known.uid == meta.uid => {
                let is_news = sighting != Sighting::Listed || known.resource_version != meta.resource_version;
                known.resource_version.clone_from(&meta.resource_version);
                return is_news;
            }
            Some(other) => queue.push(Observation::Absent { name: meta.name.clone(), uid: other.uid.clone() }),
            None => {}
        }
        let (uid, resource_version) = (meta.uid.clone(), meta.resource_version.clone());
        self.known.insert(meta.name.clone(), Known { uid, resource_version, key });
        true
    }

    fn absent(&mut self, name: &str) {
        let Some(known) = self.known.remove(name) else { return };
        if let Some(queue) = self.queues.get(&known.key) {
            queue.push(Observation::Absent { name: name.to_owned(), uid: known.uid });
        }
    }
}

/// What waits for one subscriber.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    limit: usize,
}

#[derive(Debug)]
struct Waiting {
    items: VecDeque<Observation>,
    /// When the oldest of them came.
    since: Instant,
    closed: bool,
}

impl Queue {
    fn new(limit: usize) -> Self {
        let waiting = Waiting { items: VecDeque::new(), since: Instant::now(), closed: false };
        Self { waiting: Mutex::new(waiting), arrived: Notify::new(), limit }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_sight(&self, sight: &Sight) {
        match sight {
            Sight::Unsaid => {}
            Sight::Gap { since } => self.push(Observation::Gap { since: *since }),
            Sight::Covered { gapless } => self.push(Observation::Covered { gapless: *gapless }),
            Sight::Forbidden(forbidden) => self.push(Observation::Forbidden(forbidden.clone())),
        }
    }

    fn push(&self, observation: Observation) {
        let mut waiting = self.waiting();
        if waiting.items.is_empty() {
            waiting.since = Instant::now();
        }
        if matches!((&observation, waiting.items.back()), (Observation::Trouble(_), Some(Observation::Trouble(_)))) {
            waiting.items.pop_back();
        }
        if waiting.items.len() >= self.limit {
            waiting.collapse();
            // More pods than fit: the gap is named, the oldest of them go.
            while waiting.items.len() >= self.limit {
                waiting.items.remove(1);
            }
        }
        waiting.items.push_back(observation);
        drop(waiting);
        self.arrived.notify_one();
    }

    fn close(&self) {
        self.waiting().closed = true;
        self.arrived.notify_one();
    }

    /// The next observation; `None` once nothing more will come. Cancel safe; for one consumer.
    pub(super) async fn next(&self) -> Option<Observation> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut waiting = self.waiting();
                if let Some(observation) = waiting.items.pop_front() {
                    return Some(observation);
                }
                if waiting.closed {
                    return None;
                }
            }
            arrived.await;
        }
    }
}

impl Waiting {
    /// Gives up the history of a consumer that does not come to read it: of each pod the last sight is kept, and the gap is named.
    fn collapse(&mut self) {
        let mut last: HashMap<String, usize> = HashMap::new();
        let mut covered = true;
        for (index, item) in self.items.iter().enumerate() {
            match item {
                Observation::Seen { pod, .. } => drop(last.insert(pod.metadata.uid.clone(), index)),
                Observation::Gap { .. } | Observation::Forbidden(_) => covered = false,
                Observation::Covered { .. } => covered = true,
                _ => {}
            }
        }
        let keep = |(index, item): (usize, Observation)| match &item {
            Observation::Seen { pod, .. } => (last.get(&pod.metadata.uid) == Some(&index)).then_some(item),
            Observation::Gap { .. } | Observation::Covered { .. } | Observation::Trouble(_) => None,
            Observation::Absent { .. } | Observation::Forbidden(_) => Some(item),
        };
        let kept: Vec<_> = std::mem::take(&mut self.items).into_iter().enumerate().filter_map(keep).collect();
        self.items.push_back(Observation::Gap { since: self.since });
        self.items.extend(kept);
        if covered {
            self.items.push_back(Observation::Covered { gapless: false });
        }
    }
}
