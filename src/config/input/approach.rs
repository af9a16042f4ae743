//! The keys of a source that say how it is come by.

use std::time::Duration;

use crate::config::approach::{Approach, TokenCommand};
use crate::config::section::Section;

/// A program that takes longer to make a token holds its dial up for too long to be of use.
const TOKEN_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_mins(5);

/// The values of these keys, and the defaults of those that are absent.
pub(super) fn approach(section: &mut Section<'_>) -> Approach {
    Approach {
        token: section.command("token_command").map(|argv| TokenCommand { argv }),
        token_timeout: section.duration("token_timeout", TOKEN_TIMEOUTS),
        ..Approach::default()
    }
}
