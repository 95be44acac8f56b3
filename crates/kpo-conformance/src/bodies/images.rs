//! Images that are not to be had, or late.

use super::ends::init;
use super::preempted::SUCCEEDED;
use super::{NO_IMAGE_SET, is_without_image, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::components::Components;
use crate::container::{NO_IMAGE, container};
use serde_json::json;

/// A name that is none cannot heal.
pub(super) async fn image_name_is_none(namespace: &Namespace<'_>) -> Result<(), Error> {
    let flags = ["-o", "json", "--fail-fast-images", "--set", "spec.containers[0].image=Busybox"];
    let ended = namespace.kpo("run", &shell(&flags, "true")).await?.exits(126)?;
    ended.came_to(&["launchFailed imageInvalid"])?;
    namespace.is_empty().await
}

pub(super) async fn image_never_comes(namespace: &Namespace<'_>) -> Result<(), Error> {
    let flags = ["-o", "json", "--start-timeout", "5s", "--set", NO_IMAGE_SET];
    let ended = namespace.kpo("run", &shell(&flags, "true")).await?.exits(126)?;
    ended.came_to(&["launchFailed image"])?.because("image", NO_IMAGE)?;
    namespace.is_empty().await
}

pub(super) async fn init_image_never_comes(namespace: &Namespace<'_>) -> Result<(), Error> {
    let mut setup = container("setup", "true");
    setup["image"] = json!(NO_IMAGE);
    let init = init(&[setup]);
    let flags = ["-o", "json", "--start-timeout", "5s", "--set", &init];
    let ended = namespace.kpo("run", &shell(&flags, "true")).await?.exits(126)?;
    ended.came_to(&["launchFailed image"])?.because("image", NO_IMAGE)?;
    namespace.is_empty().await
}

/// Its registry is away, and back within the starting clock.
pub(super) async fn image_comes_late(namespace: &Namespace<'_>) -> Result<(), Error> {
    let components = Components::here()?;
    let image = format!("kpo.rs/late-{}:1", std::process::id());
    let set = format!("spec.containers[0].image={image}");
    let task = namespace.start("run", &shell(&["-o", "json", "--set", &set], "echo hello"))?;
    let is_so = |pod: &serde_json::Value| is_without_image(&pod["status"]["containerStatuses"][0]);
    namespace.pod("task-1", "has no image", is_so).await?;
    components.run(&["tag", &image]).await?;
    task.ended().await?.exits(0)?.came_to(&[SUCCEEDED])?.has_line("hello", 1)?;
    namespace.is_empty().await
}
