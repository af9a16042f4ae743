//! Sockets: who we dial, who dials us. No protocol.

pub mod admission;
pub mod credentials;
pub mod dial;
pub mod listener;
pub mod passed;
pub mod resolver;
pub mod stream;
#[cfg(feature = "tls")]
pub mod tls;
pub mod url;
