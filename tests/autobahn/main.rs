//! The Autobahn test suite for WebSockets, run against the code that reads and writes Fanfare's frames.
//!
//! That code is private to the data plane and knows nothing of echoes, which is what the suite asks for. So this
//! target compiles the same files, with their own tests, and puts an echo server around them.

#[path = "../../data-plane/src/codes.rs"]
#[expect(dead_code, reason = "an echo server has no use for the codes of the client protocol")]
mod codes;
mod echo;
#[path = "../../data-plane/src/frame.rs"]
#[expect(dead_code, reason = "an echo server sends no pings")]
mod frame;
mod suite;
mod verdicts;

use std::io::Write as _;
use std::time::Instant;

use suite::Suite;
use verdicts::Verdicts;

/// How many cases the sections that are run have: fewer would mean that some were left out unseen.
const CASES: usize = 301;

#[test]
fn a_server_made_of_our_frame_code_passes_the_autobahn_suite() {
    let suite = match Suite::prepared() {
        Ok(suite) => suite,
        Err(why) => {
            say(&format!("NOT RUN: Autobahn, WebSocket conformance: {why}: run `make test-full`"));
            return;
        }
    };
    let started = Instant::now();
    let verdicts = Verdicts::read(&suite.run(echo::start()));
    say(&format!("Autobahn: {} in {} s", verdicts.counts(), started.elapsed().as_secs()));
    let failures = verdicts.failures();
    assert!(failures.is_empty(), "of {}:\n{}", verdicts.counts(), failures.join("\n"));
    assert_eq!(verdicts.len(), CASES, "the suite left cases out");
}

/// Prints a line whether or not the test passes: libtest hides what `println` prints in those that do.
fn say(line: &str) {
    writeln!(std::io::stderr(), "\n{line}").expect("standard error is open");
}
