//! From a request to an answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::auth::Attributes;
use super::patch::{self, PatchType};
use super::request::{Request, Response};
use super::route::{Route, Target, route};
use super::view::{self, View};
use super::watch::{Watch, WatchOptions};
use super::write::{self, Part};
use super::{discovery, list, logs, session, shape};
use crate::error::{ApiError, Cause};
use crate::resource::Resource;
use crate::store::{DeleteOptions, Deletion, Store, Writer};
use crate::time::Time;

/// Answers a request of an authenticated user: authorises it, and does it.
pub fn handle(now: Time, store: &mut Store, request: &Request) -> Response {
    answer(now, store, request).unwrap_or_else(Response::from)
}

/// What a request wants to do, as permissions, counters and fault rules name it.
pub fn attributes(request: &Request) -> Attributes {
    route(request).1
}

fn answer(now: Time, store: &mut Store, request: &Request) -> Result<Response, ApiError> {
    let (route, attributes) = route(request);
    request.user.authorize(&attributes)?;
    match route {
        Route::Path => discovery::handle(request),
        Route::Unknown => unknown(request, &attributes),
        Route::Resource(target) => on_resource(now, store, request, &target, &attributes.verb),
    }
}

/// `kubectl auth can-i` is answered from the rules; nothing else is known here.
fn unknown(request: &Request, attributes: &Attributes) -> Result<Response, ApiError> {
    if attributes.resource != "selfsubjectaccessreviews" || request.method != "POST" {
        return Err(ApiError::no_such_path());
    }
    let mut review = request.decode()?;
    let asked = &review["spec"]["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default().to_owned();
    let asked = Attributes {
        verb: text("verb"),
        group: text("group"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        path: String::new(),
    };
    review["status"] = json!({ "allowed": request.user.may(&asked) });
    Ok(Response::object(201, review))
}

fn on_resource(
    now: Time,
    store: &mut Store,
    request: &Request,
    target: &Target,
    verb: &str,
) -> Result<Response, ApiError> {
    match (target.subresource.as_str(), verb) {
        ("", "list") => Ok(Response::object(200, list::list(now, store, target, request)?)),
        ("", "watch") => watch(now, store, request, target),
        ("", "create") if target.name.is_empty() && is_placed(target) => create(now, store, request, target),
        ("", "deletecollection") => delete_collection(now, store, request, target),
        ("", "delete") => delete(now, store, request, target),
        ("" | "status", "get") => get(now, store, request, target),
        ("" | "status", "update") => update(now, store, request, target),
        ("" | "status", "patch") => patch(now, store, request, target),
        ("finalize", "update") if target.resource == Resource::Namespaces => get(now, store, request, target),
        (_, _) if target.resource == Resource::Pods && !target.name.is_empty() => {
            on_pod(now, store, request, target, verb)
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Whether a collection says where a new object goes: one of all namespaces does not.
fn is_placed(target: &Target) -> bool {
    !target.resource.namespaced() || !target.namespace.is_empty()
}

fn on_pod(now: Time, store: &mut Store, request: &Request, target: &Target, verb: &str) -> Result<Response, ApiError> {
    let (ns, name) = (&target.namespace, &target.name);
    match (target.subresource.as_str(), verb) {
        ("log", "get") => {
            let pod = found(store, target)?;
            Ok(Response::Log(Box::new(logs::target(now, &pod, &request.query)?)))
        }
        (kind @ ("exec" | "attach"), "get" | "create") => {
            let pod = found(store, target)?;
            let session = session::target(&pod, &request.query, kind == "attach")?;
            if !request.upgrade {
                return Err(ApiError::bad_request("Upgrade request required"));
            }
            Ok(Response::Session(Box::new(session)))
        }
        ("binding", "create") => {
            let binding = named(request, target, "Binding")?;
            write::bind(now, store, ns, name, &binding, request.query.dry_run())?;
            Ok(Response::success(201))
        }
        ("eviction", "create") => {
            shape::check_eviction(&request.decode()?)?;
            let options = named(request, target, "Eviction")?["deleteOptions"].clone();
            let dry_run = eviction_is_dry(request, &options)?;
            let check = || check_options(&options);
            write::evict(now, store, ns, name, &preconditions_and_grace(&options), dry_run, check)?;
            Ok(Response::success(201))
        }
        _ => Err(ApiError::no_such_path()),
    }
}

/// What was sent to a subresource; it has to name the object of the path.
fn named(request: &Request, target: &Target, kind: &str) -> Result<Value, ApiError> {
    let sent = request.decode()?;
    if sent["metadata"]["name"] == target.name.as_str() {
        return Ok(sent);
    }
    Err(ApiError::bad_request(format!("name in URL does not match name in {kind} object")))
}

fn found(store: &Store, target: &Target) -> Result<Arc<Value>, ApiError> {
    let missing = || ApiError::not_found(target.resource, &target.name);
    store.get(target.resource, &target.namespace, &target.name).ok_or_else(missing)
}

fn get(now: Time, store: &Store, request: &Request, target: &Target) -> Result<Response, ApiError> {
    if let Some(rv) = list::resource_version(request).map_err(plainly)? {
        list::not_too_large(store, rv)?;
    }
    let object = found(store, target)?;
    Ok(show(now, request, target, 200, &object))
}

/// A resourceVersion that is none, as all but lists tell it: the error is no API error there.
fn plainly(error: ApiError) -> ApiError {
    let why = error.message.trim_start_matches("invalid resource version: ");
    ApiError::new(500, "", why)
}

fn show(now: Time, request: &Request, target: &Target, code: u16, object: &Arc<Value>) -> Response {
    let view = View::asked(request, &target.group);
    Response::object(code, view.one(now, target.resource, object, true))
}

fn watch(now: Time, store: &Store, request: &Request, target: &Target) -> Result<Response, ApiError> {
    let query = &request.query;
    let mut selector = list::selector(target, request)?;
    if !target.name.is_empty() {
        let field = format!("metadata.name={}", target.name);
        selector = super::selector::Selector::parse(target.resource, query.get("labelSelector"), &field)?;
    }
    list::check(query, true)?;
    let initial_events = query.flag("sendInitialEvents");
    let resource_version = list::resource_version(request).map_err(plainly)?;
    if initial_events {
        list::not_too_large(store, resource_version.unwrap_or(0))?;
    }
    let options = WatchOptions {
        namespace: list::namespace(target).map(str::to_owned),
        selector,
        view: View::asked(request, &target.group),
        resource_version,
        initial_events,
        bookmarks: query.flag("allowWatchBookmarks"),
        timeout: query
            .number("timeoutSeconds")
            .and_then(|s| u64::try_from(s).ok())
            .filter(|s| *s > 0)
            .map(Duration::from_secs),
    };
    Ok(Response::Watch(Box::new(Watch::new(now, store, target.resource, options))))
}

/// The sent object, checked against the path, with the path's namespace in it.
fn sent(request: &Request, target: &Target) -> Result<Value, ApiError> {
    let mut object = request.decode()?;
    if target.group == "events.k8s.io" {
        object = view::core_event(object);
    }
    let resource = target.resource;
    let (kind, version) = (object["kind"].as_str(), object["apiVersion"].as_str());
    if let Some(kind) = kind.filter(|kind| *kind != resource.kind()) {
        let message = format!(
            "{kind} in version {:?} cannot be handled as a {}: no kind {kind:?} is served here",
            version.unwrap_or_default(),
            resource.kind()
        );
        return Err(ApiError::bad_request(message));
    }
    if let Some(version) = version.filter(|version| *version != resource.api_version()) {
        let message = format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            resource.api_version()
        );
        return Err(ApiError::bad_request(message));
    }
    place(&mut object, target)?;
    Ok(object)
}

fn place(object: &mut Value, target: &Target) -> Result<(), ApiError> {
    let ns = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if target.resource.namespaced() && !ns.is_empty() && ns != target.namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(message));
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if !target.name.is_empty() && !name.is_empty() && name != target.name {
        let message = format!("the name of the object ({name}) does not match the name on the URL ({})", target.name);
        return Err(ApiError::bad_request(message));
    }
    write::place(target.resource, object, &target.namespace, &target.name);
    Ok(())
}

fn writer(request: &Request, target: &Target) -> Writer {
    let manager = request.manager();
    if target.subresource == "status" { Writer::status(manager) } else { Writer::new(manager) }
}

fn create(now: Time, store: &mut Store, request: &Request, target: &Target) -> Result<Response, ApiError> {
    let (object, writer) = (sent(request, target)?, writer(request, target));
    let created = if request.query.dry_run() {
        Arc::new(write::dry_create(now, store, target.resource, object, &writer)?)
    } else {
        write::create(now, store, target.resource, object, &writer)?
    };
    Ok(show(now, request, target, 201, &created))
}

fn part(target: &Target) -> Result<Part, ApiError> {
    match (target.subresource.as_str(), target.resource.has_status()) {
        ("status", true) => Ok(Part::Status),
        ("status", false) => Err(ApiError::no_such_path()),
        _ => Ok(Part::Main),
    }
}

fn update(now: Time, store: &mut Store, request: &Request, target: &Target) -> Result<Response, ApiError> {
    let (object, writer) = (sent(request, target)?, writer(request, target));
    store.check_uid(target.resource, &object, request.query.dry_run())?;
    let updated = write::update(now, store, target.resource, part(target)?, object, &writer, request.query.dry_run())?;
    Ok(show(now, request, target, 200, &updated))
}

fn patch(now: Time, store: &mut Store, request: &Request, target: &Target) -> Result<Response, ApiError> {
    let kind = PatchType::of(&request.content_type)?;
    let changes = decode_patch(kind, request)?;
    let Some(old) = store.get(target.resource, &target.namespace, &target.name) else {
        return match kind {
            PatchType::Apply if target.subresource.is_empty() => create(now, store, request, target),
            _ => Err(ApiError::not_found(target.resource, &target.name)),
        };
    };
    let mut patched = patch::apply(kind, &old, &changes)?;
    place(&mut patched, target)?;
    let writer = writer(request, target);
    let updated = write::update(now, store, target.resource, part(target)?, patched, &writer, request.query.dry_run())?;
    Ok(show(now, request, target, 200, &updated))
}

/// An apply patch is YAML, of which JSON is a part.
fn decode_patch(kind: PatchType, request: &Request) -> Result<Value, ApiError> {
    match kind {
        PatchType::Apply => request.decode(),
        _ => serde_json::from_slice(&request.body)
            .map_err(|why| ApiError::bad_request(format!("error decoding patch: {why}"))),
    }
}

/// The options that a body has, and whether they say that nothing is to be stored.
fn delete_options(body: &Value) -> Result<(DeleteOptions, bool), ApiError> {
    shape::check_delete_options(body)?;
    check_options(body)?;
    Ok((preconditions_and_grace(body), !dry_run(body).is_empty()))
}

/// Whether the query or the options say that nothing is to be stored; they may not say different things (`propagateDryRun`).
fn eviction_is_dry(request: &Request, options: &Value) -> Result<bool, ApiError> {
    let (asked, given) = (request.query.all("dryRun"), dry_run(options));
    if !asked.is_empty() && !given.is_empty() && asked != given {
        let both = format!("[{}] and [{}]", asked.join(" "), given.join(" "));
        let message = format!("Non-matching dry-run options in request and content: {both}");
        return Err(ApiError::new(500, "", message));
    }
    Ok(!asked.is_empty() || !given.is_empty())
}

fn preconditions_and_grace(options: &Value) -> DeleteOptions {
    let text = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
    DeleteOptions {
        grace: options["gracePeriodSeconds"].as_i64(),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
    }
}

fn dry_run(options: &Value) -> Vec<&str> {
    options["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// `ValidateDeleteOptions`.
fn check_options(options: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    let known = ["Foreground", "Background", "Orphan", "nil"];
    if let Some(policy) = options["propagationPolicy"].as_str().filter(|policy| !known[..3].contains(policy)) {
        causes.push(Cause::not_supported("propagationPolicy", policy, &known));
    }
    if dry_run(options).iter().any(|word| *word != "All") {
        let body = format!("Unsupported value: {}: supported values: \"All\"", options["dryRun"]);
        causes.push(Cause { field: "dryRun".into(), reason: "FieldValueNotSupported", body });
    }
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid_options("DeleteOptions", &causes)) }
}

/// The options of the body, or of the query where there is none: a body's are all that count (`endpoints/handlers/delete.go`).
fn asked_options(request: &Request) -> Result<(DeleteOptions, bool), ApiError> {
    if !request.body.is_empty() {
        return delete_options(&request.decode()?);
    }
    let options = DeleteOptions { grace: request.query.whole("gracePeriodSeconds")?, ..DeleteOptions::default() };
    Ok((options, request.query.dry_run()))
}

fn delete(now: Time, store: &mut Store, request: &Request, target: &Target) -> Result<Response, ApiError> {
    let (options, dry_run) = asked_options(request)?;
    let deletion = if dry_run {
        store.dry_delete(now, target.resource, &target.namespace, &target.name, &options)?
    } else {
        write::delete(now, store, target.resource, &target.namespace, &target.name, &options)?
    };
    Ok(match deletion {
        Deletion::Gone(object) if target.resource != Resource::Pods => deleted(target, &object),
        Deletion::Gone(object) | Deletion::Pending(object) => show(now, request, target, 200, &object),
    })
}

/// The Status that answers a deletion of most resources; pods answer with themselves.
fn deleted(target: &Target, object: &Value) -> Response {
    let mut details =
        json!({ "name": target.name, "kind": target.resource.plural(), "uid": object["metadata"]["uid"] });
    if !target.resource.group().is_empty() {
        details["group"] = target.resource.group().into();
    }
    Response::object(
        200,
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details }),
    )
}

fn delete_collection(now: Time, store: &mut Store, request: &Request, target: &Target) -> Result<Response, ApiError> {
    let (options, dry_run) = asked_options(request)?;
    let objects = list::selected(store, target, request)?;
    let doomed = if dry_run { &[][..] } else { &objects[..] };
    for object in doomed {
        let (ns, name) = crate::store::key(target.resource, object);
        write::delete(now, store, target.resource, &ns, &name, &options)?;
    }
    let meta = json!({ "resourceVersion": store.rv().to_string() });
    let objects: Vec<&Arc<Value>> = objects.iter().collect();
    Ok(Response::object(200, View::Whole.list(now, target.resource, &objects, meta)))
}
