//! TLS with authorities of our own: sources and clients behind it, certificates good and bad.

mod authority;
mod clients;
mod sources;
