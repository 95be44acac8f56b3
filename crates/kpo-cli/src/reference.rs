//! `docs/cli.md`, generated from the flags.

use clap::{Arg, Command};
use std::fmt::Write as _;

/// The reference of the command line as Markdown. A test compares it with `docs/cli.md`; with `KPO_BLESS=1` it writes it.
pub fn reference() -> String {
    let mut root = crate::command("kpo");
    root.build();
    let mut text = String::from(
        "# The command line\n\nGenerated from the flags' own help (`KPO_BLESS=1 cargo test -p kpo-cli --test reference`).\n",
    );
    about(&mut text, &root);
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        section(&mut text, command);
    }
    for topic in crate::topics::NAMES.iter().filter(|topic| **topic != "exit-codes") {
        let page = crate::topics::topic(topic).unwrap_or_default();
        let _ = writeln!(text, "\n## kpo help {topic}\n\n```text\n{}\n```", page.trim_end());
    }
    text.push_str("\n## Environment\n\n| variable | meaning |\n|---|---|\n");
    for variable in &crate::env::ALL {
        let _ = writeln!(text, "| `{}` | {} |", variable.name, variable.meaning);
    }
    text.push_str("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in crate::error::exit_codes() {
        let _ = writeln!(text, "| {code} | {meaning} |");
    }
    text
}

fn section(text: &mut String, command: &Command) {
    let _ = writeln!(text, "\n## kpo {}", command.get_name());
    about(text, command);
    let mut usage = command.clone();
    let _ = writeln!(text, "\n```text\n{}\n```", usage.render_usage());
    let mut heading = None;
    for argument in command.get_arguments().filter(|argument| argument.get_id() != "help" && !argument.is_hide_set()) {
        let own = argument.get_help_heading().unwrap_or("Arguments");
        if heading != Some(own) {
            let _ = writeln!(text, "\n{own}\n\n| flag | meaning |\n|---|---|");
            heading = Some(own);
        }
        let _ = writeln!(text, "| `{}` | {} |", flag(argument), meaning(argument));
    }
    if let Some(examples) = command.get_after_help() {
        let _ = writeln!(text, "\n```text\n{examples}\n```");
    }
}

fn about(text: &mut String, command: &Command) {
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        let _ = writeln!(text, "\n{about}");
    }
}

fn flag(argument: &Arg) -> String {
    argument.to_string().replace('|', "\\|")
}

fn meaning(argument: &Arg) -> String {
    let mut text = argument.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
    let shown = |value: &clap::builder::PossibleValue| {
        let help = value.get_help().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("`{}`{help}", value.get_name())
    };
    let values: Vec<String> = argument.get_possible_values().iter().map(shown).collect();
    if argument.get_action().takes_values() && !values.is_empty() {
        let _ = write!(text, ". One of {}", values.join(", "));
    }
    if let Some(default) = argument.get_default_values().first().and_then(|value| value.to_str()) {
        let _ = write!(text, ". Default: `{default}`");
    }
    text
}
