//! Sockets: who we dial, who dials us. No protocol.

pub mod admission;
pub mod certificate;
pub mod credentials;
pub mod dial;
pub mod listener;
pub mod passed;
pub mod proxy;
pub mod resolver;
pub mod secrets;
pub mod stream;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
pub mod tls;
pub mod url;
