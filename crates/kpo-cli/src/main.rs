//! The kpo command: run a task as a Kubernetes pod to completion.
fn main() {}
