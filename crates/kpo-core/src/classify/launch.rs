//! What keeps a container from starting: what heals by itself, and what does not.

use crate::ledger::Ledger;
use crate::pod::ContainerStatus;
use crate::reason::Reason;

/// What registries and runtimes say of an image that is not there (containerd, CRI-O, dockershim, Docker Hub, Quay, ECR).
const NO_SUCH_IMAGE: [&str; 5] =
    ["manifest unknown", ": not found", "repository does not exist", "name unknown", "no such image"];
/// What they say where the credentials are missing or too weak.
const NOT_ALLOWED: [&str; 6] =
    ["unauthorized", "authentication required", "access denied", "denied: ", "403 forbidden", "insufficient_scope"];

/// The reason with which the starting clock ends while a container waits for that. `None`: nothing known hinders it.
pub fn hindrance(status: &ContainerStatus) -> Option<Reason> {
    match reason(status)? {
        "InvalidImageName" => Some(Reason::ImageInvalid),
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Some(Reason::Image),
        "CreateContainerConfigError" => Some(Reason::Config),
        "CreateContainerError" | "RunContainerError" | "PreCreateHookError" | "PreStartHookError" => {
            Some(Reason::StartError)
        }
        _ => None,
    }
}

/// An image error that cannot heal, or that [`Ledger::PULL_TRIES`] tries have not healed. `None`: it may.
pub fn fatal(status: &ContainerStatus, tries: u32) -> Option<Reason> {
    match reason(status)? {
        "InvalidImageName" => Some(Reason::ImageInvalid),
        "ErrImageNeverPull" => Some(Reason::Image),
        "ErrImagePull" | "ImagePullBackOff" if tries >= Ledger::PULL_TRIES && is_certain(status) => Some(Reason::Image),
        _ => None,
    }
}

fn reason(status: &ContainerStatus) -> Option<&str> {
    status.state.waiting.as_ref()?.reason.as_deref()
}

fn is_certain(status: &ContainerStatus) -> bool {
    let message = status.state.waiting.as_ref().and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
    let message = message.to_lowercase();
    NO_SUCH_IMAGE.iter().chain(&NOT_ALLOWED).any(|words| message.contains(words))
}
