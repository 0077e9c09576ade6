//! Layers of configuration: how one lies over another, what the environment says, and keys that nobody knows.

use toml::{Table, Value};

/// Only names with this prefix and a `__` are read: Kubernetes puts `FANFARE_PORT` of its own into pods.
const PREFIX: &str = "FANFARE_";

/// Lays a table over another: tables join, everything else replaces.
pub(crate) fn overlay(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

/// The keys that the environment sets. An empty value counts as not set.
pub(crate) fn environment(variables: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let key = |name: &str| Some(name.strip_prefix(PREFIX)?.to_lowercase().replace("__", "."));
    // FANFARE_CLI__ENDPOINT and the like belong to the command line's own options.
    let ours = |key: &String| key.contains('.') && !key.starts_with("cli.");
    let mut keys: Vec<_> = variables
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| Some((key(&name).filter(ours)?, value)))
        .collect();
    keys.sort();
    keys
}

/// Sets one key. The value is TOML if it can be read as TOML, else text.
pub(crate) fn set(table: &mut Table, key: &str, value: &str) -> Result<(), String> {
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().filter(|last| !last.is_empty()).ok_or_else(|| format!("{key:?} is no key"))?;
    let mut place = table;
    for part in parts {
        let entry = place.entry(part).or_insert_with(|| Value::Table(Table::new()));
        place = entry.as_table_mut().ok_or_else(|| format!("{key}: {part} is not a section"))?;
    }
    place.insert(last.to_owned(), read_value(value));
    Ok(())
}

fn read_value(text: &str) -> Value {
    let document = format!("value = {text}").parse::<Table>();
    document
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Finds the first key that is not among the known ones, and the known one that is nearest to it.
pub(crate) fn check_keys(table: &Table, known: &Table) -> Result<(), String> {
    let known = paths(known, "");
    let sections: Vec<&str> =
        known.iter().filter_map(|path| path.rsplit_once('.')).map(|(section, _)| section).collect();
    let is_known = |path: &String| {
        known.contains(path) || sections.iter().any(|section| section.starts_with(path.as_str()))
    };
    let Some(unknown) = paths(table, "").into_iter().find(|path| !is_known(path)) else { return Ok(()) };
    let nearest = known.iter().max_by(|a, b| {
        let likeness = |path: &String| strsim::jaro_winkler(path, &unknown);
        likeness(a).total_cmp(&likeness(b))
    });
    Err(format!("unknown key {unknown}; did you mean {}?", nearest.map_or("", String::as_str)))
}

/// The dotted paths of all values.
fn paths(table: &Table, prefix: &str) -> Vec<String> {
    let path = |key: &String| if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
    let paths = table.iter().flat_map(|(key, value)| match value {
        Value::Table(inner) if !inner.is_empty() => self::paths(inner, &path(key)),
        _ => vec![path(key)],
    });
    paths.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_join_and_the_upper_one_wins() {
        let mut below: Table = "[client]\na = 1\nb = 2".parse().unwrap();
        overlay(&mut below, "[client]\nb = 3".parse().unwrap());
        assert_eq!(below, "[client]\na = 1\nb = 3".parse().unwrap());
    }

    #[test]
    fn only_names_with_two_underscores_are_read_from_the_environment() {
        let variables = [
            ("FANFARE_PORT", "tcp://10.0.0.1:8000"),
            ("FANFARE_CLIENT__ALLOWED_ORIGINS", "[\"https://a\"]"),
            ("FANFARE_CLI__ENDPOINT", "http://x"),
            ("FANFARE_API__ADDRESS", ""),
            ("HOME", "/"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let keys = environment(variables.into_iter());
        assert_eq!(keys, [("client.allowed_origins".to_owned(), "[\"https://a\"]".to_owned())]);
    }

    #[test]
    fn values_are_toml_where_they_can_be() {
        let mut table = Table::new();
        set(&mut table, "client.channel_limit", "5").unwrap();
        set(&mut table, "client.address", "127.0.0.1:0").unwrap();
        set(&mut table, "client.allowed_origins", "[\"*\"]").unwrap();
        let expected = "[client]\nchannel_limit = 5\naddress = \"127.0.0.1:0\"\nallowed_origins = [\"*\"]";
        assert_eq!(table, expected.parse().unwrap());
        assert!(set(&mut table, "client.channel_limit.x", "5").is_err());
        assert!(set(&mut table, "client.", "5").is_err());
    }
}
