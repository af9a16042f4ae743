//! Readiness, time and byte queues. No protocol.

pub mod inbox;
pub mod mailbox;
pub mod order;
pub mod outbox;
pub mod pace;
pub mod poller;
pub mod table;
pub mod target;
pub mod timers;
