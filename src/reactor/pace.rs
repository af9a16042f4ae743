//! How often something may happen: a token bucket, kept as the instant up to which all is paid for.

use std::time::{Duration, Instant};

/// What may happen at once after a pause: as much as in this time.
const BURST: Duration = Duration::from_secs(1);

/// So many a second, and a second's worth at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    paid_until: Option<Instant>,
}

impl Pace {
    /// Spends some of what may happen: `count` of things of which there may be `rate` a second.
    /// It may go into debt, which delays what comes next.
    pub fn spend(&mut self, count: u64, rate: u64, now: Instant) {
        let paid_until = self.paid_until.map_or(now, |until| until.max(now));
        let nanos = u128::from(count) * 1_000_000_000 / u128::from(rate.max(1));
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid_until = Some(paid_until.checked_add(cost).unwrap_or(paid_until));
    }

    /// When the next may happen, `None` if it may now.
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        let ready_at = self.paid_until?.checked_sub(BURST)?;
        (ready_at > now).then_some(ready_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn second_s_worth_comes_at_once_and_then_so_many_a_second() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let mut now = start;
        // The first that is behind is let through, too.
        for _ in 0..11 {
            assert_eq!(pace.ready_at(now), None);
            pace.spend(1, 10, now);
        }
        for _ in 0..20 {
            now = pace.ready_at(now).unwrap();
            assert_eq!(pace.ready_at(now), None);
            pace.spend(1, 10, now);
        }
        assert_eq!(now - start, Duration::from_secs(2));

        // What is large is not refused: it delays what follows.
        let later = now + Duration::from_mins(1);
        pace.spend(50, 10, later);
        assert_eq!(pace.ready_at(later), Some(later + Duration::from_secs(4)));
        pace.spend(u64::MAX, 1, later);
    }
}
