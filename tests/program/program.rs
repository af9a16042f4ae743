//! The program as a child process, its words, and the time it takes.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// Whatever is waited for comes within this time, or the test fails.
pub(crate) const WAIT: Duration = Duration::from_secs(15);

/// A source that is lost is dialled again at once.
pub(crate) const QUICK: &str = "performance: {reconnect_delay: 20ms, reconnect_max_delay: 100ms}\n";

/// A running `veylor`. It ends with the test, however that ends.
pub(crate) struct Program {
    child: Child,
    stdout: Words,
    stderr: Words,
}

/// What a process has said so far.
#[derive(Clone)]
struct Words(Arc<(Mutex<Said>, Condvar)>);

#[derive(Default)]
struct Said {
    text: String,
    is_ended: bool,
}

/// A folder for one test.
pub(crate) struct Folder(TempDir);

/// A port that nobody else takes: it is bound here, and a listener may join.
pub(crate) struct Port {
    _reservation: Socket,
    pub(crate) number: u16,
}

/// Counts the time since it was started.
pub(crate) struct Stopwatch(Instant);

impl Program {
    /// Runs a configuration and waits until clients can connect.
    pub(crate) fn run(folder: &Folder, config: &str) -> Self {
        folder.write("config.yaml", config);
        Self::listening(veylor(folder).arg("-v"))
    }

    /// Runs a command and waits until clients can connect.
    pub(crate) fn listening(command: &mut Command) -> Self {
        let program = Self::start(command);
        program.wait_for("listening at");
        program
    }

    /// Runs a command.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    /// Runs a command with a standard input.
    pub(crate) fn start_with(command: &mut Command, input: Stdio) -> Self {
        let pipes = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let stdout = Words::of(child.stdout.take().unwrap());
        let stderr = Words::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Waits for words on stderr.
    #[track_caller]
    pub(crate) fn wait_for(&self, words: &str) {
        self.wait_for_times(words, 1);
    }

    /// Waits until words have come so often on stderr.
    #[track_caller]
    pub(crate) fn wait_for_times(&self, words: &str, times: usize) {
        let has_come = |said: &Said| said.text.matches(words).count() >= times;
        let found = self.stderr.wait(WAIT, has_come);
        assert!(found, "no {words:?} ({times} times) in:\n{}", self.stderr());
    }

    /// Waits for words on stdout and returns all that came there.
    #[track_caller]
    pub(crate) fn wait_for_output(&self, words: &str) -> String {
        let found = self.stdout.wait(WAIT, |said| said.text.contains(words));
        assert!(found, "no {words:?} in:\n{}{}", self.stdout(), self.stderr());
        self.stdout()
    }

    /// Waits for the end and returns the exit code.
    #[track_caller]
    pub(crate) fn exit_code(&mut self, limit: Duration) -> i32 {
        let ended = self.stderr.wait(limit, |said| said.is_ended);
        assert!(ended, "still running after {limit:?}:\n{}", self.stderr());
        let _ = self.stdout.wait(WAIT, |said| said.is_ended);
        self.child.wait().unwrap().code().unwrap()
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.0.0.lock().unwrap().text.clone()
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.0.0.lock().unwrap().text.clone()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program in a folder, not yet started. The folder is also that of its sockets and its log, as
/// a service manager would say it.
pub(crate) fn veylor(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veylor"));
    command.current_dir(folder.path());
    for variable in ["TMPDIR", "RUNTIME_DIRECTORY", "LOGS_DIRECTORY"] {
        command.env(variable, folder.path());
    }
    command
}

/// Runs a command that ends by itself: its exit code, stdout and stderr.
#[track_caller]
pub(crate) fn ended(command: &mut Command) -> (i32, String, String) {
    let mut program = Program::start(command);
    let code = program.exit_code(WAIT);
    (code, program.stdout(), program.stderr())
}

impl Words {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let words = Self(Arc::default());
        let ours = words.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                ours.tell(|said| said.text.push_str(&String::from_utf8_lossy(&bytes[..count])));
            }
            ours.tell(|said| said.is_ended = true);
        });
        words
    }

    fn tell(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits until something is true, or cannot become true any more. Says whether it is.
    fn wait(&self, limit: Duration, is_true: impl Fn(&Said) -> bool) -> bool {
        let (said, changed) = &*self.0;
        let waits = |said: &mut Said| !is_true(said) && !said.is_ended;
        let waited = changed.wait_timeout_while(said.lock().unwrap(), limit, waits);
        is_true(&waited.unwrap().0)
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("veylor-").tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file; who reads it meanwhile gets all of the old or all of the new.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let draft = self.join(&format!("{name}.draft"));
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(&draft, self.join(name)).unwrap();
        self.join(name)
    }
}

/// Waits until a program of a test has written the number of a process, and returns it.
#[track_caller]
pub(crate) fn process_in(file: &Path) -> u32 {
    let watch = Stopwatch::start();
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Some(number) = text.strip_suffix('\n') {
            return number.parse().unwrap();
        }
        assert!(watch.elapsed() < WAIT, "no process in {}", file.display());
        thread::yield_now();
    }
}

/// Waits until a process is gone, or dead and not yet fetched by whoever inherited it.
#[track_caller]
pub(crate) fn wait_for_end_of(process: u32) {
    let watch = Stopwatch::start();
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).ok();
    while state().is_some_and(|stat| !stat.contains(") Z ")) {
        assert!(watch.elapsed() < WAIT, "process {process} runs on");
        thread::yield_now();
    }
}

impl Port {
    /// A free port of 127.0.0.1.
    pub(crate) fn free() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let number = socket.local_addr().unwrap().as_socket().unwrap().port();
        Self { _reservation: socket, number }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.number)
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number.fmt(f)
    }
}

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a test may look at how long something took")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Instant {
        self.0 + self.0.elapsed()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The configuration of one source named `feed` with a WebSocket port. `more` is further keys of
/// it, each in a line.
pub(crate) fn feed(url: &str, port: &Port, more: &str) -> String {
    let more = more.lines().fold(String::new(), |lines, line| lines + "    " + line + "\n");
    format!(
        "sources:\n  - name: feed\n    url: \"{url}\"\n    websocket_port: {port}\n    \
         websocket_host: 127.0.0.1\n{more}"
    )
}
