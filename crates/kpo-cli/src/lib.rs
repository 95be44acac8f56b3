//! The kpo command line: flags in, sentences out. All decisions are kpo-core's, all requests kpo's.
//!
//! One file a command (`commands/`), whose `Args` are its help; `render` makes sentences of the core's data; `printer` decides what goes
//! where. `docs/cli.md` is generated from the flags (see `reference`).

mod app;
mod audit;
mod case;
mod commands;
mod complete;
mod connect;
mod dates;
mod env;
mod error;
mod files;
mod labs;
mod options;
mod pages;
mod printer;
mod records;
mod reference;
mod render;
mod retries;
mod session;
mod signals;
mod story;
mod topics;
mod trace;

pub use app::{command, main, run};
pub use audit::{Audited, audit};
pub use reference::reference;
pub use story::{Role, Story};
