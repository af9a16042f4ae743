//! Who may connect: tokens, passwords, networks, users and groups.

use nix::unistd::{Group, User};

use super::section::Section;
use super::value;
use crate::codec::auth::{Auth, Grant};
use crate::net::admission::{Admission, network};

const AUTH_KEYS: &[&str] = &["tokens", "basic"];
const TOKEN_KEYS: &[&str] = &["token", "name", "read_only"];
const BASIC_KEYS: &[&str] = &["user", "password", "name", "read_only"];

/// `auth` of a WebSocket endpoint.
pub(super) fn auth(section: &mut Section<'_>) -> Auth {
    let auth = section.section("auth", AUTH_KEYS, |auth| {
        auth.hide_unknown_keys();
        let tokens = auth.sections_or_texts("tokens", "token", TOKEN_KEYS, token);
        let basic = auth.sections("basic", BASIC_KEYS, basic);
        if tokens.is_none() && basic.is_none() {
            auth.refuse("names nobody: it needs tokens or basic");
        }
        let grants = tokens.into_iter().chain(basic).flatten().flatten();
        Auth::new(grants)
    });
    auth.unwrap_or_default()
}

/// `allow` and `deny` of a port.
pub(super) fn networks(section: &mut Section<'_>) -> Admission {
    let expected = "a network or an address, such as 192.168.1.0/24 or ::1";
    Admission {
        allow: section.list("allow", expected, network).unwrap_or_default(),
        deny: section.list("deny", expected, network).unwrap_or_default(),
        ..Admission::default()
    }
}

/// The users and groups that may connect to a Unix socket, under these keys.
pub(super) fn processes(section: &mut Section<'_>, users_key: &str, groups_key: &str) -> Admission {
    let user = |name: &str| Some(User::from_name(name).ok()??.uid.as_raw());
    let group = |name: &str| Some(Group::from_name(name).ok()??.gid.as_raw());
    let users = |text: &str| text.parse().ok().or_else(|| user(text));
    let groups = |text: &str| text.parse().ok().or_else(|| group(text));
    Admission {
        users: section
            .list(users_key, "a user of this machine, or its number", users)
            .unwrap_or_default(),
        groups: section
            .list(groups_key, "a group of this machine, or its number", groups)
            .unwrap_or_default(),
        ..Admission::default()
    }
}

fn token(section: &mut Section<'_>) -> Option<Grant> {
    section.hide_unknown_keys();
    let name = name(section).unwrap_or_default();
    let read_only = read_only(section).unwrap_or_default();
    let token = section.secret("token")?;
    Some(Grant::token(&token, name, read_only))
}

fn basic(section: &mut Section<'_>) -> Option<Grant> {
    section.hide_unknown_keys();
    let user = section.unshown("user", "a name without a colon", |user| {
        (!user.is_empty() && !user.contains(':')).then(|| user.to_owned())
    });
    let name = name(section).or_else(|| user.clone()).unwrap_or_default();
    let read_only = read_only(section).unwrap_or_default();
    let password = section.secret("password");
    if user.is_none() {
        section.refuse("has no user");
    }
    Some(Grant::basic(&user?, &password?, name, read_only))
}

fn name(section: &mut Section<'_>) -> Option<String> {
    section.unshown("name", "a name of 1 to 64 plain characters", super::input::name)
}

fn read_only(section: &mut Section<'_>) -> Option<bool> {
    section.unshown("read_only", "true or false", value::flag)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn auth_of(text: &str) -> Result<Auth, String> {
        let source = "sources: [{url: 'ws://h', websocket_port: 1, websocket_host: '::1', ";
        let settings = parse(&format!("{source}auth: {text}}}]"));
        settings.map(|settings| settings.channels[0].auth.clone()).map_err(|e| e.to_string())
    }

    #[test]
    fn token_is_a_text_or_has_a_name_and_rights() {
        let text = "{tokens: ['a', {token: b, name: screen, read_only: true}], \
                    basic: [{user: ann, password: 'c:d'}]}";
        let expected = Auth::new([
            Grant::token("a", String::new(), false),
            Grant::token("b", "screen".to_owned(), true),
            Grant::basic("ann", "c:d", "ann".to_owned(), false),
        ]);
        assert_eq!(auth_of(text), Ok(expected));
    }

    #[test]
    fn auth_that_lets_nobody_in_or_cannot_be_read_is_refused() {
        for (text, problem) in [
            ("{}", "sources[0].auth: names nobody"),
            ("{tokens: []}", "sources[0].auth.tokens: is empty"),
            ("{tokens: ['']}", "sources[0].auth.tokens[0].token: is empty"),
            ("{tokens: [{name: x}]}", "sources[0].auth.tokens[0]: has no token"),
            ("{tokens: ['${env:NO_SUCH_VARIABLE}']}", "environment variable NO_SUCH_VARIABLE"),
            ("{tokens: [1.5]}", "expected a text: put it in quotes"),
            ("{basic: [{user: 'a:b', password: x}]}", "expected a name without a colon"),
            ("{basic: [{password: hunter2}]}", "sources[0].auth.basic[0]: has no user"),
            ("{basic: [{user: ann}]}", "sources[0].auth.basic[0]: has no password"),
            ("{basic: [{user: 'ann:hunter2', password: x}]}", "expected a name without a colon"),
            ("{basic: [{user: ann, name: 'hunter2 ', password: x}]}", "name: expected a name of"),
            ("{basic: [{user: ann, password: x, hunter2: x}]}", "basic[0]: unknown key, known"),
            ("{basic: ['ann:hunter2']}", "basic[0]: expected keys and values, found a text"),
            ("{basic: {ann: hunter2}}", "expected a list, found keys and values"),
            ("{tokens: [{token: x, name: 'hunter2 '}]}", "name: expected a name of"),
            ("{tokens: [{token: x, read_only: hunter2}]}", "read_only: expected true or false"),
            ("{tokens: [{hunter2: screen}]}", "tokens[0]: unknown key, known here are token,"),
            ("{tokens: [[hunter2]]}", "tokens[0].token: expected a text, found a list"),
            ("{hunter2: [x]}", "auth: unknown key, known here are tokens, basic"),
            ("{tokens: hunter2}", "expected a list, found a text"),
        ] {
            let error = auth_of(text).unwrap_err();
            assert!(error.contains(problem) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn networks_and_users_are_checked() {
        let endpoint = |more: &str| {
            let text = format!(
                "sources: [{{url: 'ws://h', websocket_port: 1, websocket_host: '::1', \
                 unix_socket_path: /tmp/x, {more}}}]"
            );
            parse(&text).map(|settings| settings.endpoints).map_err(|error| error.to_string())
        };
        let endpoints = endpoint("allow: [10.0.0.7/8, '::1'], deny: [10.0.0.1]").unwrap();
        let [tcp, unix] = &*endpoints else { panic!("{endpoints:?}") };
        let texts: Vec<_> = tcp.admission.allow.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.0/8", "::1/128"]);
        assert_eq!(unix.admission, Admission::default());

        let endpoints =
            endpoint("unix_socket_users: [root, 7], unix_socket_groups: [root]").unwrap();
        assert_eq!(endpoints[1].admission.users, [0, 7]);
        assert_eq!(endpoints[1].admission.groups, [0]);
        assert!(endpoint("allow: [10.0.0.0/33]").unwrap_err().contains("allow[0]: expected a net"));
        assert!(endpoint("unix_socket_users: [no-such-user]").unwrap_err().contains("a user of"));
    }
}
