//! Where a source lives at this moment: its url and headers, their secrets read anew.

use std::fmt;
use std::path::PathBuf;

use data_encoding::BASE64;

use super::settings::Source;
use super::template::{Fillings, Template, TemplateError};
use crate::net::url::{UrlError, WsUrl};

const AUTHORIZATION: &str = "Authorization";

/// Headers that the handshake makes itself, and where their content belongs.
const OWN_HEADERS: [(&str, &str); 6] = [
    ("host", "is made from the url: put the name there"),
    ("sec-websocket-protocol", "is made from `subprotocols`: put them there"),
    ("connection", "is made by the handshake: leave it out"),
    ("upgrade", "is made by the handshake: leave it out"),
    ("content-length", "has no meaning in a handshake: leave it out"),
    ("transfer-encoding", "has no meaning in a handshake: leave it out"),
];

/// What to dial. `Debug` hides what may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// The address. Its user and password are among the headers already.
    pub url: WsUrl,
    /// Headers of the opening handshake, besides those every handshake has.
    pub headers: Vec<(String, String)>,
}

/// Why a source cannot be dialled. No secret is in it.
#[derive(Debug)]
pub struct TargetError {
    /// `url`, or `header NAME`.
    pub part: String,
    /// What is wrong with it.
    pub cause: TargetErrorCause,
}

/// What is wrong with a part of a target.
#[derive(Debug)]
pub enum TargetErrorCause {
    /// A hole cannot be filled.
    Template(TemplateError),
    /// The url named a recording, and names none any more.
    NoRecording,
    /// The filled text is no address of a WebSocket service.
    Url(UrlError),
    /// The name is no header's name, or one that is not the user's to set.
    HeaderName(&'static str),
    /// The filled text has a line break or another character that no header may have.
    HeaderValue,
}

impl Source {
    /// Reads the url and the headers as they are at this moment.
    ///
    /// User and password of the url become an `Authorization` header, unless there is one. Reads
    /// files, so it may block.
    pub fn target(&self, fillings: &Fillings) -> Result<Target, TargetError> {
        let url = resolved_url(&self.url, fillings)
            .map_err(|cause| TargetError { part: "url".to_owned(), cause })?;
        let mut headers = Vec::with_capacity(self.headers.len() + 1);
        for (name, value) in &self.headers {
            let value = resolved_header(name, value, fillings)
                .map_err(|cause| TargetError { part: format!("header {name}"), cause })?;
            headers.push((name.clone(), value));
        }
        let authorized = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(AUTHORIZATION));
        if let Some(credentials) = url.credentials().filter(|_| !authorized) {
            headers.push((AUTHORIZATION.to_owned(), basic_authorization(credentials)));
        }
        Ok(Target { url, headers })
    }
}

impl Source {
    /// The files that are read at a dial.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let templates = self.headers.iter().map(|(_, value)| value).chain([&self.url]);
        let templates = templates.chain(&self.approach.proxy);
        let files = templates.flat_map(Template::files).chain(self.session.files());
        let recording = self.replay.and_then(|_| self.recording().ok());
        files.chain(self.trust.files()).chain(recording)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Target").field("url", &self.url).field("headers", &names).finish()
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.cause)
    }
}

impl std::error::Error for TargetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            TargetErrorCause::Template(error) => Some(error),
            TargetErrorCause::Url(error) => Some(error),
            TargetErrorCause::HeaderName(_)
            | TargetErrorCause::HeaderValue
            | TargetErrorCause::NoRecording => None,
        }
    }
}

impl fmt::Display for TargetErrorCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(error) => error.fmt(f),
            Self::Url(error) => error.fmt(f),
            Self::NoRecording => f.write_str("names no recording any more: restart veylor"),
            Self::HeaderName(why) => f.write_str(why),
            Self::HeaderValue => {
                f.write_str("has a line break or another character that no header may have")
            }
        }
    }
}

/// The address that a template stands for at this moment.
pub(super) fn resolved_url(
    template: &Template,
    fillings: &Fillings,
) -> Result<WsUrl, TargetErrorCause> {
    let text = template.resolve_with(fillings).map_err(TargetErrorCause::Template)?;
    WsUrl::parse(&text).map_err(|error| match error {
        // A scheme that was filled in may be the beginning of a secret.
        UrlError::Scheme(scheme) if !template.text().starts_with(&scheme) => {
            TargetErrorCause::Url(UrlError::Malformed)
        }
        error @ (UrlError::Malformed
        | UrlError::Scheme(_)
        | UrlError::NoHost
        | UrlError::Port
        | UrlError::Fragment) => TargetErrorCause::Url(error),
    })
}

/// The value of a header at this moment; its name is checked as well.
pub(super) fn resolved_header(
    name: &str,
    value: &Template,
    fillings: &Fillings,
) -> Result<String, TargetErrorCause> {
    check_header_name(name).map_err(TargetErrorCause::HeaderName)?;
    let value = value.resolve_with(fillings).map_err(TargetErrorCause::Template)?;
    let allowed = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    if value.bytes().all(allowed) { Ok(value) } else { Err(TargetErrorCause::HeaderValue) }
}

/// Whether a text is a token (RFC 9110, section 5.6.2): a header's name, a subprotocol.
pub(super) fn is_token(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(known)
}

fn check_header_name(name: &str) -> Result<(), &'static str> {
    if !is_token(name) {
        return Err("is no name of a header");
    }
    let name = name.to_ascii_lowercase();
    let own = OWN_HEADERS.iter().find(|(own, _)| *own == name);
    match own {
        Some((_, why)) => Err(why),
        None if name.starts_with("sec-websocket-") => Err("is made by the handshake: leave it out"),
        None => Ok(()),
    }
}

/// RFC 7617: the password follows a colon, also when it is empty.
fn basic_authorization(credentials: &str) -> String {
    let colon = if credentials.contains(':') { "" } else { ":" };
    format!("Basic {}", BASE64.encode(format!("{credentials}{colon}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::source;
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    fn with_header(name: &str, value: &str) -> Source {
        Source { headers: vec![(name.to_owned(), template(value))], ..source("wss://u:p@host/") }
    }

    #[test]
    fn user_and_password_become_basic_authorization() {
        let target =
            source("wss://Aladdin:open%20sesame@host/x").target(&Fillings::default()).unwrap();
        let expected =
            ("Authorization".to_owned(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned());
        assert_eq!(target.headers, [expected]);
        let target = source("wss://user@host/x").target(&Fillings::default()).unwrap();
        assert_eq!(target.headers[0].1, format!("Basic {}", BASE64.encode(b"user:")));
    }

    #[test]
    fn configured_authorization_wins() {
        let target = with_header("authorization", "Bearer x").target(&Fillings::default()).unwrap();
        assert_eq!(target.headers, [("authorization".to_owned(), "Bearer x".to_owned())]);
    }

    #[test]
    fn secrets_are_read_at_each_call() {
        let path = std::env::temp_dir().join(format!("veylor-target-{}", std::process::id()));
        std::fs::write(&path, "one\n").unwrap();
        let source = with_header("X-Key", &format!("k${{file:{}}}", path.display()));
        assert_eq!(source.target(&Fillings::default()).unwrap().headers[0].1, "kone");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(source.target(&Fillings::default()).unwrap().headers[0].1, "ktwo");
        std::fs::write(&path, "two\r\nX-Evil: yes\n").unwrap();
        let error = source.target(&Fillings::default()).unwrap_err().to_string();
        assert!(error.starts_with("header X-Key: has a line break"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(
            source
                .target(&Fillings::default())
                .unwrap_err()
                .to_string()
                .starts_with("header X-Key: cannot read")
        );
    }

    #[test]
    fn handshakes_own_headers_are_refused_with_the_remedy() {
        let refused = |name: &str| {
            with_header(name, "x").target(&Fillings::default()).unwrap_err().to_string()
        };
        assert_eq!(refused("HOST"), "header HOST: is made from the url: put the name there");
        assert!(refused("Sec-WebSocket-Protocol").contains("`subprotocols`"));
        assert!(refused("sec-websocket-key").contains("leave it out"));
        assert!(refused("Upgrade").contains("leave it out"));
        assert!(refused("X Key").contains("is no name of a header"));
        for allowed in ["Origin", "User-Agent", "Cookie", "X-Api_Key"] {
            assert!(with_header(allowed, "x").target(&Fillings::default()).is_ok(), "{allowed}");
        }
    }

    #[test]
    fn wrong_url_is_told_without_what_was_filled_in() {
        let error = |text: &str| source(text).target(&Fillings::default()).unwrap_err().to_string();
        assert_eq!(error("http://host/"), "url: scheme \"http\" is not ws or wss");
        assert_eq!(
            error("${env:NO_SUCH_VARIABLE}"),
            "url: environment variable NO_SUCH_VARIABLE is not set"
        );
        let filled = error("${env:NO_SUCH_VARIABLE:-hunter2}://host/");
        assert!(filled.starts_with("url: is not a URL"), "{filled}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let target = with_header("X-Key", "hunter2").target(&Fillings::default()).unwrap();
        let shown = format!("{target:?}");
        assert!(
            shown.contains("X-Key") && !shown.contains("hunter2") && !shown.contains("u:p"),
            "{shown}"
        );
    }
}
