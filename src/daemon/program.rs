//! Running a program that the configuration names: its input, its output, its end.
//!
//! Blocks, so it is for threads beside the loop. A program has a process group of its own, which is
//! killed when it is late, prints too much or is wanted no longer; what it has left in the
//! background when it ended in time stays. What it prints is secret and only handed on; of what it
//! says on stderr, the first line is shown when it fails.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::clock;
use super::leash::Tether;

/// Bytes that a program may print.
pub(super) const MAX_OUTPUT_BYTES: usize = 64 * 1024;
/// Bytes of its stderr that are kept: a first line; the rest is read and forgotten.
const MAX_STDERR_BYTES: usize = 1024;
/// Characters of its stderr that are shown.
const MAX_SHOWN_CHARS: usize = 160;
/// Bytes written to it or read at once. A pipe that takes anything takes so many without waiting.
const CHUNK_BYTES: usize = 4096;
/// A program that has closed its stdout ends soon: it is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Runs a program (its name first, then its arguments), gives it `stdin` to read, and waits for it
/// no longer than `timeout`, or until its tether is pulled. What it printed; or why that is of no
/// use, in words that follow its name and hold nothing of its output.
pub(super) fn run(
    argv: &[String],
    stdin: &[u8],
    timeout: Duration,
    tether: &Tether,
) -> Result<Vec<u8>, String> {
    let (program, arguments) = argv.split_first().ok_or("names no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let mut pipes = Pipes::of(&mut child, stdin, tether);
    let ended = pipes.attend(&mut child, clock::now() + timeout);
    let status = match ended {
        Ok(Some(status)) => status,
        Ok(None) => {
            kill(&mut child);
            return Err(format!("did not end within {} s, it was killed", timeout.as_secs_f64()));
        }
        Err(error) => {
            kill(&mut child);
            return Err(error.to_string());
        }
    };
    if status.success() {
        return Ok(pipes.printed);
    }
    Err(format!("{}{}", ending(status), pipes.first_line()))
}

/// What is between us and the program.
struct Pipes<'a> {
    stdin: Option<ChildStdin>,
    unwritten: &'a [u8],
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    printed: Vec<u8>,
    complaint: Vec<u8>,
    tether: &'a Tether,
}

impl<'a> Pipes<'a> {
    fn of(child: &mut Child, stdin: &'a [u8], tether: &'a Tether) -> Self {
        Self {
            stdin: child.stdin.take(),
            unwritten: stdin,
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            printed: Vec::new(),
            complaint: Vec::new(),
            tether,
        }
    }

    /// Serves the program until it has ended; `None`: it is late. It is not asked how it ended
    /// before its stdout is closed, so that its group's number is its own as long as it may be
    /// killed.
    fn attend(&mut self, child: &mut Child, until: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            if self.stdout.is_none()
                && let Some(status) = child.try_wait()?
            {
                self.exchange(Duration::ZERO)?;
                return Ok(Some(status));
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Ok(None);
            }
            let wait = if self.stdout.is_none() { left.min(LOOK_INTERVAL) } else { left };
            self.exchange(wait)?;
        }
    }

    /// Waits until a pipe is ready, and serves those that are.
    fn exchange(&mut self, wait: Duration) -> io::Result<()> {
        if self.unwritten.is_empty() {
            self.stdin = None;
        }
        let [writable, readable, complains, is_unwanted] = self.poll(wait)?;
        if is_unwanted {
            return Err(io::Error::other("was killed, it is wanted no longer"));
        }
        if writable {
            self.write();
        }
        if readable && !receive(self.stdout.as_mut(), &mut self.printed)? {
            self.stdout = None;
        }
        if self.printed.len() > MAX_OUTPUT_BYTES {
            let limit = MAX_OUTPUT_BYTES / 1024;
            return Err(io::Error::other(format!("printed more than {limit} KiB, it was killed")));
        }
        if complains && !receive(self.stderr.as_mut(), &mut self.complaint)? {
            self.stderr = None;
        }
        self.complaint.truncate(MAX_STDERR_BYTES);
        Ok(())
    }

    /// Which of stdin, stdout and stderr can be served, and whether the tether was pulled.
    fn poll(&self, wait: Duration) -> io::Result<[bool; 4]> {
        let stdin = self.stdin.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::OUT));
        let stdout = self.stdout.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::IN));
        let stderr = self.stderr.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::IN));
        let tether = Some((self.tether.as_fd(), PollFlags::IN));
        let pipes: [Option<(BorrowedFd<'_>, PollFlags)>; 4] = [stdin, stdout, stderr, tether];
        let mut asked: Vec<PollFd<'_>> = pipes
            .iter()
            .flatten()
            .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        match poll(&mut asked, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut answers = asked.iter().map(|answer| !answer.revents().is_empty());
        Ok(pipes.map(|pipe| pipe.is_some() && answers.next().unwrap_or_default()))
    }

    /// A program that does not read what it is given may do so.
    fn write(&mut self) {
        let Some(pipe) = &mut self.stdin else { return };
        let chunk = &self.unwritten[..self.unwritten.len().min(CHUNK_BYTES)];
        match pipe.write(chunk) {
            Ok(written) => self.unwritten = &self.unwritten[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.unwritten = &[],
        }
    }

    /// The first line of its stderr, quoted so that it forges no line of the log.
    fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.complaint);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        let shown = |line: &str| line.chars().take(MAX_SHOWN_CHARS).collect::<String>();
        line.map_or_else(String::new, |line| format!(": {:?}", shown(line)))
    }
}

/// Reads what is there. Whether more may come.
fn receive(pipe: Option<&mut impl Read>, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; CHUNK_BYTES];
    match pipe.map_or(Ok(0), |pipe| pipe.read(&mut chunk)) {
        Ok(count) => {
            into.extend_from_slice(&chunk[..count]);
            Ok(count > 0)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}

/// Ends a program and what it has started. It may have ended meanwhile, which is as good.
fn kill(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::leash::Programs;
    use crate::relay::settings::SourceId;

    const LONG: Duration = Duration::from_mins(1);

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn run(argv: &[String], stdin: &[u8], timeout: Duration) -> Result<Vec<u8>, String> {
        let mut programs = Programs::default();
        super::run(argv, stdin, timeout, &programs.start(SourceId(0), None).unwrap())
    }

    #[test]
    fn output_is_handed_on_and_input_is_read() {
        let argv = ["cat".to_owned()];
        let much = vec![b'x'; MAX_OUTPUT_BYTES];
        assert_eq!(run(&argv, &much, LONG), Ok(much));
        assert_eq!(
            run(&shell("echo one; echo two >&2; echo three"), b"", LONG).unwrap(),
            b"one\nthree\n"
        );
        assert_eq!(run(&shell("exec <&-; echo one"), &vec![0; 1 << 20], LONG).unwrap(), b"one\n");
    }

    #[test]
    fn failure_is_told_by_status_and_first_line_of_stderr_without_the_output() {
        let failed = |script: &str| run(&shell(script), b"", LONG).unwrap_err();
        let said = failed("echo s3cret; printf '\\nno \\033 key\\nmore\\n' >&2; exit 3");
        assert_eq!(said, "ended with status 3: \"no \\u{1b} key\"");
        assert_eq!(failed("exit 1"), "ended with status 1");
        assert_eq!(failed("kill -9 $$"), "was ended by signal 9");
        let absent = run(&["/no/such/program".to_owned()], b"", LONG).unwrap_err();
        assert!(absent.starts_with("cannot be run: No such file"), "{absent}");
        assert!(run(&[], b"", LONG).is_err());
    }

    /// Waits until the process is gone whose number is in a file, or dead and not yet fetched by
    /// whoever inherited it.
    fn wait_for_end_of(pid: &std::path::Path) {
        let child: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).ok();
        while let Some(stat) = state().filter(|stat| !stat.contains(") Z ")) {
            // It may not have become the program yet that the shell has started.
            assert!(stat.contains("(sleep)") || stat.contains("(sh)"), "{stat}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn program_that_is_wanted_no_longer_is_killed_with_all_that_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let argv = shell(&format!("sleep 600 & echo $! > {}; wait", pid.display()));
        let mut programs = Programs::default();
        let tether = programs.start(SourceId(0), None).unwrap();
        let thread = std::thread::spawn(move || super::run(&argv, b"", LONG, &tether));
        while !std::fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')) {
            std::thread::yield_now();
        }
        drop(programs);
        assert_eq!(thread.join().unwrap().unwrap_err(), "was killed, it is wanted no longer");
        wait_for_end_of(&pid);
    }

    #[test]
    fn program_that_is_late_is_killed_with_all_that_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid.display());
        let said = run(&shell(&script), b"", Duration::from_millis(500)).unwrap_err();
        assert_eq!(said, "did not end within 0.5 s, it was killed");
        wait_for_end_of(&pid);
        let closed = run(&shell("exec >&-; sleep 600"), b"", Duration::from_millis(100));
        assert!(closed.unwrap_err().starts_with("did not end"));
    }

    #[test]
    fn too_much_output_is_an_error_and_ends_it() {
        let said = run(&shell("yes"), b"", LONG).unwrap_err();
        assert_eq!(said, "printed more than 64 KiB, it was killed");
        let noisy = "head -c 1000000 /dev/zero >&2; echo quiet";
        assert_eq!(run(&shell(noisy), b"", LONG).unwrap(), b"quiet\n");
    }
}
