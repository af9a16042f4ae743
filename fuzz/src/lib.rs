//! What the fuzz targets share. Each target says in its first lines what must hold.

pub mod bytes;
pub mod frames;
pub mod peer;
pub mod pipe;
pub mod world;
