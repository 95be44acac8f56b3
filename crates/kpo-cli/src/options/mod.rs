//! Flags that several commands share, and their values.

mod connection;
mod duration;
mod policy;
mod sidecar;

pub(crate) use connection::ConnectionArgs;
pub(crate) use duration::{Limit, limit, span};
pub(crate) use policy::{Disturb, ExitZero, OnSigterm, OnUnsigned, RerunWhen, Transport, on_finish};
pub(crate) use sidecar::{Resources, resources, security_context};
