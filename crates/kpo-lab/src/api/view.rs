//! The form in which objects are answered: whole, as a table, or their metadata only (`endpoints/handlers/response.go`).

use std::sync::Arc;

use serde_json::{Value, json};

use super::request::Request;
use super::table;
use crate::resource::Resource;
use crate::time::Time;

/// A form of answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    /// As stored.
    #[default]
    Whole,
    /// As `events.k8s.io/v1` has events.
    NewEvents,
    /// `meta.k8s.io/v1 Table`; rows carry the given part of the object.
    Table(RowObject),
    /// `PartialObjectMetadata`.
    Metadata,
}

/// `includeObject` of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowObject {
    Nothing,
    Metadata,
    Whole,
}

impl View {
    /// The first form of the `Accept` header that is served.
    pub(crate) fn asked(request: &Request, group: &str) -> View {
        for accepted in request.accept.split(',') {
            if accepted.contains("as=Table") && accepted.contains("v=v1") && !accepted.contains("v1beta1") {
                return View::Table(match request.query.get("includeObject") {
                    "None" => RowObject::Nothing,
                    "Object" => RowObject::Whole,
                    _ => RowObject::Metadata,
                });
            }
            if accepted.contains("as=PartialObjectMetadata") {
                return View::Metadata;
            }
            if !accepted.contains("as=") {
                break;
            }
        }
        if group == "events.k8s.io" { View::NewEvents } else { View::Whole }
    }

    /// One object. `first` asks for a table's column definitions, which the later events of a watch leave out.
    pub(crate) fn one(self, now: Time, resource: Resource, object: &Arc<Value>, first: bool) -> Arc<Value> {
        match self {
            View::Whole => object.clone(),
            View::NewEvents => Arc::new(new_event(object)),
            View::Metadata => Arc::new(metadata(object)),
            View::Table(part) => {
                let rv = object["metadata"]["resourceVersion"].clone();
                Arc::new(table::table(now, resource, &[object], part, json!({ "resourceVersion": rv }), first))
            }
        }
    }

    /// A list of objects with the list's own metadata.
    pub(crate) fn list(self, now: Time, resource: Resource, objects: &[&Arc<Value>], meta: Value) -> Value {
        let (kind, version, items): (_, _, Vec<Value>) = match self {
            View::Table(part) => return table::table(now, resource, objects, part, meta, true),
            View::Whole => {
                (format!("{}List", resource.kind()), resource.api_version(), objects.iter().map(|o| bare(o)).collect())
            }
            View::NewEvents => {
                ("EventList".to_owned(), "events.k8s.io/v1".to_owned(), objects.iter().map(|o| new_event(o)).collect())
            }
            View::Metadata => (
                "PartialObjectMetadataList".to_owned(),
                "meta.k8s.io/v1".to_owned(),
                objects.iter().map(|o| metadata(o)).collect(),
            ),
        };
        json!({ "kind": kind, "apiVersion": version, "metadata": meta, "items": items })
    }

    /// A bookmark's object.
    pub(crate) fn bookmark(self, object: Value) -> Value {
        match self {
            View::Whole => object,
            View::NewEvents => new_event(&object),
            View::Metadata => metadata(&object),
            View::Table(_) => {
                let row = json!({ "cells": null, "object": metadata(&object) });
                let meta = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
                json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": null, "rows": [row] })
            }
        }
    }
}

/// An item of a list carries neither kind nor apiVersion.
fn bare(object: &Value) -> Value {
    let mut item = object.clone();
    if let Some(map) = item.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    item
}

/// `PartialObjectMetadata`.
pub(super) fn metadata(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

/// The names that an event's fields have in core/v1 and in events.k8s.io/v1 (`pkg/apis/events/v1/conversion.go`).
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("reportingComponent", "reportingController"),
];

/// A core event as `events.k8s.io/v1` shows it.
fn new_event(event: &Value) -> Value {
    let mut converted = event.clone();
    if let Some(map) = converted.as_object_mut() {
        for (core, new) in EVENT_FIELDS {
            if let Some(value) = map.remove(core) {
                map.insert(new.into(), value);
            }
        }
        map.insert("apiVersion".into(), "events.k8s.io/v1".into());
    }
    converted
}

/// An event that was sent in the form of `events.k8s.io/v1` as the core one.
pub(super) fn core_event(mut event: Value) -> Value {
    if let Some(map) = event.as_object_mut() {
        for (core, new) in EVENT_FIELDS {
            if let Some(value) = map.remove(new) {
                map.insert(core.into(), value);
            }
        }
        map.insert("apiVersion".into(), "v1".into());
    }
    event
}
