//! Removing what no observer will remove any more.

use kpo_core::sweep::Due;
use kpo_core::{Pod, marks};

use super::{DeleteOptions, PodManager, Precondition, Written};
use crate::request::{Call, RequestError};

impl PodManager {
    /// Does what [`kpo_core::sweep::due`] found about a pod, as it was seen and no other: `Conflict` and `Gone` say that it changed since.
    ///
    /// # Errors
    /// Any other failure.
    pub async fn sweep(&self, pod: &Pod, due: Due, call: Call) -> Result<Written, RequestError> {
        let meta = &pod.metadata;
        if due == Due::Expired {
            let precondition = Precondition::uid(&meta.uid).at(&meta.resource_version);
            let deleted = self.delete(&meta.name, &DeleteOptions { precondition, grace_seconds: None }, call).await?;
            let held = meta.finalizers.iter().any(|finalizer| finalizer == marks::FINALIZER);
            if !held || !matches!(deleted, Written::Done(_)) {
                return Ok(deleted);
            }
        }
        self.remove_finalizer(&meta.name, &meta.uid, marks::FINALIZER, call).await
    }
}
