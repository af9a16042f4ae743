//! The files that a configuration names, besides itself.
//!
//! They are found in the tree as it was written, so that they are known also of a configuration
//! that is wrong, and whatever key they belong to.

use std::path::PathBuf;

use super::raw::Raw;
use super::template::Template;

/// How a key ends that names a file to read.
const FILE_KEY: &str = "_file";

/// The files that fill holes, and those that keys name.
pub(super) fn files(tree: &Raw) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect("", tree, &mut files);
    files.sort();
    files.dedup();
    files
}

fn collect(key: &str, value: &Raw, files: &mut Vec<PathBuf>) {
    match value {
        Raw::Text(text) => {
            let Ok(template) = Template::parse(text) else { return };
            files.extend(template.files());
            if key.ends_with(FILE_KEY)
                && let Ok(path) = template.resolve()
            {
                files.push(path.into());
            }
        }
        Raw::List(items) => items.iter().for_each(|item| collect(key, item, files)),
        Raw::Map(entries) => entries.iter().for_each(|(key, value)| collect(key, value, files)),
        Raw::Nothing | Raw::Flag(_) | Raw::Whole(_) | Raw::Fraction(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{input, raw};
    use super::*;

    fn files_in(text: &str) -> Vec<PathBuf> {
        files(&raw::parse(text).unwrap())
    }

    #[test]
    fn secrets_and_certificates_are_found_wherever_they_stand() {
        let text = "
sources:
  - url: ws://${file:/secrets/user}@host
    headers: {X: 'a ${file:b} ${env:HOME} ${file:/secrets/user}', Y: [5, '${broken']}
    ca_file: ca.pem
tls: {key_file: '/keys/${env:NO_SUCH_VARIABLE:-key}.pem', nothing: /elsewhere}
";
        let expected = ["/keys/key.pem", "/secrets/user", "b", "ca.pem"];
        assert_eq!(files_in(text), expected.map(PathBuf::from));
        assert!(files_in("sandbox: true").is_empty());
    }

    #[test]
    fn every_key_for_a_file_has_the_ending_that_is_looked_for() {
        let keys = [input::TOP_KEYS, input::SOURCE_KEYS, input::ADMIN_KEYS, input::LOG_KEYS];
        let named = keys.concat().into_iter().filter(|key| key.contains("file"));
        // The log is written, not read.
        assert!(named.filter(|key| *key != "file").all(|key| key.ends_with(FILE_KEY)));
    }
}
