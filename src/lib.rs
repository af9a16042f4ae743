//! Veylor shares one upstream WebSocket connection among many local programs.
//!
//! The floors, lowest first; a module uses its own floor and those below. `ARCHITECTURE.md` is the
//! map.

pub mod cli;
pub mod codec;
pub mod config;
pub mod daemon;
pub mod net;
pub mod observe;
pub mod reactor;
pub mod relay;
#[cfg(feature = "tui")]
pub mod tui;
