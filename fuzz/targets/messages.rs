//! Any message through both codecs: what is read can be written again, and is then the same.
#![no_main]

use fanfare_data_plane::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| fuzzing::messages(message));
