//! The keys of a source that give it several connections.

use super::super::problem::KeyPath;
use super::super::section::Section;
use super::super::template::Template;
use crate::codec::pattern::Pointer;
use crate::relay::settings::{DedupRule, MAX_DEDUP_WINDOW, MAX_URLS, Strategy};

pub(in crate::config) const DEDUP_KEYS: &[&str] = &["key", "window"];

/// What a source says of its connections.
#[derive(Debug, Default)]
pub(in crate::config) struct FeedInput {
    /// `urls`, each with its place in the file.
    pub(in crate::config) urls: Option<Vec<(KeyPath, Template)>>,
    pub(in crate::config) strategy: Option<Strategy>,
    pub(in crate::config) dedup: Option<DedupRule>,
}

pub(super) fn feed(section: &mut Section<'_>) -> FeedInput {
    FeedInput {
        urls: urls(section),
        strategy: section
            .choice("strategy", &[("failover", Strategy::Failover), ("race", Strategy::Race)]),
        dedup: section.section("dedup", DEDUP_KEYS, dedup),
    }
}

fn urls(section: &mut Section<'_>) -> Option<Vec<(KeyPath, Template)>> {
    let (path, items) = section.items("urls")?;
    if !(1..=MAX_URLS).contains(&items.len()) {
        let count = items.len();
        section.problem(path.clone(), format!("expected 1 to {MAX_URLS} urls, found {count}"));
    }
    let url = |(n, item)| {
        let path = path.index(n);
        let template = section.template_of(path.clone(), item)?;
        Some((path, template))
    };
    Some(items.into_iter().enumerate().filter_map(url).collect())
}

fn dedup(section: &mut Section<'_>) -> DedupRule {
    let default = DedupRule::default();
    let window = section.number("window", "messages", 1..=MAX_DEDUP_WINDOW as u64);
    let window = window.and_then(|window| usize::try_from(window).ok());
    DedupRule {
        key: section.parsed("key", "a JSON pointer, such as /data/id", Pointer::parse),
        window: window.unwrap_or(default.window),
    }
}
