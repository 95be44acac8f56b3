//! A log that is longer than what hardly a kubelet rotates: whether its follow came to its end is told by its last lines.

use super::*;

/// 64 KiB and more in one second, then these lines.
fn long(end: &[&str]) -> Vec<Entry> {
    let lines = (0..700).map(|number| (number, format!("{number:0100}").into_bytes()));
    let end = end.iter().map(|line| (1000, line.as_bytes().to_vec()));
    lines.chain(end).collect()
}

/// What comes after the end of a follow that gave so many lines, and what was asked for then.
async fn after_the_follow(file: Vec<Entry>, seen: usize, plan: Plan) -> (Vec<String>, Vec<String>) {
    let unseen = file[seen..].to_vec();
    let node = Node::new(file[..seen].to_vec(), [Plan::EndAfter(20), plan]);
    let mut log = node.start(options());
    assert_eq!(within(&mut log, 10).await.len(), seen);
    log.ended();
    node.state().file.extend(unseen);
    (rest(&mut log).await, node.asked()[1..].to_vec())
}

const SINCE: &str = "&sinceTime=2026-11-23T22%3A10%3A06Z";

fn peek() -> String {
    format!("20 {READ}{SINCE}&tailLines=10")
}

#[tokio::test(start_paused = true)]
async fn a_long_log_that_ends_as_it_was_seen_is_not_read_again() {
    let (said, asked) = after_the_follow(long(&["a"]), 701, Plan::Whole).await;
    assert_eq!(said, ["end"]);
    assert_eq!(asked, [peek()]);
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_on_is_read_again() {
    let (said, asked) = after_the_follow(long(&["a", "b"]), 701, Plan::Whole).await;
    assert_eq!(said, ["b", "end"]);
    assert_eq!(asked, [peek(), format!("20 {READ}{SINCE}")]);
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_in_like_lines_is_counted() {
    let (said, asked) = after_the_follow(long(&["a"; 12]), 711, Plan::Whole).await;
    assert_eq!(said, ["a", "end"]);
    assert_eq!(asked, [peek(), format!("20 {READ}{SINCE}")]);
}

/// A runtime that stamps what it has read at once with one time.
#[tokio::test(start_paused = true)]
async fn one_that_ends_in_lines_that_come_again_is_counted() {
    let (said, asked) = after_the_follow(long(&["a", "b"].repeat(7)), 712, Plan::Whole).await;
    assert_eq!(said, ["a", "b", "end"]);
    assert_eq!(asked, [peek(), format!("20 {READ}{SINCE}")]);
}

#[tokio::test(start_paused = true)]
async fn one_whose_end_cannot_be_read_at_once_is_read_again() {
    let failures =
        [Plan::Refuse(500, "InternalError", "no"), Plan::Cut(200), Plan::Cut(0), Plan::Words("no such file")];
    for plan in failures {
        let (said, asked) = after_the_follow(long(&["a"]), 701, plan).await;
        assert_eq!(said, ["end"]);
        assert_eq!(asked, [peek(), format!("20 {READ}{SINCE}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_whose_end_is_silent_is_read_again() {
    let (said, asked) = after_the_follow(long(&["a"]), 701, Plan::Hang(300)).await;
    assert_eq!(said, ["end"]);
    assert_eq!(asked, [peek(), format!("30020 {READ}{SINCE}")]);
}
