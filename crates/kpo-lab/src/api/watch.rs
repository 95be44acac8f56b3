//! A watch as a cursor over the store's log: what upstream's watch cache sends, in its order
//! (`storage/cacher/cache_watcher.go`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::selector::Selector;
use super::view::View;
use crate::error::ApiError;
use crate::resource::Resource;
use crate::store::{Change, ChangeKind, Store, metadata_mut};
use crate::time::Time;

/// How often a watch that asks for bookmarks gets one (`cacher.go`, `defaultBookmarkFrequency`).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// How long before its end a watch gets a last bookmark.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// How long a watch lasts that asks for nothing (`--min-request-timeout`).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);

/// What a watch asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchOptions {
    pub(crate) namespace: Option<String>,
    pub(crate) selector: Selector,
    pub(crate) view: View,
    /// Where to begin. None, or 0: with what there is.
    pub(crate) resource_version: Option<u64>,
    /// `sendInitialEvents`: what there is, then a bookmark that says so.
    pub(crate) initial_events: bool,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Option<Duration>,
}

/// A watch: polled by the server whenever the store has changed, or [`Watch::next_wakeup`] has come.
#[derive(Debug)]
pub struct Watch {
    resource: Resource,
    options: WatchOptions,
    rv: u64,
    /// Events that are due at once.
    ready: VecDeque<WatchEvent>,
    next_bookmark: Time,
    ends: Time,
    last_bookmark_due: bool,
    done: bool,
    seen: usize,
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvent {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: &'static str,
    /// The object; of an error its Status.
    pub object: Arc<Value>,
}

impl WatchEvent {
    /// Appends it as a line of the stream, newline included.
    pub fn write_line(&self, lines: &mut Vec<u8>) {
        lines.extend_from_slice(b"{\"type\":\"");
        lines.extend_from_slice(self.kind.as_bytes());
        lines.extend_from_slice(b"\",\"object\":");
        // Writing a Value into memory cannot fail.
        serde_json::to_writer(&mut *lines, &*self.object).unwrap_or_default();
        lines.extend_from_slice(b"}\n");
    }
}

impl Watch {
    pub(crate) fn new(now: Time, store: &Store, resource: Resource, options: WatchOptions) -> Watch {
        let start = options.resource_version.filter(|rv| *rv > 0);
        let ends = now + options.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let mut watch = Watch {
            resource,
            rv: start.unwrap_or(store.rv()),
            ready: VecDeque::new(),
            next_bookmark: now + BOOKMARK_EVERY,
            ends,
            last_bookmark_due: true,
            done: false,
            seen: 0,
            options,
        };
        if start.is_none() || watch.options.initial_events {
            watch.rv = store.rv();
            watch.send_initial(now, store);
        }
        watch
    }

    fn send_initial(&mut self, now: Time, store: &Store) {
        let ns = self.options.namespace.clone();
        for object in store.list(self.resource, ns.as_deref()) {
            if self.options.selector.matches(object) {
                let event = self.event(now, "ADDED", object);
                self.ready.push_back(event);
            }
        }
        if self.options.initial_events {
            let mut bookmark = self.bookmark();
            let object = Arc::make_mut(&mut bookmark.object);
            let note = json!({ "k8s.io/initial-events-end": "true" });
            metadata_mut(object).insert("annotations".into(), note);
            self.ready.push_back(bookmark);
        }
    }

    /// What is to be sent by now, oldest first; after the last of it [`Watch::is_done`] may be true.
    pub fn poll(&mut self, now: Time, store: &Store) -> Vec<WatchEvent> {
        let mut events: Vec<WatchEvent> = self.ready.drain(..).collect();
        if self.done {
            return events;
        }
        match store.changes_since(self.rv) {
            Ok(changes) => {
                for change in changes {
                    self.rv = self.rv.max(change.rv);
                    if change.resource == self.resource {
                        events.extend(self.selected(now, change));
                    }
                }
            }
            Err(compacted) => {
                let status = Arc::new(ApiError::from(compacted).to_status());
                events.push(WatchEvent { kind: "ERROR", object: status });
                self.done = true;
                return events;
            }
        }
        events.extend(self.due_bookmark(now));
        self.done = now >= self.ends;
        events
    }

    /// Ends the watch where it is.
    pub(crate) fn end(&mut self) {
        self.done = true;
    }

    /// Whether the stream ends here.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// When to poll even if nothing changes.
    pub fn next_wakeup(&self) -> Time {
        if !self.options.bookmarks {
            return self.ends;
        }
        let last = if self.last_bookmark_due { self.ends - BOOKMARK_BEFORE_END } else { self.ends };
        self.next_bookmark.min(last).min(self.ends)
    }

    fn due_bookmark(&mut self, now: Time) -> Option<WatchEvent> {
        if !self.options.bookmarks {
            return None;
        }
        let last = self.last_bookmark_due && now >= self.ends - BOOKMARK_BEFORE_END;
        if now < self.next_bookmark && !last {
            return None;
        }
        self.last_bookmark_due &= !last;
        self.next_bookmark = now + BOOKMARK_EVERY;
        Some(self.bookmark())
    }

    fn bookmark(&self) -> WatchEvent {
        let mut object = json!({
            "kind": self.resource.kind(), "apiVersion": self.resource.api_version(),
            "metadata": { "resourceVersion": self.rv.to_string(), "creationTimestamp": null },
        });
        if self.resource == Resource::Pods {
            object["spec"] = json!({ "containers": null });
            object["status"] = json!({});
        }
        let object = self.options.view.bookmark(object);
        WatchEvent { kind: "BOOKMARK", object: Arc::new(object) }
    }

    /// A change as this watch sees it: one that begins to match is an addition, one that ceases to is a deletion with the object as it
    /// last matched, but the new resourceVersion.
    fn selected(&mut self, now: Time, change: &Change) -> Option<WatchEvent> {
        // Neither namespace nor name ever changes: asked once, and first, for most changes are others'.
        let meta = &change.object["metadata"];
        let here = self.options.namespace.as_deref().is_none_or(|ns| meta["namespace"] == ns);
        if !here || self.options.selector.name().is_some_and(|name| meta["name"] != name) {
            return None;
        }
        let is_mine = |object: &Value| self.options.selector.matches(object);
        let before = change.old.as_ref().filter(|old| is_mine(old));
        let after = Some(&change.object).filter(|object| change.kind != ChangeKind::Deleted && is_mine(object));
        match (before, after) {
            (None, Some(object)) => Some(self.event(now, "ADDED", object)),
            (Some(_), Some(object)) => Some(self.event(now, "MODIFIED", object)),
            (Some(_), None) if change.kind == ChangeKind::Deleted => Some(self.event(now, "DELETED", &change.object)),
            (Some(old), None) => {
                let mut last = (**old).clone();
                metadata_mut(&mut last).insert("resourceVersion".into(), change.rv.to_string().into());
                Some(self.event(now, "DELETED", &Arc::new(last)))
            }
            (None, None) => None,
        }
    }

    fn event(&mut self, now: Time, kind: &'static str, object: &Arc<Value>) -> WatchEvent {
        let first = self.seen == 0;
        self.seen += 1;
        WatchEvent { kind, object: self.options.view.one(now, self.resource, object, first) }
    }
}
