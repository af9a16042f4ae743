//! Clocks, latencies, and what the kernel says of a process.

use std::fs;
use std::time::Duration;

use rustix::thread::ClockId;
use rustix::time::Timespec;

use crate::failure::Failure;

/// Buckets for each power of two: latencies are told apart to 1 %.
const BUCKET_BITS: u32 = 7;
const POWERS: usize = 64 - BUCKET_BITS as usize;

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Sleeps until `CLOCK_MONOTONIC` shows `at_ns`.
pub(crate) fn sleep_until(at_ns: u64) {
    let (seconds, nanoseconds) = (at_ns / 1_000_000_000, at_ns % 1_000_000_000);
    let at = Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    while now_ns() < at_ns {
        // A signal may end the sleep early.
        let _ = rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &at);
    }
}

pub(crate) fn sleep(time: Duration) {
    sleep_until(now_ns() + nanoseconds(time));
}

pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What the threads of a process have had of the CPUs, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// The time they ran, user and system.
    pub(crate) run: u64,
    /// The time they could have run, but others did.
    pub(crate) delay: u64,
}

/// A thread that runs at this moment is seen as of its last tick, so the process should be idle.
pub(crate) fn usage(pid: u32) -> Result<Usage, Failure> {
    let tasks = format!("/proc/{pid}/task");
    let mut sum = Usage::default();
    for task in fs::read_dir(&tasks).map_err(Failure::during(&tasks))? {
        let path = task.map_err(Failure::during(&tasks))?.path().join("schedstat");
        // A thread may end between the two reads.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let mut fields = text.split(' ').map_while(|field| field.parse::<u64>().ok());
        sum.run += fields.next().unwrap_or(0);
        sum.delay += fields.next().unwrap_or(0);
    }
    Ok(sum)
}

/// The memory that a process has resident, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) peak: u64,
}

pub(crate) fn memory(pid: u32) -> Result<Memory, Failure> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(Failure::during(&path))?;
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .map(|kibibytes| kibibytes * 1024)
            .ok_or_else(|| Failure::new(format!("{path} has no {key}")))
    };
    Ok(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> Result<usize, Failure> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).map_err(Failure::during(&path))?.count())
}

/// Counts latencies without keeping them.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; POWERS << BUCKET_BITS], total: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, value: u64) {
        let power = (u64::BITS - value.leading_zeros()).saturating_sub(BUCKET_BITS + 1);
        // The top bit of what is left is set, unless the power is 0: buckets follow each other.
        let bucket = ((power as usize) << BUCKET_BITS) + truncate(value >> power);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.total += 1;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The value that `per_mille` of all do not exceed; `None` if there is none.
    pub(crate) fn quantile(&self, per_mille: u64) -> Option<u64> {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        let power = (bucket >> BUCKET_BITS).saturating_sub(1);
        Some(((bucket - (power << BUCKET_BITS)) as u64) << power)
    }
}

fn truncate(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
