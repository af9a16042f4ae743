//! What a fuzzer decides.

use arbitrary::Arbitrary;

/// A relay and what happens to it.
#[derive(Arbitrary, Clone, Debug)]
pub struct Story {
    /// How it is set up.
    pub shape: Shape,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// Settings of the channels and sources.
#[derive(Arbitrary, Clone, Debug)]
pub struct Shape {
    pub max_queue_size: u8,
    pub max_queue_bytes: u16,
    pub max_pause: u8,
    pub max_clients: u8,
    pub max_attempts: u8,
    pub drops: bool,
    pub closes_on_loss: bool,
    pub read_only: bool,
    /// Those who did not always read take nothing while the relay ends.
    pub ends_stalled: bool,
}

/// One thing that happens; `second` tells the second source or channel from the first.
#[derive(Arbitrary, Clone, Debug)]
pub enum Step {
    Join {
        second: bool,
        prefixed: bool,
        is_stranger: bool,
    },
    Client {
        number: u8,
        deed: Deed,
    },
    Send {
        second: bool,
        count: u8,
        length: u16,
        is_split: bool,
    },
    SourceSays {
        second: bool,
        bytes: Vec<u8>,
    },
    SourceCloses {
        second: bool,
    },
    LoseSource {
        second: bool,
    },
    /// How the source meets those who dial it from now on.
    Next {
        second: bool,
        manner: Manner,
    },
    StallSource {
        second: bool,
        bytes: u16,
    },
    ResumeSource {
        second: bool,
    },
    /// Milliseconds, with every deadline met.
    Pass(u16),
    /// Milliseconds that nobody was awake.
    Jump(u16),
    /// Whether what follows happens at once, without a turn of the loop in between.
    Haste(bool),
    Stop,
    Abort,
}

/// What a client does.
#[derive(Arbitrary, Clone, Debug)]
pub enum Deed {
    Send {
        length: u16,
    },
    Say(Vec<u8>),
    Close,
    /// Closes its writing side.
    End,
    Reset,
    Stall {
        bytes: u16,
    },
    Resume,
    Dribble {
        bytes: u8,
    },
}

/// How a source meets who dials it.
#[derive(Arbitrary, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It opens.
    #[default]
    Accepting,
    /// It cannot be reached.
    Unreachable,
    /// It takes the request and says nothing.
    Silent,
    /// It answers that it has no time.
    Refusing,
}
