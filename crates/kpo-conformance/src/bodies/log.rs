//! Logs: each line once.

use super::shell;
use crate::Error;
use crate::cluster::Namespace;

/// More than the 10 MiB at which a kubelet rotates, which it looks at every 10 s (`containerLogMonitorInterval`).
const LINES: usize = 500_000;

/// What a rotation takes away before the log is followed at all nobody can hand out any more: the burst waits for its follower.
pub(super) async fn burst(namespace: &Namespace<'_>) -> Result<(), Error> {
    let script = format!("sleep 2; seq 1 {LINES} | sed 's/^/this is line number /'");
    let ended = namespace.kpo("run", &shell(&[], &script)).await?.exits(0)?;
    let expected = (1..=LINES).map(|number| format!("this is line number {number}"));
    let mut lines = ended.stdout.lines();
    for line in expected {
        let is = lines.next();
        if is != Some(&line) {
            return Err(format!("expected {line:?}, is {is:?}; kpo said: {}", ended.stderr).into());
        }
    }
    lines.next().map_or(Ok(()), |line| Err(format!("a line too many: {line:?}").into()))
}

pub(super) async fn several_containers(namespace: &Namespace<'_>) -> Result<(), Error> {
    let side = r#"spec.containers[1]={"name":"side","image":"busybox:1","command":["sh","-c","echo aside"]}"#;
    let ended = namespace.kpo("run", &shell(&["--set", side], "sleep 2; echo hello")).await?;
    ended.exits(0)?.prints("hello\n")?.says("[side] aside").map(drop)
}
