//! What kubectl asks a plugin to complete (`kubectl_complete-kpo`): the words so far, the last of them unfinished.
//!
//! Candidates come a line each, with a tab before their description, and last a directive
//! (`ShellCompDirective` of cobra): whether the shell may complete files where there are none.

use clap::{Arg, Command};

/// Files may be completed.
const DEFAULT: &str = ":0";
/// Files may not.
const NO_FILES: &str = ":4";

/// The script that a user puts on the PATH as `kubectl_complete-kpo`.
pub(crate) const SCRIPT: &str = "#!/bin/sh\n# Save it as kubectl_complete-kpo in a folder of your PATH, and make it executable.\nexec kubectl-kpo __complete \"$@\"\n";

/// The answer for these words.
pub(crate) fn answer(root: &mut Command, words: &[String]) -> String {
    root.build();
    let (current, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let Some(command) = before.iter().find_map(|word| root.find_subcommand(word)) else {
        let named = root.get_subcommands().filter(|command| !command.is_hide_set());
        let lines = named.map(|command| (command.get_name().to_owned(), about(command.get_about())));
        return listed(lines.collect(), current, NO_FILES);
    };
    if let Some(argument) = before.last().and_then(|word| valued(command, word)) {
        return values(argument, "", current);
    }
    match current.split_once('=') {
        Some((flag, value)) => valued(command, flag)
            .map_or_else(|| format!("{DEFAULT}\n"), |argument| values(argument, &format!("{flag}="), value)),
        None if current.starts_with('-') => {
            let flags = command.get_arguments().filter(|argument| !argument.is_hide_set());
            let lines = flags.filter_map(|flag| Some((format!("--{}", flag.get_long()?), about(flag.get_help()))));
            listed(lines.collect(), current, NO_FILES)
        }
        None => format!("{DEFAULT}\n"),
    }
}

/// The flag of that spelling, if a value follows it.
fn valued<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let flag = command.get_arguments().find(|flag| {
        let long = flag.get_long().map(|long| format!("--{long}"));
        let short = flag.get_short().map(|short| format!("-{short}"));
        [long, short].iter().flatten().any(|name| name == word)
    });
    flag.filter(|flag| flag.get_action().takes_values())
}

fn values(argument: &Arg, prefix: &str, current: &str) -> String {
    let known = argument.get_possible_values();
    let lines = known.iter().map(|value| (format!("{prefix}{}", value.get_name()), about(value.get_help())));
    let lines: Vec<_> = lines.collect();
    let directive = if lines.is_empty() { DEFAULT } else { NO_FILES };
    listed(lines, &format!("{prefix}{current}"), directive)
}

fn about(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn listed(lines: Vec<(String, String)>, current: &str, directive: &str) -> String {
    let fitting = lines.into_iter().filter(|(name, _)| name.starts_with(current));
    let lines: String = fitting.map(|(name, about)| format!("{name}\t{about}\n")).collect();
    format!("{lines}{directive}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> (Vec<String>, String) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let answer = answer(&mut crate::command("kubectl kpo"), &words);
        let (lines, directive) = answer.trim_end().rsplit_once('\n').unwrap_or(("", answer.trim_end()));
        let names = lines.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect();
        (names, directive.to_owned())
    }

    #[test]
    fn commands_flags_and_their_values_are_completed() {
        assert_eq!(names(&["a"]), (vec!["attach".to_owned()], NO_FILES.to_owned()));
        assert!(names(&[""]).0.contains(&"run".to_owned()) && !names(&[""]).0.contains(&"__complete".to_owned()));
        assert_eq!(names(&["run", "--rerun-s"]).0, ["--rerun-started"]);
        assert_eq!(names(&["run", "--rerun", "i"]).0, ["if-not-started", "idempotent"]);
        assert_eq!(names(&["run", "--rerun=un"]).0, ["--rerun=until-commit"]);
        assert_eq!(names(&["ls", "-o", ""]).0, ["json", "yaml"]);
        assert_eq!(names(&["run", "-f", ""]), (vec![], DEFAULT.to_owned()));
        assert_eq!(names(&["run", ""]), (vec![], DEFAULT.to_owned()));
        assert_eq!(names(&["attach", "--protect"]), (vec![], NO_FILES.to_owned()));
    }
}
