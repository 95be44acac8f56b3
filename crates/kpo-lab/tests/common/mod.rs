//! A client without sockets for the in-process tests.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use kpo_lab::api::User;
use kpo_lab::server::Body;
use kpo_lab::{Cluster, Lab, LabOptions, LabService, Store};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// A client of a lab's service.
pub(crate) struct Client<C> {
    service: LabService<C>,
    token: Option<String>,
}

/// A lab that is an API server only, and its admin.
pub(crate) fn api_server() -> (Lab<Store>, Client<Store>) {
    let lab = Lab::in_process(Store::default(), LabOptions::default());
    let client = Client::new(&lab);
    (lab, client)
}

impl<C: Cluster> Client<C> {
    pub(crate) fn new(lab: &Lab<C>) -> Client<C> {
        Client { service: lab.service(), token: None }
    }

    pub(crate) fn with_user(lab: &Lab<C>, user: User) -> Client<C> {
        Client { service: lab.service_as(user), token: None }
    }

    pub(crate) fn with_token(lab: &Lab<C>, token: &str) -> Client<C> {
        Client { service: lab.service(), token: Some(token.to_owned()) }
    }

    /// Sends a request; the error is a broken connection.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        content_type: &str,
        body: &Value,
    ) -> std::io::Result<http::Response<Body>> {
        let mut request = http::Request::builder().method(method).uri(target).header("user-agent", "test/1.0");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = request.header("content-type", content_type).body(Full::new(bytes)).expect("a request");
        self.service.clone().oneshot(request).await
    }

    /// The code and JSON body of an answer.
    pub(crate) async fn call(&self, method: &str, target: &str, body: Value) -> (u16, Value) {
        self.call_as(method, target, "application/json", body).await
    }

    pub(crate) async fn call_as(&self, method: &str, target: &str, content_type: &str, body: Value) -> (u16, Value) {
        let response = self.send(method, target, content_type, &body).await.expect("an answer");
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into()))
    }

    pub(crate) async fn get(&self, target: &str) -> (u16, Value) {
        self.call("GET", target, Value::Null).await
    }

    /// Creates, and demands a 201.
    pub(crate) async fn create(&self, target: &str, body: Value) -> Value {
        let (code, object) = self.call("POST", target, body).await;
        assert_eq!(code, 201, "{object}");
        object
    }

    pub(crate) async fn patch(&self, target: &str, kind: &str, body: Value) -> (u16, Value) {
        self.call_as("PATCH", target, &format!("application/{kind}"), body).await
    }

    pub(crate) async fn watch(&self, target: &str) -> Events {
        let response = self.send("GET", target, "", &Value::Null).await.expect("an answer");
        assert_eq!(response.status(), 200);
        Events { body: response.into_body(), rest: Vec::new() }
    }
}

/// A watch's events.
pub(crate) struct Events {
    body: Body,
    rest: Vec<u8>,
}

impl Events {
    /// The next event as (type, object); None at the end; an error where the connection breaks.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<(String, Value)>> {
        loop {
            if let Some(at) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=at).collect();
                let event: Value = serde_json::from_slice(&line).expect("an event");
                return Ok(Some((event["type"].as_str().expect("a type").to_owned(), event["object"].clone())));
            }
            match self.body.frame().await {
                Some(frame) => self.rest.extend_from_slice(&frame?.into_data().expect("data")),
                None => return Ok(None),
            }
        }
    }

    /// The next event as `TYPE name`.
    pub(crate) async fn brief(&mut self) -> String {
        let (kind, object) = self.next().await.expect("unbroken").expect("not the end");
        format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or("-"))
    }

    /// Whether nothing comes within a virtual duration.
    pub(crate) async fn is_silent(&mut self, seconds: u64) -> bool {
        tokio::time::timeout(std::time::Duration::from_secs(seconds), self.next()).await.is_err()
    }
}

/// A pod of one container.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": "task" } },
        "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 5,
            "containers": [{ "name": "base", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", "echo hello"] }] },
    })
}

pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

pub(crate) fn at(name: &str) -> String {
    format!("{PODS}/{name}")
}
