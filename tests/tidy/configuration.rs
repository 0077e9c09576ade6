//! Every configuration key is documented, with the default that the binary really has.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::markdown::{cells, in_backticks};
use crate::{report, repository};

const DOCUMENT: &str = "docs/configuration.md";

/// How the document writes the default of a key that has none.
const UNSET: &str = "unset";

#[test]
fn every_configuration_key_is_documented_with_its_true_default() {
    report::none(
        "docs/configuration.md has one row per key: | `key` | `default as TOML` | meaning |.",
        &violations(&defaults(), &repository::read(DOCUMENT)),
    );
}

/// What the binary says its defaults are.
fn defaults() -> Value {
    let binary = std::env::var_os("FANFARE_BIN").expect(
        "FANFARE_BIN is not set: run the tests with `make test`, or this one with `make check`, which build the binary",
    );
    let output = Command::new(&binary)
        .args(["config", "show", "--defaults", "-o", "json"])
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", binary.display()));
    assert!(
        output.status.success(),
        "`fanfare config show --defaults -o json` ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
    serde_json::from_slice(&output.stdout).expect("`fanfare config show -o json` prints JSON")
}

fn violations(defaults: &Value, document: &str) -> Vec<String> {
    let mut actual = BTreeMap::new();
    flatten("", defaults, &mut actual);
    assert!(!actual.is_empty(), "the binary printed no configuration keys");
    let mut found = Vec::new();
    let mut documented = BTreeMap::new();
    for (line, row) in rows(document) {
        let key = row.key.clone();
        if row.meaning.is_empty() {
            found.push(format!("{DOCUMENT}:{line}: `{key}` has no meaning"));
        }
        if documented.insert(key.clone(), row).is_some() {
            found.push(format!("{DOCUMENT}:{line}: `{key}` is documented twice"));
        }
    }
    for (key, value) in &actual {
        match documented.get(key) {
            None => found.push(format!("`{key}` is not documented (its default is {value})")),
            Some(row) => found.extend(wrong_default(key, value, &row.default)),
        }
    }
    let stale = documented.keys().filter(|key| !exists(key, &actual));
    found.extend(stale.map(|key| format!("`{key}` is documented, but the binary has no such key")));
    found
}

/// A row of the document's tables.
struct Row {
    key: String,
    default: String,
    meaning: String,
}

fn rows(document: &str) -> Vec<(usize, Row)> {
    let mut rows = Vec::new();
    for (index, line) in document.lines().enumerate() {
        let Some(cells) = cells(line).filter(|cells| cells.len() >= 3) else {
            continue;
        };
        let Some(key) = in_backticks(&cells[0]).filter(|key| is_key(key)) else {
            continue;
        };
        let row = Row { key: key.to_owned(), default: cells[1].clone(), meaning: cells[2].clone() };
        rows.push((index + 1, row));
    }
    rows
}

fn is_key(text: &str) -> bool {
    text.contains('.') && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | '[' | ']'))
}

fn flatten(prefix: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    match value.as_object().filter(|fields| !fields.is_empty() || prefix.is_empty()) {
        None => drop(leaves.insert(prefix.to_owned(), value.clone())),
        Some(fields) => {
            for (name, inner) in fields {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&key, inner, leaves);
            }
        }
    }
}

/// A key exists as a leaf; `list[].key` describes what a list holds, so the list must exist.
fn exists(key: &str, actual: &BTreeMap<String, Value>) -> bool {
    match key.split_once("[]") {
        Some((list, _)) => actual.get(list).is_some_and(Value::is_array),
        None => actual.contains_key(key),
    }
}

fn wrong_default(key: &str, value: &Value, cell: &str) -> Option<String> {
    let wrong = |what: String| Some(format!("`{key}`: {what}; its default is {value}"));
    let Some(literal) = in_backticks(cell) else {
        return wrong(format!("the default `{cell}` does not stand in backticks"));
    };
    match parse(literal) {
        None => wrong(format!("`{literal}` is not TOML")),
        Some(documented) if documented == *value => None,
        Some(_) => wrong(format!("the document says `{literal}`")),
    }
}

fn parse(literal: &str) -> Option<Value> {
    if literal == UNSET {
        return Some(Value::Null);
    }
    let mut table: toml::Table = format!("value = {literal}").parse().ok()?;
    serde_json::to_value(table.remove("value")?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::violations;

    const DOCUMENT: &str = "\
| key | default | meaning |
|---|---|---|
| `client.ping_interval` | `\"25s\"` | How often. |
| `client.allowed_origins` | `[]` | Which. |
| `client.token.secret` | `unset` | What. |
| `client.prefix` | `\"\"` | A prefix. |
| `api.keys[].name` | required | The name of a key. |
| `api.keys` | `[]` | Keys. |
| `\"30s\"` | not | a key |
";

    fn found(change: impl FnOnce(&mut serde_json::Value)) -> Vec<String> {
        let mut defaults = json!({
            "client": { "ping_interval": "25s", "allowed_origins": [], "token": { "secret": null }, "prefix": "" },
            "api": { "keys": [] },
        });
        change(&mut defaults);
        violations(&defaults, DOCUMENT)
    }

    #[test]
    fn a_document_that_tells_the_truth_is_accepted() {
        assert_eq!(found(|_| {}), [""; 0]);
    }

    #[test]
    fn a_key_that_is_not_documented_is_found() {
        assert_eq!(found(|defaults| defaults["shutdown"] = json!({ "grace": "1s" })).len(), 1);
    }

    #[test]
    fn a_key_that_no_longer_exists_is_found() {
        let stale = found(|defaults| defaults["client"] = json!({ "ping_interval": "25s" }));
        assert_eq!(stale.len(), 3, "{stale:?}");
    }

    #[test]
    fn a_default_that_differs_is_found() {
        for other in [json!("30s"), json!(25), json!(null)] {
            assert_eq!(found(|defaults| defaults["client"]["ping_interval"] = other).len(), 1);
        }
        assert_eq!(found(|defaults| defaults["client"]["token"]["secret"] = json!("")).len(), 1);
        assert_eq!(found(|defaults| defaults["client"]["prefix"] = json!(null)).len(), 1);
    }

    #[test]
    fn a_row_without_meaning_and_a_key_told_twice_are_found() {
        let document = "| `a.b` | `1` |  |\n| `a.b` | `1` | B. |\n";
        assert_eq!(violations(&json!({ "a": { "b": 1 } }), document).len(), 2);
    }
}
