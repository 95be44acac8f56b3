//! Every way in which an attempt ends, as a table: what was seen, and what it means.

mod disruptions;
mod ends;
mod pods;
mod started;
mod steps;
