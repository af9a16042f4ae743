//! How long to wait before the next dial.

use std::time::Duration;

use super::settings::SourceSettings;

/// Doubling waits with jitter, and the count of failures in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    max_failures: u32,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// No failure yet.
    pub(super) fn new(settings: &SourceSettings, seed: u64) -> Self {
        Self {
            first: settings.reconnect_delay,
            longest: settings.reconnect_max_delay.max(settings.reconnect_delay),
            max_failures: settings.reconnect_max_attempts,
            failures: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Takes new waits on; the failures so far still count.
    pub(super) fn adopt(&mut self, settings: &SourceSettings) {
        self.first = settings.reconnect_delay;
        self.longest = settings.reconnect_max_delay.max(settings.reconnect_delay);
        self.max_failures = settings.reconnect_max_attempts;
    }

    /// The longest wait there can be.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// Counts a failure. The wait before the next dial, `None` if there shall be none.
    ///
    /// The wait is between half and the whole of the first delay doubled with each failure, so
    /// that many relays that lost one service do not return to it in step.
    pub(super) fn fail(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        if self.max_failures != 0 && self.failures >= self.max_failures {
            return None;
        }
        let doublings = (self.failures - 1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        Some(whole.mul_f64(0.5 + self.random.f64() / 2.0))
    }

    /// Failures since the last good connection.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures: a connection proved stable.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(max_attempts: u32) -> Backoff {
        let settings =
            SourceSettings { reconnect_max_attempts: max_attempts, ..SourceSettings::default() };
        Backoff::new(&settings, 42)
    }

    #[test]
    fn waits_double_with_jitter_up_to_the_longest() {
        let mut backoff = backoff(0);
        for whole in [5, 10, 20, 40, 60, 60] {
            let wait = backoff.fail().unwrap().as_secs_f64();
            let whole = f64::from(whole);
            assert!(wait >= whole / 2.0 && wait <= whole, "{wait} is not within {whole}");
        }
    }

    #[test]
    fn it_gives_up_after_the_last_attempt_unless_one_was_good() {
        let mut backoff = backoff(3);
        assert!(backoff.fail().is_some());
        assert!(backoff.fail().is_some());
        backoff.reset();
        assert!(backoff.fail().is_some());
        assert!(backoff.fail().is_some());
        assert!(backoff.fail().is_none());
    }
}
