//! The cluster's memory: objects by resource, namespace and name; one resourceVersion counter; one log of changes.
//!
//! Everything here is raw: it keeps metadata, `managedFields`, finalizers and graceful deletion right, but it neither defaults nor
//! admits nor validates. What an API client would get is [`crate::api`]'s.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::api::Injection;
use crate::error::ApiError;
use crate::resource::Resource;
use crate::time::Time;

mod binding;
mod deletion;
mod managed;
mod random;

use deletion::loses_last_finalizer;
use random::Random;

pub(crate) use deletion::check_preconditions;
pub use deletion::{DeleteOptions, Deletion};

/// How many changes are kept for watches. A cursor that is further behind gets [`Compacted`], as upstream's watch cache does it.
const KEPT_CHANGES: usize = 16_384;

/// Who writes: the field manager and, where it is not the main resource, the subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The manager's name in `managedFields`: `kubelet`, `kube-scheduler`, `kube-controller-manager`, or a client's own.
    pub manager: String,
    /// The subresource: `status`, or None for the object itself.
    pub subresource: Option<&'static str>,
}

impl Writer {
    /// A writer of the object itself.
    pub fn new(manager: impl Into<String>) -> Writer {
        Writer { manager: manager.into(), subresource: None }
    }

    /// A writer of the status.
    pub fn status(manager: impl Into<String>) -> Writer {
        Writer { manager: manager.into(), subresource: Some("status") }
    }
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The object is new.
    Added,
    /// The object is another than before.
    Modified,
    /// The object is gone; the change carries its last state.
    Deleted,
}

/// One entry of the log.
#[derive(Clone, Debug)]
pub struct Change {
    /// The resourceVersion that the change made; also the object's own.
    pub rv: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// The object's resource.
    pub resource: Resource,
    /// The object afterwards; of a deletion, its last state with the deletion's resourceVersion.
    pub object: Arc<Value>,
    /// The object before. None for an addition.
    pub old: Option<Arc<Value>>,
}

/// The asked-for changes were compacted away: list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Compacted {
    /// The resourceVersion that was asked for.
    pub asked: u64,
    /// The oldest one from which changes are still known.
    pub oldest: u64,
}

impl From<Compacted> for ApiError {
    fn from(compacted: Compacted) -> ApiError {
        ApiError::expired(compacted.asked, compacted.oldest)
    }
}

type Key = (String, String);

/// The cluster's objects and what became of them.
#[derive(Debug)]
pub struct Store {
    objects: BTreeMap<Resource, BTreeMap<Key, Arc<Value>>>,
    /// The resourceVersion of the last change.
    rv: u64,
    /// Changes with a resourceVersion up to this one are forgotten.
    compacted: u64,
    log: VecDeque<Change>,
    random: Random,
    injection: Option<Injection>,
    /// The one binary that is all components, where there is one.
    distribution: Option<String>,
}

impl Default for Store {
    fn default() -> Store {
        Store::new(0)
    }
}

impl Store {
    /// An empty store. UIDs and generated names follow from `seed`.
    pub fn new(seed: u64) -> Store {
        Store {
            objects: BTreeMap::new(),
            rv: 1,
            compacted: 0,
            log: VecDeque::new(),
            random: Random::new(seed),
            injection: None,
            distribution: None,
        }
    }

    /// The resourceVersion of the last change; 1 in an empty store.
    pub fn rv(&self) -> u64 {
        self.rv
    }

    /// The object, or None. `ns` is empty for cluster-scoped resources.
    pub fn get(&self, resource: Resource, ns: &str, name: &str) -> Option<Arc<Value>> {
        let key = (ns.to_owned(), name.to_owned());
        self.objects.get(&resource)?.get(&key).cloned()
    }

    /// The objects of a resource, of one namespace or of all, ordered by namespace and name.
    pub fn list<'a>(&'a self, resource: Resource, ns: Option<&'a str>) -> impl Iterator<Item = &'a Arc<Value>> + 'a {
        let start = (ns.unwrap_or_default().to_owned(), String::new());
        let objects = self.objects.get(&resource).into_iter();
        let from = objects.flat_map(move |map| map.range(start.clone()..));
        from.take_while(move |(key, _)| ns.is_none_or(|ns| key.0 == ns)).map(|(_, object)| object)
    }

    /// The changes after `rv`, oldest first.
    ///
    /// # Errors
    /// [`Compacted`] where some of them are forgotten.
    pub fn changes_since(&self, rv: u64) -> Result<impl Iterator<Item = &Change>, Compacted> {
        if rv < self.compacted {
            return Err(Compacted { asked: rv, oldest: self.compacted });
        }
        let start = self.log.partition_point(|change| change.rv <= rv);
        Ok(self.log.range(start..))
    }

    /// The oldest resourceVersion that [`Store::changes_since`] still takes.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets all changes so far: whoever has not read them must list again (410).
    pub fn compact(&mut self) {
        self.compacted = self.rv;
        self.log.clear();
    }

    /// Creates an object as it is handed in: sets name (from `generateName`), UID, times, generation and `managedFields`.
    ///
    /// # Errors
    /// 409 AlreadyExists; 422 without a name.
    pub fn create(
        &mut self,
        now: Time,
        resource: Resource,
        object: Value,
        writer: &Writer,
    ) -> Result<Arc<Value>, ApiError> {
        let owned = object.clone();
        self.create_admitted(now, resource, &owned, object, writer)
    }

    /// Creates `admitted`, where `writer` owns only what is in `submitted` (what admission added belongs to nobody, as upstream).
    ///
    /// # Errors
    /// As [`Store::create`].
    pub(crate) fn create_admitted(
        &mut self,
        now: Time,
        resource: Resource,
        submitted: &Value,
        admitted: Value,
        writer: &Writer,
    ) -> Result<Arc<Value>, ApiError> {
        let object = self.prepare_new(now, resource, submitted, admitted, writer)?;
        Ok(self.put(ChangeKind::Added, resource, object, None))
    }

    /// The object that [`Store::create_admitted`] would store, without a resourceVersion and without an effect but on generated names.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub(crate) fn prepare_new(
        &mut self,
        now: Time,
        resource: Resource,
        submitted: &Value,
        mut object: Value,
        writer: &Writer,
    ) -> Result<Value, ApiError> {
        self.name_it(&mut object);
        let (ns, name) = key(resource, &object);
        if name.is_empty() {
            let cause = crate::error::Cause::required("metadata.name", "name or generateName is required");
            return Err(ApiError::invalid(resource, "", &[cause]));
        }
        if let Some(existing) = self.get(resource, &ns, &name) {
            return Err(already_there(resource, &name, &existing));
        }
        object["apiVersion"] = resource.api_version().into();
        object["kind"] = resource.kind().into();
        let uid = self.random.uid();
        let meta = metadata_mut(&mut object);
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "resourceVersion",
            "selfLink",
            "generation",
        ] {
            meta.remove(field);
        }
        meta.insert("uid".into(), uid.into());
        meta.insert("creationTimestamp".into(), now.rfc3339().into());
        if resource.has_generation() {
            meta.insert("generation".into(), 1.into());
        }
        managed::record_submitted(now, resource, submitted, &mut object, &self.seen_as(writer));
        Ok(object)
    }

    /// Sets `metadata.name` from `generateName` where there is none.
    pub(crate) fn name_it(&mut self, object: &mut Value) {
        let meta = metadata_mut(object);
        let has_name = meta.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        if let (false, Some(prefix)) = (has_name, meta.get("generateName").and_then(Value::as_str)) {
            // names/generate.go: the base is cut so that the whole stays within 63 characters.
            let base: String = prefix.chars().take(58).collect();
            let name = format!("{base}{}", self.random.suffix());
            meta.insert("name".into(), name.into());
        }
    }

    /// Replaces an object by name. A `resourceVersion` or `uid` in it must be the stored one; without change nothing is written.
    /// Removing the last finalizer of an object whose grace is over deletes it.
    ///
    /// # Errors
    /// 404; 409 Conflict.
    pub fn update(
        &mut self,
        now: Time,
        resource: Resource,
        object: Value,
        writer: &Writer,
    ) -> Result<Arc<Value>, ApiError> {
        self.check_uid(resource, &object, false)?;
        let (old, mut new) = self.prepare_update(resource, object)?;
        bump_generation(resource, &old, &mut new);
        self.finish_update(now, resource, old, new, writer)
    }

    /// Changes the status of an object in place. What `change` does outside `status` counts too: binding and PodGC's writers use it so.
    ///
    /// # Errors
    /// 404.
    pub fn update_status(
        &mut self,
        now: Time,
        resource: Resource,
        ns: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
        writer: &Writer,
    ) -> Result<Arc<Value>, ApiError> {
        let old = self.get(resource, ns, name).ok_or_else(|| ApiError::not_found(resource, name))?;
        let mut new = (*old).clone();
        change(&mut new);
        self.finish_update(now, resource, old, new, writer)
    }

    /// Refuses an object with another UID than the stored one's: an update has its UID as a precondition, a patch has none
    /// (`registry/rest/update.go`, `Preconditions`).
    ///
    /// # Errors
    /// 404; 409 Conflict.
    pub(crate) fn check_uid(&self, resource: Resource, object: &Value, dry_run: bool) -> Result<(), ApiError> {
        let (ns, name) = key(resource, object);
        let old = self.get(resource, &ns, &name).ok_or_else(|| ApiError::not_found(resource, &name))?;
        let (asked, stored) = (&object["metadata"]["uid"], &old["metadata"]["uid"]);
        match asked.as_str() {
            None | Some("") => Ok(()),
            Some(_) if asked == stored => Ok(()),
            Some(_) => Err(wrong_uid(resource, &ns, &name, (asked, stored), dry_run)),
        }
    }

    /// The stored object and the new one with the fields that no client may change taken from it.
    pub(crate) fn prepare_update(
        &self,
        resource: Resource,
        mut object: Value,
    ) -> Result<(Arc<Value>, Value), ApiError> {
        let (ns, name) = key(resource, &object);
        let old = self.get(resource, &ns, &name).ok_or_else(|| ApiError::not_found(resource, &name))?;
        let stored = old["metadata"].as_object().expect("stored objects have metadata");
        let meta = metadata_mut(&mut object);
        let rv = meta.get("resourceVersion").and_then(Value::as_str).unwrap_or_default();
        if !rv.is_empty() && stored["resourceVersion"] != *rv {
            return Err(ApiError::outdated(resource, &name));
        }
        if meta.get("uid").and_then(Value::as_str).is_none_or(str::is_empty) {
            meta.insert("uid".into(), stored["uid"].clone());
        }
        managed::sent_or_stored(meta, stored);
        for field in KEPT_FIELDS {
            match stored.get(field) {
                Some(value) => meta.insert(field.into(), value.clone()),
                None => meta.remove(field),
            };
        }
        object["apiVersion"] = resource.api_version().into();
        object["kind"] = resource.kind().into();
        Ok((old, object))
    }

    /// Writes `new` over `old`, unless nothing differs. What loses its last finalizer with this is gone, and what is answered is the object as it
    /// would have been (`deleteWithoutFinalizers`).
    pub(crate) fn finish_update(
        &mut self,
        now: Time,
        resource: Resource,
        old: Arc<Value>,
        mut new: Value,
        writer: &Writer,
    ) -> Result<Arc<Value>, ApiError> {
        if *old == new {
            return Ok(old);
        }
        self.sign(now, resource, &old, &mut new, writer);
        if loses_last_finalizer(&old, &new) {
            self.remove(resource, old);
            return Ok(Arc::new(new));
        }
        Ok(self.put(ChangeKind::Modified, resource, new, Some(old)))
    }

    /// Writes into `new` who owns what, where `writer` is to turn `old` into it.
    pub(crate) fn sign(&self, now: Time, resource: Resource, old: &Value, new: &mut Value, writer: &Writer) {
        if old != new {
            managed::record(now, resource, old, new, &self.seen_as(writer));
        }
    }

    fn put(&mut self, kind: ChangeKind, resource: Resource, mut object: Value, old: Option<Arc<Value>>) -> Arc<Value> {
        self.rv += 1;
        metadata_mut(&mut object).insert("resourceVersion".into(), self.rv.to_string().into());
        let key = key(resource, &object);
        let object = Arc::new(object);
        self.objects.entry(resource).or_default().insert(key, object.clone());
        self.append(Change { rv: self.rv, kind, resource, object: object.clone(), old });
        object
    }

    fn remove(&mut self, resource: Resource, old: Arc<Value>) -> Arc<Value> {
        self.rv += 1;
        let mut last = (*old).clone();
        metadata_mut(&mut last).insert("resourceVersion".into(), self.rv.to_string().into());
        self.objects.entry(resource).or_default().remove(&key(resource, &last));
        let last = Arc::new(last);
        self.append(Change { rv: self.rv, kind: ChangeKind::Deleted, resource, object: last.clone(), old: Some(old) });
        last
    }

    fn append(&mut self, change: Change) {
        if self.log.len() == KEPT_CHANGES
            && let Some(forgotten) = self.log.pop_front()
        {
            self.compacted = forgotten.rv;
        }
        self.log.push_back(change);
    }

    /// Changes an object on the API server's own behalf: no manager owns it (eviction, binding, a namespace's end).
    pub(crate) fn write_unowned(
        &mut self,
        resource: Resource,
        old: &Arc<Value>,
        change: impl FnOnce(&mut Value),
    ) -> Arc<Value> {
        let mut new = (**old).clone();
        change(&mut new);
        if new == **old {
            return old.clone();
        }
        self.put(ChangeKind::Modified, resource, new, Some(old.clone()))
    }

    /// The mutating webhook for pods. None: none is registered.
    pub fn injection(&self) -> Option<&Injection> {
        self.injection.as_ref()
    }

    /// Registers a mutating webhook for pods, or takes it away. (Upstream keeps its configuration in the store as well.)
    pub fn set_injection(&mut self, injection: Option<Injection>) {
        self.injection = injection;
    }

    /// Lets one binary be all components, as `k3s` and `microk8s` are: in `managedFields` kubelet, scheduler and controllers then have its
    /// name. None: each has its own.
    pub fn set_distribution(&mut self, name: Option<String>) {
        self.distribution = name;
    }

    /// The writer as `managedFields` shows it.
    fn seen_as(&self, writer: &Writer) -> Writer {
        let component = ["kubelet", "kube-scheduler", "kube-controller-manager"].contains(&writer.manager.as_str());
        match &self.distribution {
            Some(name) if component => Writer { manager: name.clone(), ..writer.clone() },
            _ => writer.clone(),
        }
    }

    /// A UID-shaped identifier that follows from the seed; also for container IDs and the like.
    pub fn new_uid(&mut self) -> String {
        self.random.uid()
    }

    /// The five characters of a generated name (`util/rand`: no vowels, nothing that looks like another).
    pub fn new_suffix(&mut self) -> String {
        self.random.suffix()
    }
}

/// Metadata that an update takes from the stored object, whatever the client sends (`registry/rest/update.go`, `BeforeUpdate`).
const KEPT_FIELDS: [&str; 6] = [
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "generateName",
];

/// The generation grows with the spec.
pub(crate) fn bump_generation(resource: Resource, old: &Value, new: &mut Value) {
    if resource.has_generation() && old.get("spec") != new.get("spec") {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(1) + 1;
        metadata_mut(new).insert("generation".into(), generation.into());
    }
}

/// Namespace (empty for cluster-scoped) and name of an object.
pub(crate) fn key(resource: Resource, object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let ns = if resource.namespaced() { text("namespace") } else { String::new() };
    (ns, text("name"))
}

/// The object's metadata, made where it is missing.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("made an object above")
}

/// `registry/generic/registry/store.go`, `create`.
fn already_there(resource: Resource, name: &str, existing: &Value) -> ApiError {
    let mut error = ApiError::already_exists(resource, name);
    if existing["metadata"].get("deletionTimestamp").is_some() {
        error.message = format!("object is being deleted: {}", error.message);
    }
    error
}

/// The UID that was asked for is not the stored one, as the storage says it (`storage.NewInvalidObjError`); what is only tried does not come to
/// where the prefix is added.
pub(crate) fn wrong_uid(resource: Resource, ns: &str, name: &str, uids: (&Value, &Value), dry_run: bool) -> ApiError {
    let plain = |uid: &Value| uid.as_str().unwrap_or_default().to_owned();
    let prefix = if dry_run { "" } else { "/registry" };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {prefix}/{}/{ns}/{name}, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {}, UID in object meta: {}",
        resource.plural(),
        plain(uids.0),
        plain(uids.1)
    );
    ApiError::conflict(resource, name, &why)
}

#[cfg(test)]
mod tests;
