//! What is going on, as data and as text.

pub mod page;
pub mod prometheus;
pub mod snapshot;
