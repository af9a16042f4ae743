//! From a YAML file to settings that can be used.

pub mod settings;
pub mod template;
