//! The table.

use std::fmt;

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) figure: &'static str,
    pub(crate) measured: String,
    /// Empty where there is none.
    pub(crate) target: &'static str,
    /// `None` where there is no target.
    pub(crate) is_met: Option<bool>,
    pub(crate) baseline: String,
}

impl Row {
    /// A figure with a target.
    pub(crate) fn against(figure: &'static str, measured: String, target: &'static str, is_met: bool) -> Self {
        Self { figure, measured, target, is_met: Some(is_met), baseline: String::new() }
    }

    /// A figure without one.
    pub(crate) fn plain(figure: &'static str, measured: String) -> Self {
        Self { figure, measured, target: "", is_met: None, baseline: String::new() }
    }

    /// With what it is measured beside.
    pub(crate) fn beside(mut self, baseline: String) -> Self {
        self.baseline = baseline;
        self
    }

    fn cells(&self) -> [&str; 5] {
        let verdict = match self.is_met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        [self.figure, &self.measured, self.target, verdict, &self.baseline]
    }
}

const HEAD: [&str; 5] = ["figure", "measured", "target", "", "beside it, in the same run"];

/// All figures, as a table that is also Markdown.
pub(crate) struct Table<'a>(pub(crate) &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = HEAD.map(str::len);
        for row in self.0 {
            for (width, cell) in widths.iter_mut().zip(row.cells()) {
                *width = (*width).max(cell.chars().count());
            }
        }
        line(f, HEAD, widths)?;
        writeln!(f, "|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"))?;
        self.0.iter().try_for_each(|row| line(f, row.cells(), widths))
    }
}

fn line(f: &mut fmt::Formatter<'_>, cells: [&str; 5], widths: [usize; 5]) -> fmt::Result {
    for (cell, width) in cells.into_iter().zip(widths) {
        write!(f, "| {cell:width$} ")?;
    }
    writeln!(f, "|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_misses_its_target_says_so() {
        let rows = [Row::against("a", "1".into(), "≤ 2", true), Row::against("b", "3".into(), "≤ 2", false)];
        let text = Table(&rows).to_string();
        let verdicts: Vec<&str> = text.lines().skip(2).filter_map(|row| row.split('|').nth(4)).map(str::trim).collect();
        assert_eq!(verdicts, ["met", "MISSED"]);
    }
}
