//! Every row of what a stranger can send names the tests that show its answer, and these exist.

use crate::markdown::cells;
use crate::source::{Source, word_positions};
use crate::{report, repository};

const DOCUMENT: &str = "docs/strangers.md";
/// What stands for a test that is written where the code is not merged yet.
const OPEN: &str = "TODO-MERGE";

#[test]
fn what_strangers_can_send_names_tests_that_exist() {
    report::none(
        "The last cell of each row in docs/strangers.md is `FILE`: `test`, ..., and the file has these tests.",
        &violations(&repository::read(DOCUMENT), &repository::sources()),
    );
}

#[test]
fn nothing_that_strangers_can_send_waits_for_its_test() {
    let text = repository::read(DOCUMENT);
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains(OPEN));
    let open: Vec<_> = lines.map(|(index, line)| format!("{DOCUMENT}:{}: {line}", index + 1)).collect();
    report::none("Every row of docs/strangers.md names a test.", &open);
}

fn violations(text: &str, sources: &[Source]) -> Vec<String> {
    let rows: Vec<_> = text
        .lines()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, cells(line)?.pop()?)))
        .filter(|(_, last)| !last.starts_with("---"))
        .collect();
    let mut found = Vec::new();
    // The first row is the heading.
    for (line, cell) in rows.iter().skip(1).filter(|(_, cell)| cell != OPEN) {
        let mut file = None;
        let mut tests = 0;
        for word in cell.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                file =
                    sources.iter().find(|source| format!("/{}", source.path).ends_with(&format!("/{word}")));
                if file.is_none() {
                    found.push(format!("{DOCUMENT}:{line}: no file `{word}`"));
                }
            } else if file.is_some_and(|file| has_function(file, word)) {
                tests += 1;
            } else {
                found.push(format!("{DOCUMENT}:{line}: no test `{word}`"));
            }
        }
        if tests == 0 {
            found.push(format!("{DOCUMENT}:{line}: names no test that exists"));
        }
    }
    if rows.len() < 2 {
        found.push(format!("{DOCUMENT}: has no table"));
    }
    found
}

fn has_function(source: &Source, name: &str) -> bool {
    word_positions(&source.code, name)
        .any(|at| source.code[..at].ends_with("fn ") && source.code[at + name.len()..].starts_with('('))
}

#[cfg(test)]
mod tests {
    use super::violations;
    use crate::source::Source;

    fn found(cell: &str) -> usize {
        let sources = [Source::new("tests/e2e/a.rs", "#[test]\nfn it_holds() {}\nfn it() {}\n")];
        violations(&format!("| what | test |\n|---|---|\n| x | {cell} |\n"), &sources).len()
    }

    #[test]
    fn a_row_whose_tests_exist_is_accepted() {
        assert_eq!(found("`e2e/a.rs`: `it_holds`, `it`"), 0);
        assert_eq!(found(super::OPEN), 0, "another check finds it");
    }

    #[test]
    fn a_row_without_a_test_or_with_one_that_is_not_there_is_found() {
        assert_eq!(found(""), 1);
        assert_eq!(found("`e2e/a.rs`"), 1);
        assert_eq!(found("`e2e/a.rs`: `it_holds`, `it_hold`"), 1);
        assert_eq!(found("`e2e/b.rs`: `it_holds`"), 3);
    }

    #[test]
    fn a_document_without_a_table_is_found() {
        assert_eq!(violations("nothing\n", &[]).len(), 1);
    }
}
