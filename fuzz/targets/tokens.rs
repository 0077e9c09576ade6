//! Any text as a token.
#![no_main]

use fanfare_data_plane::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|token: &str| {
    let accepted = fuzzing::token(token);
    assert!(!accepted, "nobody can guess a signature");
});
