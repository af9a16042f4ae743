//! The `veylor` program.

fn main() {}
