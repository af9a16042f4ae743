//! What a configuration says of recordings: those that are made, and those that are sources.

use std::collections::HashSet;
use std::path::{self, Path, PathBuf};

use super::build::Builder;
use super::input::{SourceInput, path};
use super::problem::KeyPath;
use super::section::Section;
use super::settings::Source;
use super::target::{TargetError, TargetErrorCause};
use super::template::{Template, TemplateError};
use crate::net::url::percent_decoded;

pub(super) const RECORD_KEYS: &[&str] = &["path", "rotate"];
pub(super) const ROTATE_KEYS: &[&str] = &["size", "keep"];

/// What the url of a recording begins with.
const SCHEME: &str = "file:";

/// Bytes of a recording before it is put aside, unless the file says otherwise.
const ROTATE_BYTES: u64 = 100 << 20;
/// Recordings that are kept aside, unless the file says otherwise.
const KEPT_FILES: u32 = 5;

/// The smallest size at which a recording is put aside: smaller ones are nothing but renames.
const MIN_ROTATE_BYTES: u64 = 4 * 1024;
const MAX_ROTATE_BYTES: usize = if usize::BITS == 64 { 1 << 40 } else { (1 << 31) - 1 };
const MAX_KEPT_FILES: u64 = 1000;
const MAX_AUDIENCE: u64 = 1_000_000;
/// The highest speed that is not `max`.
const MAX_TIMES: f64 = 1e9;

/// How the messages of a source are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The file.
    pub path: PathBuf,
    /// Bytes of a file before another is begun; 0: it grows without a limit.
    pub rotate_bytes: u64,
    /// Files that are kept besides that one, at least 1; the oldest makes room for others.
    pub kept_files: u32,
    /// Messages that are recorded before the relay ends; `None`: all that come.
    pub messages: Option<u64>,
}

/// How a recording is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replay {
    /// How fast.
    pub speed: Speed,
    /// Whether it begins anew at its end.
    pub is_looped: bool,
    /// Clients that are waited for before it begins.
    pub wait_for_clients: usize,
}

/// How fast a recording is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was recorded.
    Times(f64),
    /// As fast as clients take it.
    Max,
}

/// `record`.
#[derive(Debug)]
pub(super) struct RecordInput {
    path: Option<PathBuf>,
    rotate: Option<RotateInput>,
}

/// `record.rotate`.
#[derive(Clone, Copy, Debug)]
struct RotateInput {
    size: Option<usize>,
    keep: Option<u64>,
}

/// The keys of a source that say how a recording is played.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReplayInput {
    speed: Option<Speed>,
    is_looped: Option<bool>,
    wait_for_clients: Option<u64>,
}

impl Record {
    /// Everything into a file that grows without a limit.
    pub fn endless(path: PathBuf) -> Self {
        Self { path, rotate_bytes: 0, kept_files: KEPT_FILES, messages: None }
    }

    /// Where the older files are kept: `trades.1.vrec` for `trades.vrec`.
    pub fn aside(&self, number: u32) -> PathBuf {
        let mut name = self.path.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{number}"));
        if let Some(extension) = self.path.extension() {
            name.push(".");
            name.push(extension);
        }
        self.path.with_file_name(name)
    }

    /// All files that it may write or rename.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let older = (1..=self.kept_files).map(|number| self.aside(number));
        std::iter::once(self.path.clone()).chain(older)
    }
}

impl Speed {
    /// `max`, or a number above 0.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "max" {
            return Some(Self::Max);
        }
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let times: f64 = text.parse().ok().filter(|_| is_plain)?;
        (times > 0.0 && times <= MAX_TIMES).then_some(Self::Times(times))
    }
}

impl Source {
    /// The recording that is played in place of a service, as the url names it at this moment.
    pub fn recording(&self) -> Result<PathBuf, TargetError> {
        let of_url = |cause| TargetError { part: "url".to_owned(), cause };
        let path = recording(&self.url).map_err(|e| of_url(TargetErrorCause::Template(e)))?;
        path.ok_or_else(|| of_url(TargetErrorCause::NoRecording))
    }
}

/// The keys of a source that say how it is recorded.
pub(super) fn record_input(section: &mut Section<'_>) -> Option<RecordInput> {
    if !cfg!(feature = "recording") {
        let (path, _) = section.take("record")?;
        section.problem(path, "needs a veylor that was built with the feature `recording`");
        return Some(RecordInput { path: None, rotate: None });
    }
    section.section("record", RECORD_KEYS, |section| RecordInput {
        path: section.parsed("path", "a path", path),
        rotate: section.section("rotate", ROTATE_KEYS, |section| RotateInput {
            size: section.size("size", 0..=MAX_ROTATE_BYTES),
            keep: section.number("keep", "files", 1..=MAX_KEPT_FILES),
        }),
    })
}

/// The keys of a source that say how it is played.
pub(super) fn replay_input(section: &mut Section<'_>) -> ReplayInput {
    let speed = "a number above 0, such as 1 or 10, or max";
    ReplayInput {
        speed: section.parsed("speed", speed, Speed::parse),
        is_looped: section.flag("loop"),
        wait_for_clients: section.number("wait_for_clients", "clients", 0..=MAX_AUDIENCE),
    }
}

/// The file that a url names, if it names one: `file:recording.vrec`, `file:///srv/recording.vrec`.
pub(super) fn recording(url: &Template) -> Result<Option<PathBuf>, TemplateError> {
    Ok(path_of(&url.resolve()?))
}

fn path_of(url: &str) -> Option<PathBuf> {
    let (scheme, path) = url.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    // Only what is written as a URL is written with its escapes.
    let path = match path.strip_prefix("//") {
        Some(rest) => percent_decoded(rest.strip_prefix("localhost").unwrap_or(rest)),
        None => path.to_owned(),
    };
    Some(PathBuf::from(path))
}

/// What a recording is called that has no name.
pub(super) fn stem(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.and_then(|stem| super::input::name(&stem)).unwrap_or_else(|| "recording".to_owned())
}

impl Builder<'_> {
    /// Looks at the url of a recording; the name that comes from it.
    pub(super) fn check_recording(&mut self, key: &KeyPath, file: &Path) -> Option<String> {
        if !cfg!(feature = "recording") {
            let message =
                "scheme \"file\" needs a veylor that was built with the feature `recording`";
            self.problems.add(key.clone(), message);
            return None;
        }
        let text = file.to_string_lossy();
        if text.is_empty() || text.contains('\0') || text.ends_with('/') {
            self.problems.add(key.clone(), "names no file, expected file:PATH or file:///PATH");
            return None;
        }
        Some(stem(file))
    }

    /// How a source is played that is a recording.
    pub(super) fn replay(&mut self, input: &SourceInput) -> Option<Replay> {
        if !cfg!(feature = "recording") {
            return None;
        }
        let ReplayInput { speed, is_looped, wait_for_clients } = input.replay;
        let is_recording = match &input.url {
            Some(url) => recording(url).ok()?.is_some(),
            None if input.feed.urls.is_some() => false,
            None => return None,
        };
        if !is_recording {
            let given = [
                ("speed", speed.is_some()),
                ("loop", is_looped.is_some()),
                ("wait_for_clients", wait_for_clients.is_some()),
            ];
            self.refuse(input, &given, "is for a recording: it needs a url such as file:x.vrec");
            return None;
        }
        let (trust, approach, session) = (&input.trust, &input.approach, &input.session);
        let given = [
            ("headers", !input.headers.is_empty()),
            ("subprotocols", !input.subprotocols.is_empty()),
            ("ca_file", trust.ca_file.is_some()),
            ("cert_file", trust.cert_file.is_some()),
            ("key_file", trust.key_file.is_some()),
            ("server_name", trust.server_name.is_some()),
            ("fingerprint", trust.fingerprint.is_some()),
            ("token_command", approach.token.is_some()),
            ("proxy", approach.proxy.is_some()),
            ("bind", approach.exit.is_some()),
            ("tcp_user_timeout", approach.tcp_user_timeout.is_some()),
            ("on_connect", !session.steps.is_empty()),
            ("on_connect_command", session.command.is_some()),
            ("heartbeat", session.heartbeat.is_some()),
            ("reply_to", !session.replies.is_empty()),
            ("idle_timeout", input.idle_timeout.is_some()),
            ("max_age", input.max_age.is_some()),
        ];
        self.refuse(input, &given, "has no meaning for a recording: leave it out");
        Some(Replay {
            speed: speed.unwrap_or(Speed::Times(1.0)),
            is_looped: is_looped.unwrap_or(false),
            wait_for_clients: wait_for_clients.map_or(0, |n| usize::try_from(n).unwrap_or(0)),
        })
    }

    fn refuse(&mut self, input: &SourceInput, given: &[(&str, bool)], why: &str) {
        for (key, _) in given.iter().filter(|(_, is_given)| *is_given) {
            self.problems.add(input.path.key(key), why);
        }
    }

    /// How a source is recorded.
    pub(super) fn record(&mut self, input: &SourceInput) -> Option<Record> {
        let record = input.record.as_ref().filter(|_| cfg!(feature = "recording"))?;
        let key = input.path.key("record");
        let Some(path) = record.path.clone() else {
            if !self.problems.mention(&key.key("path")) {
                self.problems.add(key.key("path"), "is missing, such as /var/lib/veylor/x.vrec");
            }
            return None;
        };
        let plays = |url: &Template| recording(url).ok().flatten().as_ref() == Some(&path);
        if input.url.as_ref().is_some_and(plays) {
            self.problems.add(key.key("path"), "is what the source plays: name another file");
        } else if path.is_dir() || path.to_string_lossy().ends_with('/') {
            self.problems.add(key.key("path"), "is a folder: name a file in it");
        }
        let rotate = record.rotate.unwrap_or(RotateInput { size: None, keep: None });
        let rotate_bytes = rotate.size.map_or(ROTATE_BYTES, |bytes| bytes as u64);
        if (1..MIN_ROTATE_BYTES).contains(&rotate_bytes) {
            let message = "is too small: give it at least 4KiB, or 0 for one file without a limit";
            self.problems.add(key.key("rotate").key("size"), message);
        }
        let kept_files = rotate.keep.map_or(KEPT_FILES, |n| u32::try_from(n).unwrap_or(KEPT_FILES));
        let record = Record { path, rotate_bytes, kept_files, messages: None };
        self.check_files(key.key("path"), &record);
        Some(record)
    }

    /// Refuses a recording that would rename or remove the files of another one.
    fn check_files(&mut self, key: KeyPath, record: &Record) {
        for (other_key, other) in &self.recordings {
            let taken: HashSet<PathBuf> = other.files().map(|file| place(&file)).collect();
            let Some(file) = record.files().find(|file| taken.contains(&place(file))) else {
                continue;
            };
            let message = if place(&record.path) == place(&other.path) {
                format!("another source is recorded there already ({other_key}): name another file")
            } else {
                format!(
                    "{} is a name that {other_key} needs, too, since older files are kept as .1, \
                     .2 and so on: name another file",
                    file.display()
                )
            };
            self.problems.add(key.clone(), message);
        }
        self.recordings.push((key, record.clone()));
    }
}

/// A path by which a file is known, however it is written. Links of its folder are followed.
fn place(file: &Path) -> PathBuf {
    let file = path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, file.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        (None, _) | (_, None) => file,
    }
}

#[cfg(test)]
#[cfg(feature = "recording")]
mod tests {
    use super::super::parse;
    use super::*;

    fn settings(more: &str) -> Source {
        let text = format!("sources: [{{unix_socket_path: /x, {more}}}]");
        let mut settings = parse(&text).unwrap_or_else(|error| panic!("{error}"));
        settings.sources.remove(0)
    }

    fn problems(more: &str) -> Vec<String> {
        let text = format!("sources: [{{unix_socket_path: /x, {more}}}]");
        let told = parse(&text).unwrap_err().to_string();
        told.lines().map(|line| line.split_once(": sources[0].").unwrap().1.to_owned()).collect()
    }

    #[test]
    fn recording_is_told_from_a_service_by_its_url() {
        let path = |url: &str| settings(&format!("url: '{url}'")).recording().unwrap();
        assert_eq!(path("file:x.vrec"), Path::new("x.vrec"));
        assert_eq!(path("file:/srv/a b%20c.vrec"), Path::new("/srv/a b%20c.vrec"));
        assert_eq!(path("file:///srv/a%20b.vrec"), Path::new("/srv/a b.vrec"));
        assert_eq!(path("FILE://localhost/x"), Path::new("/x"));
        let service = settings("url: 'ws://host'");
        assert!(service.replay.is_none() && service.recording().is_err());
        let source = settings("url: 'file:/srv/trades.vrec'");
        assert_eq!(source.relay.name, "trades");
        let once = Replay { speed: Speed::Times(1.0), is_looped: false, wait_for_clients: 0 };
        assert_eq!(source.replay, Some(once));
        assert_eq!(source.url.redacted_url(), "file:/srv/trades.vrec");
    }

    #[test]
    fn speed_is_any_number_above_nothing_or_max() {
        let speeds = [("1", 1.0), ("10", 10.0), ("0.5", 0.5)];
        for (text, times) in speeds {
            assert_eq!(Speed::parse(text), Some(Speed::Times(times)));
            let source = settings(&format!("url: 'file:x', speed: {text}"));
            assert_eq!(source.replay.unwrap().speed, Speed::Times(times));
        }
        assert_eq!(Speed::parse("max"), Some(Speed::Max));
        for text in ["0", "-1", "inf", "nan", "1e3", "Max", "", "9999999999", "."] {
            assert_eq!(Speed::parse(text), None, "{text}");
        }
        let told = problems("url: 'file:x', speed: 0");
        assert_eq!(told, ["speed: expected a number above 0, such as 1 or 10, or max, found 0"]);
    }

    #[test]
    fn keys_that_do_not_fit_the_url_are_refused() {
        let told = problems("url: 'file:x', headers: {A: b}, subprotocols: [c]");
        let why = "has no meaning for a recording: leave it out";
        assert_eq!(told, [format!("headers: {why}"), format!("subprotocols: {why}")]);
        let told = problems("url: 'ws://host', speed: 1, loop: true");
        let why = "is for a recording: it needs a url such as file:x.vrec";
        assert_eq!(told, [format!("speed: {why}"), format!("loop: {why}")]);
        assert_eq!(
            problems("url: 'file:'"),
            ["url: names no file, expected file:PATH or file:///PATH"]
        );
    }

    #[test]
    fn source_may_be_recorded_without_clients() {
        let text = "sources: [{url: 'ws://host', record: {path: x.vrec, rotate: {size: 0}}}]";
        let settings = parse(text).unwrap();
        assert!(settings.channels.is_empty());
        let record = settings.sources[0].record.clone().unwrap();
        assert_eq!(record, Record::endless("x.vrec".into()));
    }

    #[test]
    fn recordings_are_rotated_unless_told_otherwise() {
        let record = settings("url: 'ws://host', record: {path: x}").record.unwrap();
        assert_eq!((record.rotate_bytes, record.kept_files), (100 << 20, 5));
        let rotate = "rotate: {size: 1MiB, keep: 2}";
        let record = settings(&format!("url: 'ws://host', record: {{path: x, {rotate}}}")).record;
        assert_eq!(record.map(|r| (r.rotate_bytes, r.kept_files)), Some((1 << 20, 2)));
    }

    #[test]
    fn wrong_recordings_are_told() {
        let told = problems("url: 'ws://host', record: {rotate: {size: 1KiB, keep: 0}}");
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], "record.path: is missing, such as /var/lib/veylor/x.vrec");
        assert!(told[1].starts_with("record.rotate.keep: expected a number of files from 1 to"));
        let told = problems("url: 'ws://host', record: {path: x, rotate: {size: 1KiB}}");
        assert!(told[0].starts_with("record.rotate.size: is too small"), "{told:?}");
        let told = problems("url: 'file:x', record: {path: x}");
        assert_eq!(told, ["record.path: is what the source plays: name another file"]);
        let two =
            "sources: [{url: 'ws://a', record: {path: x}}, {url: 'ws://b', record: {path: x}}]";
        let told = parse(two).unwrap_err().to_string();
        assert!(told.contains("sources[1].record.path: another source is recorded"), "{told}");
        assert!(told.contains("(sources[0].record.path): name another file"), "{told}");
    }

    #[test]
    fn folder_is_no_file_to_record_in() {
        let folder = tempfile::tempdir().unwrap();
        let record = |path: &str| problems(&format!("url: 'ws://host', record: {{path: {path}}}"));
        for path in [folder.path().to_str().unwrap(), ".", "no/such/folder/"] {
            assert_eq!(record(path), ["record.path: is a folder: name a file in it"]);
        }
    }

    /// What is told of two sources that are recorded in such a way.
    fn told_of_two(one: &str, other: &str) -> String {
        let text = format!(
            "sources: [{{url: 'ws://a', record: {one}}}, {{url: 'ws://b', record: {other}}}]"
        );
        parse(&text).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn recording_in_an_older_file_of_another_is_refused() {
        let kept = "{path: x.vrec, rotate: {keep: 2}}";
        for (one, other) in
            [(kept, "{path: x.2.vrec}"), ("{path: x.2.vrec}", kept), (kept, "{path: ./x.1.vrec}")]
        {
            let told = told_of_two(one, other);
            assert!(told.contains("sources[1].record.path: "), "{told}");
            assert!(told.contains("vrec is a name that sources[0].record.path needs, too"));
            assert!(told.ends_with(": name another file"), "{told}");
        }
        assert_eq!(told_of_two(kept, "{path: x.3.vrec}"), "");
        assert_eq!(told_of_two(kept, "{path: other/x.1.vrec}"), "");
        // One that is not rotated is put aside, too, if it is corrupt.
        let endless = "{path: x, rotate: {size: 0}}";
        assert!(told_of_two(endless, "{path: x.5}").contains("x.5 is a name that"));
    }

    #[test]
    fn the_same_file_is_known_however_it_is_written() {
        assert!(told_of_two("{path: x}", "{path: ./x}").contains("recorded there already"));
        assert!(told_of_two("{path: src/../x}", "{path: x}").contains("recorded there already"));
    }
}
