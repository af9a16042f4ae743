//! Strings with holes: `${env:NAME}`, `${file:PATH}`, `${cred:NAME}`.

/// A string whose holes are filled when it is needed, so that a rotated secret is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
}
