//! What time it is. Only the loop and the threads beside it ask; all below them is told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds of 2020: a clock that says less was never set.
const CLOCK_IS_SET: u64 = 50 * 365 * 24 * 3600 * 1_000_000;

/// By the clock that nobody sets.
#[expect(clippy::disallowed_methods, reason = "the one place where it is read")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Microseconds since 1970, by the system's clock.
pub(super) fn unix_micros() -> u64 {
    u64::try_from(since_1970().as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
pub(super) fn unix_millis() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

/// Where the numbers of messages begin. A clock that nobody has set begins at the same time in each
/// life: then they begin anywhere, so that a number of another life is not taken for one of this.
pub(super) fn first_number() -> u64 {
    number_at(unix_micros())
}

fn number_at(micros: u64) -> u64 {
    match micros {
        unset @ ..CLOCK_IS_SET => unset + fastrand::u64(..CLOCK_IS_SET / 2),
        set => set,
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_at_the_time_or_anywhere_if_there_is_none() {
        let time = 1_700_000_000_000_000;
        assert_eq!(number_at(time), time);
        let unset: Vec<_> = (0..4).map(|_| number_at(10_000_000)).collect();
        assert!(unset.iter().all(|number| (10_000_000..2 * CLOCK_IS_SET).contains(number)));
        assert!(unset.windows(2).any(|two| two[0].abs_diff(two[1]) > 1_000_000_000), "{unset:?}");
    }
}
