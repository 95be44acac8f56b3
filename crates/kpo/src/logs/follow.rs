//! The loop that reads one log to its end.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use kpo_core::Time;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Container, GapCause, LogBatch, LogEvent, LogGap, LogOptions, LogTarget, LogTrouble, ROOM, Reread, Waiting,
    batch::{Remark, Split, Splitter},
    pace::Pace,
    replay::{Joined, Replay, Seen},
};
use crate::hook::system_clock;
use crate::request::{ApiFailure, ApiRequest, ByteStream, Requests};

/// A follow that ended cleanly so shortly before its container was known to have ended, ended for that reason.
const SAME_MOMENT: Duration = Duration::from_millis(500);
/// A follow that lived for so long was no failure.
const LONG_LIVED: Duration = Duration::from_secs(30);
/// Lines of a second reading that may be old wait so long for a proof that they are.
const HOLD: Duration = Duration::from_secs(1);
/// A follow that still gave lines after its container's end is behind, and may be silent for so many times the linger: what is read anew
/// begins with a whole second, and a second of a long log is long.
const BEHIND: u32 = 10;
/// Hardly a kubelet rotates a file that is smaller than this (`containerLogMaxSize`, default 10 MiB): a follow that gave less has seen one file only.
const ONE_FILE: u64 = 64 << 10;
/// Lines by which the end of a log is known again.
const TAIL: &str = "10";
/// Waits before what has no end is read again: a runtime under load tells the end of a container before it has written all of its output.
const OPEN_END: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(900)];
/// Time for a chunk of a reading that does not follow.
const CHUNK: Duration = Duration::from_secs(30);
/// First wait while the container is said not to have started.
const NOT_STARTED: Duration = Duration::from_millis(250);
/// How long a log is asked for that may not be read, once its container has ended.
const FORBIDDEN_FOR: Duration = Duration::from_secs(5);

pub(super) struct Follower {
    requests: Requests,
    target: LogTarget,
    options: LogOptions,
    events: mpsc::Sender<Waiting>,
    /// What is left of [`ROOM`].
    room: Arc<Semaphore>,
    container: watch::Receiver<Container>,
    seen: Seen,
    splitter: Splitter,
    replay: Option<Replay>,
    /// The beginning of a line that the body before ended in. It comes again, unless its file does not.
    cut_off: Split,
    /// How often the rest ended within a line.
    open_ends: usize,
    /// Whether all bodies so far ended cleanly, and how many there were.
    unbroken: bool,
    bodies: u32,
    /// Bytes of the current body.
    size: u64,
    closed_at: Option<Instant>,
    /// Whether the current body is known to be of the same pod.
    verified: bool,
    /// Why it is not known whether the current body is of the same pod, where that has to be known: none of it is handed on any more.
    doubt: Option<ApiFailure>,
    /// Whether the current body gave something after the container's end was told.
    behind: bool,
    /// Of the current body, if it follows.
    pace: Option<Pace>,
    /// Whether the body before was a follow that ended cleanly, late at its last line.
    was_late: bool,
    /// When the last new line came.
    progress_at: Instant,
    failures: u32,
    trouble_since: Option<Instant>,
    last_failure: Option<ApiFailure>,
    /// The kubelet's own words in the current body.
    remark: Option<String>,
}

/// How a body ended.
enum End {
    /// Cleanly.
    Clean,
    /// By a cut, by silence, or since its container has ended.
    Broken(Option<ApiFailure>),
}

/// The log is over: all is said, or nobody listens.
struct Over;

impl Follower {
    pub(super) fn new(
        requests: Requests,
        target: LogTarget,
        options: LogOptions,
        events: mpsc::Sender<Waiting>,
        container: watch::Receiver<Container>,
    ) -> Self {
        let seen = options.after.map_or_else(Seen::default, Seen::up_to);
        Self {
            requests,
            target,
            options,
            events,
            room: Arc::new(Semaphore::new(ROOM as usize)),
            container,
            seen,
            splitter: Splitter::default(),
            replay: None,
            cut_off: Split::default(),
            open_ends: 0,
            unbroken: true,
            bodies: 0,
            size: 0,
            closed_at: None,
            verified: false,
            doubt: None,
            behind: false,
            pace: None,
            was_late: false,
            progress_at: Instant::now(),
            failures: 0,
            trouble_since: None,
            last_failure: None,
            remark: None,
        }
    }

    /// Reads until the log is over.
    pub(super) async fn run(mut self) {
        loop {
            let state = *self.container.borrow_and_update();
            let step = match state {
                Container::Runs => self.follow().await,
                Container::Ended(at) => self.rest(at).await,
            };
            if let Err(Over) = step {
                let _ = self.hand_out(LogEvent::End, None).await;
                return;
            }
        }
    }

    /// One follow, and the pause after it.
    async fn follow(&mut self) -> Result<(), Over> {
        let begun = Instant::now();
        let request = self.request(true);
        let opened = tokio::select! {
            opened = self.requests.open_once(&request, None) => opened,
            _ = self.container.changed() => return self.undo_change(),
        };
        let end = match opened {
            Ok(body) => match self.begin_body(Some(Pace::new(system_clock()))).await {
                Ok(()) => self.read(body, true).await?,
                Err(failure) => End::Broken(Some(failure)),
            },
            Err(failure) => End::Broken(Some(failure)),
        };
        if begun.elapsed() >= LONG_LIVED {
            self.failures = 0;
        }
        self.after_follow(end).await
    }

    /// A change of the container's state is for the main loop to see.
    fn undo_change(&mut self) -> Result<(), Over> {
        self.container.mark_changed();
        Ok(())
    }

    async fn after_follow(&mut self, end: End) -> Result<(), Over> {
        self.closed_at = None;
        let pause = match end {
            End::Clean => {
                self.closed_at = Some(Instant::now());
                if self.has_ended() { Duration::ZERO } else { self.pause(None) }
            }
            // Left since its container has ended; or silent for too long.
            End::Broken(None) => {
                self.unbroken &= self.has_ended();
                Duration::ZERO
            }
            End::Broken(Some(failure)) => {
                self.unbroken &= self.bodies == 0;
                self.failed(failure).await?
            }
        };
        self.wait(pause).await;
        Ok(())
    }

    /// Whether the container's end was told, if only while a body was being read.
    fn has_ended(&self) -> bool {
        *self.container.borrow() != Container::Runs
    }

    /// Waits, unless the container's state changes.
    async fn wait(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        tokio::select! {
            biased;
            changed = self.container.changed() => match changed {
                Ok(()) => self.container.mark_changed(),
                Err(_) => sleep_until(until).await,
            },
            () = sleep_until(until) => {}
        }
    }

    /// The container has ended: what its log still holds.
    async fn rest(&mut self, ended_at: Instant) -> Result<(), Over> {
        if self.is_complete(ended_at).await {
            self.flush_end().await?;
            return Err(Over);
        }
        let request = self.request(false);
        let opened = tokio::select! {
            opened = self.requests.open_once(&request, Some(CHUNK)) => opened,
            _ = self.container.changed() => return self.undo_change(),
        };
        let end = match opened {
            Ok(body) => match self.begin_body(None).await {
                Ok(()) => self.read(body, false).await?,
                Err(failure) => End::Broken(Some(failure)),
            },
            Err(failure) => End::Broken(Some(failure)),
        };
        match end {
            End::Clean => self.rest_read(ended_at).await,
            End::Broken(None) => Ok(()),
            End::Broken(Some(failure)) => self.rest_failed(failure, ended_at).await,
        }
    }

    /// The rest was read to its end, unless that is the middle of a line.
    async fn rest_read(&mut self, ended_at: Instant) -> Result<(), Over> {
        if self.splitter.is_within_a_line()
            && let Some(pause) = OPEN_END.get(self.open_ends)
        {
            self.open_ends += 1;
            self.wait(*pause).await;
            return Ok(());
        }
        self.flush_end().await?;
        match self.doubt.take() {
            Some(failure) => self.rest_failed(failure, ended_at).await,
            None => Err(Over),
        }
    }

    async fn rest_failed(&mut self, failure: ApiFailure, ended_at: Instant) -> Result<(), Over> {
        self.unbroken = false;
        let deadline = self.rest_deadline(&failure, ended_at);
        // A container that never started has no log.
        if is_waiting(&failure) && self.seen.last().is_none() {
            return Err(Over);
        }
        if Instant::now() >= deadline {
            let words = failure.to_string();
            let cause = if failure.is_forbidden() { GapCause::Forbidden(words) } else { GapCause::Unreadable(words) };
            self.last_gap(cause).await?;
            return Err(Over);
        }
        let pause = self.failed(failure).await?.min(deadline.saturating_duration_since(Instant::now()));
        self.wait(pause).await;
        Ok(())
    }

    /// Until when the rest is tried to be read. A right that is missing will hardly come: it is asked for a moment longer, since an API
    /// server that starts also answers 403 before it knows its roles.
    fn rest_deadline(&self, failure: &ApiFailure, ended_at: Instant) -> Instant {
        let patient = ended_at.max(self.progress_at) + self.options.patience;
        let forbidden = self.trouble_since.filter(|_| failure.is_forbidden());
        forbidden.map_or(patient, |since| patient.min(since + FORBIDDEN_FOR))
    }

    async fn pod_gone(&mut self) -> Result<(), Over> {
        let words = self.last_failure.take().map(|failure| failure.to_string());
        self.last_gap(GapCause::PodGone(words)).await
    }

    /// The log ends with a gap. What was read of a line is handed on, unless it may have been seen before.
    async fn last_gap(&mut self, cause: GapCause) -> Result<(), Over> {
        let mut split = self.splitter.finish();
        let cut_off = std::mem::take(&mut self.cut_off);
        if self.replay.take().is_some() || split.batches.is_empty() {
            split = cut_off;
        }
        for batch in split.batches {
            self.send(batch).await?;
        }
        self.gap(None, cause).await
    }

    /// Whether one unbroken follow has read all there was. One that was behind when the log was rotated has not: at the container's end the kubelet
    /// closes it at the end of the old file.
    async fn is_complete(&self, ended_at: Instant) -> bool {
        self.is_one_follow(ended_at)
            && (self.size < ONE_FILE || !self.splitter.is_within_a_line() && self.ends_as_seen().await)
    }

    /// Whether the log ends with the lines that were seen last: a few of them, where all of its last second may be 10 MiB. (An entry that the runtime
    /// was killed in the midst of writing is not among the last lines: `FindTailLineStartIndex` counts line feeds.)
    async fn ends_as_seen(&self) -> bool {
        let request = self.request(false).query("tailLines", TAIL);
        let Ok(mut body) = self.requests.open_once(&request, Some(CHUNK)).await else { return false };
        let (mut splitter, mut tail) = (Splitter::default(), Vec::new());
        loop {
            match timeout(CHUNK, body.next()).await {
                Ok(Some(Ok(chunk))) => tail.extend(splitter.push(chunk).batches),
                Ok(None) => return !splitter.is_within_a_line() && self.seen.ends_with(&tail),
                Ok(Some(Err(_))) | Err(_) => return false,
            }
        }
    }

    fn is_one_follow(&self, ended_at: Instant) -> bool {
        self.options.reread == Reread::InDoubt
            && self.unbroken
            && self.bodies == 1
            && self.options.since.is_none()
            && self.options.after.is_none()
            && self.closed_in_time(ended_at)
            && self.remark.is_none()
    }

    /// A body begins: it is compared with what was seen, and where the name may be another's by now it must be the same pod's. That what was
    /// seen comes again shows it too, where the question is not answered.
    async fn begin_body(&mut self, pace: Option<Pace>) -> Result<(), ApiFailure> {
        let may_be_anothers = !self.unbroken || self.trouble_since.is_some() || self.options.name_is_reused;
        let is_same = if may_be_anothers { Some(self.same_pod().await) } else { None };
        self.verified = matches!(is_same, Some(Ok(())));
        match is_same {
            Some(Err(failure)) if failure.is_not_found() || self.seen.last().is_none() => return Err(failure),
            _ => (),
        }
        self.bodies += 1;
        let begun = std::mem::take(&mut self.splitter).finish();
        // What a body begins that did not come to the last line seen was seen before.
        if self.replay.is_none() {
            self.cut_off = begun;
        }
        self.was_late = self.closed_at.is_some() && self.pace.as_ref().is_some_and(Pace::is_late);
        (self.remark, self.behind, self.size, self.pace) = (None, false, 0, pace);
        self.replay = self.seen.replay();
        Ok(())
    }

    /// A UID that is there after the log was opened was there before: the log is its.
    async fn same_pod(&self) -> Result<(), ApiFailure> {
        let request = ApiRequest::get(&self.target.namespace, "pods", &self.target.pod);
        let pod = self.requests.once(&request, None).await?;
        let uid = pod.pointer("/metadata/uid").and_then(serde_json::Value::as_str);
        if uid == Some(self.target.uid.as_str()) { Ok(()) } else { Err(other_pod(&self.target.pod)) }
    }

    /// Reads a body to its end. A follow that has fallen silent is left once the container has ended.
    async fn read(&mut self, mut body: ByteStream, follow: bool) -> Result<End, Over> {
        loop {
            let holding = self.replay.as_ref().is_some_and(Replay::is_holding);
            let limit = self.silence(follow, holding);
            let chunk = tokio::select! {
                biased;
                chunk = timeout(limit, body.next()) => chunk,
                Ok(()) = self.container.changed(), if follow => continue,
            };
            match chunk {
                Ok(Some(Ok(chunk))) => {
                    self.trouble_since = None;
                    self.behind |= self.has_ended();
                    self.size += chunk.len() as u64;
                    let split = self.splitter.push(chunk);
                    self.hand_on(split).await?;
                }
                Ok(Some(Err(failure))) => return Ok(End::Broken(Some(failure))),
                Ok(None) => return Ok(End::Clean),
                Err(_) if holding && limit == HOLD => self.torn().await?,
                Err(_) => return Ok(End::Broken(None)),
            }
            if let Some(failure) = self.doubt.take() {
                return Ok(End::Broken(Some(failure)));
            }
        }
    }

    /// How long a body may be silent now.
    fn silence(&self, follow: bool, holding: bool) -> Duration {
        let limit = match (follow, *self.container.borrow()) {
            (false, _) => return CHUNK,
            (true, Container::Runs) => self.options.idle,
            (true, _) if self.behind => return self.options.linger.saturating_mul(BEHIND),
            (true, _) => return self.options.linger,
        };
        if holding { limit.min(HOLD) } else { limit }
    }

    async fn hand_on(&mut self, split: Split) -> Result<(), Over> {
        if let Some(Remark(words)) = split.remarks.into_iter().find(|remark| !remark.0.trim().is_empty()) {
            self.remark = Some(words);
        }
        for batch in split.batches {
            self.join(batch).await?;
        }
        Ok(())
    }

    /// Compares a batch with what was seen, and hands on what is new.
    async fn join(&mut self, batch: LogBatch) -> Result<(), Over> {
        if self.doubt.is_some() {
            return Ok(());
        }
        let Some(replay) = &mut self.replay else { return self.send(batch).await };
        match replay.join(&batch) {
            Joined::NotYet => Ok(()),
            Joined::Here { old } => {
                (self.replay, self.cut_off) = (None, Split::default());
                if old < batch.len() { self.send(batch.tail(old)).await } else { Ok(()) }
            }
            Joined::Torn => self.torn().await,
        }
    }

    /// The last line seen did not come again.
    async fn torn(&mut self) -> Result<(), Over> {
        let Some(replay) = self.replay.take() else { return Ok(()) };
        // A log that does not go on from where it was may be another pod's.
        let is_same = if self.verified { Ok(()) } else { self.same_pod().await };
        match is_same {
            Ok(()) => self.verified = true,
            Err(failure) if failure.is_not_found() => {
                self.replay = Some(replay);
                self.last_gap(GapCause::PodGone(None)).await?;
                return Err(Over);
            }
            Err(failure) => {
                (self.doubt, self.replay) = (Some(failure), Some(replay));
                return Ok(());
            }
        }
        let held = replay.into_held();
        let before = held.iter().flat_map(LogBatch::iter).next().map(|line| line.time);
        if before.is_none() && self.was_followed_to_its_end() {
            return Ok(());
        }
        // What begins the new file was cut off there, and comes whole.
        let is_lost = |batch: &LogBatch| batch.iter().next().map(|line| line.time) != before;
        for batch in std::mem::take(&mut self.cut_off).batches.into_iter().filter(is_lost) {
            self.send(batch).await?;
        }
        let cause = if self.was_late { GapCause::Overtaken } else { GapCause::Rotated };
        self.gap(before, cause).await?;
        for batch in held {
            self.send(batch).await?;
        }
        Ok(())
    }

    /// Whether the server ended the follow cleanly when the container had ended, or hardly before.
    fn closed_in_time(&self, ended_at: Instant) -> bool {
        self.closed_at.is_some_and(|closed| closed + SAME_MOMENT >= ended_at)
    }

    /// Whether the one follow there was ended with its container at the end of a line, and was not late: a newer file that is empty took nothing away.
    fn was_followed_to_its_end(&self) -> bool {
        let Container::Ended(ended_at) = *self.container.borrow() else { return false };
        let to_its_end = self.closed_in_time(ended_at) && self.cut_off.batches.is_empty();
        self.unbroken && self.bodies == 2 && to_its_end && !self.was_late
    }

    /// The log has been read to its end: what waited is new, and a line without a line feed is the last.
    async fn flush_end(&mut self) -> Result<(), Over> {
        let split = self.splitter.finish();
        self.hand_on(split).await?;
        if self.doubt.is_some() {
            return Ok(());
        }
        let remark = self.remark.take();
        if self.replay.is_some() && remark.is_none() {
            self.torn().await?;
        }
        match remark {
            Some(words) => self.gap(None, GapCause::ContainerGone(words)).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, batch: LogBatch) -> Result<(), Over> {
        let Some(batch) = self.not_before_since(batch) else { return Ok(()) };
        let overtaken = self.pace.as_mut().and_then(|pace| pace.overtaken(&batch));
        match overtaken {
            None => self.send_on(batch).await,
            Some(index) => self.send_around(batch, index).await,
        }
    }

    /// A batch with a gap before one of its lines.
    async fn send_around(&mut self, batch: LogBatch, index: usize) -> Result<(), Over> {
        if index > 0 {
            self.send_on(batch.head(index)).await?;
        }
        let rest = batch.tail(index);
        let before = rest.iter().next().map(|line| line.time);
        self.gap(before, GapCause::Overtaken).await?;
        self.send_on(rest).await
    }

    async fn send_on(&mut self, batch: LogBatch) -> Result<(), Over> {
        let before = self.seen.cursor();
        self.seen.add(&batch);
        let batch = batch.behind(before);
        (self.failures, self.progress_at) = (0, Instant::now());
        let size = u32::try_from(batch.size()).unwrap_or(ROOM).min(ROOM);
        let room = Arc::clone(&self.room).acquire_many_owned(size).await.expect("it is never closed");
        self.hand_out(LogEvent::Lines(batch), Some(room)).await
    }

    async fn hand_out(&self, event: LogEvent, room: Option<OwnedSemaphorePermit>) -> Result<(), Over> {
        self.events.send(Waiting { event, room }).await.map_err(|_| Over)
    }

    /// The kubelet knows whole seconds only: at the beginning, lines may come that were not asked for.
    fn not_before_since(&self, batch: LogBatch) -> Option<LogBatch> {
        let Some(since) = self.options.since else { return Some(batch) };
        if self.seen.last().is_some() {
            return Some(batch);
        }
        let first = batch.iter().position(|line| line.time >= since)?;
        Some(batch.tail(first))
    }

    async fn gap(&mut self, before: Option<Time>, cause: GapCause) -> Result<(), Over> {
        let gap = LogGap { after: self.seen.last(), before, cause };
        self.hand_out(LogEvent::Gap(gap), None).await
    }

    /// A request failed, or a body was cut: the pause before the next.
    async fn failed(&mut self, failure: ApiFailure) -> Result<Duration, Over> {
        if is_pod_gone(&failure) {
            self.pod_gone().await?;
            return Err(Over);
        }
        if is_waiting(&failure) {
            self.failures += 1;
            return Ok(NOT_STARTED.saturating_mul(1 << self.failures.min(5).saturating_sub(1)));
        }
        if let ApiFailure::Refused(_) | ApiFailure::Invalid(_) = failure {
            self.last_gap(GapCause::Unreadable(failure.to_string())).await?;
            return Err(Over);
        }
        // A body that was cut after it gave lines is taken up again at once; so is one whose credentials were renewed.
        let cut = matches!(failure, ApiFailure::Transport { .. }) && self.bodies > 0;
        if (cut || matches!(failure, ApiFailure::Unauthorized(_))) && self.failures == 0 {
            self.failures = 1;
            return Ok(Duration::ZERO);
        }
        let retry_in = self.pause(failure.retry_after());
        let since = *self.trouble_since.get_or_insert_with(Instant::now);
        tracing::info!(target: "kpo::logs", pod = self.target.pod, container = self.target.container, %failure, ?retry_in, "the log cannot be read");
        self.last_failure = Some(failure.clone());
        // Nobody who reads slowly shall keep the log from being read.
        let event = LogEvent::Trouble(LogTrouble { failure, since, retry_in });
        let _ = self.events.try_send(Waiting { event, room: None });
        Ok(retry_in)
    }

    fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.options.backoff.delay(self.failures, retry_after)
    }

    fn request(&self, follow: bool) -> ApiRequest {
        let mut request = ApiRequest::get(&self.target.namespace, "pods", &self.target.pod)
            .subresource("log")
            .query("container", self.target.container.as_str())
            .query("timestamps", "true");
        if follow {
            request = request.query("follow", "true");
        }
        match self.seen.since().or(self.options.since) {
            Some(since) => request.query("sinceTime", whole_second(since)),
            None => request,
        }
    }
}

/// RFC 3339 in whole seconds, rounded down: more the kubelet does not read (`metav1.Time`).
fn whole_second(time: Time) -> String {
    let second = Timestamp::from_second(time.0.div_euclid(1_000_000_000)).unwrap_or(Timestamp::UNIX_EPOCH);
    second.to_string()
}

/// Whether it is the pod that there is none of: a kubelet that has just been started answers 404 to a log (kind `pods/log`) until it knows its pods,
/// and an API server that knows no such node does (`nodes`).
fn is_pod_gone(failure: &ApiFailure) -> bool {
    let kind = failure.status().and_then(|status| status.details.get("kind")).and_then(serde_json::Value::as_str);
    failure.is_not_found() && kind.is_none_or(|kind| kind == "pods")
}

/// 400 `container "c" in pod "p" is waiting to start: ContainerCreating` (`pkg/kubelet/kubelet_pods.go`, `validateContainerLogStatus`).
fn is_waiting(failure: &ApiFailure) -> bool {
    failure.code() == Some(400)
        && failure
            .status()
            .is_some_and(|s| s.message.contains("is waiting to start") || s.message.contains("is not available"))
}

fn other_pod(name: &str) -> ApiFailure {
    let message = format!("pods {name:?} not found: another pod has its name now");
    let status = serde_json::json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": message});
    ApiFailure::from_status_object(&status)
}
