//! Logs: fast, and each line once.

use super::{Size, installed, kpo, kpo_run, median, mib};
use crate::Error;
use crate::lab_process::LabProcess;
use crate::process::{self, Ran, between};
use crate::table::Row;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Rounds: curl and kpo in turn.
const ROUNDS: usize = 3;
/// How often the long log is cut.
const CUTS: u64 = 100;

pub(super) fn measure(size: Size) -> Result<Vec<Row>, Error> {
    let mut rows = rate(size)?;
    rows.push(cuts(size)?);
    Ok(rows)
}

/// Bytes a second of each reader of the same log, and their peaks.
#[derive(Default)]
struct Rates {
    run: Vec<f64>,
    logs: Vec<f64>,
    stamped: Vec<f64>,
    bare: Vec<f64>,
    kubectl: Vec<f64>,
    peak: u64,
}

fn rate(size: Size) -> Result<Vec<Row>, Error> {
    let mut lab = LabProcess::start(size.divisor)?;
    let bytes = ((1 << 30) / size.divisor / 128 * 128) as f64;
    let kept = process::run(kpo_run(&lab, "bench/gib")?.args(["--name", "kept", "--on-finish=keep"]))?;
    expect_success(&kept, "kpo run --on-finish=keep")?;
    let mut rates = Rates::default();
    for _ in 0..ROUNDS {
        let rate = |ran: &Ran| bytes / ran.took().as_secs_f64();
        rates.stamped.push(rate(&timed(&mut curl(&lab, "&timestamps=true"))?));
        let ran = timed(&mut kpo_run(&lab, "bench/gib")?)?;
        rates.run.push(bytes / since_log(&mut lab, &ran)?);
        rates.peak = rates.peak.max(ran.peak);
        rates.logs.push(rate(&timed(lab.command(kpo()?).args(["logs", "kept"]))?));
        rates.bare.push(rate(&timed(&mut curl(&lab, ""))?));
        if installed("kubectl") {
            rates.kubectl.push(rate(&timed(lab.command("kubectl").args(["logs", "-f", "kept-1"]))?));
        }
    }
    Ok(rate_rows(&rates))
}

fn rate_rows(rates: &Rates) -> Vec<Row> {
    let show = |values: &[f64]| format!("{:.0} MiB/s", median(values) / f64::from(1 << 20));
    let part = median(&rates.run) / median(&rates.stamped);
    let of = |values: &[f64]| format!("{} = {:.0} %", show(values), 100.0 * median(values) / median(&rates.stamped));
    vec![
        Row::against("1 GiB of log through kpo run", of(&rates.run), "≥ 80 % of curl", part >= 0.8).beside(format!(
            "curl, same request: {}; curl without timestamps: {}; kubectl logs -f: {}",
            show(&rates.stamped),
            show(&rates.bare),
            show(&rates.kubectl)
        )),
        Row::plain("1 GiB of log through kpo logs", of(&rates.logs)),
        Row::against("peak memory of kpo run with 1 GiB of log", mib(rates.peak), "bounded", rates.peak <= 64 << 20)
            .beside("bounded: at most 64 MiB".to_owned()),
    ]
}

fn curl(lab: &LabProcess, more: &str) -> Command {
    let mut command = lab.command("curl");
    command.args(["--silent", "--insecure", "--fail", "--header", &format!("Authorization: Bearer {}", lab.at.token)]);
    command.arg(format!("{}/api/v1/namespaces/default/pods/kept-1/log?container=base&follow=true{more}", lab.at.url));
    command
}

fn timed(command: &mut Command) -> Result<Ran, Error> {
    let ran = process::run(command)?;
    expect_success(&ran, &command.get_program().to_string_lossy())?;
    Ok(ran)
}

fn expect_success(ran: &Ran, what: &str) -> Result<(), Error> {
    if ran.code == 0 { Ok(()) } else { Err(format!("{what} ended with {}", ran.code).into()) }
}

/// Seconds from the first request for the log to the end of the command.
fn since_log(lab: &mut LabProcess, ran: &Ran) -> Result<f64, Error> {
    let journal = lab.journal()?;
    let asked = journal.iter().find(|seen| seen.at >= ran.began && seen.resource == "pods/log");
    let asked = asked.ok_or("it did not ask for the log")?;
    Ok(between(asked.at, ran.ended).as_secs_f64())
}

/// A long log that is broken again and again: each line once, in order.
fn cuts(size: Size) -> Result<Row, Error> {
    let mut lab = LabProcess::start(size.divisor)?;
    let (lines, times) = (1_000_000 / size.divisor, (CUTS / size.divisor).max(1));
    lab.cut(times)?;
    let began = process::now();
    let mut child =
        kpo_run(&lab, "bench/million")?.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let output = child.stdout.take().ok_or("no standard output")?;
    let (seen, wrong) = count(BufReader::with_capacity(1 << 16, output))?;
    let ran = process::wait(&child, began)?;
    expect_success(&ran, "kpo run")?;
    let cuts = lab.cuts()?;
    let measured = format!("{seen} lines, {wrong} out of place, {cuts} cuts, {}", mib(ran.peak));
    let is_met = seen == lines && wrong == 0 && cuts == times;
    Ok(Row::against("1,000,000 lines through 100 cuts", measured, "each once", is_met)
        .beside("kubectl logs -f ends at the first cut".to_owned()))
}

/// Lines in all, and those that are not the one after the one before.
fn count(mut output: impl BufRead) -> Result<(u64, u64), Error> {
    let (mut seen, mut wrong, mut line) = (0, 0, Vec::new());
    let mut next = None;
    while output.read_until(b'\n', &mut line)? > 0 {
        let number = line.get(5..17).and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
        wrong += u64::from(number.is_none() || next.is_some_and(|next| number != Some(next)));
        next = number.map(|number| number + 1);
        seen += 1;
        line.clear();
    }
    Ok((seen, wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_comes_twice_or_is_missing_is_noticed() {
        let text = |numbers: &[u64]| numbers.iter().map(|n| format!("line {n:012} xx\n")).collect::<String>();
        assert_eq!(count(text(&[0, 1, 2]).as_bytes()).expect("read"), (3, 0));
        assert_eq!(count(text(&[0, 1, 1, 2]).as_bytes()).expect("read"), (4, 1));
        assert_eq!(count(text(&[0, 2, 3]).as_bytes()).expect("read"), (3, 1));
    }
}
