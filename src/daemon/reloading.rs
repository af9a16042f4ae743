//! Reading the configuration again: off the loop, one reading at a time, all or nothing. Who asked
//! for it at a door hears what came of it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::logging::{Opener, Output};
use super::sandbox::{Outside, Sandbox};
use super::{Daemon, Letter};
use crate::codec::request::{Request, Response};
use crate::config;
use crate::config::plan::rounded_size;
use crate::config::reload;
use crate::config::settings::Settings;
use crate::net::listener::{BindError, Place};
use crate::net::resolver;
use crate::reactor::mailbox::Post;
use crate::reactor::table::Key;
use crate::relay::settings::SourceId;

/// How far a reload is.
#[derive(Debug)]
pub(super) struct Reloading {
    post: Post<Letter>,
    sandbox: Arc<Sandbox>,
    /// The reading of now, so that a late one is not taken for it.
    number: u64,
    stage: Stage,
    /// Visitors who wait for what comes of the reading under way.
    asked: Vec<(Key, Request)>,
    /// Visitors who wait for the reading after it.
    asked_since: Vec<(Key, Request)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// A thread reads, and is waited for until then.
    Reading {
        until: Instant,
    },
    /// The same, and what it reads may be old already: it is to be read again.
    Outdated {
        until: Instant,
    },
}

/// A file is read within this time, or nothing is changed: a name server or a disk may hang.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(50);

/// A configuration as a thread has read it.
#[derive(Debug)]
pub struct Reading {
    settings: Settings,
    /// All addresses to listen at, or the first whose host is unknown.
    places: Result<Vec<Place>, BindError>,
    /// Where to log from then on.
    output: Result<Output, super::Error>,
}

/// What came of a reading: a sentence for each change, and what should be known that was not before.
#[derive(Debug)]
pub(super) struct Reloaded {
    changes: Vec<String>,
    warnings: Vec<String>,
}

/// Why nothing is changed.
#[derive(Debug)]
pub enum ReloadError {
    /// The relay runs without a file.
    NoFile,
    /// The relay ends.
    Ending,
    /// The file, or something that it names, was not read in time.
    TimedOut,
    /// The file is wrong.
    Config(config::Error),
    /// Something that is wanted lies outside the sandbox; what went wrong for that reason.
    Outside(Outside, Option<config::Error>),
    /// An address cannot be listened at, or the system refuses something else.
    Daemon(super::Error),
}

impl Daemon {
    /// Has the configuration read again, for a visitor or for a signal. The answer comes as a
    /// letter.
    pub(super) fn begin_reload(&mut self, visitor: Option<(Key, Request)>, now: Instant) {
        if let Some((key, _)) = visitor {
            self.admin.keep_waiting(key, now);
        }
        self.notify.reloading();
        let (file, opener) = (self.settings.file.as_deref(), self.logging.opener());
        if let Err(error) = self.reloading.begin(file, opener, visitor, now) {
            self.end_reload(Err(error), now);
        }
    }

    /// Takes a configuration in that was read, unless it comes too late.
    pub(super) fn take_reading(
        &mut self,
        number: u64,
        reading: Result<Box<Reading>, ReloadError>,
        now: Instant,
    ) {
        if number != self.reloading.number || self.reloading.stage == Stage::Idle {
            return;
        }
        let reloaded = reading.and_then(|read| self.reload(*read, now));
        self.end_reload(reloaded, now);
    }

    /// Gives a reading up that takes too long.
    pub(super) fn expire_reading(&mut self, now: Instant) {
        if self.reloading.wake_at().is_some_and(|until| until <= now) {
            self.end_reload(Err(ReloadError::TimedOut), now);
        }
    }

    /// Says what came of a reload.
    fn end_reload(&mut self, reloaded: Result<Reloaded, ReloadError>, now: Instant) {
        let response = match reloaded {
            Ok(reloaded) => {
                reloaded.log();
                reloaded.response()
            }
            Err(error) => {
                error.log();
                error.response()
            }
        };
        let (is_outdated, asked) = self.reloading.end();
        for (key, request) in asked {
            self.admin.answer(key, &request, &response, now);
        }
        let doors: Vec<_> = self.listening.doors().collect();
        let is_open = |access| doors.contains(&access);
        let has_source = |source: &str| self.relay.source_named(source).is_some();
        self.admin.keep_only(is_open, &self.settings.admin_auth, has_source, now);
        if is_outdated {
            self.begin_reload(None, now);
        } else {
            self.notify.ready();
        }
    }

    /// Becomes what a configuration asks for, wholly or not at all.
    pub(super) fn reload(
        &mut self,
        reading: Reading,
        now: Instant,
    ) -> Result<Reloaded, ReloadError> {
        if self.relay.outcome().is_some() {
            return Err(ReloadError::Ending);
        }
        let Reading { settings, places, output } = reading;
        if let Some(outside) = self.sandbox.unwritable(&self.settings, &settings) {
            return Err(ReloadError::Outside(outside, None));
        }
        let places = places.map_err(|error| ReloadError::Daemon(super::Error::Bind(error)))?;
        let output = output.map_err(ReloadError::Daemon)?;
        let plan = reload::plan(&self.settings, &settings, &self.relay.seats());
        let registry = self.poller.registry();
        self.listening.reload(&plan.endpoints, &places, registry).map_err(ReloadError::Daemon)?;
        let recorded = plan.sources.clone();
        let counted_anew = self.dialing.reload(plan.sources, &plan.layout.redials, now);
        self.relay.reload(plan.layout, now);
        for source in counted_anew {
            self.relay.budget_changed(source, now);
        }
        let recorded = (0..).map(SourceId).zip(recorded.iter().map(Option::as_ref));
        self.recorders.reload(recorded, &mut self.relay);
        self.logging.change(&settings.log, output);
        let is_new = |warning: &&String| !self.settings.warnings.contains(*warning);
        let warnings = settings.warnings.iter().filter(is_new).cloned().collect();
        let mut changes = plan.changes;
        changes.extend(memory_change(&self.settings, &settings));
        self.settings = settings;
        Ok(Reloaded { changes, warnings })
    }
}

impl Reloading {
    pub(super) fn new(post: Post<Letter>) -> Self {
        let (asked, asked_since) = (Vec::new(), Vec::new());
        let sandbox = Arc::default();
        Self { post, sandbox, number: 0, stage: Stage::Idle, asked, asked_since }
    }

    /// Learns what can be read.
    pub(super) fn confine(&mut self, sandbox: Arc<Sandbox>) {
        self.sandbox = sandbox;
    }

    /// Begins to read a file, or has it read again when the reading of now is done.
    fn begin(
        &mut self,
        file: Option<&Path>,
        opener: Opener,
        visitor: Option<(Key, Request)>,
        now: Instant,
    ) -> Result<(), ReloadError> {
        if let Stage::Reading { until } | Stage::Outdated { until } = self.stage {
            self.stage = Stage::Outdated { until };
            self.asked_since.extend(visitor);
            log::debug!("reload: asked for again, done after the one under way");
            return Ok(());
        }
        self.asked.extend(visitor);
        let file = file.ok_or(ReloadError::NoFile)?.to_owned();
        self.number += 1;
        let (post, number) = (self.post.clone(), self.number);
        let sandbox = Arc::clone(&self.sandbox);
        let job = move || post.send(Letter::Reloaded(number, read(&file, &opener, &sandbox)));
        resolver::spawn(job).map_err(|error| ReloadError::Daemon(super::Error::System(error)))?;
        self.stage = Stage::Reading { until: now + READ_TIMEOUT };
        Ok(())
    }

    /// Learns that a reading is done. Whether another is wanted, and who waited for this one.
    fn end(&mut self) -> (bool, Vec<(Key, Request)>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        let since = std::mem::take(&mut self.asked_since);
        let is_outdated = matches!(stage, Stage::Outdated { .. });
        (is_outdated, std::mem::replace(&mut self.asked, since))
    }

    /// When a reading is given up.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Idle => None,
            Stage::Reading { until } | Stage::Outdated { until } => Some(until),
        }
    }
}

/// Reads a file, its secrets and the numbers of its hosts, and opens the log anew. Blocks: runs on a
/// thread of its own.
fn read(file: &Path, opener: &Opener, sandbox: &Sandbox) -> Result<Box<Reading>, ReloadError> {
    let settings =
        config::load(file).map_err(|error| match sandbox.unreadable(|| config::files(file)) {
            Some(outside) => ReloadError::Outside(outside, Some(error)),
            None => ReloadError::Config(error),
        })?;
    let places = settings.endpoints.iter().map(|endpoint| endpoint.address.resolve()).collect();
    let output = opener.open(&settings.log);
    Ok(Box::new(Reading { settings, places, output }))
}

/// How much memory the relay may take, if that is another size than before.
fn memory_change(old: &Settings, new: &Settings) -> Option<String> {
    let of = |settings: &Settings| {
        let plan = settings.plan();
        (rounded_size(plan.steady_bytes()), rounded_size(plan.worst_bytes()))
    };
    let (steady, worst) = of(new);
    let has_changed = of(old) != (steady.clone(), worst.clone());
    has_changed.then(|| format!("memory at most {steady} in steady running, {worst} at worst"))
}

impl Reloaded {
    fn log(&self) {
        for warning in &self.warnings {
            log::warn!("{warning}");
        }
        for sentence in self.sentences() {
            log::info!("reload: {sentence}");
        }
    }

    /// What whoever asked for the reload is told.
    fn response(&self) -> Response {
        let warnings = self.warnings.iter().map(|warning| format!("warning: {warning}"));
        let sentences = self.sentences().into_iter().map(str::to_owned);
        Response::text(200, &sentences.chain(warnings).collect::<Vec<_>>().join("\n"))
    }

    fn sentences(&self) -> Vec<&str> {
        match &*self.changes {
            [] => vec!["nothing has changed"],
            changes => changes.iter().map(String::as_str).collect(),
        }
    }
}

impl ReloadError {
    /// Tells the operator, each problem in a line of its own.
    fn log(&self) {
        match self {
            Self::NoFile | Self::Ending => log::warn!("reload: {self}"),
            Self::Config(_) | Self::Outside(..) | Self::Daemon(_) | Self::TimedOut => {
                for line in self.to_string().lines() {
                    log::error!("reload: nothing is changed: {line}");
                }
            }
        }
    }
}

impl ReloadError {
    /// What whoever asked for the reload is told.
    fn response(&self) -> Response {
        let status = match self {
            Self::Config(_) => 422,
            Self::NoFile | Self::Ending | Self::Outside(..) | Self::Daemon(_) => 409,
            Self::TimedOut => 504,
        };
        Response::text(status, &format!("nothing is changed\n{self}"))
    }
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str(
                "this relay runs without a configuration file, there is nothing to read again",
            ),
            Self::Ending => f.write_str("the relay is shutting down, nothing is changed"),
            Self::TimedOut => write!(
                f,
                "the file, or something that it names, was not read within {} s",
                READ_TIMEOUT.as_secs()
            ),
            Self::Config(error) => error.fmt(f),
            Self::Outside(outside, None) => outside.fmt(f),
            Self::Outside(outside, Some(error)) => write!(f, "{error}\n{outside}"),
            Self::Daemon(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) | Self::Outside(_, Some(error)) => Some(error),
            Self::Outside(outside, None) => Some(outside),
            Self::Daemon(error) => Some(error),
            Self::NoFile | Self::Ending | Self::TimedOut => None,
        }
    }
}
