//! The fuzz targets, which have a lock file of their own, are built from the versions that the server is built from.

use std::collections::BTreeSet;

use crate::{report, repository};

#[test]
fn the_fuzz_targets_use_the_versions_of_the_server() {
    report::none(
        "A package in both lock files has the same versions: copy Cargo.lock over fuzz/Cargo.lock and run \
         `cargo metadata --manifest-path fuzz/Cargo.toml`, which takes out what is too much.",
        &violations(&repository::read("Cargo.lock"), &repository::read("fuzz/Cargo.lock")),
    );
}

fn violations(server: &str, fuzz: &str) -> Vec<String> {
    let server = packages(server);
    let names: BTreeSet<_> = server.iter().map(|(name, _)| *name).collect();
    let strange =
        |(name, version): &(&str, &str)| names.contains(name) && !server.contains(&(*name, *version));
    let strange = packages(fuzz).into_iter().filter(strange);
    strange.map(|(name, version)| format!("fuzz/Cargo.lock: {name} {version}")).collect()
}

/// Names and versions of all packages in a lock file.
fn packages(lock: &str) -> BTreeSet<(&str, &str)> {
    let lines: Vec<_> = lock.lines().collect();
    lines
        .windows(2)
        .filter_map(|pair| {
            let name = pair[0].strip_prefix("name = \"")?.strip_suffix('"')?;
            Some((name, pair[1].strip_prefix("version = \"")?.strip_suffix('"')?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::violations;

    const SERVER: &str =
        "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"a\"\nversion = \"2.0.0\"\n";

    #[test]
    fn another_version_is_found_and_another_package_is_not() {
        assert_eq!(violations(SERVER, "name = \"a\"\nversion = \"2.0.0\"\n"), [""; 0]);
        assert_eq!(violations(SERVER, "name = \"b\"\nversion = \"3.0.0\"\n"), [""; 0]);
        assert_eq!(violations(SERVER, "name = \"a\"\nversion = \"1.0.1\"\n"), ["fuzz/Cargo.lock: a 1.0.1"]);
    }
}
