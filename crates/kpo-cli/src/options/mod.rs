//! Flags that several commands share, and their values.

mod connection;
mod duration;
mod form;
pub(crate) mod names;
mod policy;
mod sidecar;

pub(crate) use connection::ConnectionArgs;
pub(crate) use duration::{Limit, limit, span};
pub(crate) use form::Form;
pub(crate) use policy::{Disturb, ExitZero, OnSigterm, OnUnsigned, RerunWhen, Transport, on_finish, on_sigterm};
pub(crate) use sidecar::{Resources, resources, security_context};
