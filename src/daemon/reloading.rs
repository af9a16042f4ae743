//! Reading the configuration again: off the loop, one reading at a time, all or nothing.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use super::{Daemon, Letter};
use crate::config;
use crate::config::plan::rounded_size;
use crate::config::reload;
use crate::config::settings::Settings;
use crate::net::listener::{BindError, Place};
use crate::net::resolver;
use crate::reactor::mailbox::Post;

/// How far a reload is.
#[derive(Debug)]
pub(super) struct Reloading {
    post: Post<Letter>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// A thread reads.
    Reading,
    /// A thread reads, and what it reads may be old already: it is to be read again.
    Outdated,
}

/// A configuration as a thread has read it.
#[derive(Debug)]
pub struct Reading {
    settings: Settings,
    /// All addresses to listen at, or the first whose host is unknown.
    places: Result<Vec<Place>, BindError>,
}

/// Why nothing is changed.
#[derive(Debug)]
pub(super) enum ReloadError {
    /// The relay runs without a file.
    NoFile,
    /// The relay ends.
    Ending,
    /// The file is wrong.
    Config(config::Error),
    /// An address cannot be listened at, or the system refuses something else.
    Daemon(super::Error),
}

impl Daemon {
    /// Has the configuration read again. The answer comes as a letter.
    pub(super) fn begin_reload(&mut self) {
        self.notify.reloading();
        if let Err(error) = self.reloading.begin(self.settings.file.as_deref()) {
            error.log();
            self.notify.ready();
        }
    }

    /// Takes a configuration in that was read, and says what came of it.
    pub(super) fn end_reload(
        &mut self,
        reading: Result<Box<Reading>, config::Error>,
        now: Instant,
    ) {
        match reading.map_err(ReloadError::Config).and_then(|read| self.reload(*read, now)) {
            Ok(changes) if changes.is_empty() => log::info!("reload: nothing has changed"),
            Ok(changes) => changes.iter().for_each(|change| log::info!("reload: {change}")),
            Err(error) => error.log(),
        }
        if self.reloading.end() {
            self.begin_reload();
        } else {
            self.notify.ready();
        }
    }

    /// Becomes what a configuration asks for, wholly or not at all. What has changed, a sentence
    /// each.
    pub(super) fn reload(
        &mut self,
        reading: Reading,
        now: Instant,
    ) -> Result<Vec<String>, ReloadError> {
        if self.relay.outcome().is_some() {
            return Err(ReloadError::Ending);
        }
        let Reading { settings, places } = reading;
        let places = places.map_err(|error| ReloadError::Daemon(super::Error::Bind(error)))?;
        let plan = reload::plan(&self.settings, &settings, &self.relay.seats());
        let registry = self.poller.registry();
        self.listening.reload(&plan.endpoints, &places, registry).map_err(ReloadError::Daemon)?;
        self.dialing.reload(plan.sources, &plan.layout.redials);
        self.relay.reload(plan.layout, now);
        let is_new = |warning: &&String| !self.settings.warnings.contains(*warning);
        for warning in settings.warnings.iter().filter(is_new) {
            log::warn!("{warning}");
        }
        let mut changes = plan.changes;
        changes.extend(memory_change(&self.settings, &settings));
        // It is as it was at the start, and differs from the file until a restart.
        let log = std::mem::take(&mut self.settings.log);
        self.settings = Settings { log, ..settings };
        Ok(changes)
    }
}

impl Reloading {
    pub(super) fn new(post: Post<Letter>) -> Self {
        Self { post, stage: Stage::Idle }
    }

    /// Begins to read a file, or has it read again when the reading of now is done.
    fn begin(&mut self, file: Option<&Path>) -> Result<(), ReloadError> {
        let file = file.ok_or(ReloadError::NoFile)?.to_owned();
        if self.stage != Stage::Idle {
            self.stage = Stage::Outdated;
            log::debug!("reload: asked for again, done after the one under way");
            return Ok(());
        }
        let post = self.post.clone();
        resolver::spawn(move || post.send(Letter::Reloaded(read(&file))))
            .map_err(|error| ReloadError::Daemon(super::Error::System(error)))?;
        self.stage = Stage::Reading;
        Ok(())
    }

    /// Learns that a thread has read. Says whether it is to be read again.
    fn end(&mut self) -> bool {
        std::mem::replace(&mut self.stage, Stage::Idle) == Stage::Outdated
    }
}

/// Reads a file, its secrets and the numbers of its hosts. Blocks: runs on a thread of its own.
fn read(file: &Path) -> Result<Box<Reading>, config::Error> {
    let settings = config::load(file)?;
    let places = settings.endpoints.iter().map(|endpoint| endpoint.address.resolve()).collect();
    Ok(Box::new(Reading { settings, places }))
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

impl ReloadError {
    /// Tells the operator, each problem in a line of its own.
    fn log(&self) {
        match self {
            Self::NoFile | Self::Ending => log::warn!("reload: {self}"),
            Self::Config(_) | Self::Daemon(_) => {
                for line in self.to_string().lines() {
                    log::error!("reload: nothing is changed: {line}");
                }
            }
        }
    }
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str(
                "this relay runs without a configuration file, there is nothing to read again",
            ),
            Self::Ending => f.write_str("the relay is shutting down, nothing is changed"),
            Self::Config(error) => error.fmt(f),
            Self::Daemon(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Daemon(error) => Some(error),
            Self::NoFile | Self::Ending => None,
        }
    }
}
