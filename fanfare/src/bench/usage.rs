//! What a process has used so far, as the kernel counts it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// How long memory may take to settle: the allocator gives pages back within ten seconds.
pub(super) const SETTLE: Duration = Duration::from_secs(12);

/// CPU time of all threads of a process that live. Only for processes whose threads do not end meanwhile.
pub(super) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).context("the process has ended")? {
        let statistics = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let spent = statistics.split_whitespace().next().and_then(|spent| spent.parse::<u64>().ok());
        nanoseconds += spent.context("the kernel does not count CPU time (schedstat)")?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Resident memory of a process, in bytes.
fn memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes =
        line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse::<u64>().ok());
    Ok(kibibytes.context("the kernel does not tell memory (VmRSS)")? * 1024)
}

/// Memory when it does not shrink any more.
pub(super) fn settled_memory(pid: u32) -> Result<u64> {
    let started = Instant::now();
    let mut lowest = memory(pid)?;
    while started.elapsed() < SETTLE {
        lowest = lowest.min(memory(pid)?);
        std::thread::park_timeout(Duration::from_millis(200));
    }
    Ok(lowest)
}

/// Waits until a process does next to nothing, so that what it has been asked before does not count as something else.
pub(super) fn wait_until_idle(pid: u32) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(250);
    let started = Instant::now();
    loop {
        let (before, looked) = (cpu_time(pid)?, Instant::now());
        std::thread::park_timeout(LOOK);
        // It is never quite idle: there are timers.
        if cpu_time(pid)? - before < looked.elapsed() / 50 {
            return Ok(());
        }
        ensure!(started.elapsed() < SETTLE, "a process of the measurement does not come to rest");
    }
}

/// A cost as it is told.
pub(super) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The middle of some figures, of which there is at least one.
pub(super) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
