//! Every queue is in the architecture's table, with its bound and what happens when it is full.

use std::collections::BTreeSet;

use crate::markdown::{cells, section};
use crate::source::Source;
use crate::structs::structs;
use crate::{report, repository};

/// What makes a queue, as it stands in code.
const MAKERS: [&str; 8] = [
    "mpsc::channel(",
    "mpsc::channel::<",
    "mpsc::sync_channel(",
    "mpsc::sync_channel::<",
    "broadcast::channel(",
    "broadcast::channel::<",
    "Semaphore::new(",
    "= byte_queue(",
];

/// How a queue is given its name, on its line or in the three lines above.
const MARK: &str = "// queue: ";

#[test]
fn every_queue_is_in_the_table_of_the_architecture() {
    let architecture = repository::read("ARCHITECTURE.md");
    report::none(
        "A queue has `// queue: NAME` at its creation and a row NAME in \"## Queues\" of ARCHITECTURE.md.",
        &violations(&repository::sources(), &architecture),
    );
}

fn violations(sources: &[Source], architecture: &str) -> Vec<String> {
    let Some(section) = section(architecture, "## Queues") else {
        return vec!["ARCHITECTURE.md: has no section \"## Queues\"".to_owned()];
    };
    let table = table(&section);
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources {
        for line in queue_lines(source) {
            match name_above(source, line) {
                None => found.push(format!("{}:{line}: a queue without a name", source.path)),
                Some(name) if !table.contains(name) => {
                    found.push(format!("{}:{line}: `{name}` is not in the table", source.path));
                }
                Some(name) => drop(used.insert(name.to_owned())),
            }
        }
    }
    let stale = table.difference(&used);
    found.extend(stale.map(|name| format!("ARCHITECTURE.md: no code has the queue `{name}`")));
    found
}

/// The first column of the section's table, without heading and rule.
fn table(section: &[&str]) -> BTreeSet<String> {
    let rows = section.iter().filter_map(|line| cells(line)).skip(2);
    rows.map(|row| row[0].trim_matches('`').to_owned()).collect()
}

/// The lines of product code that make a queue or declare one as a field.
fn queue_lines(source: &Source) -> BTreeSet<usize> {
    let product: Vec<(usize, &str)> = source.product_code().collect();
    let made = product
        .iter()
        .filter(|(_, code)| MAKERS.iter().any(|maker| code.contains(maker)))
        .map(|(line, _)| *line);
    let fields = structs(source)
        .into_iter()
        .flat_map(|found| found.fields)
        .filter(|(line, field)| field.contains("VecDeque<") && *line <= product.len())
        .map(|(line, field)| line + field.matches('\n').count());
    made.chain(fields).collect()
}

fn name_above(source: &Source, line: usize) -> Option<&str> {
    let lines: Vec<&str> = source.text.lines().collect();
    let near = lines[line.saturating_sub(4)..line].iter().rev();
    near.filter_map(|text| text.split_once(MARK)).map(|(_, name)| name.trim()).next()
}

#[cfg(test)]
mod tests {
    use super::violations;
    use crate::source::Source;

    const TABLE: &str = "# A\n\n## Queues\n\n| queue | bound |\n|---|---|\n| `inbox` | 1024 |\n\n## Next\n";

    fn found(text: &str) -> Vec<String> {
        violations(&[Source::new("a/src/b.rs", text)], TABLE)
    }

    #[test]
    fn a_named_queue_of_the_table_is_accepted() {
        assert_eq!(found("// queue: inbox\nlet (a, b) = mpsc::channel(1024);\n"), [""; 0]);
        assert_eq!(found("let a = Semaphore::new(1); // queue: inbox\n"), [""; 0]);
        assert_eq!(
            found("struct A {\n    // queue: inbox\n    #[serde(skip)]\n    a: VecDeque<u8>,\n}\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_queue_without_a_name_is_found() {
        for queue in [
            "let a = mpsc::channel::<u8>(1);",
            "let q = byte_queue(B);",
            "struct A {\n    a: VecDeque<u8>,\n}",
        ] {
            let text = format!("// queue: inbox\nlet a = broadcast::channel(1);\n\n\n\n\n{queue}\n");
            let found = found(&text);
            assert_eq!(found.len(), 1, "{queue}: {found:?}");
            assert!(found[0].contains("without a name"), "{found:?}");
        }
    }

    #[test]
    fn a_queue_that_is_not_in_the_table_is_found() {
        let text = "// queue: inbox\nmpsc::channel(1);\n// queue: outbox\nmpsc::channel(1);\n";
        let found = found(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`outbox`"), "{found:?}");
    }

    #[test]
    fn a_row_that_no_code_has_is_found() {
        assert_eq!(found("// queue: inbox\nfn a() {}\n").len(), 1);
    }

    #[test]
    fn queues_of_tests_need_no_name() {
        let text = "// queue: inbox\nmpsc::channel(1);\n\n#[cfg(test)]\nmod tests {\n    struct A {\n        a: VecDeque<u8>,\n    }\n    fn b() { mpsc::channel(1); }\n}\n";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn an_architecture_without_the_section_is_found() {
        assert_eq!(violations(&[], "# A\n").len(), 1);
    }
}
