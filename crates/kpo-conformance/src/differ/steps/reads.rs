//! Requests that read, and the watches that a sequence is followed with.

use super::{Body, JSON, Step, pick, pod};
use fastrand::Rng;

/// The queries of the watches that a sequence is followed with: from its beginning, all and some, and one that begins elsewhere.
pub(in crate::differ) fn watches(seed: u64) -> [String; 3] {
    let mut rng = Rng::with_seed(!seed);
    let selector = pick(&mut rng, &SELECTORS);
    let start = pick(&mut rng, &STARTS);
    let bookmarks = pick(&mut rng, &["", "&allowWatchBookmarks=true"]);
    let narrowed = pick(&mut rng, &["", selector]);
    [
        "resourceVersion=$began".to_owned(),
        format!("resourceVersion=$began&{selector}{bookmarks}"),
        format!("{start}&{narrowed}"),
    ]
}

/// Each matches the marker.
const SELECTORS: [&str; 8] = [
    "labelSelector=app%3Dx",
    "labelSelector=app",
    "labelSelector=app%20in%20(x,w)",
    "labelSelector=app!%3Dy",
    "labelSelector=!more",
    "fieldSelector=spec.nodeName%3Dghost",
    "fieldSelector=status.phase%3DPending",
    "fieldSelector=metadata.name!%3Da",
];

const STARTS: [&str; 6] = [
    "resourceVersion=",
    "resourceVersion=0",
    "resourceVersion=$first-version:a",
    "resourceVersion=$version:b",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=$version:z",
];

fn read(path: String) -> Step {
    Step { method: "GET", path, content: JSON, body: Body::None }
}

pub(super) fn get(rng: &mut Rng) -> Step {
    let query =
        pick(rng, &["", "", "", "/status", "?resourceVersion=0", "?resourceVersion=$list", "?resourceVersion=abc"]);
    read(format!("{}{query}", pod(rng)))
}

pub(super) fn list(rng: &mut Rng) -> Step {
    let query = match rng.u32(..6) {
        0 | 1 => pick(rng, &LABELS),
        2 => pick(rng, &FIELDS),
        3 => pick(rng, &REFUSED),
        4 => pick(rng, &REFUSED_WATCHES),
        _ => pick(rng, &VERSIONS),
    };
    read(format!("pods?{query}"))
}

pub(super) fn page(rng: &mut Rng) -> Step {
    let query = pick(
        rng,
        &[
            "limit=1",
            "limit=2",
            "limit=1&labelSelector=app",
            "limit=1&fieldSelector=spec.nodeName%3D",
            "limit=0",
            "limit=-1",
        ],
    );
    let token =
        pick(rng, &["", "", "&continue=$continue", "&continue=$continue", "&continue=$continue", "&continue=abc"]);
    read(format!("pods?{query}{token}"))
}

const LABELS: [&str; 16] = [
    "",
    "labelSelector=app%3Dx",
    "labelSelector=app!%3Dx",
    "labelSelector=app%20notin%20(x)",
    "labelSelector=!app",
    "labelSelector=app%20in%20(x,%20w),!more",
    "labelSelector=app%3D",
    "labelSelector=app%3D%3D%3Dx",
    "labelSelector=a%20b",
    "labelSelector=app%20in%20x",
    "labelSelector=app%20in%20(x",
    "labelSelector=app,",
    "labelSelector=app%3Ex",
    "labelSelector=app%3D-x",
    "labelSelector=A/b/c",
    "labelSelector=!!app",
];

const FIELDS: [&str; 12] = [
    "fieldSelector=status.phase%3DPending",
    "fieldSelector=status.phase!%3DPending",
    "fieldSelector=metadata.name%3Da,spec.nodeName%3Dghost",
    "fieldSelector=spec.nodeName!%3Dghost",
    "fieldSelector=spec.nodeName%3D",
    "fieldSelector=spec.restartPolicy%3DNever",
    "fieldSelector=spec.schedulerName%3Dnobody",
    "fieldSelector=spec.serviceAccountName%3Ddefault",
    "fieldSelector=spec.hostNetwork%3Dtrue",
    "fieldSelector=status.podIP%3D10.0.0.1",
    "fieldSelector=spec.foo%3Dbar",
    "fieldSelector=status.phase",
];

const REFUSED: [&str; 9] = [
    "resourceVersion=abc",
    "resourceVersion=-1",
    "resourceVersion=1&resourceVersionMatch=Sometimes",
    "resourceVersionMatch=Exact",
    "resourceVersionMatch=Sometimes&continue=abc",
    "resourceVersionMatch=Exact&resourceVersion=0",
    "sendInitialEvents=true",
    "limit=x",
    "fieldSelector=spec.foo%3Dbar&labelSelector=a%20b",
];

/// One that is not refused ends by itself.
const REFUSED_WATCHES: [&str; 6] = [
    "watch=true&timeoutSeconds=1&resourceVersion=abc",
    "watch=true&timeoutSeconds=1&resourceVersionMatch=NotOlderThan",
    "watch=true&timeoutSeconds=1&resourceVersionMatch=Exact&sendInitialEvents=true",
    "watch=true&timeoutSeconds=1&sendInitialEvents=true",
    "watch=true&timeoutSeconds=1&labelSelector=a%20b",
    "watch=true&timeoutSeconds=1&fieldSelector=spec.foo%3Dbar",
];

const VERSIONS: [&str; 7] = [
    "resourceVersion=0",
    "resourceVersion=$list",
    "resourceVersion=$list&resourceVersionMatch=Exact",
    "resourceVersion=$list&resourceVersionMatch=NotOlderThan",
    "resourceVersion=$began&resourceVersionMatch=Exact",
    "resourceVersion=$began&resourceVersionMatch=NotOlderThan",
    "resourceVersion=0&resourceVersionMatch=NotOlderThan",
];
