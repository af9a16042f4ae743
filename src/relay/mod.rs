//! Who gets what.

pub mod settings;
