//! What stands in for writing recordings in a program that was built without it: there are none.

use crate::config::settings::Source;
use crate::net::stream::Stream;
use crate::relay::Relay;
use crate::relay::settings::SourceId;

/// No recordings.
#[derive(Debug)]
pub(super) struct Recorders;

/// How a recording would go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) lost_messages: u64,
}

#[expect(clippy::unused_self, reason = "a program with recordings asks them")]
impl Recorders {
    /// Records nothing.
    pub(super) fn new() -> Self {
        Self
    }

    /// Goes on with it: no configuration asks for more.
    pub(super) fn reload<'a>(
        &mut self,
        _: impl Iterator<Item = (SourceId, Option<&'a Source>)>,
        _: &mut Relay<Stream>,
    ) {
    }

    /// Nobody wants to know the time.
    pub(super) fn begin_turn(&self, _: &mut Relay<Stream>) {}

    /// Nothing was wanted, and so it is not all there.
    pub(super) fn end_turn(&self, _: &mut Relay<Stream>) -> bool {
        false
    }

    /// None.
    pub(super) fn tally(&self, _: SourceId) -> Option<Tally> {
        None
    }

    /// Nothing is left, and nothing lost.
    pub(super) fn end(&mut self, _: &mut Relay<Stream>) -> u64 {
        0
    }
}
