//! A quota that can never be met, from the API server's own words: `exceeded quota: team-a, requested: cpu=4, used: cpu=0, limited: cpu=2`
//! (`k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go`, `checkQuotas`).

use super::words::clause;

/// What is asked for beyond all that the quota has: `cpu=4 of at most 2`. `None`: it fits once others have ended, or that cannot be told.
pub(super) fn beyond(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("exceeded quota: ")?;
    let (_, rest) = rest.split_once(", requested: ")?;
    let (requested, rest) = rest.split_once(", used: ")?;
    let (_, limited) = rest.split_once(", limited: ")?;
    let limits: Vec<(&str, &str)> = pairs(limited).collect();
    let over = pairs(requested).find_map(|(name, asked)| {
        let (_, limit) = limits.iter().find(|(known, _)| *known == name)?;
        (quantity(asked)? > quantity(limit)?).then(|| format!("{name}={asked} of at most {limit}"))
    });
    over.map(|over| clause(&over))
}

fn pairs(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.split(',').filter_map(|pair| pair.trim().split_once('='))
}

/// A quantity as a number, as near as is needed to compare two (`k8s.io/apimachinery/pkg/api/resource`, suffixes).
fn quantity(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let binary = |power: i32| 1024_f64.powi(power);
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_fit_is_told_from_what_is_full() {
        let of = |requested: &str, limited: &str| {
            beyond(&format!(
                "pods \"t-1\" is forbidden: exceeded quota: q, requested: {requested}, used: pods=1, limited: {limited}"
            ))
        };
        for (requested, limited, wanted) in [
            ("pods=1", "pods=1", None),
            ("pods=1", "pods=0", Some("pods=1 of at most 0")),
            ("requests.cpu=1500m,pods=1", "requests.cpu=1,pods=5", Some("requests.cpu=1500m of at most 1")),
            ("limits.memory=1Gi", "limits.memory=1025Mi", None),
            ("limits.memory=1Gi", "limits.memory=1G", Some("limits.memory=1Gi of at most 1G")),
            ("limits.memory=1e9", "limits.memory=1", None),
        ] {
            assert_eq!(of(requested, limited).as_deref(), wanted, "{requested} {limited}");
        }
        assert_eq!(beyond("must specify limits.cpu"), None);
    }
}
