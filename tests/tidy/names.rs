//! Names that no crate or module may have, because they say nothing.

use crate::source::{Source, word_positions};
use crate::{report, repository};

const REFUSED: [&str; 7] = ["common", "core", "utils", "types", "shared", "helpers", "manager"];

#[test]
fn no_crate_or_module_has_a_name_that_says_nothing() {
    report::none(
        "Crates and modules are not called common, core, utils, types, shared, helpers, manager or mod.rs.",
        &modules(&repository::sources()),
    );
    report::none(
        "Packages are not called common, core, utils, types, shared, helpers or manager.",
        &packages(&repository::files("Cargo.toml")),
    );
}

fn modules(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let stem = source.path.strip_suffix(".rs").unwrap_or(&source.path);
        for name in stem.split('/').filter(|part| REFUSED.contains(part) || *part == "mod") {
            found.push(format!("{}: the name `{name}` is refused", source.path));
        }
        for (line, code) in source.numbered_code() {
            for at in word_positions(code, "mod") {
                let name = code[at + 3..].trim().trim_end_matches(['{', ';', ' ']);
                if REFUSED.contains(&name) {
                    found.push(format!("{}:{line}: the module name `{name}` is refused", source.path));
                }
            }
        }
    }
    found
}

fn packages(manifests: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in manifests {
        let names = text.lines().filter_map(|line| line.strip_prefix("name = "));
        for name in names.map(|name| name.trim_matches('"')) {
            if name.split(['-', '_']).any(|part| REFUSED.contains(&part)) {
                found.push(format!("{path}: the name `{name}` is refused"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{modules, packages};
    use crate::source::Source;

    #[test]
    fn a_refused_name_is_found_in_folders_files_and_modules() {
        for path in ["a/src/utils.rs", "a/src/types/b.rs", "a/src/b/mod.rs", "common/src/lib.rs"] {
            assert_eq!(modules(&[Source::new(path, "")]).len(), 1, "{path}");
        }
        assert_eq!(modules(&[Source::new("a/src/lib.rs", "pub mod core {\n}\n")]).len(), 1);
        assert!(modules(&[Source::new("a/src/model.rs", "mod core_dump;\n")]).is_empty());
    }

    #[test]
    fn a_refused_package_is_found() {
        let manifest = |name| [("a/Cargo.toml".to_owned(), format!("[package]\nname = \"{name}\"\n"))];
        assert_eq!(packages(&manifest("fanfare-core")).len(), 1);
        assert!(packages(&manifest("fanfare-cluster")).is_empty());
    }
}
