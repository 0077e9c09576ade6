//! The pages of codes and limits say what the code and the configuration say.

use std::collections::BTreeMap;

use crate::markdown::{cells, in_backticks};
use crate::{report, repository};

const CODES: &str = "docs/close-codes.md";
const LIMITS: &str = "docs/limits.md";
const CONFIGURATION: &str = "docs/configuration.md";

#[test]
fn every_code_that_clients_can_be_sent_is_explained() {
    let violations = unexplained(&repository::read("data-plane/src/codes.rs"), &repository::read(CODES));
    report::none("docs/close-codes.md has a row for every code of data-plane/src/codes.rs.", &violations);
}

#[test]
fn the_defaults_of_limits_are_those_of_the_configuration() {
    let violations = different(&repository::read(CONFIGURATION), &repository::read(LIMITS));
    report::none("docs/limits.md gives the defaults that docs/configuration.md gives.", &violations);
}

/// Codes and reasons, as in `code(3001, "shutdown")`, that have no row `| 3001 | shutdown |`. 1000 has no words.
fn unexplained(source: &str, document: &str) -> Vec<String> {
    let rows: Vec<_> = document.lines().filter_map(cells).collect();
    let mut found = Vec::new();
    for call in source.split("= code(").skip(1) {
        let (code, rest) = call.split_once(", \"").expect("a code and its reason");
        let (reason, _) = rest.split_once('"').expect("the reason ends");
        let is_told = rows.iter().any(|row| row.len() > 2 && row[0] == code && row[1] == reason);
        if !reason.is_empty() && !is_told {
            found.push(format!("{CODES}: no row | {code} | {reason} |"));
        }
    }
    assert!(
        source.contains("= code("),
        "the codes are written in another way: this test looks for `= code(`"
    );
    found
}

/// Keys in the second column of the limits, with a default in the third that is not the configuration's.
fn different(configuration: &str, limits: &str) -> Vec<String> {
    let rows = configuration.lines().filter_map(cells).filter(|row| row.len() > 2);
    let defaults: BTreeMap<String, String> = rows.map(|row| (row[0].clone(), row[1].clone())).collect();
    let mut found = Vec::new();
    let rows = limits.lines().filter_map(cells).filter(|row| row.len() > 2);
    for row in rows.filter(|row| in_backticks(&row[1]).is_some()) {
        match defaults.get(&row[1]) {
            None => found.push(format!("{LIMITS}: {} is not in {CONFIGURATION}", row[1])),
            Some(default) if *default != row[2] => {
                found.push(format!("{LIMITS}: {} is {default}, not {}", row[1], row[2]));
            }
            Some(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{different, unexplained};

    #[test]
    fn a_code_without_its_row_is_found() {
        let source =
            "A: Code = code(1, \"one\");\nB: Code = code(2, \"two\");\nC: Code = code(1000, \"\");\n";
        let document = "| code | reason | when |\n|---|---|---|\n| 1 | one | a |\n| 2 | three | b |\n";
        assert_eq!(unexplained(source, document), ["docs/close-codes.md: no row | 2 | two |"]);
    }

    #[test]
    fn a_default_that_differs_and_a_key_that_is_unknown_are_found() {
        let configuration = "| `a.b` | `1` | A. |\n| `a.c` | `2` | C. |\n";
        let limits = "| one | `a.b` | `1` | x |\n| two | `a.c` | `3` | x |\n| three | `a.d` | `3` | x |\n| four | | 5 | x |\n";
        assert_eq!(different(configuration, limits).len(), 2);
    }
}
