//! The door of a fuzz target into the configuration; a build without `--cfg fuzzing` finds nothing here.
#![cfg(fuzzing)]
#![expect(dead_code, unused_imports, reason = "only the configuration is used of what it needs")]

mod cli;
mod config;
mod exit;

/// Reads a text as the configuration file, and checks that what is accepted can be shown and read again.
///
/// # Panics
/// If it cannot.
pub fn configuration(text: &str) {
    let Ok(table) = text.parse() else { return };
    if let Ok(config) = config::parse(table, false) {
        let shown = toml::Table::try_from(&config).expect("what was read from TOML is TOML");
        config::parse(shown, false).expect("what was accepted is accepted again");
    }
}
