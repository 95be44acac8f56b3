//! Processes that are measured: when they began and ended, what they took.

use crate::Error;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Just before it was made: nanoseconds since the epoch, as the lab counts them.
    pub(crate) began: i64,
    /// Just after its end was seen.
    pub(crate) ended: i64,
    /// Its exit code; -1 after a signal.
    pub(crate) code: i32,
    /// The largest resident set, in bytes. Not below this program's own, which it was forked from.
    pub(crate) peak: u64,
    /// User and system time.
    pub(crate) cpu: Duration,
}

impl Ran {
    pub(crate) fn took(&self) -> Duration {
        between(self.began, self.ended)
    }
}

/// The time from one moment to another; zero if they are in the other order.
pub(crate) fn between(from: i64, to: i64) -> Duration {
    Duration::from_nanos(u64::try_from(to - from).unwrap_or(0))
}

/// Nanoseconds since the epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Runs a command to its end, its output thrown away.
pub(crate) fn run(command: &mut Command) -> Result<Ran, Error> {
    let (child, began) = spawn(command)?;
    wait(&child, began)
}

/// The same, with the largest resident set as the system tells it of the process itself, looked at ten times a second: for a program that has
/// become larger than what it runs.
pub(crate) fn run_sampled(command: &mut Command) -> Result<Ran, Error> {
    let (child, began) = spawn(command)?;
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(child.id(), &has_ended));
        let ran = wait(&child, began);
        has_ended.store(true, Ordering::Release);
        let peak = sampler.join().map_err(|_| "the sampler panicked")?;
        Ok(Ran { peak, ..ran? })
    })
}

/// The child, and when it was made.
fn spawn(command: &mut Command) -> Result<(Child, i64), Error> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = now();
    let child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    Ok((child, began))
}

fn sample(pid: u32, has_ended: &AtomicBool) -> u64 {
    let mut peak = 0;
    loop {
        let size = size(&pid.to_string(), "VmHWM");
        // Its number may be another's by now.
        if has_ended.load(Ordering::Acquire) {
            return peak;
        }
        peak = peak.max(size);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits for a child's end.
pub(crate) fn wait(child: &Child, began: i64) -> Result<Ran, Error> {
    let pid = libc::pid_t::try_from(child.id())?;
    let (mut status, mut usage) = (0, empty_usage());
    // SAFETY: both pointers are to values of this frame, of the types that wait4 fills; nobody else waits for this child.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    let ended = now();
    if waited != pid {
        return Err(std::io::Error::last_os_error().into());
    }
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 };
    let peak = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
    Ok(Ran { began, ended, code, peak, cpu: time(usage.ru_utime) + time(usage.ru_stime) })
}

fn empty_usage() -> libc::rusage {
    // SAFETY: a struct of integers, for which zeros are a value.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::zeroed()
    }
}

fn time(value: libc::timeval) -> Duration {
    let (seconds, micros) = (u64::try_from(value.tv_sec).unwrap_or(0), u64::try_from(value.tv_usec).unwrap_or(0));
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// User and system time of this process so far.
pub(crate) fn own_cpu() -> Duration {
    let mut usage = empty_usage();
    // SAFETY: the pointer is to a value of this frame, of the type that getrusage fills.
    #[allow(unsafe_code)]
    unsafe {
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
    }
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// A size of this process.
pub(crate) fn own_size(name: &str) -> u64 {
    size("self", name)
}

/// A size of a process, from `/proc/…/status`: `VmRSS`, `VmHWM`; in bytes. 0 where there is no such file.
fn size(process: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// A thousand streams need a thousand descriptors: as many as the system lets a process have.
pub(crate) fn raise_descriptor_limit() -> Result<u64, Error> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a value of this frame, of the type that these calls read and fill.
    #[allow(unsafe_code)]
    let done = unsafe {
        let got = libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        got == 0 && libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
    };
    if done { Ok(limit.rlim_cur) } else { Err(std::io::Error::last_os_error().into()) }
}
