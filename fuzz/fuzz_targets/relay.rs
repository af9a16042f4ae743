//! Whatever peers do and however time jumps: the relay never panics, always comes to rest, ends in
//! time; who always reads gets everything in order, and nobody gets anything out of order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veylor_fuzz::world::{Story, World};

fuzz_target!(|story: Story| {
    World::new(story.shape).tell(&story.steps);
});
