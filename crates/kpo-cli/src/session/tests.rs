//! A driver that crashes is no quiet end.

use super::*;
use crate::options::OnSigterm;
use kpo::KubernetesHook;
use kpo::driver::{self, TaskRequest};
use kpo::hook::{ConnectOptions, Source};
use kpo::manifest;
use kpo::request::RequestOptions;
use std::sync::Arc;

/// What a bug looks like from outside: something that the driver's task calls panics.
async fn crashing() -> Running {
    let config = "current-context: c\nclusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}]\ncontexts: [{name: c, context: {cluster: c}}]\n";
    let requests = RequestOptions { observer: Some(Arc::new(|_| panic!("a bug"))), ..RequestOptions::default() };
    let options = ConnectOptions { source: Source::Text(config.to_owned()), requests, ..ConnectOptions::default() };
    let hook = KubernetesHook::connect(options).await.unwrap();
    let wanted = manifest::Request { image: Some("busybox".to_owned()), ..manifest::Request::default() };
    driver::run(&hook, TaskRequest::new("t", "batch", &manifest::manifest(wanted).unwrap()).unwrap())
}

#[tokio::test]
async fn a_driver_that_crashes_is_a_failure_of_kpos_whatever_the_errand() {
    for errand in [Errand::Run, Errand::Detach, Errand::TakeOver] {
        let session = Session { errand, lab: None, again: " -n batch".to_owned() };
        let (_, retries) = Retries::channel();
        let signals = Signals::catch(OnSigterm::Detach).unwrap();
        let output = OutputArgs::default();
        let ended = session.follow(crashing().await, Printer::new(&output), &output, (signals, retries)).await;
        let error = ended.expect_err("it is no quiet end");
        assert_eq!(error.kind.exit_code(), exit::OWN);
        let text = error.text();
        assert!(text.starts_with("kpo failed (a bug): ") && text.contains("a bug\""), "{text}");
        assert!(text.ends_with("a pod of the task may be left\n  kpo attach t --take-over -n batch"), "{text}");
    }
}
