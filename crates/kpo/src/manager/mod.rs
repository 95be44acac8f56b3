//! Pods: create, read, change, delete, exec.

use crate::request::Requests;

/// Works on the pods of one namespace.
#[derive(Debug, Clone)]
pub struct PodManager {
    requests: Requests,
    namespace: String,
}

impl PodManager {
    /// A manager for a namespace.
    pub fn new(requests: Requests, namespace: impl Into<String>) -> Self {
        Self { requests, namespace: namespace.into() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The request layer it uses.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }
}
