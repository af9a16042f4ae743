//! What a relay owned before a fault. After it, it must own no more, and its counters must add up.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::program::{Folder, Program, Stopwatch, WAIT};

/// Memory that may come with a fault and stay: buffers that are kept for the next time.
const MAX_GROWTH: u64 = 8 << 20;

/// A relay's belongings and counters at one moment.
pub(crate) struct Health {
    door: PathBuf,
    process: u32,
    descriptors: usize,
    resident_bytes: u64,
    status: Value,
}

/// The part of a configuration that opens the door by which health is seen.
pub(crate) fn with_door(folder: &Folder, config: &str) -> String {
    format!("{config}admin: {{unix_socket_path: \"{}\"}}\n", folder.join("admin.sock").display())
}

impl Health {
    pub(crate) fn of(program: &Program, folder: &Folder) -> Self {
        let (door, process) = (folder.join("admin.sock"), program.id());
        let status = status(&door);
        let descriptors = descriptors(process);
        Self { door, process, descriptors, resident_bytes: resident_bytes(process), status }
    }

    /// Waits until no more is open than before, then looks at the rest. All clients of then are
    /// still there, and nothing was dropped.
    #[track_caller]
    pub(crate) fn check(&self) {
        let watch = Stopwatch::start();
        while descriptors(self.process) > self.descriptors {
            let open = descriptors(self.process);
            assert!(watch.elapsed() < WAIT, "{open} descriptors, and {} before", self.descriptors);
            // Asking takes the relay a turn or two.
            status(&self.door);
        }
        let grown = resident_bytes(self.process).saturating_sub(self.resident_bytes);
        assert!(grown <= MAX_GROWTH, "memory has grown by {} KiB", grown >> 10);
        self.check_counters(&status(&self.door));
    }

    #[track_caller]
    fn check_counters(&self, status: &Value) {
        let count = |status: &Value, path: &str| status.pointer(path).unwrap().as_u64().unwrap();
        let received = "/sources/0/received_messages";
        let received = count(status, received) - count(&self.status, received);
        for before in self.status["clients"].as_array().unwrap() {
            let mut clients = status["clients"].as_array().unwrap().iter();
            let client = clients.find(|client| client["id"] == before["id"]);
            let client = client.unwrap_or_else(|| panic!("client {} is gone", before["id"]));
            let sent = "/sent_messages";
            let got = count(client, sent) - count(before, sent) + count(client, "/lag_messages");
            assert_eq!((got, count(client, "/dropped_messages")), (received, 0), "{client}");
        }
        let departures = status.pointer("/channels/0/departures").unwrap().as_object().unwrap();
        let gone: u64 = departures.values().map(|count| count.as_u64().unwrap()).sum();
        let (there, ever) = ("/channels/0/clients", "/channels/0/clients_ever");
        assert_eq!(count(status, there) + gone, count(status, ever), "{departures:?}");
    }
}

fn status(door: &PathBuf) -> Value {
    let mut stream = UnixStream::connect(door).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.write_all(b"GET /api/status HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

fn resident_bytes(process: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}
