//! Strings with holes: `${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}`, `${cred:NAME}`, and
//! `${token}` in those of a source.
//!
//! `${match:POINTER}` is for answers alone: a message fills it, when it comes.
//!
//! `$${` stands for a plain `${`. What fills a hole is never shown: a template shows its holes, and
//! hides what was written around them, for that may be a secret as well.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::codec::pattern::Pointer;
use crate::net::secrets::Secrets;

/// Bytes of the largest file that may fill a hole.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Where systemd puts a service's credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A string whose holes are filled when it is needed, so that a rotated secret is found.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    holes: Vec<Hole>,
}

/// What fills holes besides the environment and files, and what has filled some. `Debug` hides it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fillings {
    /// What the `token_command` of a source printed.
    pub token: Option<String>,
    used: RefCell<Secrets>,
}

/// Why a template cannot be read or filled. No secret is in it.
#[derive(Debug)]
pub enum TemplateError {
    /// The text has a `${` that begins no hole.
    Malformed(&'static str),
    /// An environment variable is needed and not set.
    Unset(String),
    /// A token is asked for where no program makes one.
    NoToken,
    /// Credentials are asked for, and systemd has not passed any.
    NoCredentials,
    /// What should fill a hole cannot be read, or is no text of bearable size.
    Unreadable {
        /// The hole.
        hole: String,
        /// What the system said.
        cause: io::Error,
    },
}

#[derive(Clone, PartialEq, Eq)]
struct Hole {
    at: Range<usize>,
    filling: Filling,
}

#[derive(Clone, PartialEq, Eq)]
enum Filling {
    Variable { name: String, default: Option<String> },
    File(PathBuf),
    Credential(String),
    Token,
    Match(Pointer),
}

/// A part of a template: all holes are filled but those for a message.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Fragment {
    /// A text.
    Text(String),
    /// What is there in the message.
    Match(Pointer),
}

impl Template {
    /// Finds the holes of a text. What fills them is not looked at.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut holes = Vec::new();
        let mut from = 0;
        while let Some(found) = text[from..].find("${").map(|offset| from + offset) {
            if text[from..found].ends_with('$') {
                from = found + "${".len();
                continue;
            }
            let length = text[found..].find('}').ok_or(TemplateError::Malformed("${ has no }"))?;
            let end = found + length;
            let filling = Filling::parse(&text[found + "${".len()..end])?;
            holes.push(Hole { at: found..end + 1, filling });
            from = end + 1;
        }
        Ok(Self { text: text.to_owned(), holes })
    }

    /// The text with its holes filled from the environment and the files of this moment.
    ///
    /// Reads files, so it may block.
    pub fn resolve(&self) -> Result<String, TemplateError> {
        self.resolve_with(&Fillings::default())
    }

    /// The same, with what a dial has found out.
    pub fn resolve_with(&self, fillings: &Fillings) -> Result<String, TemplateError> {
        self.fill(|name| std::env::var_os(name), fillings)
    }

    /// The same, without what a message has to fill in.
    pub(super) fn fragments(&self, fillings: &Fillings) -> Result<Vec<Fragment>, TemplateError> {
        let mut fragments = Vec::new();
        let mut text = String::new();
        let mut from = 0;
        for hole in &self.holes {
            text.push_str(&unescaped(&self.text[from..hole.at.start]));
            from = hole.at.end;
            if let Filling::Match(pointer) = &hole.filling {
                fragments.push(Fragment::Text(std::mem::take(&mut text)));
                fragments.push(Fragment::Match(pointer.clone()));
            } else {
                text.push_str(&hole.filling.fill(|name| std::env::var_os(name), fillings)?);
            }
        }
        text.push_str(&unescaped(&self.text[from..]));
        fragments.push(Fragment::Text(text));
        Ok(fragments)
    }

    /// Whether a message has to fill something in.
    pub(super) fn has_match(&self) -> bool {
        self.holes.iter().any(|hole| matches!(hole.filling, Filling::Match(_)))
    }

    /// Whether something has to be filled in.
    pub fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// The files that fill its holes. Credentials that nobody has passed have none.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.holes.iter().filter_map(|hole| hole.filling.file())
    }

    /// The text as a url that may be logged: holes unfilled, without user, password and query.
    pub fn redacted_url(&self) -> String {
        let masked = self.masked();
        // A path has no secrets, and may have any sign.
        if masked.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:")) {
            return self.shown(0..masked.len());
        }
        let end = masked.find(['?', '#']).unwrap_or(masked.len());
        let authority = masked[..end].find("://").map_or(0, |at| at + "://".len());
        let path = masked[authority..end].find('/').map_or(end, |at| authority + at);
        let host = masked[authority..path].rfind('@').map_or(authority, |at| authority + at + 1);
        let scheme = self.shown(0..authority);
        let rest = if is_host_and_port(&masked[host..path]) {
            self.shown(host..end)
        } else {
            "…".to_owned()
        };
        let query = if end < masked.len() { "?…" } else { "" };
        format!("{scheme}{rest}{query}")
    }

    /// The text as it was written, secrets and all.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn fill(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
        fillings: &Fillings,
    ) -> Result<String, TemplateError> {
        let mut filled = String::with_capacity(self.text.len());
        let mut from = 0;
        for hole in &self.holes {
            filled.push_str(&unescaped(&self.text[from..hole.at.start]));
            filled.push_str(&hole.filling.fill(&variable, fillings)?);
            from = hole.at.end;
        }
        filled.push_str(&unescaped(&self.text[from..]));
        Ok(filled)
    }

    /// The text with digits for its holes: they are a valid part of a url wherever they stand.
    fn masked(&self) -> String {
        let mut masked = self.text.clone();
        for hole in &self.holes {
            masked.replace_range(hole.at.clone(), &"0".repeat(hole.at.len()));
        }
        masked
    }

    /// A part of the text, the defaults of its holes left out. Cuts no hole apart.
    fn shown(&self, part: Range<usize>) -> String {
        let mut shown = String::new();
        let mut from = part.start;
        let inside = |hole: &&Hole| hole.at.start >= part.start && hole.at.end <= part.end;
        for hole in self.holes.iter().filter(inside) {
            shown.push_str(&self.text[from..hole.at.start]);
            shown.push_str(&hole.filling.to_string());
            from = hole.at.end;
        }
        shown.push_str(&self.text[from..part.end]);
        shown
    }
}

/// Shows a url as [`Template::redacted_url`], any other text by its holes alone.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.masked().contains("://") {
            return f.write_str(&self.redacted_url());
        }
        let mut from = 0;
        for hole in &self.holes {
            f.write_str(if hole.at.start > from { "…" } else { "" })?;
            write!(f, "{}", hole.filling)?;
            from = hole.at.end;
        }
        f.write_str(if self.text.len() > from { "…" } else { "" })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({self})")
    }
}

impl Fillings {
    /// With what a `token_command` printed, if there is one.
    pub fn new(token: Option<String>) -> Self {
        Self { token, used: RefCell::default() }
    }

    /// A word for each, where nothing shall be run to find them out.
    pub(super) fn stand_in() -> Self {
        Self::new(Some("token".to_owned()))
    }

    /// What has filled holes so far.
    pub fn into_used(self) -> Secrets {
        self.used.into_inner()
    }
}

impl fmt::Debug for Fillings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Fillings").field("token", &token).finish_non_exhaustive()
    }
}

impl Filling {
    fn parse(inside: &str) -> Result<Self, TemplateError> {
        const EXPECTED: &str = "${ begins ${env:NAME}, ${env:NAME:-default}, ${file:PATH}, \
                                ${cred:NAME} or ${token}; a plain ${ is written $${";
        let malformed = Err(TemplateError::Malformed(EXPECTED));
        if inside == "token" {
            return Ok(Self::Token);
        }
        if let Some(pointer) = inside.strip_prefix("match:") {
            let pointer = Pointer::parse(pointer).filter(|_| !inside.contains("${"));
            let expected = "${match: takes a JSON pointer, such as ${match:/ping}";
            return pointer.map(Self::Match).ok_or(TemplateError::Malformed(expected));
        }
        let Some((kind, what)) = inside.split_once(':') else { return malformed };
        let (name, default) = match what.split_once(":-") {
            Some((name, default)) if kind == "env" => (name, Some(default.to_owned())),
            Some(_) | None => (what, None),
        };
        if name.is_empty() || inside.contains("${") {
            return malformed;
        }
        match kind {
            "env" if !name.contains('=') => Ok(Self::Variable { name: name.to_owned(), default }),
            "file" => Ok(Self::File(PathBuf::from(name))),
            "cred" if !name.contains('/') && name != ".." => Ok(Self::Credential(name.to_owned())),
            _ => malformed,
        }
    }

    fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Variable { .. } | Self::Token | Self::Match(_) => None,
            Self::File(path) => Some(path.clone()),
            Self::Credential(name) => Some(credentials_folder()?.join(name)),
        }
    }

    /// Reads it, and remembers it as used.
    fn fill(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
        fillings: &Fillings,
    ) -> Result<String, TemplateError> {
        let text = self.read(variable, fillings)?;
        fillings.used.borrow_mut().add(&text);
        Ok(text)
    }

    fn read(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
        fillings: &Fillings,
    ) -> Result<String, TemplateError> {
        let unreadable = |cause| TemplateError::Unreadable { hole: self.to_string(), cause };
        match self {
            // As in a shell, the default stands in for an empty variable, too.
            Self::Variable { name, default: Some(default) } => {
                let value = variable(name).filter(|value| !value.is_empty());
                value
                    .map_or_else(|| Ok(default.clone()), |value| text_of(value).map_err(unreadable))
            }
            Self::Variable { name, default: None } => {
                let value = variable(name).ok_or_else(|| TemplateError::Unset(name.clone()))?;
                text_of(value).map_err(unreadable)
            }
            Self::File(path) => read_file(path).map_err(unreadable),
            Self::Match(_) => {
                Err(TemplateError::Malformed("${match: stands in `send` of reply_to alone"))
            }
            Self::Credential(name) => {
                let folder = variable(CREDENTIALS_DIRECTORY).ok_or(TemplateError::NoCredentials)?;
                read_file(&Path::new(&folder).join(name)).map_err(unreadable)
            }
            Self::Token => fillings.token.clone().ok_or(TemplateError::NoToken),
        }
    }
}

impl fmt::Display for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { name, default: None } => write!(f, "${{env:{name}}}"),
            Self::Variable { name, default: Some(_) } => write!(f, "${{env:{name}:-…}}"),
            Self::File(path) => write!(f, "${{file:{}}}", path.display()),
            Self::Credential(name) => write!(f, "${{cred:{name}}}"),
            Self::Token => f.write_str("${token}"),
            Self::Match(pointer) => write!(f, "${{match:{pointer}}}"),
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.write_str(what),
            Self::Unset(name) => write!(f, "environment variable {name} is not set"),
            Self::NoToken => f.write_str(
                "${token} needs a token_command beside it: it is what that prints, in the url, the \
                 headers, the proxy and the messages of a source",
            ),
            Self::NoCredentials => f.write_str(
                "there are no credentials: systemd passes those named by LoadCredential= in the unit",
            ),
            Self::Unreadable { hole, cause } => write!(f, "cannot read {hole}: {cause}"),
        }
    }
}

impl std::error::Error for TemplateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { cause, .. } => Some(cause),
            Self::Malformed(_) | Self::Unset(_) | Self::NoToken | Self::NoCredentials => None,
        }
    }
}

/// The folder of the credentials that systemd has passed.
pub fn credentials_folder() -> Option<PathBuf> {
    std::env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from)
}

fn unescaped(literal: &str) -> String {
    literal.replace("$${", "${")
}

fn text_of(value: OsString) -> io::Result<String> {
    value.into_string().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The text of a file without the line breaks at its end.
fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 KiB"));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

/// Whether a text is a host with or without a port. What else it may be, a slash in a password has
/// cut it off before its `@`, and it must not be shown.
fn is_host_and_port(text: &str) -> bool {
    let behind_host = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map(|(_, rest)| rest),
        None if text.contains(['[', ']']) => None,
        None => Some(text.find(':').map_or("", |at| &text[at..])),
    };
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    behind_host.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<OsString> {
        match name {
            "TOKEN" => Some("s3cret".into()),
            "EMPTY" => Some("".into()),
            CREDENTIALS_DIRECTORY => Some(env!("CARGO_MANIFEST_DIR").into()),
            _ => None,
        }
    }

    fn fill(text: &str) -> Result<String, TemplateError> {
        Template::parse(text)?.fill(environment, &Fillings::default())
    }

    fn error(text: &str) -> String {
        fill(text).unwrap_err().to_string()
    }

    fn redacted(text: &str) -> String {
        Template::parse(text).unwrap().redacted_url()
    }

    #[test]
    fn token_fills_its_hole_and_is_asked_for_by_name() {
        let template = Template::parse("Bearer ${token}").unwrap();
        let fillings = Fillings::new(Some("s3cret".into()));
        assert_eq!(template.resolve_with(&fillings).unwrap(), "Bearer s3cret");
        assert!(!format!("{fillings:?}{template:?}").contains("s3cret"));
        let error = template.resolve().unwrap_err().to_string();
        assert!(error.starts_with("${token} needs a token_command"), "{error}");
    }

    #[test]
    fn variables_are_filled_in() {
        assert_eq!(fill("plain").unwrap(), "plain");
        assert_eq!(fill("a ${env:TOKEN} b${env:TOKEN}").unwrap(), "a s3cret bs3cret");
        assert_eq!(fill("${env:TOKEN:-x}${env:NONE:-y:z}${env:EMPTY:-e}").unwrap(), "s3crety:ze");
        assert_eq!(fill("[${env:EMPTY}${env:NONE:-}]").unwrap(), "[]");
        assert_eq!(error("${env:NONE}"), "environment variable NONE is not set");
    }

    #[test]
    fn files_are_read_without_their_last_line_break() {
        let path = std::env::temp_dir().join(format!("veylor-template-{}", std::process::id()));
        std::fs::write(&path, "one\ntwo\r\n").unwrap();
        let template = Template::parse(&format!("<${{file:{}}}>", path.display())).unwrap();
        assert_eq!(template.resolve().unwrap(), "<one\ntwo>");
        std::fs::write(&path, "rotated").unwrap();
        assert_eq!(template.resolve().unwrap(), "<rotated>");
        std::fs::write(&path, vec![b'x'; 64 * 1024 + 1]).unwrap();
        assert!(template.resolve().unwrap_err().to_string().ends_with("larger than 64 KiB"));
        std::fs::remove_file(&path).unwrap();
        let error = template.resolve().unwrap_err().to_string();
        assert!(error.starts_with("cannot read ${file:"), "{error}");
    }

    #[test]
    fn credentials_come_from_their_directory() {
        assert!(fill("${cred:Cargo.toml}").unwrap().starts_with("[package]"));
        let without = Template::parse("${cred:token}")
            .unwrap()
            .fill(|_| None, &Fillings::default())
            .unwrap_err();
        assert!(without.to_string().contains("LoadCredential="), "{without}");
        assert!(matches!(fill("${cred:../x}"), Err(TemplateError::Malformed(_))));
    }

    #[test]
    fn doubled_dollar_makes_a_plain_brace() {
        assert_eq!(fill("$${env:TOKEN}").unwrap(), "${env:TOKEN}");
        assert_eq!(fill("$$${x}").unwrap(), "$${x}");
        assert_eq!(fill("${env:TOKEN}$${${env:TOKEN}").unwrap(), "s3cret${s3cret");
        assert_eq!(fill("$5 {a} $x").unwrap(), "$5 {a} $x");
    }

    #[test]
    fn wrong_holes_are_refused_without_repeating_them() {
        for text in ["${pa55}", "${}", "${env:}", "${file:}", "${env:A${env:B}}", "${vault:pa55}"] {
            let message = error(text);
            assert!(message.contains("$${") && !message.contains("pa55"), "{text}: {message}");
        }
        assert_eq!(error("${env:TOKEN"), "${ has no }");
    }

    #[test]
    fn redacted_url_keeps_scheme_host_and_path() {
        assert_eq!(
            redacted("wss://u:p@example.com:81/ws/a@b?token=x"),
            "wss://example.com:81/ws/a@b?…"
        );
        assert_eq!(redacted("wss://${env:U:-joe}:${file:/a/b?c}@h.com/x"), "wss://h.com/x");
        assert_eq!(
            redacted("${env:S:-wss}://${env:HOST}:${env:PORT}/${file:/run/x}?${env:K}"),
            "${env:S:-…}://${env:HOST}:${env:PORT}/${file:/run/x}?…"
        );
        assert_eq!(redacted("wss://[::1]:9/"), "wss://[::1]:9/");
        assert_eq!(redacted("${env:URL}?token=x"), "${env:URL}?…");
        assert_eq!(redacted("wss://user:pa/ss@host/"), "wss://…");
        assert_eq!(redacted("wss://user:pa?ss@host/"), "wss://…?…");
        assert_eq!(redacted("wss://user:pa]1/ss@host/"), "wss://…");
        assert_eq!(redacted("wss://user:[pa]/ss@host/"), "wss://…");
    }

    #[test]
    fn debug_and_display_show_holes_and_hide_the_rest() {
        let header = Template::parse("Bearer abc${file:/run/token}").unwrap();
        assert_eq!(
            format!("{header} {header:?}"),
            "…${file:/run/token} Template(…${file:/run/token})"
        );
        let url = Template::parse("wss://user:pw@host/?key=abc").unwrap();
        assert_eq!(format!("{url:?}"), "Template(wss://host/?…)");
        assert_eq!(Template::parse("hunter2").unwrap().to_string(), "…");
    }
}
