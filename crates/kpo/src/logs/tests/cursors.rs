//! A log that somebody else goes on with.

use super::*;

/// After so many lines of a log: its cursor, and those that come then.
async fn left_after(node: &Node, lines: usize) -> LogCursor {
    let mut log = node.start(options());
    let mut got = 0;
    while let Some(event) = log.next().await {
        if let LogEvent::Lines(batch) = event {
            got += batch.len();
            if got >= lines {
                assert_eq!(got, lines, "a chunk holds one line");
                return batch.cursors().last().expect("it has lines");
            }
        }
    }
    panic!("it has no {lines} lines");
}

fn from(cursor: LogCursor) -> LogOptions {
    LogOptions { after: Some(cursor), ..options() }
}

#[tokio::test(start_paused = true)]
async fn another_reader_goes_on_behind_the_last_line() {
    let node = Node::new(entries(&[(1, "a"), (7, "b"), (8, "c")]), [Plan::Hang(1000), Plan::EndAfter(20)]);
    node.state().chunk = 33;
    let cursor = left_after(&node, 2).await;
    let mut log = node.start(from(cursor));
    assert_eq!(within(&mut log, 10).await, ["c"]);
    log.ended();
    // It has not read the log from its beginning: what ends cleanly is looked at once more.
    assert_eq!(rest(&mut log).await, ["end"]);
    let since = "&sinceTime=2026-11-23T22%3A10%3A06Z";
    assert_eq!(node.asked()[1..], [format!("0 {FOLLOW}{since}"), format!("20 {READ}{since}")]);
}

#[tokio::test(start_paused = true)]
async fn all_was_read_before() {
    let node = Node::new(entries(&[(1, "a"), (1, "a")]), [Plan::Hang(1000)]);
    node.state().chunk = 33;
    let mut log = node.start(from(left_after(&node, 2).await));
    log.ended();
    assert_eq!(rest(&mut log).await, ["end"]);
}

#[tokio::test(start_paused = true)]
async fn like_lines_of_one_nanosecond_are_counted() {
    let node = Node::new(entries(&[(1, "a"), (1, "a"), (1, "a"), (1, "b")]), [Plan::Hang(1000)]);
    node.state().chunk = 33;
    let mut log = node.start(from(left_after(&node, 2).await));
    log.ended();
    assert_eq!(rest(&mut log).await, ["a", "b", "end"]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_within_one_nanosecond_is_no_other_file() {
    let lines: Vec<_> = (0..5000).map(|number| (1, format!("{number:05}").into_bytes())).collect();
    let node = Node::new(lines, [Plan::Hang(1_000_000)]);
    node.state().chunk = 37;
    let mut log = node.start(from(left_after(&node, 4998).await));
    log.ended();
    assert_eq!(rest(&mut log).await, ["04998", "04999", "end"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_rotated_between_two_readers_has_a_gap() {
    let node = Node::new(entries(&[(1, "a"), (2, "b"), (SECOND, "c")]), [Plan::Hang(1000)]);
    node.state().chunk = 33;
    let cursor = left_after(&node, 2).await;
    node.state().file.drain(..2);
    let mut log = node.start(from(cursor));
    log.ended();
    assert_eq!(rest(&mut log).await, ["gap 2..1000000000 Rotated", "c", "end"]);
}

#[tokio::test(start_paused = true)]
async fn a_third_reader_goes_on_where_the_second_left() {
    let node =
        Node::new(entries(&[(1, "a"), (1, "a"), (1, "b"), (1, "b"), (1, "c")]), [Plan::Hang(1000), Plan::Hang(1000)]);
    node.state().chunk = 33;
    let mut second = node.start(from(left_after(&node, 2).await));
    let mut cursors = Vec::new();
    while let Ok(Some(LogEvent::Lines(batch))) = timeout(Duration::from_secs(1), second.next()).await {
        cursors.extend(batch.cursors().last());
    }
    let mut third = node.start(from(cursors[0]));
    third.ended();
    assert_eq!(rest(&mut third).await, ["b", "c", "end"]);
}

/// What stands before a cursor is old by its time alone; not so a line behind it that the other stream stamped earlier.
#[tokio::test(start_paused = true)]
async fn a_line_behind_the_cursor_with_an_earlier_time_is_known_again_after_a_cut() {
    let node = Node::new(
        entries(&[(1000, "a"), (900, "b"), (950, "c"), (1100, "d")]),
        [Plan::Hang(1000), Plan::Cut(66), Plan::EndAfter(20)],
    );
    node.state().chunk = 33;
    let mut log = node.start(from(left_after(&node, 1).await));
    assert_eq!(within(&mut log, 10).await, ["b", "c", "d"]);
    log.ended();
    assert_eq!(rest(&mut log).await, ["end"]);
}

/// Times that stand still, creep, or jump; contents that repeat.
fn orderly_file() -> impl Strategy<Value = Vec<Entry>> {
    let step = prop_oneof![Just(0i64), 1..5i64, 900_000_000..1_100_000_000i64];
    let text = prop_oneof![Just("same".to_owned()), "[a-z]{0,3}"];
    prop::collection::vec((step, text), 1..60).prop_map(|lines| {
        let mut now = 0;
        let stamp = |(step, text): (i64, String)| {
            now += step;
            (now, text.into_bytes())
        };
        lines.into_iter().map(stamp).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever readers leave, each line comes once, in the file's order.
    #[test]
    fn each_line_once_through_any_readers(file in orderly_file(), chunk in 5..500usize, batches in 1..4usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let expected: Vec<_> = file.iter().map(|(_, text)| text.clone()).collect();
        let got = runtime.block_on(async {
            let node = Node::new(file, []);
            node.state().chunk = chunk;
            let (mut got, mut cursor) = (Vec::new(), None);
            for _ in 0..1000 {
                let mut log = node.start(LogOptions { after: cursor, ..options() });
                log.ended();
                for _ in 0..batches {
                    let event = log.next().await.expect("it has not ended");
                    if let LogEvent::Lines(batch) = &event {
                        cursor = batch.cursors().last();
                    }
                    if lines_of(event, &mut got) {
                        return got;
                    }
                }
            }
            panic!("it does not end");
        });
        prop_assert_eq!(got, expected);
    }
}
