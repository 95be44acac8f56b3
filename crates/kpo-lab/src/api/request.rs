//! A request as the handlers see it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::auth::User;
use super::logs::LogTarget;
use super::session::SessionTarget;
use super::watch::Watch;
use crate::error::ApiError;

/// A request, with its body read. `Debug` leaves the body out: it can hold secrets.
#[derive(Clone)]
pub struct Request {
    /// The HTTP method: `GET`.
    pub method: String,
    /// The decoded path: `/api/v1/pods`.
    pub path: String,
    /// The decoded query.
    pub query: Query,
    /// `Content-Type`; empty where there is none.
    pub content_type: String,
    /// `Accept`; empty where there is none.
    pub accept: String,
    /// `User-Agent`; empty where there is none.
    pub user_agent: String,
    /// Whether a protocol upgrade is asked for.
    pub upgrade: bool,
    /// The body.
    pub body: Bytes,
    /// Who asks.
    pub user: User,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} by {}", self.method, self.path, self.user.name)
    }
}

impl Request {
    /// A request of a user without headers or a body; `target` may have a query.
    pub fn new(method: &str, target: &str, user: User) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method: method.to_owned(),
            path: percent_decode(path, false),
            query: Query::parse(query),
            content_type: String::new(),
            accept: String::new(),
            user_agent: String::new(),
            upgrade: false,
            body: Bytes::new(),
            user,
        }
    }

    /// The request with a JSON body.
    pub fn json(mut self, content_type: &str, body: &Value) -> Request {
        self.content_type = content_type.to_owned();
        self.body = body.to_string().into();
        self
    }

    /// The field manager: `fieldManager`, or the first word of the user agent before its slash
    /// (`endpoints/handlers/create.go`, `managerOrUserAgent`).
    pub fn manager(&self) -> String {
        let asked = self.query.get("fieldManager");
        let agent = self.user_agent.split('/').next().unwrap_or_default();
        let name = if asked.is_empty() { agent } else { asked };
        if name.is_empty() { "unknown".to_owned() } else { name.chars().take(128).collect() }
    }

    /// The body as an object: JSON, or YAML or protobuf where the content type says so.
    ///
    /// # Errors
    /// 400 where it is malformed, 415 for protobuf of kinds that are not read.
    pub fn decode(&self) -> Result<Value, ApiError> {
        if self.content_type.contains("protobuf") {
            let message = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml";
            let refused = || ApiError::new(415, "UnsupportedMediaType", message);
            return super::protobuf::decode(&self.body).ok_or_else(refused);
        }
        let malformed = |why: String| ApiError::bad_request(format!("error decoding: {why}"));
        if self.content_type.contains("yaml") {
            let text = std::str::from_utf8(&self.body).map_err(|e| malformed(e.to_string()))?;
            return serde_saphyr::from_str(text).map_err(|e| malformed(e.to_string()));
        }
        serde_json::from_slice(&self.body).map_err(|e| malformed(e.to_string()))
    }
}

/// A query string, decoded, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string.
    pub fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Query(pairs.map(|(name, value)| (percent_decode(name, true), percent_decode(value, true))).collect())
    }

    /// The first value of a parameter; empty where it is missing.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    /// A boolean as Go parses it (Python's client sends `True`); an empty one that is there counts as true.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value.is_some_and(|value| ["", "1", "t", "T", "true", "TRUE", "True"].contains(&value))
    }

    /// A whole number. None where it is missing or none.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name).parse().ok()
    }

    /// Whether a parameter has a value.
    pub fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// A whole number. None where it is missing or empty.
    ///
    /// # Errors
    /// 400 where it is none.
    pub fn whole(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        let invalid = |_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
        text.parse().map(Some).map_err(invalid)
    }

    /// Whether nothing is to be stored (`dryRun=All`).
    pub fn dry_run(&self) -> bool {
        self.get("dryRun") == "All"
    }
}

/// `%41` and, in queries, `+`.
pub(crate) fn percent_decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                at += 2;
            }
            (b'+', _) if plus => plain.push(b' '),
            (byte, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// What a handler answers. The streaming ones are driven by the server.
#[derive(Debug)]
pub enum Response {
    /// A JSON object.
    Object {
        /// The HTTP status code.
        code: u16,
        /// Seconds for a `Retry-After` header. None: no header.
        retry_after: Option<u32>,
        /// The object.
        body: Arc<Value>,
    },
    /// Plain text.
    Text {
        /// The HTTP status code.
        code: u16,
        /// The text.
        body: String,
    },
    /// A watch: to be polled until it is done.
    Watch(Box<Watch>),
    /// A container's log.
    Log(Box<LogTarget>),
    /// Exec or attach: wants an upgrade.
    Session(Box<SessionTarget>),
}

impl Response {
    /// A JSON object with a code.
    pub fn object(code: u16, body: impl Into<Arc<Value>>) -> Response {
        Response::Object { code, retry_after: None, body: body.into() }
    }

    /// A `metav1.Status` of success.
    pub fn success(code: u16) -> Response {
        Response::object(
            code,
            serde_json::json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code }),
        )
    }
}

impl From<ApiError> for Response {
    fn from(error: ApiError) -> Response {
        let body = Arc::new(error.to_status());
        Response::Object { code: error.code, retry_after: error.retry_after, body }
    }
}
