//! The API server as functions over the [`crate::Store`]: no clock, no sockets, no tasks.

pub mod admission;
pub mod defaults;
pub mod namespaces;
pub mod patch;
pub mod selector;
pub mod validate;
mod write;

pub use admission::Injection;
pub use admission::quota::pod_amount;
pub use write::{Part, bind, create, delete, dry_create, evict, update};
