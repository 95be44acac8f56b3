//! The log against the kubelet's and containerd's rules.

use std::time::Duration;

use super::Stream::{Stderr, Stdout};
use super::encode::HEADER;
use super::*;

const T: Time = Time(1_795_471_807_000_000_000);

fn at(millis: u64) -> Time {
    T + Duration::from_millis(millis)
}

fn log() -> Arc<ContainerLog> {
    ContainerLog::in_memory(Rotation::default())
}

fn drain(reader: &mut LogReader) -> (Vec<u8>, LogRead) {
    let mut all = Vec::new();
    loop {
        match reader.read() {
            LogRead::Data(bytes) => all.extend_from_slice(&bytes),
            end => return (all, end),
        }
    }
}

fn read(log: &Arc<ContainerLog>, options: LogOptions) -> String {
    String::from_utf8(drain(&mut log.reader(options)).0).unwrap()
}

fn three_lines() -> Arc<ContainerLog> {
    let log = log();
    log.line(at(0), Stdout, "one");
    log.line(at(500), Stderr, "two");
    log.line(at(1000), Stdout, "three");
    log
}

#[test]
fn lines_come_back_in_order_with_their_timestamps() {
    let log = three_lines();
    assert_eq!(read(&log, LogOptions::default()), "one\ntwo\nthree\n");
    let stamped = LogOptions { timestamps: true, tail: Some(2), ..LogOptions::default() };
    assert_eq!(read(&log, stamped), "2026-11-23T22:10:07.500000000Z two\n2026-11-23T22:10:08.000000000Z three\n");
    assert_eq!(log.last(1), b"three\n");
    assert_eq!(log.last(0), b"");
    assert_eq!(log.last(9), b"one\ntwo\nthree\n");
    assert_eq!(log.last(u64::MAX), b"one\ntwo\nthree\n");
}

#[test]
fn the_timestamps_are_those_of_the_calendar() {
    for seconds in [0, 951_782_400, 1_709_164_800, 1_735_689_599, 4_102_444_800] {
        let time = Time(seconds * 1_000_000_000 + 7);
        let mut text = Vec::new();
        encode::stamp(&mut text, time);
        assert_eq!(String::from_utf8(text).unwrap(), time.rfc3339_nano());
    }
}

#[test]
fn since_time_is_cut_to_the_second_and_since_seconds_is_not() {
    let log = three_lines();
    assert_eq!(read(&log, LogOptions::default().since_time(at(700))), "one\ntwo\nthree\n");
    assert_eq!(read(&log, LogOptions::default().since_time(at(1000))), "three\n");
    assert_eq!(read(&log, LogOptions::default().since_seconds(at(1400), 1)), "two\nthree\n");
}

#[test]
fn the_limit_cuts_in_the_middle_of_a_line() {
    let log = three_lines();
    let limited = |limit_bytes| LogOptions { limit_bytes: Some(limit_bytes), ..LogOptions::default() };
    assert_eq!(read(&log, limited(6)), "one\ntw");
    assert_eq!(read(&log, limited(0)), "");
}

#[test]
fn one_stream_can_be_read_alone() {
    let log = three_lines();
    assert_eq!(read(&log, LogOptions { stream: Some(Stderr), ..LogOptions::default() }), "two\n");
}

#[test]
fn a_long_line_is_kept_in_parts_and_shown_as_one_with_one_timestamp() {
    let log = log();
    let long = "x".repeat(40_000);
    // In pieces as a pipe gives them.
    for piece in long.as_bytes().chunks(4096) {
        log.write(at(0), Stdout, piece);
    }
    log.write(at(1), Stdout, b"\nnext\n");
    let stamped = read(&log, LogOptions { timestamps: true, ..LogOptions::default() });
    let expected = format!("2026-11-23T22:10:07.000000000Z {long}\n2026-11-23T22:10:07.001000000Z next\n");
    assert_eq!(stamped, expected);
    // Two parts of 16 KiB, the rest, and the next line.
    assert_eq!(log.len() as usize, 4 * HEADER + 40_000 + 3 + 5);
    assert_eq!(log.last(2).len(), 40_000 - 2 * PARTIAL_LIMIT + 1 + 5);
}

#[test]
fn a_line_of_exactly_the_limit_is_whole() {
    let log = log();
    log.line(T, Stdout, &"x".repeat(PARTIAL_LIMIT));
    assert_eq!(log.len() as usize, HEADER + PARTIAL_LIMIT + 1);
    assert_eq!(log.last(9).len(), PARTIAL_LIMIT + 1);
}

#[test]
fn bytes_are_kept_as_they_are_and_an_unfinished_line_has_no_newline() {
    let log = log();
    log.write(T, Stdout, b"\xff\x00\r\n\nunfi");
    log.write(T, Stdout, b"nished");
    assert_eq!(log.last(9), b"\xff\x00\r\n\n");
    log.close(T);
    assert_eq!(log.last(9), b"\xff\x00\r\n\nunfinished");
    log.line(T, Stdout, "after the end");
    assert_eq!(log.last(9), b"\xff\x00\r\n\nunfinished");
}

#[test]
fn a_follower_waits_and_ends_with_the_log() {
    let log = log();
    let mut reader = log.reader(LogOptions { follow: true, ..LogOptions::default() });
    assert_eq!(reader.read(), LogRead::Pending);
    log.line(T, Stdout, "one");
    assert_eq!(drain(&mut reader), (b"one\n".to_vec(), LogRead::Pending));
    log.close(T);
    assert_eq!(reader.read(), LogRead::End);
}

#[tokio::test]
async fn a_waiting_follower_is_woken() {
    let log = log();
    let mut reader = log.reader(LogOptions { follow: true, tail: Some(0), ..LogOptions::default() });
    let follower = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(bytes) = reader.next().await {
            all.extend_from_slice(&bytes);
        }
        all
    });
    for number in 0..100 {
        log.line(T, Stdout, &number.to_string());
        tokio::task::yield_now().await;
    }
    log.close(T);
    let all = String::from_utf8(follower.await.unwrap()).unwrap();
    assert_eq!(all.lines().map(|line| line.parse::<u32>().unwrap()).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
}

/// Both kinds of log rotate alike: three lines of a byte are looked for each millisecond.
fn rotating(path: Option<&Path>) -> Arc<ContainerLog> {
    let rotation = Rotation { max_bytes: 3 * (HEADER as u64 + 2), max_files: 3, every: Duration::from_millis(1) };
    path.map_or_else(|| ContainerLog::in_memory(rotation), |path| ContainerLog::in_file(path, rotation).unwrap())
}

fn follower(log: &Arc<ContainerLog>) -> LogReader {
    log.reader(LogOptions { follow: true, ..LogOptions::default() })
}

#[test]
fn rotation_hides_old_lines_and_a_follower_that_keeps_up_misses_none() {
    let folder = Folder::new("rotation");
    for log in [rotating(None), rotating(Some(&folder.0.join("0.log")))] {
        let mut follower = follower(&log);
        log.write(T, Stdout, b"0\n1\n2\n");
        assert_eq!(drain(&mut follower), (b"0\n1\n2\n".to_vec(), LogRead::Pending));
        log.write(at(1), Stdout, b"3\n4\n");
        assert_eq!(log.last(9), b"3\n4\n");
        assert_eq!(drain(&mut follower), (b"3\n4\n".to_vec(), LogRead::Pending));
    }
}

#[test]
fn a_follower_that_was_never_at_an_end_before_a_rotation_stays_in_its_file_until_the_next() {
    let log = rotating(None);
    let mut follower = follower(&log);
    log.write(T, Stdout, b"0\n1\n2\n");
    log.write(at(1), Stdout, b"3\n4\n");
    assert_eq!(drain(&mut follower), (b"0\n1\n2\n".to_vec(), LogRead::Pending), "it was not told of the new file");
    log.write(at(1), Stdout, b"5\n");
    assert_eq!(follower.read(), LogRead::Pending);
    log.write(at(2), Stdout, b"6\n");
    assert_eq!(drain(&mut follower), (b"6\n".to_vec(), LogRead::Pending));
}

#[test]
fn a_follower_that_is_two_rotations_behind_reads_the_newest_file_twice() {
    let log = rotating(None);
    let mut follower = follower(&log);
    log.write(T, Stdout, b"0\n");
    assert_eq!(drain(&mut follower).1, LogRead::Pending);
    log.write(T, Stdout, b"1\n2\n");
    log.write(at(1), Stdout, b"3\n4\n5\n");
    log.write(at(2), Stdout, b"6\n7\n");
    assert_eq!(drain(&mut follower), (b"1\n2\n6\n7\n6\n7\n".to_vec(), LogRead::Pending));
}

#[test]
fn a_follow_ends_with_the_file_that_is_open_when_the_container_has_ended() {
    let log = rotating(None);
    let mut follower = follower(&log);
    log.write(T, Stdout, b"0\n1\n2\n");
    log.write(at(1), Stdout, b"3\n");
    log.close(at(2));
    assert_eq!(drain(&mut follower), (b"0\n1\n2\n".to_vec(), LogRead::End));
    assert_eq!(log.last(9), b"3\n", "it would have been there to be read");
}

#[test]
fn what_was_written_is_known_whole_however_often_it_was_rotated() {
    let log = rotating(None);
    log.keep_all();
    log.write(T, Stdout, b"0\n1\n2\n");
    log.write(at(1), Stderr, &[b'x'; 2 * PARTIAL_LIMIT + 1]);
    log.write(at(2), Stdout, b"3\n");
    log.write(at(2), Stderr, b"y\n");
    log.close(at(3));
    assert_eq!(log.last(9), [b"3\n".as_slice(), b"xy\n"].concat());
    let written = log.written();
    let texts: Vec<usize> = written.iter().map(|line| line.text.len()).collect();
    assert_eq!(texts, [1, 1, 1, 2 * PARTIAL_LIMIT + 2, 1]);
    assert_eq!((written[3].at, written[3].stream, written[4].text.as_slice()), (at(1), Stderr, b"3".as_slice()));
}

#[test]
fn between_two_looks_a_file_grows_beyond_its_size() {
    let folder = Folder::new("looks");
    for log in [rotating(None), rotating(Some(&folder.0.join("0.log")))] {
        log.write(T, Stdout, b"0\n1\n");
        log.write(at(1), Stdout, b"2\n3\n4\n5\n6\n");
        assert_eq!(log.last(9), b"0\n1\n2\n3\n4\n5\n6\n", "at the look it was not full");
        log.write(at(7), Stdout, b"7\n");
        assert_eq!(log.last(9), b"7\n");
        log.write(at(8), Stdout, b"8\n");
        assert_eq!(log.last(9), b"7\n8\n");
    }
}

#[test]
fn no_more_files_than_asked_for_are_kept() {
    let folder = Folder::new("files");
    let log = rotating(Some(&folder.0.join("0.log")));
    for number in 0..30 {
        log.line(at(number), Stdout, "x");
    }
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 3);
}

#[test]
fn a_file_is_in_the_cri_format() {
    let folder = Folder::new("cri");
    let path = folder.0.join("0.log");
    let log = ContainerLog::in_file(&path, Rotation::default()).unwrap();
    log.write(T, Stderr, b"one\ntwo");
    log.close(T);
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        "2026-11-23T22:10:07.000000000Z stderr F one\n2026-11-23T22:10:07.000000001Z stderr P two\n"
    );
    assert_eq!(log.last(1), b"two");
}

fn volume() -> LogVolume {
    LogVolume { width: 100, start: T, every: Duration::from_micros(10), stream: Stdout }
}

#[test]
fn a_volume_takes_no_room_and_reads_like_lines() {
    let log = ContainerLog::in_memory(Rotation::NEVER);
    log.line(T, Stdout, "before");
    // A gigabyte and more of text, described twice over.
    log.generate(&volume(), 0, 5_000_000);
    log.generate(&volume(), 5_000_000, 5_000_000);
    log.line(at(200_000), Stdout, "after");
    assert!(log.len() > 1 << 30);
    let tail = LogOptions { tail: Some(3), timestamps: true, ..LogOptions::default() };
    let expected = format!(
        "2026-11-23T22:11:46.999980000Z line 000009999998 {x}\n2026-11-23T22:11:46.999990000Z line 000009999999 {x}\n\
         2026-11-23T22:13:27.000000000Z after\n",
        x = "x".repeat(82)
    );
    assert_eq!(read(&log, tail), expected);
    let head = LogOptions { limit_bytes: Some(40), ..LogOptions::default() };
    assert_eq!(read(&log, head), "before\nline 000000000000 xxxxxxxxxxxxxxx");
}

#[test]
fn a_volume_reads_the_same_from_memory_and_from_a_file() {
    let folder = Folder::new("volume");
    let rotation = Rotation { max_bytes: 100_000, max_files: 2, every: Duration::from_micros(7_100) };
    let texts = [ContainerLog::in_memory(rotation), ContainerLog::in_file(&folder.0.join("0.log"), rotation).unwrap()]
        .map(|log| {
            log.generate(&volume(), 0, 2000);
            log.line(at(20), Stdout, "end");
            read(&log, LogOptions { timestamps: true, ..LogOptions::default() })
        });
    assert_eq!(texts[0], texts[1]);
    // 141 bytes a line, 710 lines a file: the third one begins with line 1420.
    assert!(texts[0].starts_with("2026-11-23T22:10:07.014200000Z line 000000001420 x"), "{}", &texts[0][..60]);
    assert_eq!(texts[0].lines().count(), 2000 - 1420 + 1);
}

/// Numbers that look random, the same ones each time (a linear congruential generator, Knuth's constants).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn whatever_is_written_in_whatever_pieces_comes_back_the_same() {
    let folder = Folder::new("pieces");
    for seed in 0..12 {
        let mut numbers = Numbers(seed);
        let log = match seed % 2 {
            0 => ContainerLog::in_memory(Rotation::NEVER),
            _ => ContainerLog::in_file(&folder.0.join("0.log"), Rotation::NEVER).unwrap(),
        };
        let mut written = [Vec::new(), Vec::new()];
        for _ in 0..20 {
            let length = numbers.below(20_000);
            // Few newlines, so that some lines are longer than a part.
            let mut byte = || match numbers.below(5000) {
                0 => b'\n',
                other => b"ab\xff\r"[(other % 4) as usize],
            };
            let piece: Vec<u8> = (0..length).map(|_| byte()).collect();
            let stream = if numbers.below(2) == 0 { Stdout } else { Stderr };
            log.write(T, stream, &piece);
            written[stream as usize].extend_from_slice(&piece);
        }
        log.close(T);
        for (stream, written) in [Stdout, Stderr].into_iter().zip(&written) {
            let options = LogOptions { stream: Some(stream), ..LogOptions::default() };
            assert!(drain(&mut log.reader(options)).0 == *written, "seed {seed}, {stream:?}");
        }
    }
}

#[test]
fn followers_that_come_at_any_time_see_each_line_once_while_others_write() {
    let log = ContainerLog::in_memory(Rotation::NEVER);
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let follow = |log: Arc<ContainerLog>| async move {
        let mut reader = log.reader(LogOptions { follow: true, ..LogOptions::default() });
        let mut all = Vec::new();
        while let Some(bytes) = reader.next().await {
            all.extend_from_slice(&bytes);
        }
        all
    };
    let mut followers = Vec::new();
    for number in 0..20_000 {
        if number % 1000 == 0 {
            followers.push(tokio.spawn(follow(Arc::clone(&log))));
        }
        log.line(T, Stdout, &number.to_string());
    }
    log.close(T);
    let expected: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    for follower in followers {
        assert!(tokio.block_on(follower).unwrap() == expected.as_bytes());
    }
}

/// A folder that is gone at the end of its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kpo-lab-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
