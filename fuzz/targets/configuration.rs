//! Any text as the configuration file: a configuration that is accepted can be shown and read again.
#![no_main]

use fanfare_fuzzing::configuration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| configuration(text));
