//! The code map says of every file what its first line says.

use std::fmt::Write as _;

use crate::source::Source;
use crate::{report, repository};

const DOCUMENT: &str = "docs/code-map.md";

/// Whoever sets it wants the document written anew: `make code-map`.
const WRITE: &str = "FANFARE_WRITE_CODE_MAP";

const HEAD: &str = "# Code map\n\nOne line per file, as the file itself begins. `make code-map` writes this page. \
    What holds them together is in [ARCHITECTURE.md](../ARCHITECTURE.md).\n";

/// The folders with code, in the order in which they build on each other.
const FOLDERS: [&str; 7] =
    ["proto/", "cluster/", "control-plane/", "data-plane/", "fanfare/", "tests/", "fuzz/"];

#[test]
fn the_code_map_is_what_the_files_say() {
    let sources = repository::sources();
    let generated = page(&sources);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(repository::root().join(DOCUMENT), &generated).expect("the document can be written");
    }
    assert!(generated == repository::read(DOCUMENT), "{DOCUMENT} is out of date: run `make code-map`");
}

#[test]
fn every_file_has_its_place_in_the_code_map() {
    let sources = repository::sources();
    let is_lost = |source: &&Source| !FOLDERS.iter().any(|folder| source.path.starts_with(folder));
    let lost: Vec<String> = sources.iter().filter(is_lost).map(|source| source.path.clone()).collect();
    report::none("Every file is in one of the folders of the code map.", &lost);
}

fn page(sources: &[Source]) -> String {
    let mut page = HEAD.to_owned();
    for folder in FOLDERS {
        let name = folder.trim_end_matches('/');
        write!(page, "\n## `{name}`\n\n| file | what it is for |\n|---|---|\n").expect("text can be written");
        for source in sources.iter().filter(|source| source.path.starts_with(folder)) {
            let path = source.path.trim_start_matches(folder);
            let path = path.strip_prefix("src/").unwrap_or(path);
            writeln!(page, "| `{path}` | {} |", sentence(source)).expect("text can be written");
        }
    }
    page
}

/// The first paragraph of a file, as it stands in a table.
fn sentence(source: &Source) -> String {
    let lines = source.text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let paragraph: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::page;
    use crate::source::Source;

    #[test]
    fn a_file_is_listed_with_its_sentence() {
        let sources = [
            Source::new(
                "cluster/src/member.rs",
                "//! Who a process is:\n//! id | incarnation.\n//!\n//! More.",
            ),
            Source::new("tests/e2e/life.rs", "//! Life."),
        ];
        let page = page(&sources);
        assert!(page.contains("\n| `member.rs` | Who a process is: id \\| incarnation. |\n"), "{page}");
        assert!(
            page.contains("## `tests`\n\n| file | what it is for |\n|---|---|\n| `e2e/life.rs` | Life. |\n")
        );
    }
}
