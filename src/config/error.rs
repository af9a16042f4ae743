//! What is wrong with a configuration, for the person who wrote it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why there are no settings.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file was read; this is all that is wrong with it, never empty.
    Problems {
        /// The file, `None` if the text came from elsewhere.
        file: Option<PathBuf>,
        /// In the order of the file.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place in the text, if it is known.
    pub location: Option<Location>,
    /// The way to the value, such as `sources[1].url`; empty for the whole file.
    pub path: String,
    /// What is wrong, and what to do about it. No secret is in it.
    pub message: String,
}

/// A place in a text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Error {
    /// The same error, its problems ascribed to a file.
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Problems { file: _, problems } => {
                Self::Problems { file: Some(path.to_owned()), problems }
            }
            unreadable @ Self::Unreadable { .. } => unreadable,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, cause } if cause.kind() == io::ErrorKind::NotFound => {
                let file = file.display();
                write!(f, "there is no {file}: copy config.yaml.example to {file}, ")?;
                f.write_str("or try `veylor demo`, or run `veylor relay URL` without a file")
            }
            Self::Unreadable { file, cause } => {
                write!(f, "cannot read {}: {cause}", file.display())
            }
            Self::Problems { file, problems } => write_lines(f, file.as_deref(), problems),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { cause, .. } => Some(cause),
            Self::Problems { .. } => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Location { line, column }) = self.location {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// One problem a line, as compilers print them, so that editors find the place.
fn write_lines(
    f: &mut fmt::Formatter<'_>,
    file: Option<&Path>,
    problems: &[Problem],
) -> fmt::Result {
    for (index, problem) in problems.iter().enumerate() {
        if index > 0 {
            f.write_str("\n")?;
        }
        match (file, problem.location) {
            (Some(file), Some(_)) => write!(f, "{}:{problem}", file.display())?,
            (Some(file), None) => write!(f, "{}: {problem}", file.display())?,
            (None, _) => write!(f, "{problem}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_file_says_how_to_make_one() {
        let file = Path::new("no/such/config.yaml");
        let error = super::super::load(file).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no no/such/config.yaml: copy config.yaml.example to no/such/config.yaml, \
             or try `veylor demo`, or run `veylor relay URL` without a file"
        );
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn unreadable_file_is_named() {
        let error = super::super::load(Path::new("src")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read src: "), "{error}");
    }

    #[test]
    fn each_problem_has_a_line_of_its_own() {
        let here = Some(Location { line: 12, column: 5 });
        let problems = vec![
            Problem {
                location: here,
                path: "sources[1].url".to_owned(),
                message: "is missing".to_owned(),
            },
            Problem { location: None, path: String::new(), message: "is odd".to_owned() },
        ];
        let error = Error::Problems { file: None, problems };
        assert_eq!(error.to_string(), "12:5: sources[1].url: is missing\nis odd");
        let error = error.in_file(Path::new("config.yaml"));
        assert_eq!(
            error.to_string(),
            "config.yaml:12:5: sources[1].url: is missing\nconfig.yaml: is odd"
        );
    }
}
