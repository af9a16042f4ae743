//! How often sources may be dialled, also over restarts.
//!
//! Each dial is remembered for the span of its source's budget, by the source's name, and written to
//! the state file at once. Ages are what counts: the file has times of the system's clock, and one
//! that lies in the future, since that clock was set back, counts as one of now.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Letter, clock};
use crate::config::approach::{DialBudget, MAX_BUDGET_DIALS, MAX_BUDGET_SPAN};
use crate::config::settings::Source;
use crate::net::resolver;
use crate::reactor::mailbox::Post;
use crate::reactor::order::order;

/// Bytes of the state file at most; a larger one is not ours.
const MAX_STATE_BYTES: u64 = 16 * 1024 * 1024;
/// Sources that are there no longer whose dials are remembered, at most.
const MAX_ABSENT: usize = 32;
/// The end of the relay waits for the file no longer: it may be on a disk that hangs.
const LAST_WRITE: Duration = Duration::from_millis(500);
/// Who else may read it: nobody.
const MODE: u32 = 0o600;
/// What a new state is called until it is whole.
const DRAFT: &str = "new";

/// The dials of all sources that have a budget, or had one lately.
#[derive(Debug)]
pub(super) struct Budgets {
    entries: Vec<Entry>,
    file: Option<PathBuf>,
    writing: Writing,
    /// Whether it is known that the file cannot be written.
    has_failed: bool,
    post: Post<Letter>,
    /// What threads say that have written, behind a letter for each.
    results: (Sender<Saved>, Receiver<Saved>),
}

/// Whether the file was written, or why not.
type Saved = Result<(), String>;

/// The dials of a source, oldest first.
#[derive(Debug)]
struct Entry {
    name: String,
    dials: VecDeque<Instant>,
    /// How long they count.
    span: Duration,
    /// Whether the source is there, and has a budget.
    is_present: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Idle,
    /// A thread writes.
    Busy,
    /// A thread writes what is old already.
    Outdated,
}

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Milliseconds since 1970 of the dials of each source.
    #[serde(default)]
    dialled_ms: BTreeMap<String, Vec<u64>>,
    /// The same in seconds, as it was written once.
    #[serde(default, skip_serializing)]
    dials: BTreeMap<String, Vec<u64>>,
}

impl Budgets {
    /// What is known from the last time. A file that is damaged is warned of, and begun anew.
    pub(super) fn open(file: Option<PathBuf>, post: Post<Letter>, now: Instant) -> Self {
        // First, and not after a wait for the disk: `now` is of now.
        let clock_ms = clock::unix_millis();
        let state = file.as_deref().map(read).unwrap_or_default();
        let instant = |at: u64| {
            let age = Duration::from_millis(clock_ms.saturating_sub(at));
            now.checked_sub(age).unwrap_or(now)
        };
        let instants = |times: Vec<u64>| {
            let oldest_first = order(times.iter().copied());
            let newest = times.len().saturating_sub(MAX_BUDGET_DIALS);
            oldest_first[newest..].iter().map(|at| instant(times[*at])).collect()
        };
        // A dial may have been at the end of its second.
        let in_ms = |at: u64| at.saturating_add(1).saturating_mul(1000);
        let old = state.dials.into_iter();
        let old = old.map(|(name, times)| (name, times.into_iter().map(in_ms).collect()));
        let known = old.chain(state.dialled_ms);
        let entries = known.map(|(name, times)| Entry::new(name, instants(times))).collect();
        Self {
            entries,
            file,
            writing: Writing::Idle,
            has_failed: false,
            post,
            results: mpsc::channel(),
        }
    }

    /// Takes a dial from a source's budget; or says when there will be one, if it is used up.
    pub(super) fn take(
        &mut self,
        name: &str,
        budget: DialBudget,
        now: Instant,
    ) -> Result<(), Instant> {
        if let Some(until) = self.next_at(name, budget, now) {
            return Err(until);
        }
        let at = self.place(name);
        let Entry { dials, span, .. } = &mut self.entries[at];
        *span = budget.span;
        while dials.front().is_some_and(|at| *at + budget.span <= now) {
            dials.pop_front();
        }
        dials.push_back(now);
        self.save(now);
        Ok(())
    }

    /// When a source's budget has its next dial; `None`: now.
    pub(super) fn next_at(&self, name: &str, budget: DialBudget, now: Instant) -> Option<Instant> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        // With a budget that has become smaller, older ones must go first.
        let last = entry.dials.len().checked_sub(budget.dials)?;
        Some(entry.dials[last] + budget.span).filter(|until| *until > now)
    }

    /// Learns which sources there are. Others may come back: their dials are forgotten when they
    /// count no longer, or when too many others have gone since.
    pub(super) fn adopt<'a>(&mut self, sources: impl Iterator<Item = &'a Source>, now: Instant) {
        let budget = |source: &Source| Some((source.url_name(), source.approach.dial_budget?));
        let budgets: Vec<_> = sources.filter_map(budget).collect();
        for entry in &mut self.entries {
            let budget = budgets.iter().find(|(name, _)| *name == entry.name);
            entry.is_present = budget.is_some();
            entry.span = budget.map_or(entry.span, |(_, budget)| budget.span);
        }
        self.entries.retain(|entry| entry.is_present || entry.counts_at(now));
        while self.absent().count() > MAX_ABSENT {
            let longest_gone = self.absent().min_by_key(|(_, entry)| entry.dials.back().copied());
            let Some((at, _)) = longest_gone else { break };
            self.entries.remove(at);
        }
    }

    /// The entries of sources that are there no longer, and where they are.
    fn absent(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate().filter(|(_, entry)| !entry.is_present)
    }

    /// Learns that a thread has written.
    pub(super) fn saved(&mut self, now: Instant) {
        if let Ok(saved) = self.results.1.try_recv() {
            self.take_result(&saved, now);
        }
    }

    /// Takes the result of a thread. What has happened since is written next.
    fn take_result(&mut self, saved: &Saved, now: Instant) {
        let was = std::mem::replace(&mut self.writing, Writing::Idle);
        if let Err(why) = saved
            && !self.has_failed
        {
            log::warn!("{why}: dial budgets begin anew with the next start");
        }
        self.has_failed = saved.is_err();
        if was == Writing::Outdated {
            self.save(now);
        }
    }

    /// Where the dials of a source are.
    fn place(&mut self, name: &str) -> usize {
        self.entries.iter().position(|entry| entry.name == name).unwrap_or_else(|| {
            self.entries.push(Entry::new(name.to_owned(), VecDeque::new()));
            self.entries.len() - 1
        })
    }

    /// Has a thread write the file: the disk may be slow.
    fn save(&mut self, now: Instant) {
        let Some(file) = self.file.clone() else { return };
        if self.writing != Writing::Idle {
            self.writing = Writing::Outdated;
            return;
        }
        let clock_ms = clock::unix_millis();
        // Rounded up twice, as this is read: who looks at it later shall not think it older than it is.
        let time = |at: &Instant| {
            let age = now.saturating_duration_since(*at).as_millis();
            (clock_ms + 2).saturating_sub(u64::try_from(age).unwrap_or(u64::MAX))
        };
        let times = |dials: &VecDeque<Instant>| dials.iter().map(time).collect();
        // One after the other: a map that is made of all at once sorts them first.
        let mut dialled_ms = BTreeMap::new();
        let entries = self.entries.iter();
        dialled_ms.extend(entries.map(|entry| (entry.name.clone(), times(&entry.dials))));
        let (post, results) = (self.post.clone(), self.results.0.clone());
        let state = State { dialled_ms, ..State::default() };
        let job = move || {
            // The loop may have ended.
            let _ = results.send(write(&file, &state));
            post.send(Letter::Saved);
        };
        if let Err(error) = resolver::spawn(job) {
            log::warn!("no thread to write the state file: {error}");
            return;
        }
        self.writing = Writing::Busy;
    }
}

impl Drop for Budgets {
    /// A dial of the last moment is in the file, too.
    fn drop(&mut self) {
        let until = clock::now() + LAST_WRITE;
        while self.writing != Writing::Idle {
            let now = clock::now();
            let left = until.saturating_duration_since(now);
            let Ok(saved) = self.results.1.recv_timeout(left) else { return };
            self.take_result(&saved, now);
        }
    }
}

impl Entry {
    /// What is known of a source that is taken to be there.
    fn new(name: String, dials: VecDeque<Instant>) -> Self {
        Self { name, dials, span: MAX_BUDGET_SPAN, is_present: true }
    }

    fn counts_at(&self, now: Instant) -> bool {
        self.dials.back().is_some_and(|at| *at + self.span > now)
    }
}

/// Reads the file. One that is not there is an empty one.
fn read(file: &Path) -> State {
    match try_read(file) {
        Ok(state) => state,
        Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
        Err(error) => {
            let file = file.display();
            log::warn!("state_file {file} is of no use ({error}): dial budgets begin anew");
            State::default()
        }
    }
}

fn try_read(file: &Path) -> io::Result<State> {
    let mut text = String::new();
    File::open(file)?.take(MAX_STATE_BYTES).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// Writes the file anew, wholly or not at all. Blocks.
fn write(file: &Path, state: &State) -> Result<(), String> {
    let draft = file.with_added_extension(DRAFT);
    let written = serde_json::to_string(state).map_err(io::Error::from).and_then(|text| {
        let mut options = OpenOptions::new();
        let mut draft_file =
            options.write(true).create(true).truncate(true).mode(MODE).open(&draft)?;
        draft_file.write_all(text.as_bytes())?;
        draft_file.sync_all()?;
        fs::rename(&draft, file)
    });
    written.map_err(|error| format!("cannot write the state_file {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use mio::Poll;

    use super::*;
    use crate::config;
    use crate::reactor::mailbox::Mailbox;

    const SECOND: Duration = Duration::from_secs(1);
    const BUDGET: DialBudget = DialBudget { dials: 3, span: Duration::from_secs(10) };

    fn budgets(file: Option<PathBuf>, now: Instant) -> (Budgets, Mailbox<Letter>) {
        let mailbox = Mailbox::new(Poll::new().unwrap().registry()).unwrap();
        (Budgets::open(file, mailbox.post(), now), mailbox)
    }

    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn now() -> Instant {
        Instant::now()
    }

    /// Waits for the thread that writes.
    fn write_out(budgets: &mut Budgets, mailbox: &mut Mailbox<Letter>, now: Instant) {
        while budgets.writing != Writing::Idle {
            match mailbox.next() {
                Some(Letter::Saved) => budgets.saved(now),
                _ => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn budget_is_for_any_span_of_its_length_and_for_each_source() {
        let (start, (mut budgets, _mailbox)) = (now(), budgets(None, now()));
        for second in [0, 4, 8] {
            assert_eq!(budgets.take("a", BUDGET, start + second * SECOND), Ok(()));
        }
        assert_eq!(budgets.take("a", BUDGET, start + 9 * SECOND), Err(start + 10 * SECOND));
        assert_eq!(budgets.take("b", BUDGET, start + 9 * SECOND), Ok(()));
        assert_eq!(budgets.take("a", BUDGET, start + 10 * SECOND), Ok(()));
        assert_eq!(budgets.take("a", BUDGET, start + 10 * SECOND), Err(start + 14 * SECOND));
        let smaller = DialBudget { dials: 1, ..BUDGET };
        assert_eq!(budgets.take("a", smaller, start + 10 * SECOND), Err(start + 20 * SECOND));
    }

    /// Sources of these names, with more keys.
    fn sources(names: &[&str], more: &str) -> Vec<Source> {
        let source = |name: &&str| {
            format!("{{name: {name}, url: 'ws://a', unix_socket_path: /{name}{more}}}")
        };
        let sources: Vec<_> = names.iter().map(source).collect();
        config::parse(&format!("sources: [{}]", sources.join(", "))).unwrap().sources
    }

    #[test]
    fn source_that_is_taken_out_and_put_back_has_its_dials_until_they_are_over() {
        let (start, (mut budgets, _mailbox)) = (now(), budgets(None, now()));
        let with = sources(&["a", "b"], ", dial_budget: 3 per 10s");
        for _ in 0..3 {
            assert_eq!(budgets.take("a", BUDGET, start), Ok(()));
        }
        for without in [sources(&["b"], ""), sources(&["a", "b"], ""), sources(&["c", "b"], "")] {
            budgets.adopt(without.iter(), start + SECOND);
            budgets.adopt(with.iter(), start + 2 * SECOND);
            assert_eq!(budgets.take("a", BUDGET, start + 3 * SECOND), Err(start + BUDGET.span));
        }
        budgets.adopt(sources(&["b"], "").iter(), start + BUDGET.span);
        assert!(budgets.entries.is_empty(), "{budgets:?}");
    }

    #[test]
    fn sources_that_have_gone_are_remembered_up_to_a_limit() {
        let (start, (mut budgets, _mailbox)) = (now(), budgets(None, now()));
        let millisecond = Duration::from_millis(1);
        for n in 0..100 {
            assert_eq!(budgets.take(&n.to_string(), BUDGET, start + n * millisecond), Ok(()));
        }
        budgets.adopt(sources(&["there"], "").iter(), start + SECOND);
        assert_eq!(budgets.entries.len(), MAX_ABSENT);
        assert!(budgets.entries.iter().all(|entry| entry.name.parse::<usize>().unwrap() >= 68));
    }

    #[test]
    fn dials_are_remembered_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let start = now();
        let (mut first, mut mailbox) = budgets(Some(file.clone()), start);
        for _ in 0..3 {
            assert_eq!(first.take("a", BUDGET, start), Ok(()));
        }
        write_out(&mut first, &mut mailbox, start);
        let (mut second, _mailbox) = budgets(Some(file), start);
        let until = second.take("a", BUDGET, start).unwrap_err();
        let wait = until.saturating_duration_since(start);
        assert!(wait > 5 * SECOND && wait <= 10 * SECOND, "{wait:?}");
        assert_eq!(second.take("a", BUDGET, start + 11 * SECOND), Ok(()));
    }

    #[test]
    fn end_waits_until_the_last_dial_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let (mut first, _mailbox) = budgets(Some(file.clone()), now());
        for _ in 0..3 {
            assert_eq!(first.take("a", BUDGET, now()), Ok(()));
        }
        drop(first);
        let (mut second, _mailbox) = budgets(Some(file), now());
        assert!(second.take("a", BUDGET, now()).is_err());
    }

    #[test]
    fn restart_makes_no_dial_older_and_hardly_one_younger() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let one = DialBudget { dials: 1, ..BUDGET };
        let start = now();
        let (mut first, mut mailbox) = budgets(Some(file.clone()), start);
        let dial = start.checked_sub(Duration::from_millis(1500)).unwrap();
        assert_eq!(first.take("a", one, dial), Ok(()));
        first.save(now());
        write_out(&mut first, &mut mailbox, now());
        let (mut second, _mailbox) = budgets(Some(file), now());
        let until = second.take("a", one, now()).unwrap_err();
        let error = until.checked_duration_since(dial + one.span).unwrap();
        assert!(error < Duration::from_millis(200), "{error:?}");
    }

    #[test]
    fn old_file_has_whole_seconds_and_a_dial_may_have_been_at_the_end_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let one = DialBudget { dials: 1, ..BUDGET };
        let second = clock::unix_millis() / 1000 - 3;
        fs::write(&file, format!("{{\"dials\": {{\"a\": [{second}]}}}}")).unwrap();
        let (mut budgets, _mailbox) = budgets(Some(file), now());
        let until = budgets.take("a", one, now()).unwrap_err();
        let (wait, now) = (until.saturating_duration_since(now()), clock::unix_millis());
        let end = (second + 1 + one.span.as_secs()) * 1000;
        assert!(wait >= Duration::from_millis(end.saturating_sub(now + 1)), "{wait:?}");
    }

    #[test]
    fn file_that_is_damaged_from_the_future_or_out_of_reach_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let start = now();
        for damaged in [
            "",
            "{",
            "[]",
            "{\"dials\": 5}",
            "{\"dialled_ms\": 5}",
            "{\"dials\": {\"a\": [\"x\"]}}",
        ] {
            fs::write(&file, damaged).unwrap();
            let (mut budgets, mut mailbox) = budgets(Some(file.clone()), start);
            assert_eq!(budgets.take("a", BUDGET, start), Ok(()), "{damaged}");
            write_out(&mut budgets, &mut mailbox, start);
        }
        let future = format!("{{\"dials\": {{\"a\": [{0}, {0}, 5, {0}]}}}}", u64::MAX);
        fs::write(&file, future).unwrap();
        let (mut later, _mailbox) = budgets(Some(file), start);
        assert_eq!(later.take("a", BUDGET, start), Err(start + BUDGET.span));
        let absent = folder.path().join("absent/state.json");
        let (mut budgets, mut mailbox) = budgets(Some(absent), start);
        assert_eq!(budgets.take("a", BUDGET, start), Ok(()));
        write_out(&mut budgets, &mut mailbox, start);
        assert!(budgets.has_failed);
    }
}
