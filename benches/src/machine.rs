//! The machine that was measured.

use std::fs;

/// Cores, processor, memory, kernel; how busy it was; and the day.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let gib = memory.unwrap_or_default() / f64::from(1 << 20);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    format!("machine: {cores} cores, {model}, {gib:.1} GiB, Linux {}; load before: {load}; {}", kernel.trim(), today())
}

fn read(path: &str) -> String {
    // Elsewhere than on Linux there are no such files: the line has holes then.
    fs::read_to_string(path).unwrap_or_default()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn today() -> String {
    let now = kpo_lab::Time::wall_clock().rfc3339();
    now.split('T').next().unwrap_or_default().to_owned()
}
