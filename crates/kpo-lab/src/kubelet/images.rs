//! Images: names only. Any of them "pulls", at once or as slowly as a script says, or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::time::Time;

/// What happens when an image is pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull {
    /// It arrives after this long.
    Takes(Duration),
    /// It fails after this long, with the runtime's words.
    Fails {
        /// How long the attempt takes.
        after: Duration,
        /// The runtime's error.
        message: String,
    },
}

/// What a script says of images: the most exact rule counts, of several the last; without one an image is there at once.
#[derive(Clone, Debug, Default)]
pub struct Images {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: String,
    node: Option<String>,
    pull: Pull,
}

impl Rule {
    /// An exact name beats a pattern, a rule for one node one for all.
    fn rank(&self) -> (bool, bool) {
        (!self.pattern.contains('*'), self.node.is_some())
    }
}

impl Images {
    /// Says how images matching `pattern` (with `*`) are pulled from now on, on one node or (None) on all.
    pub fn set(&mut self, pattern: &str, node: Option<&str>, pull: Pull) {
        self.rules.retain(|rule| rule.pattern != pattern || rule.node.as_deref() != node);
        self.rules.push(Rule { pattern: pattern.to_owned(), node: node.map(str::to_owned), pull });
    }

    /// How a node gets the image; None where it is present.
    pub(crate) fn pull(&self, image: &str, node: &str) -> Option<&Pull> {
        let fits = |rule: &&Rule| {
            crate::script::matches(&rule.pattern, image)
                && rule.node.as_deref().is_none_or(|pattern| crate::script::matches(pattern, node))
        };
        self.rules.iter().filter(fits).max_by_key(|rule| rule.rank()).map(|rule| &rule.pull)
    }
}

/// Whether a name is one that a container runtime can parse (`distribution/reference`): lower-case paths, a tag, a digest.
pub(crate) fn is_valid_name(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let word = |text: &str, extra: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    let parts: Vec<&str> = path.split('/').collect();
    let lower = |part: &str| word(part, "._-") && !part.chars().any(|c| c.is_ascii_uppercase());
    let (host, rest) =
        if is_host(parts[0]) && parts.len() > 1 { (Some(parts[0]), &parts[1..]) } else { (None, &parts[..]) };
    host.is_none_or(|host| word(host, ".:-"))
        && rest.iter().all(|part| lower(part))
        && tag.is_none_or(|tag| word(tag, "._-") && tag.len() <= 128)
        && digest.is_none_or(|digest| {
            digest.split_once(':').is_some_and(|(kind, hex)| word(kind, "+._-") && hex.len() >= 32)
        })
}

fn is_host(part: &str) -> bool {
    part.contains('.') || part.contains(':') || part == "localhost"
}

/// The name as containerd reports it: with registry and tag.
pub(crate) fn full_reference(image: &str) -> String {
    let first = image.split('/').next().unwrap_or_default();
    let named = match image.split('/').count() {
        1 => format!("docker.io/library/{image}"),
        _ if is_host(first) => image.to_owned(),
        _ => format!("docker.io/{image}"),
    };
    let last = named.rsplit('/').next().unwrap_or_default();
    if last.contains(':') || named.contains('@') { named } else { format!("{named}:latest") }
}

/// An identifier that follows from the name.
pub(crate) fn id(image: &str) -> String {
    let digest = Sha256::digest(full_reference(image).as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// One image's way onto one pod's machine: backed off after failures, 10 s doubling to 5 min (`MaxContainerBackOff`, `imageBackOff`).
#[derive(Clone, Debug, Default)]
pub(crate) struct BackOff {
    /// By image: until when no attempt is made, how long the last wait was, what went wrong.
    entries: BTreeMap<String, (Time, Duration, String)>,
}

impl BackOff {
    const FIRST: Duration = Duration::from_secs(10);
    const MOST: Duration = Duration::from_secs(300);

    /// The last failure, where no attempt is due yet.
    pub(crate) fn holds(&self, image: &str, now: Time) -> Option<&str> {
        self.entries.get(image).filter(|(until, _, _)| now < *until).map(|(_, _, message)| message.as_str())
    }

    pub(crate) fn fail(&mut self, image: &str, now: Time, message: &str) {
        let last = self.entries.get(image).map(|(_, wait, _)| *wait);
        let wait = last.map_or(BackOff::FIRST, |wait| (wait * 2).min(BackOff::MOST));
        self.entries.insert(image.to_owned(), (now + wait, wait, message.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_a_runtime_parses_them() {
        for (name, valid) in [
            ("busybox", true),
            ("busybox:1.36", true),
            ("nowhere.invalid/none:1", true),
            ("localhost:5000/a/b:c", true),
            ("Busybox", false),
            ("busy box", false),
            ("busybox:", false),
            ("", false),
            ("a//b", false),
        ] {
            assert_eq!(is_valid_name(name), valid, "{name}");
        }
    }

    #[test]
    fn references_are_completed() {
        assert_eq!(full_reference("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(full_reference("team/app:1"), "docker.io/team/app:1");
        assert_eq!(full_reference("ghcr.io/a/b"), "ghcr.io/a/b:latest");
    }

    #[test]
    fn backoff_doubles_up_to_five_minutes() {
        let (mut backoff, mut now) = (BackOff::default(), Time::from_secs(0));
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            backoff.fail("x", now, "no");
            assert_eq!(backoff.holds("x", now), Some("no"));
            now += Duration::from_secs(seconds);
            assert_eq!(backoff.holds("x", now), None);
        }
    }
}
