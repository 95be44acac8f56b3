//! From the core's data to sentences. Pure: the time comes in as an argument.

mod asked;
mod end;
mod fact;
mod gap;
mod leave;
mod living;
mod next;
mod quota;
mod rule;
mod story;
mod wait;
mod why;
mod words;

pub(crate) use asked::Asked;
pub(crate) use end::{Known, ending, heading, in_doubt, kept, one_line, short as short_verdict};
pub(crate) use fact::evidence;
pub(crate) use gap::gap;
pub(crate) use leave::Leaving;
pub(crate) use next::{Log, Preemptor, registered};
pub(crate) use rule::{explained, failing, is_denied, with_rule};
pub(crate) use story::Teller;
pub(crate) use why::{Case as WhyCase, events_page, page as why_page, record_page};
pub(crate) use words::{clause, minute, program, result_limit, span as span_text, unquoted};

#[cfg(test)]
mod tests;
