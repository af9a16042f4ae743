//! Sockets: who we dial, who dials us. No protocol.

pub mod listener;
pub mod url;
