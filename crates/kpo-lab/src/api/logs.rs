//! `pods/log`: which container, and whether it has a log (`pkg/registry/core/pod/strategy.go`, `LogLocation`;
//! `pkg/kubelet/kubelet_pods.go`, `validateContainerLogStatus`).

use serde_json::Value;

use super::request::Query;
use crate::error::{ApiError, Cause};
use crate::log::LogOptions;
use crate::resource::Resource;
use crate::runtime::ContainerId;
use crate::time::Time;

/// A log that a client asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct LogTarget {
    /// The node whose kubelet has it.
    pub node: String,
    /// The container. None: the pod has no node yet, and its log is empty.
    pub container: Option<ContainerId>,
    /// What of it.
    pub options: LogOptions,
}

/// Reads the query and finds the container.
///
/// # Errors
/// 400 where the container is not named, not known or has no log; 422 for invalid options.
pub(super) fn target(now: Time, pod: &Value, query: &Query) -> Result<LogTarget, ApiError> {
    let options = options(now, query)?;
    let container = choose_container(pod, query.get("container"))?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() {
        return Ok(LogTarget { node, container: None, options });
    }
    let id = with_log(pod, &container, query.flag("previous"))?;
    Ok(LogTarget { node, container: Some(ContainerId::parse(&id)), options })
}

fn options(now: Time, query: &Query) -> Result<LogOptions, ApiError> {
    let mut causes = Vec::new();
    let mut number = |name: &str, least: i64| {
        let value = query.number(name);
        if value.is_some_and(|value| value < least) {
            let detail = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            causes.push(Cause::invalid(name, &query.number(name).into(), detail));
        }
        value.and_then(|value| u64::try_from(value).ok())
    };
    let (tail, limit_bytes, seconds) = (number("tailLines", 0), number("limitBytes", 1), number("sinceSeconds", 1));
    let time = Time::parse(query.get("sinceTime"));
    if time.is_some() && seconds.is_some() {
        causes.push(Cause::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if !causes.is_empty() {
        let mut error = ApiError::invalid(Resource::Pods, "", &causes);
        error.message = error.message.replacen("Pod", "PodLogOptions", 1);
        return Err(error);
    }
    let (timestamps, follow) = (query.flag("timestamps"), query.flag("follow"));
    let options = LogOptions { tail, limit_bytes, timestamps, follow, ..LogOptions::default() };
    Ok(match (time, seconds) {
        (Some(time), _) => options.since_time(time),
        (None, Some(seconds)) => options.since_seconds(now, seconds),
        (None, None) => options,
    })
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let containers = pod["spec"][list].as_array().into_iter().flatten();
    containers.map(|container| container["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The named container, or the only one.
///
/// # Errors
/// 400 where the name is not of the pod, or is needed.
pub(super) fn choose_container(pod: &Value, named: &str) -> Result<String, ApiError> {
    let (containers, inits) = (names(pod, "containers"), names(pod, "initContainers"));
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    if !named.is_empty() {
        let mut known = containers.iter().chain(&inits);
        let found = known.any(|known| known == named) || names(pod, "ephemeralContainers").contains(&named.to_owned());
        let message = format!("container {named} is not valid for pod {name}");
        return if found { Ok(named.to_owned()) } else { Err(ApiError::bad_request(message)) };
    }
    if let [only] = containers.as_slice() {
        return Ok(only.clone());
    }
    let mut message =
        format!("a container name must be specified for pod {name}, choose one of: [{}]", containers.join(" "));
    if !inits.is_empty() {
        message += &format!(" or one of the init containers: [{}]", inits.join(" "));
    }
    Err(ApiError::bad_request(message))
}

/// The status of a container by name, wherever it is listed.
pub(super) fn status_of<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"].into_iter();
    let mut all = lists.flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    all.find(|status| status["name"] == container)
}

/// The ID of the container whose log is meant.
fn with_log(pod: &Value, container: &str, previous: bool) -> Result<String, ApiError> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let refuse = |why: &str| Err(ApiError::bad_request(format!("container {container:?} in pod {name:?} {why}")));
    let Some(status) = status_of(pod, container) else { return refuse("is not available") };
    let id = |value: &Value| value["containerID"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    let (state, last) = (&status["state"], id(&status["lastState"]["terminated"]));
    if previous {
        let message = format!("previous terminated container {container:?} in pod {name:?} not found");
        return last.ok_or_else(|| ApiError::bad_request(message));
    }
    if state["running"].is_object() {
        return id(status).map_or_else(|| refuse("is not available"), Ok);
    }
    if state["terminated"].is_object() {
        let ended = id(&state["terminated"]).or(last);
        return ended.map_or_else(|| refuse("is terminated"), Ok);
    }
    if let Some(last) = last {
        return Ok(last);
    }
    match state["waiting"]["reason"].as_str() {
        Some("ErrImagePull") => refuse("is waiting to start: image can't be pulled"),
        Some("ImagePullBackOff") => refuse("is waiting to start: trying and failing to pull image"),
        Some(reason) => refuse(&format!("is waiting to start: {reason}")),
        None => refuse("is waiting to start - no logs yet"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(state: Value) -> Value {
        json!({ "metadata": { "name": "x" }, "spec": { "nodeName": "node-1", "containers": [{ "name": "base" }] },
            "status": { "containerStatuses": [{ "name": "base", "containerID": "lab://1", "state": state }] } })
    }

    #[test]
    fn finds_the_log_or_says_why_there_is_none() {
        let find = |state: Value, query: &str| target(Time::default(), &pod(state), &Query::parse(query));
        let running = json!({ "running": {} });
        let found = find(running.clone(), "follow=true&tailLines=5&timestamps=True").expect("a log");
        assert_eq!(found.container, Some(ContainerId::parse("lab://1")));
        assert_eq!((found.options.follow, found.options.tail, found.options.timestamps), (true, Some(5), true));
        let table = [
            (
                json!({ "waiting": { "reason": "ContainerCreating" } }),
                "",
                "container \"base\" in pod \"x\" is waiting to start: ContainerCreating",
            ),
            (
                json!({ "waiting": { "reason": "ErrImagePull" } }),
                "",
                "container \"base\" in pod \"x\" is waiting to start: image can't be pulled",
            ),
            (json!({ "terminated": { "exitCode": 137 } }), "", "container \"base\" in pod \"x\" is terminated"),
            (running.clone(), "previous=true", "previous terminated container \"base\" in pod \"x\" not found"),
            (running, "container=y", "container y is not valid for pod x"),
        ];
        for (state, query, message) in table {
            let error = find(state, query).expect_err(message);
            assert_eq!((error.code, error.message.as_str()), (400, message));
        }
    }

    #[test]
    fn several_containers_need_a_name() {
        let pod = json!({ "metadata": { "name": "x" }, "spec": { "containers": [{ "name": "a" }, { "name": "b" }], "initContainers": [{ "name": "i" }] } });
        let error = choose_container(&pod, "").expect_err("which?");
        assert_eq!(
            error.message,
            "a container name must be specified for pod x, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(choose_container(&pod, "i").expect("an init container"), "i");
    }
}
