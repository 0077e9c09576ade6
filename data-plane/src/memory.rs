//! The memory of the process, and how much of it there may be.

use std::fs::read_to_string;
use std::time::Duration;

use tracing::{info, warn};

use crate::admission::Admission;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// What there must be room for again before new connections are let in, as a share of the limit.
const RECOVERED: f64 = 0.95;

/// The configured limit, or 90 % of what the container or the machine has; `None` if neither is known.
pub(crate) fn limit(configured: usize) -> Option<usize> {
    if configured > 0 {
        return Some(configured);
    }
    let number = |file: &str| read_to_string(file).ok()?.trim().parse::<usize>().ok();
    let machine = || {
        let text = read_to_string("/proc/meminfo").ok()?;
        Some(kilobytes(&text, "MemTotal:")? << 10)
    };
    let limits = [
        number("/sys/fs/cgroup/memory.max"),
        number("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        machine(),
    ];
    limits.into_iter().flatten().min().map(|least| least / 10 * 9)
}

/// What the process has in memory; `None` if the system does not say.
fn resident() -> Option<usize> {
    let text = read_to_string("/proc/self/status").ok()?;
    Some(kilobytes(&text, "VmRSS:")? << 10)
}

fn kilobytes(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Keeps new connections out while there is no memory for them. Runs until it is dropped.
pub(crate) async fn watch(limit: usize, admission: std::sync::Arc<Admission>) {
    let mut short = false;
    let mut ticker = tokio::time::interval(INTERVAL);
    loop {
        ticker.tick().await;
        let Some(resident) = resident() else { return };
        let is_short = resident as f64 > limit as f64 * if short { RECOVERED } else { 1.0 };
        if is_short && !short {
            warn!(resident, limit, "memory is short: no new connections are let in");
        } else if short && !is_short {
            info!(resident, limit, "there is memory again: new connections are let in");
        }
        short = is_short;
        admission.set_short_of_memory(short);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_how_much_there_is() {
        assert_eq!(limit(5), Some(5));
        let (limit, resident) = (limit(0).unwrap(), resident().unwrap());
        assert!(resident > 1 << 20 && resident < limit, "{resident} of {limit}");
    }
}
