//! Counting durations.

use std::time::Duration;

use super::snapshot::Histogram;

/// Upper bounds of the buckets in microseconds: a turn takes from some microseconds to, when
/// something is very wrong, seconds.
const BOUNDS_MICROSECONDS: [u32; 12] =
    [10, 25, 100, 250, 1_000, 2_500, 10_000, 25_000, 100_000, 250_000, 1_000_000, 2_500_000];

/// Counts of durations by size.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    /// One count for each bound, and one for what is above them all.
    counts: [u64; BOUNDS_MICROSECONDS.len() + 1],
    sum: Duration,
}

impl Recorder {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let is_above = |bound: &u32| duration > Duration::from_micros(u64::from(*bound));
        self.counts[BOUNDS_MICROSECONDS.partition_point(is_above)] += 1;
        self.sum += duration;
    }

    /// What was counted so far.
    pub fn histogram(&self) -> Histogram {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS_MICROSECONDS.len());
        for (bound, counted) in BOUNDS_MICROSECONDS.iter().zip(self.counts) {
            count += counted;
            buckets.push((f64::from(*bound) / 1e6, count));
        }
        let count = count + self.counts[BOUNDS_MICROSECONDS.len()];
        Histogram { buckets, count, sum_seconds: self.sum.as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_contain_those_before_them() {
        let mut recorder = Recorder::default();
        for micros in [5, 10, 11, 300, 5_000_000] {
            recorder.record(Duration::from_micros(micros));
        }
        let histogram = recorder.histogram();
        let counts: Vec<u64> = histogram.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4]);
        assert_eq!(histogram.count, 5);
        assert!((histogram.sum_seconds - 5.000_326).abs() < 1e-9);
    }
}
