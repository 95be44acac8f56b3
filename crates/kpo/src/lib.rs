//! Runs a task as a Kubernetes pod to completion and does not lose it.
