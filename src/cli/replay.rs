//! `veylor replay FILE`: a recording in place of a service.

use std::path::PathBuf;

use super::record::literal;
use super::relay::{Doors, in_arguments, quoted};
use super::{Failure, run};
use crate::config;
use crate::config::settings::Settings;
use crate::daemon::logging::Logging;
use crate::daemon::replaying::try_out;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recording
    file: PathBuf,
    /// So many times as fast as it was recorded, or max: as fast as clients take it
    #[arg(long, value_name = "1|10|max", default_value = "1")]
    speed: String,
    /// Begins anew at the end, until it is told to stop
    #[arg(long = "loop")]
    is_looped: bool,
    /// Begins when so many clients have connected
    #[arg(long, value_name = "N", default_value_t = 1)]
    clients: u64,
    #[command(flatten)]
    doors: Doors,
}

/// The settings of a configuration with this one source and the defaults.
pub(super) fn settings(args: &Args) -> Result<Settings, Failure> {
    let Args { file, speed, is_looped, clients, doors } = args;
    let file = file.to_str().ok_or_else(|| Failure::Usage("FILE: is not UTF-8".to_owned()))?;
    let mut lines = vec![
        "sources:".to_owned(),
        // A path that begins with two strokes is no host.
        format!("  - url: {}", quoted(&format!("file:{}", literal(&one_stroke(file))))),
        format!("    speed: {}", quoted(speed)),
        format!("    loop: {is_looped}"),
        format!("    wait_for_clients: {clients}"),
    ];
    lines.extend(doors.lines()?);
    let own = [("url", "FILE"), ("speed", "--speed"), ("wait_for_clients", "--clients")];
    config::parse(&lines.join("\n")).map_err(|error| in_arguments(&error, &own))
}

/// Plays until the recording has ended. A file that cannot be played is told before anybody can
/// connect.
pub(super) fn replay(settings: Settings, logging: Logging) -> Result<(), Failure> {
    for source in &settings.sources {
        try_out(source).map_err(Failure::Unplayable)?;
    }
    run::run(settings, logging).map(drop)
}

fn one_stroke(path: &str) -> String {
    if path.starts_with("//") {
        format!("/{}", path.trim_start_matches('/'))
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::recording::{Replay, Speed};

    fn args(file: &str, speed: &str) -> Args {
        let doors = Doors { ws: Some("9000".into()), unix: None };
        Args { file: file.into(), speed: speed.into(), is_looped: true, clients: 2, doors }
    }

    #[test]
    fn arguments_become_the_settings_of_a_recording() {
        for file in ["it's ${here}%20.vrec", "/srv/x.vrec"] {
            let source = settings(&args(file, "max")).unwrap().sources.remove(0);
            assert_eq!(source.recording().unwrap(), Path::new(file));
            let expected = Replay { speed: Speed::Max, is_looped: true, wait_for_clients: 2 };
            assert_eq!(source.replay, Some(expected));
        }
        let source = settings(&args("//srv/x.vrec", "1")).unwrap().sources.remove(0);
        assert_eq!(source.recording().unwrap(), Path::new("/srv/x.vrec"));
    }

    #[test]
    fn wrong_speed_is_told() {
        let error = settings(&args("x", "fast")).unwrap_err().to_string();
        assert!(error.starts_with("veylor: --speed: expected a number above 0"), "{error}");
    }
}
