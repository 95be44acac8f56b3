//! The API server as functions over the [`crate::Store`]: no clock, no sockets, no tasks.

pub mod admission;
pub mod auth;
pub mod defaults;
mod discovery;
mod list;
mod logs;
pub mod namespaces;
pub mod patch;
mod protobuf;
mod request;
mod rest;
mod route;
pub mod selector;
mod session;
mod shape;
mod table;
mod typed;
pub mod validate;
mod view;
mod watch;
mod write;

pub use admission::Injection;
pub use admission::quota::pod_amount;
pub use auth::{Access, Attributes, Rule, Tokens, User};
pub use discovery::GIT_VERSION;
pub use logs::LogTarget;
pub use request::{Query, Request, Response};
pub use rest::{attributes, handle};
pub use session::SessionTarget;
pub use watch::{Watch, WatchEvent};
pub use write::{Part, bind, create, delete, dry_create, evict, update};
