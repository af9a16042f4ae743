//! RFC 6455 as the field's conformance suites judge it: the cases of the Autobahn test-suite,
//! sections 1 to 7, 9 and 10, by their numbers there, and some of our own.
//!
//! Every case is played to both sides of the relay: to its server by a raw client whose messages
//! a source sends back, and to its client by a raw source whose messages a client sends back. The
//! bytes come whole, and chopped.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that is surprised shall fail")]

mod case;
mod closing;
mod fragments;
mod frame;
mod framing;
mod handshake;
mod limits;
mod link;
mod utf8;
