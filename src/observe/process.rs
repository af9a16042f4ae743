//! The process as the system sees it, from `/proc`: never blocks, and zero where there is no `/proc`.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::snapshot::Process;

/// Reads what the system knows of this process.
pub fn process() -> Process {
    Process {
        resident_bytes: resident_pages().unwrap_or_default() * page_size() as u64,
        cpu_seconds: cpu_seconds().unwrap_or_default(),
        descriptors: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        max_descriptors: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
    }
}

/// Seconds since 1970, by the system's clock.
pub fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn resident_pages() -> Option<u64> {
    fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in front may contain spaces, but ends with the last bracket.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u32 = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
    let per_second = u32::try_from(clock_ticks_per_second()).ok()?;
    Some(f64::from(ticks) / f64::from(per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let process = process();
        assert!(process.resident_bytes > 100_000, "{process:?}");
        assert!(process.descriptors >= 3 && process.descriptors <= process.max_descriptors);
        assert!(unix_time() > 1.7e9);
    }
}
