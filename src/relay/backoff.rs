//! How long to wait before the next dial.

use std::time::Duration;

use super::settings::SourceSettings;
use crate::codec::{CloseReason, Error};

/// A source that asks for more patience than this gets no more.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// A source that asks us to try again later (close code 1013) is left alone for at least so long.
pub const TRY_LATER_WAIT: Duration = Duration::from_secs(30);
/// A source that does not want us is left alone for at least so long at first; the wait doubles,
pub const REFUSED_WAIT: Duration = Duration::from_mins(1);
/// up to this.
pub const MAX_REFUSED_WAIT: Duration = Duration::from_mins(15);
/// What is asked for is stretched by up to this part of it, so that not everyone comes at once.
const STRETCH: f64 = 0.1;

/// Close codes that say something of the next dial (RFC 6455, section 7.4; IANA's registry).
const POLICY: u16 = 1008;
const RESTART: u16 = 1012;
const TRY_AGAIN_LATER: u16 = 1013;

/// What a source has let us know of the next dial as a connection or an attempt ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    #[default]
    None,
    /// It restarts and is soon back.
    Restarts,
    /// It has too much to do, and wants to be left alone for so long.
    IsBusy(Duration),
    /// It does not want us as we are.
    Refuses,
}

impl Verdict {
    /// What an answer to our handshake lets know.
    pub(super) fn of_error(error: &Error) -> Self {
        match error {
            Error::NotAccepted { status: 401 | 403, .. } => Self::Refuses,
            Error::NotAccepted { status: 429 | 503, retry_after: Some(wait), .. } => {
                Self::IsBusy((*wait).min(MAX_RETRY_AFTER))
            }
            Error::NotAccepted { .. }
            | Error::Refused { .. }
            | Error::Moved { .. }
            | Error::Protocol(_)
            | Error::NotUtf8
            | Error::TooLarge { .. } => Self::None,
        }
    }

    /// What a goodbye lets know.
    pub(super) fn of_close(reason: &CloseReason) -> Self {
        match reason.code {
            Some(POLICY) => Self::Refuses,
            Some(RESTART) => Self::Restarts,
            Some(TRY_AGAIN_LATER) => Self::IsBusy(TRY_LATER_WAIT),
            Some(_) | None => Self::None,
        }
    }
}

/// Doubling waits with jitter, and the count of failures in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    max_failures: u32,
    failures: u32,
    /// Of these, those by which the source has refused us.
    refusals: u32,
    /// Whether a restart was forgiven since a connection was stable.
    has_restarted: bool,
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
            refusals: 0,
            has_restarted: false,
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
    /// that many relays that lost one service do not return to it in step. It is longer if the
    /// source has let us know so. A restart is no failure, once: a source that does nothing else
    /// is not to be stormed.
    pub(super) fn fail(&mut self, verdict: Verdict) -> Option<Duration> {
        if verdict == Verdict::Restarts && !self.has_restarted {
            self.has_restarted = true;
            return Some(self.jittered(self.first));
        }
        self.failures = self.failures.saturating_add(1);
        if self.max_failures != 0 && self.failures >= self.max_failures {
            return None;
        }
        let whole = doubled(self.first, self.failures - 1, self.longest);
        let usual = self.jittered(whole);
        Some(match verdict {
            Verdict::None | Verdict::Restarts => usual,
            Verdict::IsBusy(least) => usual.max(self.stretched(least)),
            Verdict::Refuses => {
                let whole = doubled(REFUSED_WAIT, self.refusals, MAX_REFUSED_WAIT);
                self.refusals = self.refusals.saturating_add(1);
                usual.max(self.stretched(whole).min(MAX_REFUSED_WAIT))
            }
        })
    }

    fn jittered(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    fn stretched(&mut self, least: Duration) -> Duration {
        least.mul_f64(1.0 + self.random.f64() * STRETCH)
    }

    /// Failures since the last good connection.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures: a connection proved stable.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
        self.refusals = 0;
        self.has_restarted = false;
    }
}

/// A wait after so many doublings.
fn doubled(first: Duration, doublings: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << doublings.min(31)).min(longest)
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
            let wait = backoff.fail(Verdict::None).unwrap().as_secs_f64();
            let whole = f64::from(whole);
            assert!(wait >= whole / 2.0 && wait <= whole, "{wait} is not within {whole}");
        }
    }

    #[test]
    fn it_gives_up_after_the_last_attempt_unless_one_was_good() {
        let mut backoff = backoff(3);
        assert!(backoff.fail(Verdict::None).is_some());
        assert!(backoff.fail(Verdict::None).is_some());
        backoff.reset();
        assert!(backoff.fail(Verdict::None).is_some());
        assert!(backoff.fail(Verdict::None).is_some());
        assert!(backoff.fail(Verdict::None).is_none());
    }
    #[test]
    fn restart_is_forgiven_once_until_a_connection_was_good() {
        let mut backoff = backoff(2);
        let first = Duration::from_secs(5);
        assert!(backoff.fail(Verdict::Restarts).unwrap() <= first);
        assert_eq!(backoff.failures(), 0);
        assert!(backoff.fail(Verdict::Restarts).is_some());
        assert!(
            backoff.fail(Verdict::Restarts).is_none(),
            "a storm of restarts is one of failures"
        );
        backoff.reset();
        assert!(backoff.fail(Verdict::Restarts).is_some());
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn busy_source_is_left_alone_for_as_long_as_it_asks() {
        let mut backoff = backoff(0);
        let asked = Duration::from_mins(10);
        let wait = backoff.fail(Verdict::IsBusy(asked)).unwrap();
        assert!(wait >= asked && wait <= asked.mul_f64(1.0 + STRETCH), "{wait:?}");
        let wait = backoff.fail(Verdict::IsBusy(Duration::ZERO)).unwrap();
        assert!(wait >= Duration::from_secs(5), "the usual wait counts if it is longer");
    }

    #[test]
    fn source_that_refuses_is_asked_ever_less_often() {
        let mut backoff = backoff(0);
        for minutes in [1, 2, 4, 8, 15, 15] {
            let least = Duration::from_mins(minutes);
            let wait = backoff.fail(Verdict::Refuses).unwrap();
            assert!(wait >= least && wait <= least.mul_f64(1.1), "{wait:?} for {least:?}");
        }
        backoff.reset();
        assert!(backoff.fail(Verdict::Refuses).unwrap() < Duration::from_mins(2));
    }

    #[test]
    fn answers_and_goodbyes_are_understood() {
        let answer = |status, retry_after| {
            Verdict::of_error(&Error::NotAccepted { status, reason: String::new(), retry_after })
        };
        let minute = Duration::from_mins(1);
        assert_eq!(answer(401, None), Verdict::Refuses);
        assert_eq!(answer(403, Some(minute)), Verdict::Refuses);
        assert_eq!(answer(429, Some(minute)), Verdict::IsBusy(minute));
        assert_eq!(answer(503, Some(Duration::MAX)), Verdict::IsBusy(MAX_RETRY_AFTER));
        assert_eq!(answer(503, None), Verdict::None);
        assert_eq!(answer(500, Some(minute)), Verdict::None);
        let close = |code| Verdict::of_close(&CloseReason { code, text: String::new() });
        assert_eq!(close(Some(1008)), Verdict::Refuses);
        assert_eq!(close(Some(1012)), Verdict::Restarts);
        assert_eq!(close(Some(1013)), Verdict::IsBusy(TRY_LATER_WAIT));
        assert_eq!(close(Some(1001)), Verdict::None);
        assert_eq!(close(None), Verdict::None);
    }
}
