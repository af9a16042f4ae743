//! What is going on, as data and as text.

pub mod histogram;
pub mod page;
pub mod process;
pub mod prometheus;
pub mod snapshot;
pub mod tapped;
