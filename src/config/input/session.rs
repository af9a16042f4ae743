//! The keys of a source that tell what is said to it.

use std::time::Duration;

use super::super::approach::TokenCommand;
use super::super::message::{Matches, MessageTemplate};
use super::super::pattern::pattern;
use super::super::problem::KeyPath;
use super::super::raw::Raw;
use super::super::section::{Section, nearest};
use super::super::session::StepTemplate;
use super::super::session::{CommandTemplate, HeartbeatTemplate, ReplyTemplate, SessionTemplate};
use super::super::value;
use crate::relay::script::{Overture, Prompt, Wait};

pub(in crate::config) const STEP_KEYS: &[&str] = &["send", "binary", "wait_for", "timeout"];
pub(in crate::config) const COMMAND_KEYS: &[&str] = &["command", "timeout", "wait_for"];
pub(in crate::config) const HEARTBEAT_KEYS: &[&str] = &["every", "send", "binary"];
pub(in crate::config) const REPLY_KEYS: &[&str] = &["match", "send", "binary", "forward"];

/// Items of `on_connect`, and of `reply_to`.
const MAX_ITEMS: usize = 100;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_BEAT: Duration = Duration::from_secs(20);
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const MAX_TIMEOUT: Duration = Duration::from_mins(10);
const MIN_BEAT: Duration = Duration::from_millis(100);
const MAX_BEAT: Duration = Duration::from_hours(24);
const MIN_IDLE: Duration = Duration::from_millis(100);
const MAX_IDLE: Duration = Duration::from_hours(7 * 24);
// A younger connection may not have proved anything.
const MIN_AGE: Duration = Duration::from_secs(10);
const MAX_AGE: Duration = Duration::from_hours(30 * 24);

/// What is said to a source.
pub(super) fn session(section: &mut Section<'_>) -> SessionTemplate {
    SessionTemplate {
        steps: steps(section),
        command: command(section),
        heartbeat: section.section("heartbeat", HEARTBEAT_KEYS, heartbeat).flatten(),
        replies: replies(section),
    }
}

/// After which silence a source is lost.
pub(super) fn idle_timeout(section: &mut Section<'_>) -> Option<Duration> {
    duration_or_never(section, "idle_timeout", MIN_IDLE, MAX_IDLE)
}

/// At which age a connection is replaced.
pub(super) fn max_age(section: &mut Section<'_>) -> Option<Duration> {
    duration_or_never(section, "max_age", MIN_AGE, MAX_AGE)
}

/// A duration, or 0: never.
fn duration_or_never(
    section: &mut Section<'_>,
    key: &str,
    least: Duration,
    most: Duration,
) -> Option<Duration> {
    let [shown_least, shown_most] = [least, most].map(value::short_duration);
    let expected = format!("0 (never), or a duration from {shown_least} to {shown_most}");
    let is_right = |time: &Duration| time.is_zero() || (least..=most).contains(time);
    let time = section.parsed(key, &expected, |text| value::duration(text).filter(is_right));
    time.filter(|time| !time.is_zero())
}

fn steps(section: &mut Section<'_>) -> Vec<StepTemplate> {
    let Some(items) = limited_items(section, "on_connect") else { return Vec::new() };
    let step = |(path, item)| {
        if is_step(&item) {
            return section.read(item, path, STEP_KEYS, step);
        }
        let send = section.message_of(path, item, Matches::Refused)?;
        Some(StepTemplate { send: Some(send), wait: None })
    };
    items.into_iter().filter_map(step).collect()
}

/// Whether an item tells what to do, and is not the message itself. One that nearly does is taken
/// for a step with a wrong key: a misspelt one shall not go to the service.
fn is_step(item: &Raw) -> bool {
    let Raw::Map(entries) = item else { return false };
    let tells = |(key, _): &(String, Raw)| STEP_KEYS[..3].contains(&&**key);
    let is_near = |(key, _): &(String, Raw)| nearest(key, STEP_KEYS).is_some();
    entries.iter().any(tells) || (!entries.is_empty() && entries.iter().all(is_near))
}

fn step(section: &mut Section<'_>) -> StepTemplate {
    let send = section.message(Matches::Refused);
    let is_waiting = section.has("wait_for");
    let pattern = pattern(section, "wait_for");
    let timeout = timeout(section);
    if timeout.is_some() && !is_waiting {
        section.refuse("has a timeout and nothing to wait for");
    }
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
    StepTemplate { send, wait: pattern.map(|pattern| Wait { pattern, timeout }) }
}

fn timeout(section: &mut Section<'_>) -> Option<Duration> {
    section.duration("timeout", MIN_TIMEOUT..=MAX_TIMEOUT)
}

fn command(section: &mut Section<'_>) -> Option<CommandTemplate> {
    if section.has_map("on_connect_command") {
        let (path, value) = section.take("on_connect_command")?;
        return section.read(value, path, COMMAND_KEYS, command_section).flatten();
    }
    let program = TokenCommand { argv: section.command("on_connect_command")? };
    let prompt = Prompt { overture: Overture::First, timeout: DEFAULT_TIMEOUT };
    Some(CommandTemplate { program, prompt })
}

fn command_section(section: &mut Section<'_>) -> Option<CommandTemplate> {
    if !section.has("command") {
        section.refuse("has no command");
    }
    let overture = overture(section);
    let timeout = timeout(section).unwrap_or(DEFAULT_TIMEOUT);
    let program = TokenCommand { argv: section.command("command")? };
    Some(CommandTemplate { program, prompt: Prompt { overture: overture?, timeout } })
}

fn overture(section: &mut Section<'_>) -> Option<Overture> {
    if section.has_map("wait_for") || !section.has("wait_for") {
        let is_given = section.has("wait_for");
        let pattern = pattern(section, "wait_for").map(Overture::Until);
        return if is_given { pattern } else { Some(Overture::First) };
    }
    let words = [("nothing", false), ("first", true)];
    let waits = section.choice("wait_for", &words)?;
    Some(if waits { Overture::First } else { Overture::Nothing })
}

fn heartbeat(section: &mut Section<'_>) -> Option<HeartbeatTemplate> {
    let every = section.duration("every", MIN_BEAT..=MAX_BEAT).unwrap_or(DEFAULT_BEAT);
    Some(HeartbeatTemplate { every, send: required_message(section, Matches::Refused)? })
}

fn replies(section: &mut Section<'_>) -> Vec<ReplyTemplate> {
    let Some(items) = limited_items(section, "reply_to") else { return Vec::new() };
    let reply = |(path, item)| section.read(item, path, REPLY_KEYS, reply).flatten();
    items.into_iter().filter_map(reply).collect()
}

fn reply(section: &mut Section<'_>) -> Option<ReplyTemplate> {
    if !section.has("match") {
        section.refuse("has no match: what is to be answered?");
    }
    let pattern = pattern(section, "match");
    let send = required_message(section, Matches::Allowed);
    let forward = section.flag("forward").unwrap_or(true);
    Some(ReplyTemplate { pattern: pattern?, send: send?, forward })
}

fn required_message(section: &mut Section<'_>, matches: Matches) -> Option<MessageTemplate> {
    if !section.has("send") && !section.has("binary") {
        section.refuse("has nothing to send: give it send or binary");
    }
    section.message(matches)
}

fn limited_items(section: &mut Section<'_>, key: &str) -> Option<Vec<(KeyPath, Raw)>> {
    let (path, items) = section.items(key)?;
    if items.len() > MAX_ITEMS {
        section.problem(path, format!("has more than {MAX_ITEMS} items"));
        return None;
    }
    Some(items.into_iter().enumerate().map(|(n, item)| (path.index(n), item)).collect())
}
