//! `veylor [-c FILE]`: relays until it is told to stop.

use std::io;

use super::Failure;
use crate::config::plan::rounded_size;
use crate::config::settings::{Endpoint, Settings};
use crate::daemon::logging::Logging;
use crate::daemon::signals::Caught;
use crate::daemon::{Daemon, limits};
use crate::relay::Outcome;

/// Descriptors that are not clients: sources, listeners, visitors, log, poller.
const OTHER_DESCRIPTORS: u64 = 128;

/// Runs a relay in this thread. How many messages are missing in its recordings.
pub(super) fn run(settings: Settings, logging: Logging) -> Result<u64, Failure> {
    let signals = catch_signals()?;
    tell_and_run(signals, opened(settings, logging)?)
}

/// Runs a relay in this thread, and the terminal UI beside it.
#[cfg(feature = "tui")]
pub(super) fn run_with_ui(settings: Settings, logging: Logging) -> Result<(), Failure> {
    let signals = catch_signals()?;
    let mut daemon = opened(settings, logging)?;
    let ui = super::top::beside(&mut daemon)?;
    let ended = tell_and_run(signals, daemon);
    // The relay's end has ended the events, and so the UI: the terminal is given back now.
    let shown = ui.join().unwrap_or_else(|_| Err(io::Error::other("the terminal UI failed")));
    ended?;
    shown.map(drop).map_err(super::top::no_terminal)
}

/// A relay whose endpoints are open, and have been told. This thread is confined from then on.
fn opened(settings: Settings, logging: Logging) -> Result<Daemon, Failure> {
    announce(&settings);
    let mut daemon = Daemon::new(settings, logging).map_err(Failure::Daemon)?;
    for (what, address) in daemon.addresses() {
        log::info!("{what}: listening at {address}");
    }
    daemon.confine();
    Ok(daemon)
}

/// Catches signals before there is anything that they would leave behind.
pub(super) fn catch_signals() -> Result<Caught, Failure> {
    Caught::new().map_err(cannot_watch)
}

fn cannot_watch(error: io::Error) -> Failure {
    Failure::System("cannot watch for signals".to_owned(), error)
}

/// Runs a relay whose addresses have been told already. How many messages are missing in its
/// recordings.
pub(super) fn tell_and_run(signals: Caught, daemon: Daemon) -> Result<u64, Failure> {
    signals.tell(daemon.post()).map_err(cannot_watch)?;
    let ended = daemon.run().map_err(Failure::Daemon)?;
    match ended.outcome {
        Outcome::Asked | Outcome::Played => {
            log::info!("ended");
            Ok(ended.unrecorded_messages)
        }
        Outcome::AllSourcesGaveUp => Err(Failure::NothingToRelay),
    }
}

/// Says what the operator should know before it matters.
fn announce(settings: &Settings) {
    for warning in &settings.warnings {
        log::warn!("{warning}");
    }
    let (plan, descriptors) = (settings.plan(), limits::raise_descriptors());
    log::info!(
        "veylor {}: memory at most {} in steady running, {} at worst (see `veylor check`)",
        env!("CARGO_PKG_VERSION"),
        rounded_size(plan.steady_bytes()),
        rounded_size(plan.worst_bytes()),
    );
    let channels = settings.endpoints.iter().filter_map(Endpoint::channel);
    let wanted = channels.map(|channel| settings.channels[channel.0].max_clients as u64);
    let wanted = wanted.sum::<u64>() + OTHER_DESCRIPTORS;
    if let Some(descriptors) = descriptors
        && descriptors < wanted
    {
        log::warn!(
            "only {descriptors} descriptors may be open, with all clients {wanted} are needed: \
             raise LimitNOFILE or ulimit -n, or lower max_clients",
        );
    }
}
