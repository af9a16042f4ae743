//! An opened server's codec sees in a stream what tungstenite sees, however the stream is cut, and
//! holds no more of it than one message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::Role;
use veylor_fuzz::bytes::Cuts;
use veylor_fuzz::peer::compare;

fuzz_target!(|data: &[u8]| {
    if let Some((cuts, bytes)) = Cuts::split(data) {
        compare(Role::Server, bytes, cuts);
    }
});
