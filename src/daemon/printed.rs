//! What a program has printed that was asked what to say.

use std::fmt;

/// Its output. `Debug` does not show it: it may be secret.
pub struct Printed(pub(super) Vec<u8>);

impl fmt::Debug for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Printed({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_not_shown() {
        assert_eq!(format!("{:?}", Printed(b"s3cret".to_vec())), "Printed(6 bytes)");
    }
}
