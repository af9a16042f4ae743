//! The real program with real sockets: what a user configures, starts, connects to and stops.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that is surprised shall fail")]

mod access;
mod commands;
mod crowds;
mod dials;
mod doors;
mod faults;
mod feeds;
mod health;
mod logs;
mod notify;
mod peer;
mod program;
mod proxy;
#[cfg(feature = "recording")]
mod recordings;
mod relaying;
mod reload;
mod sandbox;
mod secrets;
#[cfg(feature = "programs")]
mod session;
#[cfg(feature = "tls")]
mod shipped;
mod sources;
mod starting;
mod stopping;
mod taps;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "programs")]
mod tokens;
