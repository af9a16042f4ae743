//! The keys of a source that say how it is come by.

use std::time::Duration;

use crate::config::approach::{
    Approach, DialBudget, MAX_BUDGET_DIALS, MAX_BUDGET_SPAN, TokenCommand,
};
use crate::config::section::Section;
use crate::config::value;
use crate::net::dial::Exit;

/// A program that takes longer to make a token holds its dial up for too long to be of use.
const TOKEN_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_mins(5);

/// A shorter one ends connections that a lost packet or two hold up.
const USER_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(1);
const BUDGET_SPANS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=MAX_BUDGET_SPAN;
/// Bytes of an interface's name: `IFNAMSIZ` without its zero.
const MAX_INTERFACE_BYTES: usize = 15;

/// The values of these keys, and the defaults of those that are absent.
pub(super) fn approach(section: &mut Section<'_>) -> Approach {
    Approach {
        token: section.command("token_command").map(|argv| TokenCommand { argv }),
        token_timeout: section.duration("token_timeout", TOKEN_TIMEOUTS),
        proxy: section.template("proxy"),
        exit: section.parsed("bind", "an IP address or a network interface, such as eth0", exit),
        tcp_user_timeout: section.duration("tcp_user_timeout", USER_TIMEOUTS),
        dial_budget: section.parsed(
            "dial_budget",
            "a number of dials from 1 to 10000 and a span from 1s to 24h, such as 300 per 5m",
            dial_budget,
        ),
    }
}

fn dial_budget(text: &str) -> Option<DialBudget> {
    let (dials, span) = text.split_once(" per ")?;
    let dials = value::whole(dials.trim()).and_then(|dials| usize::try_from(dials).ok())?;
    let span = value::duration(span.trim())?;
    let is_bearable = (1..=MAX_BUDGET_DIALS).contains(&dials) && BUDGET_SPANS.contains(&span);
    is_bearable.then_some(DialBudget { dials, span })
}

fn exit(text: &str) -> Option<Exit> {
    if let Ok(address) = text.parse() {
        return Some(Exit::Address(address));
    }
    let is_name = (1..=MAX_INTERFACE_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
    is_name.then(|| Exit::Interface(text.to_owned()))
}
