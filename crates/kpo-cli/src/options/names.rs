//! Names as they are given: what no task, pod or namespace can be called is refused before anybody is asked.

use kpo::manifest::name;

/// The longest name of a pod: a DNS subdomain (RFC 1123).
const LONGEST_POD: usize = 253;

/// A task's id.
pub(crate) fn task(text: &str) -> Result<String, String> {
    name::task(text).map(|()| text.to_owned()).map_err(|problem| problem.to_string())
}

/// A namespace.
pub(crate) fn namespace(text: &str) -> Result<String, String> {
    name::namespace(text).map(|()| text.to_owned()).map_err(|problem| problem.to_string())
}

/// A pod's name, or a task's id: labels with dots between them.
pub(crate) fn pod(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label =
        |part: &str| part.starts_with(plain) && part.ends_with(plain) && part.chars().all(|c| plain(c) || c == '-');
    match text.len() <= LONGEST_POD && text.split('.').all(is_label) {
        true => Ok(text.to_owned()),
        false => Err("no pod has such a name: it is made of lower-case letters, digits, '-' and '.'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_another_path_is_no_name() {
        for good in ["d7-1", "0", "a.b-c.d", &"a".repeat(253)] {
            assert_eq!(pod(good), Ok(good.to_owned()));
        }
        for bad in ["", "d7-1/status", "..", ".", "a..b", "-a", "a-", "A", "a b", "a%2Fb", "ä", &"a".repeat(254)] {
            assert!(pod(bad).is_err(), "{bad}");
        }
        for bad in ["", "default/../kube-system", "a.b", "..", "A"] {
            assert!(namespace(bad).is_err() && task(bad).is_err(), "{bad}");
        }
    }
}
