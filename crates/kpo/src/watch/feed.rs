//! The loop that keeps one watch standing.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::TryStreamExt;
use kpo_core::{Pod, marks};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    Forbidden, Observation, Sighting, Trouble, WatchOptions, Why,
    fan::{Fan, Sight},
    wire::{Line, PodList},
};
use crate::{
    lines::{Broken, Lines},
    request::{ApiFailure, ApiRequest, ByteStream, Effect, Requests, TransportKind},
};

/// Which pods.
#[derive(Clone, Debug)]
pub(super) enum Selection {
    /// One, by name: the watch cache has an index on `metadata.name`.
    Pod { namespace: String, name: String },
    /// All that carry the task's label.
    Tasks { namespace: String },
}

/// Where to begin.
#[derive(Clone, Debug)]
pub(super) enum Start {
    /// With a list.
    List,
    /// Behind this resourceVersion.
    From(String),
}

/// What is to be done next.
#[derive(Clone, Debug)]
enum Mode {
    /// Find out what is there.
    List,
    /// Watch behind a resourceVersion; `None`: from now on, current pods first as ADDED ("Get State and Start at Most Recent").
    Watch(Option<String>),
    /// Read again and again, since watching is forbidden.
    Poll { until: Instant },
}

/// Why a watch ended.
enum End {
    Closed,
    Silent,
    Unreadable,
    Failed(ApiFailure),
}

/// Longest line of a watch: an object of etcd's largest request (1.5 MiB), escaped.
const LONGEST_LINE: usize = 16 << 20;
/// Past `timeoutSeconds` a watch that is still open is taken for dead after this long.
const MARGIN: Duration = Duration::from_secs(5);
/// A watch that lived for so long was no failure: the next one begins at once.
const LONG_LIVED: Duration = Duration::from_secs(30);
/// A watch of which that is not sure stands if it brings no error for so long: that a position has expired is often said in the first event of
/// an answer 200.
const SETTLED: Duration = Duration::from_secs(1);
/// Watches that end as soon as they began, before it is called trouble and, where they bring nothing, a list is asked for what they may
/// withhold.
const QUICK_ENDS: u32 = 3;

pub(super) struct Feed {
    requests: Requests,
    selection: Selection,
    options: WatchOptions,
    fan: Arc<Fan>,
    mode: Mode,
    /// Whether everything since the last coverage was or will be delivered.
    gapless: bool,
    /// Whether a gap was told that has not ended.
    in_gap: bool,
    /// Whether it ever stood.
    stood: bool,
    /// When a resumed watch will have settled, while it has not.
    settles: Option<Instant>,
    /// Failures and quick ends in a row.
    failures: u32,
    /// Watches in a row that ended at once, as if there were nothing to tell.
    empty: u32,
    last_contact: Instant,
    trouble_since: Option<Instant>,
    future_since: Option<Instant>,
    last_relist: Option<Instant>,
}

impl Feed {
    pub(super) fn new(
        requests: Requests,
        selection: Selection,
        start: Start,
        options: WatchOptions,
        fan: Arc<Fan>,
    ) -> Self {
        let mode = match start {
            Start::List => Mode::List,
            Start::From(version) => Mode::Watch(Some(version)),
        };
        Self {
            requests,
            selection,
            options,
            fan,
            mode,
            gapless: true,
            in_gap: false,
            stood: false,
            settles: None,
            failures: 0,
            empty: 0,
            last_contact: Instant::now(),
            trouble_since: None,
            future_since: None,
            last_relist: None,
        }
    }

    /// Runs until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            let pause = match self.mode.clone() {
                Mode::List => self.list().await,
                Mode::Watch(from) => self.watch(from).await,
                Mode::Poll { until } => self.poll(until).await,
            };
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    async fn list(&mut self) -> Duration {
        self.begins_anew();
        match self.relist().await {
            Ok(version) => self.mode = Mode::Watch(Some(version)),
            Err(failure) if self.is_forbidden(&failure) => self.mode = Mode::Watch(None),
            Err(failure) => return self.failed(failure, Duration::ZERO),
        }
        Duration::ZERO
    }

    async fn watch(&mut self, from: Option<String>) -> Duration {
        let begun = Instant::now();
        let body = match self.open(from.as_deref()).await {
            Ok(body) => body,
            Err(failure) => {
                self.empty = 0;
                return self.failed(failure, Duration::ZERO);
            }
        };
        self.stands();
        let deadline = begun + self.options.timeout + MARGIN;
        let end = self.follow(Lines::new(body, LONGEST_LINE), deadline).await;
        self.settles = None;
        let is_empty = matches!(end, End::Closed) && matches!(&self.mode, Mode::Watch(position) if *position == from);
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        self.ended(end, begun.elapsed())
    }

    /// Opens a watch. Of one that begins now it is not known what went before: each pod that somebody waits for is read, once it is open.
    async fn open(&mut self, from: Option<&str>) -> Result<ByteStream, ApiFailure> {
        let request = self.watch_request(from);
        if from.is_some() {
            return self.requests.open_once(&request, Some(self.patience())).await;
        }
        self.begins_anew();
        let body = self.requests.open_once(&request, Some(self.patience())).await?;
        self.read_each().await?;
        Ok(body)
    }

    /// What happened since it was last looked, if ever, is not told any more.
    fn begins_anew(&mut self) {
        if self.stood && !self.in_gap {
            self.lost();
        }
        self.gapless &= !self.in_gap;
    }

    async fn follow(&mut self, mut lines: Lines, deadline: Instant) -> End {
        loop {
            let limit = self.settles.map_or(deadline, |settles| settles.min(deadline));
            match timeout_at(limit, lines.next()).await {
                Err(_) if self.settles.is_some() => self.covered(),
                Err(_) => return End::Silent,
                Ok(None) if is_foreign(lines.rest()) => return End::Unreadable,
                Ok(None) => return End::Closed,
                Ok(Some(Err(Broken::Cut(failure)))) => return End::Failed(failure),
                Ok(Some(Err(Broken::TooLong))) => return End::Unreadable,
                Ok(Some(Ok(line))) => {
                    self.last_contact = Instant::now();
                    if let Err(end) = self.line(&line) {
                        return end;
                    }
                }
            }
        }
    }

    /// Takes one line; an error is the watch's end.
    fn line(&mut self, line: &[u8]) -> Result<(), End> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            return Err(End::Unreadable);
        };
        if self.settles.is_some() && !matches!(line, Line::Error(_)) {
            self.covered();
        }
        let version = match line {
            Line::Added(pod) => self.seen(Sighting::Added, pod),
            Line::Modified(pod) => self.seen(Sighting::Modified, pod),
            Line::Deleted(pod) => self.seen(Sighting::Deleted, pod),
            Line::Bookmark(mark) => mark.metadata.resource_version,
            Line::Error(status) => return Err(End::Failed(ApiFailure::from_status_object(&status))),
        };
        if !version.is_empty() {
            self.mode = Mode::Watch(Some(version));
            (self.trouble_since, self.future_since) = (None, None);
        }
        Ok(())
    }

    fn seen(&self, sighting: Sighting, pod: Box<Pod>) -> String {
        let version = pod.metadata.resource_version.clone();
        self.fan.seen(sighting, pod);
        version
    }

    /// What follows the end of a watch that stood: the pause before the next step.
    fn ended(&mut self, end: End, lived: Duration) -> Duration {
        if lived >= LONG_LIVED {
            (self.failures, self.empty, self.trouble_since) = (0, 0, None);
        }
        match end {
            End::Closed if lived >= LONG_LIVED => Duration::ZERO,
            End::Closed => {
                let pause = self.pause(None);
                self.lost();
                if self.failures >= QUICK_ENDS {
                    self.trouble(Why::ClosedAtOnce, pause);
                }
                if self.empty >= QUICK_ENDS {
                    self.give_up_position();
                }
                pause
            }
            End::Silent => {
                self.lost();
                self.trouble(Why::Silent, Duration::ZERO);
                Duration::ZERO
            }
            End::Unreadable => self.unreadable(),
            End::Failed(failure) => self.failed(failure, lived),
        }
    }

    /// A line that nobody understands: the server is asked for the same again, at last for a list.
    fn unreadable(&mut self) -> Duration {
        let pause = self.pause(None);
        self.lost();
        self.trouble(Why::Unreadable, pause);
        if self.failures >= QUICK_ENDS {
            self.give_up_position();
        }
        pause
    }

    fn failed(&mut self, failure: ApiFailure, lived: Duration) -> Duration {
        match failure {
            ApiFailure::Gone(_) => self.expired(failure),
            ApiFailure::Forbidden(_) if self.is_forbidden(&failure) => self.forbidden(&failure),
            ApiFailure::TooLargeResourceVersion(_) => self.in_the_future(failure),
            // The credentials have been renewed.
            ApiFailure::Unauthorized(_) if self.failures == 0 => {
                self.failures = 1;
                Duration::ZERO
            }
            ApiFailure::Transport { .. } if lived >= LONG_LIVED => Duration::ZERO,
            other => {
                let pause = self.pause(other.retry_after());
                self.lost();
                self.trouble(Why::Failed(other), pause);
                pause
            }
        }
    }

    /// 410: the position is lost, and with it what happened since. The first relist is made at once.
    fn expired(&mut self, failure: ApiFailure) -> Duration {
        let recently = self.last_relist.is_some_and(|at| at.elapsed() < LONG_LIVED);
        self.lost();
        self.give_up_position();
        if !recently {
            self.last_relist = Some(Instant::now());
            return Duration::ZERO;
        }
        let pause = self.pause(failure.retry_after());
        self.trouble(Why::Failed(failure), pause);
        pause
    }

    fn give_up_position(&mut self) {
        self.gapless = false;
        if !matches!(self.mode, Mode::Poll { .. }) {
            self.mode = Mode::List;
        }
    }

    /// 504 "Too large resource version": this replica of the API server is behind; or the cluster lost its memory.
    fn in_the_future(&mut self, failure: ApiFailure) -> Duration {
        let since = *self.future_since.get_or_insert_with(Instant::now);
        let asked = failure.retry_after().unwrap_or(Duration::from_secs(1));
        let pause = asked.min(self.options.backoff.longest_retry_after);
        self.lost();
        self.trouble(Why::Failed(failure), pause);
        if since.elapsed() >= self.options.future_version {
            self.future_since = None;
            self.give_up_position();
        }
        pause
    }

    /// Whether that is so to stay, as far as can be known.
    fn is_forbidden(&self, failure: &ApiFailure) -> bool {
        failure.is_forbidden() && !self.requests.may_be_allowed_soon(failure)
    }

    /// 403: read instead of watching, from now on.
    fn forbidden(&mut self, failure: &ApiFailure) -> Duration {
        (self.in_gap, self.settles, self.gapless) = (true, None, false);
        self.mode = Mode::Poll { until: Instant::now() + self.options.poll_until };
        let message = failure.to_string().into();
        self.fan.turn(Sight::Forbidden(Forbidden { message, every: self.options.poll }));
        Duration::ZERO
    }

    async fn poll(&mut self, until: Instant) -> Duration {
        let (read, version) = match self.relist().await {
            Ok(version) => (Ok(()), Some(version)),
            Err(failure) if failure.is_forbidden() => (self.read_each().await, None),
            Err(failure) => (Err(failure), None),
        };
        match read {
            Err(failure) => {
                let pause = self.pause(failure.retry_after()).max(self.options.poll);
                self.trouble(Why::Failed(failure), pause);
                pause
            }
            Ok(()) => {
                (self.failures, self.trouble_since) = (0, None);
                if Instant::now() >= until {
                    self.mode = Mode::Watch(version);
                    return Duration::ZERO;
                }
                self.options.poll
            }
        }
    }

    /// Lists page by page what the selection shows now, and says what is there and what is missing; the list's resourceVersion.
    async fn relist(&mut self) -> Result<String, ApiFailure> {
        let mut shown = HashSet::new();
        let mut next = String::new();
        loop {
            let page = self.page(&next).await?;
            self.last_contact = Instant::now();
            for pod in page.items {
                shown.insert(pod.metadata.name.clone());
                self.fan.seen(Sighting::Listed, Box::new(pod));
            }
            if page.metadata.next.is_empty() {
                self.fan.end_relist(&shown);
                return Ok(page.metadata.resource_version);
            }
            next = page.metadata.next;
        }
    }

    async fn page(&self, next: &str) -> Result<PodList, ApiFailure> {
        let request = self.list_request(next);
        let fetch = async {
            let body = self.requests.open_once(&request, Some(self.patience())).await?;
            let bytes: Vec<u8> = body.try_fold(Vec::new(), append).await?;
            serde_json::from_slice(&bytes).map_err(|_| ApiFailure::Unreadable { code: 200 })
        };
        timeout(self.patience(), fetch).await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// Where lists are forbidden: one read a pod that somebody waits for.
    async fn read_each(&self) -> Result<(), ApiFailure> {
        for name in self.fan.known_names() {
            let request = ApiRequest::get(self.selection.namespace(), "pods", &name);
            match self.requests.once(&request, Some(self.options.patience)).await {
                Ok(pod) => {
                    let pod = serde_json::from_value(pod).map_err(|_| ApiFailure::Unreadable { code: 200 })?;
                    self.fan.seen(Sighting::Listed, Box::new(pod));
                }
                Err(failure) if failure.is_not_found() => self.fan.absent(&name),
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Time for an answer. While no server ever gave one, no more than a first contact may take: whoever waits for the watch shall know soon.
    fn patience(&self) -> Duration {
        let first = self.requests.options().first_contact.filter(|_| !self.requests.has_contact());
        first.map_or(self.options.patience, |first| first.min(self.options.patience))
    }

    fn watch_request(&self, from: Option<&str>) -> ApiRequest {
        let (key, selector) = self.selection.selector();
        let mut request = ApiRequest::watch(self.selection.namespace(), "pods").query(key, selector);
        if let Some(version) = from {
            request = request.query("resourceVersion", version);
        }
        let seconds = self.options.timeout.as_secs().to_string();
        request.query("allowWatchBookmarks", "true").query("timeoutSeconds", seconds)
    }

    /// No `resourceVersion`: the list is read with quorum.
    fn list_request(&self, next: &str) -> ApiRequest {
        let (key, selector) = self.selection.selector();
        let request = ApiRequest::list(self.selection.namespace(), "pods").query(key, selector);
        let request = request.query("limit", self.options.page.to_string());
        if next.is_empty() { request } else { request.query("continue", next) }
    }

    /// One more failure or quick end, and the pause that it brings.
    fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.options.backoff.delay(self.failures, retry_after)
    }

    /// A watch was opened. Of one that goes on from before a gap, or follows many that did not stand, it is not sure that it stands.
    fn stands(&mut self) {
        self.last_contact = Instant::now();
        if self.in_gap && (self.gapless || self.failures >= QUICK_ENDS) {
            self.settles = Some(self.last_contact + SETTLED);
        } else {
            self.covered();
        }
    }

    fn covered(&mut self) {
        self.fan.turn(Sight::Covered { gapless: self.gapless });
        (self.in_gap, self.gapless, self.settles, self.stood) = (false, true, None, true);
    }

    fn lost(&mut self) {
        (self.in_gap, self.settles) = (true, None);
        self.fan.turn(Sight::Gap { since: self.last_contact });
    }

    fn trouble(&mut self, why: Why, retry_in: Duration) {
        let since = *self.trouble_since.get_or_insert_with(Instant::now);
        tracing::info!(target: "kpo::watch", selection = ?self.selection, %why, ?retry_in, "the watch does not stand");
        self.fan.tell(&Observation::Trouble(Trouble { why: Arc::new(why), since, retry_in }));
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.fan.close();
    }
}

impl Selection {
    fn namespace(&self) -> &str {
        match self {
            Selection::Pod { namespace, .. } | Selection::Tasks { namespace } => namespace,
        }
    }

    fn selector(&self) -> (&'static str, String) {
        match self {
            Selection::Pod { name, .. } => ("fieldSelector", format!("metadata.name={name}")),
            Selection::Tasks { .. } => ("labelSelector", marks::TASK.to_owned()),
        }
    }
}

/// Whether the end of a body is no beginning of an object, which a watch that was cut has there.
fn is_foreign(rest: &[u8]) -> bool {
    rest.trim_ascii().first().is_some_and(|first| *first != b'{')
}

async fn append(mut all: Vec<u8>, chunk: bytes::Bytes) -> Result<Vec<u8>, ApiFailure> {
    all.extend_from_slice(&chunk);
    Ok(all)
}

fn too_slow() -> ApiFailure {
    ApiFailure::Transport { effect: Effect::Unknown, kind: TransportKind::Timeout, server: "".into(), source: None }
}
