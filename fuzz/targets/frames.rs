//! Any bytes in any chunking through the frame splitter: the chunking makes no difference.
#![no_main]

use fanfare_data_plane::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let [chunk, stream @ ..] = bytes {
        fuzzing::frames(stream, usize::from(*chunk) + 1);
    }
});
