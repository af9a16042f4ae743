//! What is said to a source, as it is configured.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::approach::TokenCommand;
use super::message::MessageTemplate;
use super::template::{Fillings, TemplateError};
use crate::codec::pattern::Pattern;
use crate::relay::script::{Heartbeat, Prompt, Reply, Script, Step, Wait};

/// Bytes of all that is said to a source, once its holes are filled.
pub const MAX_SCRIPT_BYTES: usize = 1 << 20;

/// What is said to a source. `Debug` shows none of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SessionTemplate {
    /// `on_connect_command`.
    pub command: Option<CommandTemplate>,
    /// `on_connect`.
    pub steps: Vec<StepTemplate>,
    /// `heartbeat`.
    pub heartbeat: Option<HeartbeatTemplate>,
    /// `reply_to`.
    pub replies: Vec<ReplyTemplate>,
}

/// A program that is asked what to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandTemplate {
    /// The program.
    pub program: TokenCommand,
    /// When it is asked, and for how long.
    pub prompt: Prompt,
}

/// An item of `on_connect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTemplate {
    /// What is sent.
    pub send: Option<MessageTemplate>,
    /// What is waited for then.
    pub wait: Option<Wait>,
}

/// A message that is sent again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatTemplate {
    /// The time between two.
    pub every: Duration,
    /// The message.
    pub send: MessageTemplate,
}

/// A message that is answered. `Debug` does not show which.
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyTemplate {
    /// What it is like.
    pub pattern: Pattern,
    /// What is sent then.
    pub send: MessageTemplate,
    /// Whether clients get it, too.
    pub forward: bool,
}

/// Why a message cannot be made. No secret is in it.
#[derive(Debug)]
pub struct ScriptError {
    /// The key it belongs to.
    pub key: &'static str,
    /// Its place in the list of that key, counted from 0.
    pub index: Option<usize>,
    cause: Option<TemplateError>,
}

impl SessionTemplate {
    /// What shall be said on a connection that is dialled at this moment. Reads files, so it may
    /// block.
    pub fn script(&self, fillings: &Fillings) -> Result<Script, ScriptError> {
        let mut script = Script {
            prompt: self.command.as_ref().map(|command| command.prompt.clone()),
            ..Script::default()
        };
        for (index, step) in self.steps.iter().enumerate() {
            let payload = step.send.as_ref().map(|send| send.payload(fillings)).transpose();
            let send =
                payload.map_err(|cause| ScriptError::of("on_connect", Some(index), cause))?;
            script.steps.push(Step { send, wait: step.wait.clone() });
        }
        if let Some(HeartbeatTemplate { every, send }) = &self.heartbeat {
            let send = send.payload(fillings);
            let send = send.map_err(|cause| ScriptError::of("heartbeat", None, cause))?;
            script.heartbeat = Some(Heartbeat { every: *every, send });
        }
        for (index, reply) in self.replies.iter().enumerate() {
            let answer = reply.send.answer(fillings);
            let answer = answer.map_err(|cause| ScriptError::of("reply_to", Some(index), cause))?;
            let ReplyTemplate { pattern, forward, .. } = reply.clone();
            script.replies.push(Reply { pattern, answer, forward });
        }
        if script.bytes() > MAX_SCRIPT_BYTES {
            return Err(ScriptError { key: "on_connect", index: None, cause: None });
        }
        Ok(script)
    }

    /// The files that fill the holes of messages.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let steps = self.steps.iter().filter_map(|step| step.send.as_ref());
        let heartbeat = self.heartbeat.iter().map(|heartbeat| &heartbeat.send);
        let replies = self.replies.iter().map(|reply| &reply.send);
        steps.chain(heartbeat).chain(replies).flat_map(MessageTemplate::files)
    }

    /// Whether something is said at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ScriptError {
    fn of(key: &'static str, index: Option<usize>, cause: TemplateError) -> Self {
        Self { key, index, cause: Some(cause) }
    }

    /// What is wrong, without the key.
    pub fn cause(&self) -> String {
        let limit = MAX_SCRIPT_BYTES >> 20;
        self.cause.as_ref().map_or_else(
            || format!("what is said to the source comes to more than {limit} MiB"),
            ToString::to_string,
        )
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "item {} of {}: {}", index + 1, self.key, self.cause()),
            None => write!(f, "{}: {}", self.key, self.cause()),
        }
    }
}

impl std::error::Error for ScriptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause.as_ref()?)
    }
}

impl fmt::Debug for ReplyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyTemplate").field("forward", &self.forward).finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTemplate")
            .field("command", &self.command)
            .field("steps", &self.steps.len())
            .field("has_heartbeat", &self.heartbeat.is_some())
            .field("replies", &self.replies.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    #[cfg(feature = "programs")]
    use crate::relay::script::Overture;

    fn session(keys: &str) -> SessionTemplate {
        let text = format!("sources:\n  - url: ws://h\n    unix_socket_path: /s\n{keys}");
        parse(&text).unwrap().sources[0].session.clone()
    }

    fn script(keys: &str) -> Script {
        session(keys).script(&Fillings::new(Some("t".to_owned()))).unwrap()
    }

    fn sent(step: &Step) -> &str {
        step.send.as_ref().map_or("-", |send| std::str::from_utf8(&send.bytes).unwrap())
    }

    #[test]
    fn items_are_texts_json_or_steps() {
        let keys = "
    on_connect:
      - plain
      - {op: subscribe, timeout: 5}
      - {send: {send: x, timeout: 5}, timeout: 2s, wait_for: {equals: ok}}
      - {wait_for: {contains: hello}}
      - [1, two]
";
        let Script { steps, .. } = script(keys);
        let texts: Vec<_> = steps.iter().map(sent).collect();
        let json = [r#"{"op":"subscribe","timeout":5}"#, r#"{"send":"x","timeout":5}"#];
        assert_eq!(texts, ["plain", json[0], json[1], "-", r#"[1,"two"]"#]);
        let waits: Vec<_> = steps.iter().map(|step| step.wait.clone().map(|w| w.timeout)).collect();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(waits, [None, None, seconds(2), seconds(10), None]);
    }

    #[cfg(feature = "programs")]
    #[test]
    fn token_of_the_dial_fills_messages() {
        let keys = "    token_command: 'true'\n    on_connect: [{key: '${token}'}]\n";
        assert_eq!(sent(&script(keys).steps[0]), r#"{"key":"t"}"#);
    }

    #[cfg(feature = "programs")]
    #[test]
    fn command_has_three_ways_to_begin() {
        let overture = |command: &str| {
            let command = session(&format!("    on_connect_command: {command}\n")).command.unwrap();
            (command.program.argv.len(), command.prompt.overture)
        };
        assert_eq!(overture("[login, -v]"), (2, Overture::First));
        assert_eq!(overture("login -v"), (3, Overture::First));
        assert_eq!(overture("{command: [login], wait_for: nothing}"), (1, Overture::Nothing));
        let until = Overture::Until(Pattern::Equals("x".to_owned()));
        assert_eq!(overture("{command: [login], wait_for: {equals: x}}"), (1, until));
    }

    #[test]
    fn heartbeats_and_replies_have_defaults() {
        let keys = "
    heartbeat: {send: ping}
    reply_to: [{match: {json: {/op: ping}}, send: {op: pong, id: '${match:/id}'}}]
";
        let script = script(keys);
        assert_eq!(script.heartbeat.unwrap().every, Duration::from_secs(20));
        let [reply] = &*script.replies else { panic!("one reply") };
        assert!(reply.forward);
        let answer = reply.answer.to(br#"{"op":"ping","id":9}"#).unwrap();
        assert_eq!(answer.bytes, br#"{"op":"pong","id":9}"#);
    }

    #[test]
    fn step_with_a_wrong_key_is_no_message() {
        for (item, wrong) in [
            ("{send: login, await: {contains: ok}}", "await: unknown key"),
            (
                "{send: login, waitfor: {contains: ok}}",
                "waitfor: unknown key, did you mean wait_for?",
            ),
            ("{binary: AAEC, x: 1}", "x: unknown key, known here are send, binary, "),
            ("{op: subscribe, send: x}", "op: unknown key"),
            ("{timeout: 5s}", "has a timeout and nothing to wait for"),
        ] {
            let text = format!(
                "sources:\n  - url: ws://h\n    unix_socket_path: /s\n    on_connect:\n      - {item}\n"
            );
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains("on_connect[0]") && error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn too_much_in_all_is_refused() {
        let item = format!("      - {}\n", "x".repeat(60_000));
        let keys = format!("    on_connect:\n{}", item.repeat(20));
        let text = format!("sources:\n  - url: ws://h\n    unix_socket_path: /s\n{keys}");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains("comes to more than 1 MiB"), "{error}");
    }
}
