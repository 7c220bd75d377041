//! What this process has used.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// User and system time of all threads, to the nanosecond.
pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Neither is negative: they count from 0, and nanoseconds stay below a second.
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Memory that is in use, in bytes.
pub(crate) fn resident() -> Outcome<u64> {
    Ok(field("/proc/self/status", "VmRSS:")? * 1024)
}

/// Bytes given to the system to be written, to whatever file.
pub(crate) fn written() -> Outcome<u64> {
    field("/proc/self/io", "wchar:")
}

fn field(file: &str, name: &str) -> Outcome<u64> {
    let text = fs::read_to_string(file)?;
    number(&text, name).ok_or_else(|| format!("{file} does not tell {name}").into())
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Wall and CPU time since it was made.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { cpu: cpu(), wall: Instant::now() }
    }

    pub(crate) fn wall(&self) -> Duration {
        self.wall.elapsed()
    }

    pub(crate) fn cpu(&self) -> Duration {
        cpu().saturating_sub(self.cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_name() {
        let text = "VmPeak:\t  99 kB\nVmRSS:\t    1234 kB\n";
        assert_eq!(number(text, "VmRSS:"), Some(1234));
        assert_eq!(number(text, "VmSwap:"), None);
        assert_eq!(number("VmRSS: many", "VmRSS:"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let watch = Stopwatch::start();
        assert!(resident().unwrap() > 0);
        written().unwrap();
        while watch.cpu().is_zero() {
            std::hint::spin_loop();
        }
        assert!(!watch.wall().is_zero());
    }
}
