//! Any text is a configuration that can be used and shown, or has problems that can be shown, each
//! at a place that the text has.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use veylor::config::settings::Settings;
use veylor::config::template::Fillings;
use veylor::config::{self, Error};
use veylor::relay::settings::SourceId;
use veylor::relay::{Outcome, Relay};
use veylor_fuzz::pipe::Pipe;

fuzz_target!(|text: &str| {
    // What is named as a file is read, and a device may never end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    match config::parse(text) {
        Ok(settings) => check_settings(settings),
        Err(error) => check_problems(text, &error),
    }
});

#[expect(clippy::disallowed_methods, reason = "an instant to count from")]
fn check_settings(settings: Settings) {
    assert!(!settings.plan().to_string().is_empty());
    assert!(!format!("{settings:?}").is_empty());
    for source in &settings.sources {
        let fillings = Fillings::default();
        let _ = source.target(&fillings).map_err(|error| error.to_string());
        let _ = source.session.script(&fillings).map_err(|error| error.to_string());
    }
    let sources: Vec<_> = settings.sources.iter().map(|source| source.relay.clone()).collect();
    let count = sources.len();
    let mut relay = Relay::<Pipe>::new(settings.channels, sources, 7);
    let now = Instant::now();
    for id in (0..count).map(SourceId) {
        // Its waits are ones that a clock can show.
        relay.dial_failed(id, &"unreachable", now);
        relay.dial_failed(id, &"unreachable", now + Duration::from_secs(60));
    }
    relay.drain(Outcome::Asked, now);
    assert!(relay.is_finished());
}

fn check_problems(text: &str, error: &Error) {
    let Error::Problems { file: None, problems } = error else { panic!("{error}") };
    assert!(!problems.is_empty() && !error.to_string().is_empty());
    for problem in problems {
        assert!(!problem.message.is_empty());
        if let Some(location) = problem.location {
            // YAML knows more line breaks than we do.
            let breaks = text.chars().filter(|c| "\n\r\u{85}\u{2028}\u{2029}".contains(*c)).count();
            assert!((1..=breaks + 2).contains(&location.line), "{problem}");
            assert!((1..=text.len() + 1).contains(&location.column), "{problem}");
        }
    }
}
