//! Pages of help that the documentation has too: who has only the program has no docs/.

use crate::render;
use kpo_core::Reason;

/// docs/preemption.md
const PREEMPTION: &str = include_str!("../../../docs/preemption.md");

/// The page of that name: `preemption`, `reasons`, or a reason's.
pub(crate) fn page(name: &str) -> Option<String> {
    match name {
        "preemption" => Some(PREEMPTION.to_owned()),
        "reasons" => Some(reasons()),
        _ => Reason::ALL.into_iter().find(|reason| reason.anchor() == name || reason.code() == name).map(reason),
    }
}

fn reasons() -> String {
    let kpo = render::program();
    let mut text = format!("Reasons: why a task, or an attempt of it, is as it is. Of one: {kpo} help REASON\n\n");
    for reason in Reason::ALL {
        text.push_str(&format!("  {:<28}{}\n", reason.anchor(), reason.sentence()));
    }
    text
}

fn reason(reason: Reason) -> String {
    let (code, exit, sentence, next) =
        (reason.code(), reason.exit_code(), reason.sentence(), render::unquoted(reason.next_step()));
    let example = reason.example();
    format!(
        "{}: {sentence}\n\n  code         {code}\n  exit code    {exit}, where the program's own is not returned\n  what to do   {next}\n  example      {example}\n",
        reason.anchor()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that a message names, or that a page does, has a page of its own.
    #[test]
    fn every_reason_has_a_page() {
        for reason in Reason::ALL {
            let text = page(&reason.anchor()).unwrap();
            assert!(text.contains(reason.code()) && !text.contains('`'), "{text}");
            assert_eq!(page(reason.code()), Some(text));
            assert!(page("reasons").unwrap().contains(&format!("  {} ", reason.anchor())), "{reason:?}");
        }
        assert!(page("preemption").unwrap().contains("startupTaints"));
        assert_eq!(page("nothing"), None);
    }
}
