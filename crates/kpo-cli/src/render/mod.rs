//! From the core's data to sentences. Pure: the time comes in as an argument.

mod end;
mod fact;
mod story;
mod wait;
mod why;
mod words;

pub(crate) use end::{Ending, ending, one_line};
pub(crate) use story::{Line, Teller};
pub(crate) use why::{Case as WhyCase, page as why_page};
pub(crate) use words::span as span_text;
