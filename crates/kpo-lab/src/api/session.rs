//! `pods/exec` and `pods/attach`: which container, and whether it runs.

use serde_json::Value;

use super::logs::{choose_container, status_of};
use super::request::Query;
use crate::error::ApiError;
use crate::runtime::{ContainerId, ExecRequest};

/// An exec or attach that a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTarget {
    /// The node whose kubelet runs the container.
    pub node: String,
    /// The container.
    pub container: ContainerId,
    /// The streams; the command is empty for attach.
    pub request: ExecRequest,
    /// Whether it is an attach.
    pub attach: bool,
}

/// Reads the query and finds the container.
///
/// # Errors
/// 400 where the container is not named, not known or no stream is asked for; 404 where it does not run.
pub(super) fn target(pod: &Value, query: &Query, attach: bool) -> Result<SessionTarget, ApiError> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let container = choose_container(pod, query.get("container"))?;
    let request = ExecRequest {
        command: if attach { Vec::new() } else { query.all("command") },
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
    };
    if !(request.stdin || request.stdout || request.stderr) {
        return Err(ApiError::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if !attach && request.command.is_empty() {
        return Err(ApiError::bad_request("you must specify at least one command for the container"));
    }
    let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) else {
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    };
    let status = status_of(pod, &container).filter(|status| status["state"]["running"].is_object());
    let id = status.and_then(|status| status["containerID"].as_str());
    let message = format!("container not found (\"{container}\")");
    let id = id.ok_or_else(|| ApiError::new(404, "NotFound", message))?;
    Ok(SessionTarget { node: node.to_owned(), container: ContainerId::parse(id), request, attach })
}
