//! Deletion: grace, finalizers, preconditions (`registry/rest/delete.go`, `registry/core/pod/strategy.go`).

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{ChangeKind, Store, metadata_mut};
use crate::error::ApiError;
use crate::resource::Resource;
use crate::time::Time;

/// `metav1.DeleteOptions`, as far as the lab heeds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Grace in seconds. None: the pod's own; below 0 counts as 1.
    pub grace: Option<i64>,
    /// Precondition: the object's UID. None: any.
    pub uid: Option<String>,
    /// Precondition: the object's resourceVersion. None: any.
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// A deletion with this grace, in seconds.
    pub fn grace(seconds: i64) -> DeleteOptions {
        DeleteOptions { grace: Some(seconds), ..DeleteOptions::default() }
    }

    /// The same, only if the object still has this UID.
    pub fn uid(self, uid: impl Into<String>) -> DeleteOptions {
        DeleteOptions { uid: Some(uid.into()), ..self }
    }
}

/// What a deletion came to.
#[derive(Clone, Debug)]
pub enum Deletion {
    /// The object is gone; its last state.
    Gone(Arc<Value>),
    /// The object is marked (`deletionTimestamp`) and waits for its grace or its finalizers.
    Pending(Arc<Value>),
}

impl Deletion {
    /// The object, gone or not.
    pub fn object(&self) -> &Arc<Value> {
        match self {
            Deletion::Gone(object) | Deletion::Pending(object) => object,
        }
    }
}

impl Store {
    /// Deletes an object. A bound pod that has not ended is marked and keeps its grace; finalizers hold anything; else it is gone at once.
    /// A pod that is marked already can only get a shorter grace (`registry/rest/delete.go`, `BeforeDelete`).
    ///
    /// # Errors
    /// 404; 409 where a precondition fails.
    pub fn delete(
        &mut self,
        now: Time,
        resource: Resource,
        ns: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deletion, ApiError> {
        let old = self.get(resource, ns, name).ok_or_else(|| ApiError::not_found(resource, name))?;
        match plan(now, resource, &old, options)? {
            Plan::Leave => Ok(Deletion::Pending(old)),
            Plan::Remove => Ok(Deletion::Gone(self.remove(resource, old))),
            Plan::Mark(marked) => Ok(Deletion::Pending(self.put(ChangeKind::Modified, resource, marked, Some(old)))),
            Plan::MarkAndRemove(marked) => {
                let marked = self.put(ChangeKind::Modified, resource, marked, Some(old));
                Ok(Deletion::Gone(self.remove(resource, marked)))
            }
        }
    }

    /// What [`Store::delete`] would come to, with nothing written (`dryRun=All`).
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub(crate) fn dry_delete(
        &self,
        now: Time,
        resource: Resource,
        ns: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deletion, ApiError> {
        let old = self.get(resource, ns, name).ok_or_else(|| ApiError::not_found(resource, name))?;
        Ok(match plan(now, resource, &old, options)? {
            Plan::Leave => Deletion::Pending(old),
            Plan::Remove => Deletion::Gone(old),
            Plan::Mark(marked) => Deletion::Pending(Arc::new(marked)),
            Plan::MarkAndRemove(marked) => Deletion::Gone(Arc::new(marked)),
        })
    }

    /// Removes an object whatever holds it.
    pub(crate) fn remove_now(&mut self, resource: Resource, ns: &str, name: &str) {
        if let Some(old) = self.get(resource, ns, name) {
            self.remove(resource, old);
        }
    }
}

/// What a deletion is to do.
enum Plan {
    /// Nothing: one is pending that this one does not shorten.
    Leave,
    /// The object goes at once.
    Remove,
    /// Its deletion is written into it.
    Mark(Value),
    /// The one, then the other.
    MarkAndRemove(Value),
}

fn plan(now: Time, resource: Resource, old: &Value, options: &DeleteOptions) -> Result<Plan, ApiError> {
    check_preconditions(resource, old, options)?;
    let (held, graceful) = (has_finalizers(old), resource == Resource::Pods);
    if !graceful && !held {
        return Ok(Plan::Remove);
    }
    let grace = if graceful { pod_grace(old, options) } else { 0 };
    let Some(marked) = mark(now, old, grace, options.grace) else { return Ok(Plan::Leave) };
    let left = marked["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let stays = held || left.is_some_and(|seconds| seconds > 0);
    Ok(if stays { Plan::Mark(marked) } else { Plan::MarkAndRemove(marked) })
}

/// Whether the preconditions of a deletion hold.
///
/// # Errors
/// 409 where one does not.
pub(crate) fn check_preconditions(resource: Resource, object: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let meta = &object["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    let text = |field: &str| meta[field].as_str().unwrap_or_default().to_owned();
    if let Some(uid) = options.uid.as_ref().filter(|uid| **uid != text("uid")) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). \
             The object might have been deleted and then recreated",
            text("uid")
        );
        return Err(ApiError::precondition(resource, name, &why));
    }
    if let Some(rv) = options.resource_version.as_ref().filter(|rv| **rv != text("resourceVersion")) {
        let why = format!(
            "the ResourceVersion in the precondition ({rv}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
            text("resourceVersion")
        );
        return Err(ApiError::precondition(resource, name, &why));
    }
    Ok(())
}

/// `registry/core/pod/strategy.go`, `CheckGracefulDelete`.
fn pod_grace(pod: &Value, options: &DeleteOptions) -> i64 {
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    let unbound = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    match options.grace.unwrap_or(own) {
        _ if unbound || ended => 0,
        seconds => seconds_of(seconds),
    }
}

/// The object with its deletion written into it; None where a deletion is pending that this one does not shorten.
fn mark(now: Time, object: &Value, grace: i64, asked: Option<i64>) -> Option<Value> {
    let meta = &object["metadata"];
    let pending = meta.get("deletionTimestamp").is_some();
    let grace = if pending { seconds_of(asked?) } else { grace };
    let before = meta["deletionGracePeriodSeconds"].as_i64().filter(|_| pending);
    if before.is_some_and(|before| grace >= before) {
        return None;
    }
    let since = before.and_then(|before| asked_for(meta, before)).unwrap_or(now);
    let mut marked = object.clone();
    let generation = meta["generation"].as_i64();
    let meta = metadata_mut(&mut marked);
    let at = since + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
    // Never in the past; a grace that is over by then is one second.
    let (at, grace) = if at < now { (now, grace.min(1)) } else { (at, grace) };
    meta.insert("deletionTimestamp".into(), at.rfc3339().into());
    meta.insert("deletionGracePeriodSeconds".into(), grace.into());
    if let (false, Some(generation)) = (pending, generation) {
        meta.insert("generation".into(), (generation + 1).into());
    }
    Some(marked)
}

/// A grace below zero is one second.
fn seconds_of(grace: i64) -> i64 {
    if grace < 0 { 1 } else { grace }
}

/// When a pending deletion was first asked for: a shorter grace counts from there.
fn asked_for(meta: &Value, grace: i64) -> Option<Time> {
    let end = Time::parse(meta["deletionTimestamp"].as_str()?)?;
    Some(end - Duration::from_secs(u64::try_from(grace).unwrap_or(0)))
}

pub(crate) fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

pub(super) fn loses_last_finalizer(old: &Value, new: &Value) -> bool {
    let meta = &new["metadata"];
    meta.get("deletionTimestamp").is_some()
        && has_finalizers(old)
        && !has_finalizers(new)
        && meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}
