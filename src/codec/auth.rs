//! Who may come in: bearer tokens (RFC 6750) and passwords (RFC 7617).
//!
//! Browsers cannot set headers, so a token may also come in the query, in a subprotocol or in a
//! cookie.

use std::fmt;
use std::sync::Arc;

use httparse::Header;
use subtle::{Choice, ConstantTimeEq};

use super::base64;
use super::http::{header, tokens};
use crate::net::url::percent_decoded;

/// The parameter of the query that a token may come in.
const QUERY_KEY: &str = "token";
/// The cookie that a token may come in.
const COOKIE: &str = "veylor_token";
/// What a subprotocol begins with that carries a token.
const SUBPROTOCOL_PREFIX: &str = "bearer.";

/// What an answer asks for: tokens, and passwords.
const CHALLENGES: [(&str, &str); 2] = [
    ("WWW-Authenticate", "Bearer realm=\"veylor\""),
    ("WWW-Authenticate", "Basic realm=\"veylor\", charset=\"UTF-8\""),
];

/// Who may come in; everyone, if it names nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    grants: Vec<Arc<Grant>>,
}

/// What somebody may do who knows a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// What logs and the status call whoever uses it; empty: nothing.
    pub name: String,
    /// Whether what it sends is refused.
    pub read_only: bool,
    secret: Secret,
}

/// What has to be known.
#[derive(Clone, PartialEq, Eq)]
enum Secret {
    Token(Box<[u8]>),
    /// `user:password`.
    Basic(Box<[u8]>),
}

/// The secrets that a request shows: at most one of each kind.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Shown(Vec<Secret>);

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It has shown nothing.
    Missing,
    /// What it has shown is not known here.
    Unknown,
}

impl Grant {
    /// For who knows a token.
    pub fn token(token: &str, name: String, read_only: bool) -> Self {
        Self { name, read_only, secret: Secret::Token(token.as_bytes().into()) }
    }

    /// For who knows a user and its password.
    pub fn basic(user: &str, password: &str, name: String, read_only: bool) -> Self {
        let secret = Secret::Basic(format!("{user}:{password}").into_bytes().into());
        Self { name, read_only, secret }
    }

    /// Whether this is its secret.
    fn opens(&self, shown: &Secret) -> Choice {
        match (&self.secret, shown) {
            (Secret::Token(ours), Secret::Token(theirs))
            | (Secret::Basic(ours), Secret::Basic(theirs)) => ours.ct_eq(theirs),
            (Secret::Token(_), Secret::Basic(_)) | (Secret::Basic(_), Secret::Token(_)) => {
                Choice::from(0)
            }
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, read_only, .. } = self;
        f.debug_struct("Grant")
            .field("name", name)
            .field("read_only", read_only)
            .finish_non_exhaustive()
    }
}

impl Shown {
    /// What is shown by a request for a target, with these headers.
    pub fn by(target: &str, headers: &[Header<'_>]) -> Self {
        let token = |token: &str| Secret::Token(token.as_bytes().into());
        let subprotocol = carrier(headers).map(|name| token(&name[SUBPROTOCOL_PREFIX.len()..]));
        let shown = [
            header(headers, "Authorization").and_then(authorization),
            query_token(target).as_deref().map(token),
            subprotocol,
            cookie_token(headers).map(token),
        ];
        Self(shown.into_iter().flatten().collect())
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shown").field(&self.0.len()).finish()
    }
}

impl Denial {
    /// What whoever is not let in is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::Missing => {
                "this endpoint wants a token or a password: a header Authorization, ?token= in the \
                 url, a subprotocol bearer.TOKEN or a cookie veylor_token"
            }
            Self::Unknown => "the token or password is not known here",
        }
    }
}

impl Auth {
    /// Lets those in who know one of these secrets.
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Self {
        Self { grants: grants.into_iter().map(Arc::new).collect() }
    }

    /// Whether everyone may come in.
    pub fn is_open(&self) -> bool {
        self.grants.is_empty()
    }

    /// Whether somebody who was let in, with or without a secret, would be again.
    pub fn admits_again(&self, grant: Option<&Arc<Grant>>) -> bool {
        self.renew(grant).is_ok()
    }

    /// What somebody may do who was let in earlier: the rights of its secret may have changed.
    pub fn renew(&self, grant: Option<&Arc<Grant>>) -> Result<Option<Arc<Grant>>, Denial> {
        if self.is_open() {
            // It keeps its secret, which may be asked for again, and may do what everyone may.
            let free =
                |grant: &Arc<Grant>| Arc::new(Grant { read_only: false, ..Grant::clone(grant) });
            return Ok(grant.map(free));
        }
        let grant = grant.ok_or(Denial::Missing)?;
        let same = self.grants.iter().find(|ours| bool::from(ours.opens(&grant.secret)));
        same.cloned().map(Some).ok_or(Denial::Unknown)
    }

    /// Lets somebody in, with a grant if one is needed. What it shows is looked at if that counts.
    pub fn admit(&self, shown: impl FnOnce() -> Shown) -> Result<Option<Arc<Grant>>, Denial> {
        if self.is_open() {
            return Ok(None);
        }
        let Shown(shown) = shown();
        if shown.is_empty() {
            return Err(Denial::Missing);
        }
        // Each is compared with each, whatever was found, so that time tells nothing.
        let mut found = None;
        for grant in &self.grants {
            for secret in &shown {
                if bool::from(grant.opens(secret)) {
                    found = Some(grant);
                }
            }
        }
        found.cloned().map(Some).ok_or(Denial::Unknown)
    }

    /// The headers of an answer that asks for a secret.
    pub fn challenges(&self) -> &'static [(&'static str, &'static str)] {
        let wants = |is_kind: fn(&Secret) -> bool| self.grants.iter().any(|g| is_kind(&g.secret));
        let token = wants(|secret| matches!(secret, Secret::Token(_)));
        let password = wants(|secret| matches!(secret, Secret::Basic(_)));
        match (token, password) {
            (true, false) => &CHALLENGES[..1],
            (false, true) => &CHALLENGES[1..],
            (true, true) | (false, false) => &CHALLENGES,
        }
    }
}

/// The subprotocol that carries a token, for the answer: browsers refuse one that names none of those
/// they have offered.
pub(super) fn carrier<'h>(headers: &'h [Header<'h>]) -> Option<&'h str> {
    tokens(headers, "Sec-WebSocket-Protocol").find(|name| name.starts_with(SUBPROTOCOL_PREFIX))
}

fn authorization(value: &[u8]) -> Option<Secret> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = (&value[..at], value[at..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"Bearer") {
        Some(Secret::Token(rest.into()))
    } else if scheme.eq_ignore_ascii_case(b"Basic") {
        base64::decode(rest).map(|pair| Secret::Basic(pair.into()))
    } else {
        None
    }
}

fn query_token(target: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == QUERY_KEY).map(|(_, value)| value);
    values.next().map(percent_decoded)
}

fn cookie_token<'h>(headers: &'h [Header<'h>]) -> Option<&'h str> {
    let cookies = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("Cookie"));
    let texts = cookies.filter_map(|header| std::str::from_utf8(header.value).ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim_ascii() == COOKIE).map(|(_, value)| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        Auth::new([
            Grant::token("s3cret+/=", "bot".to_owned(), false),
            Grant::token("look", "screen".to_owned(), true),
            Grant::basic("ann", "pass:word", "ann".to_owned(), false),
        ])
    }

    fn admitted(target: &str, fields: &[(&'static str, &'static str)]) -> Result<String, Denial> {
        let header =
            |(name, value): &(&'static str, &'static str)| Header { name, value: value.as_bytes() };
        let headers: Vec<_> = fields.iter().map(header).collect();
        auth().admit(|| Shown::by(target, &headers)).map(|grant| grant.unwrap().name.clone())
    }

    #[test]
    fn token_is_found_wherever_a_client_can_put_it() {
        for (target, fields) in [
            ("/", &[("authorization", "bearer  s3cret+/=")][..]),
            ("/x?a=b&token=s3cret%2B%2F%3D", &[]),
            ("/", &[("Cookie", "a=b; veylor_token=s3cret+/=")]),
            ("/", &[("Cookie", "a"), ("cookie", "veylor_token=s3cret+/=; b=c")]),
            ("/?token=old", &[("Authorization", "Bearer s3cret+/=")]),
        ] {
            assert_eq!(admitted(target, fields).as_deref(), Ok("bot"), "{target} {fields:?}");
        }
        let offered = [("Sec-WebSocket-Protocol", "v1.json, bearer.look")];
        assert_eq!(admitted("/", &offered).as_deref(), Ok("screen"));
        let basic = [("Authorization", "Basic YW5uOnBhc3M6d29yZA==")];
        assert_eq!(admitted("/", &basic).as_deref(), Ok("ann"));
    }

    #[test]
    fn who_shows_nothing_or_something_else_is_told_which() {
        assert_eq!(admitted("/?tokens=look", &[("Cookie", "token=look")]), Err(Denial::Missing));
        assert_eq!(admitted("/", &[("Authorization", "Digest look")]), Err(Denial::Missing));
        for (target, field) in [
            ("/?token=", ("A", "b")),
            ("/?token=loo", ("A", "b")),
            ("/", ("Authorization", "Bearer looks")),
            // A password is no token, and a token no password.
            ("/?token=ann:pass:word", ("A", "b")),
            ("/", ("Authorization", "Basic bG9vaw==")),
        ] {
            assert_eq!(admitted(target, &[field]), Err(Denial::Unknown), "{target} {field:?}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", auth());
        assert!(shown.contains("screen") && !shown.contains("look"), "{shown}");
    }

    #[test]
    fn who_was_let_in_stays_as_long_as_its_grant_does() {
        let (old, none) = (auth(), Auth::default());
        let grant = &old.grants[1];
        assert!(auth().admits_again(Some(grant)) && none.admits_again(Some(grant)));
        assert!(none.admits_again(None) && !old.admits_again(None));
        let renewed = Auth::new([Grant::token("new", "screen".to_owned(), true)]);
        assert!(!renewed.admits_again(Some(grant)));
        let promoted = Auth::new([Grant::token("look", "desk".to_owned(), false)]);
        let rights = promoted.renew(Some(grant)).unwrap().unwrap();
        assert!(rights.name == "desk" && !rights.read_only);
    }
}
