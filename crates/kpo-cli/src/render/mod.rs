//! From the core's data to sentences. Pure: the time comes in as an argument.

mod end;
mod fact;
mod gap;
mod rule;
mod story;
mod wait;
mod why;
mod words;

pub(crate) use end::{Known, ending, one_line, short as short_verdict};
pub(crate) use fact::evidence;
pub(crate) use gap::gap;
pub(crate) use rule::{failing, with_rule};
pub(crate) use story::Teller;
pub(crate) use why::{Case as WhyCase, page as why_page, record_page};
pub(crate) use words::{clause, result_limit, span as span_text};

#[cfg(test)]
mod tests;
