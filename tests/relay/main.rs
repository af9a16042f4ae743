//! The relay without sockets and without a clock: connections are pipes in memory, time moves when
//! a test says so. The far ends are tungstenite's, so that our codec is not judged by itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that is surprised shall fail")]

mod bad_input;
mod broadcast;
mod feeds;
mod forms;
mod forward;
mod life;
mod manners;
mod order;
mod peer;
mod pipe;
mod recordings;
mod reload;
mod returning;
mod securing;
mod session;
mod simulation;
mod slow;
mod world;
