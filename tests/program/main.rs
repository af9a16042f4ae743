//! The real program with real sockets: what a user configures, starts, connects to and stops.

#![cfg_attr(
    not(all(feature = "control", feature = "programs", feature = "recording")),
    allow(dead_code, reason = "what the tests share that are left out with a feature")
)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that is surprised shall fail")]

#[cfg(feature = "control")]
mod access;
mod commands;
mod crowds;
#[cfg(all(feature = "control", feature = "programs"))]
mod dials;
#[cfg(feature = "control")]
mod doors;
mod faults;
mod feeds;
mod health;
#[cfg(feature = "control")]
mod logs;
mod notify;
mod peer;
mod program;
mod proxy;
#[cfg(all(feature = "control", feature = "recording"))]
mod recordings;
mod relaying;
mod reload;
#[cfg(all(feature = "control", feature = "programs", feature = "recording"))]
mod sandbox;
mod secrets;
#[cfg(all(feature = "control", feature = "programs"))]
mod session;
#[cfg(feature = "tls")]
mod shipped;
mod sources;
mod starting;
mod stopping;
#[cfg(feature = "control")]
mod taps;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "programs")]
mod tokens;
