//! What no code of ours may contain: tests that are switched off, unfinished code, and waits by the clock.

use crate::source::{Source, word_positions};
use crate::{report, repository};

/// Unfinished or forgotten code.
const UNFINISHED: [&str; 4] = ["#[ignore", "todo!(", "unimplemented!(", "dbg!("];

/// The one file that may sleep in tests: everything else waits for what it expects.
const PATIENT: &str = "eventually.rs";

#[test]
fn no_test_is_ignored_and_no_code_is_unfinished() {
    report::none(
        "There is no #[ignore], todo!, unimplemented! or dbg! in any file.",
        &unfinished(&repository::sources()),
    );
}

#[test]
fn no_test_sleeps_instead_of_waiting_for_what_it_expects() {
    report::none(
        "A test waits with `eventually`; only eventually.rs sleeps.",
        &sleeping(&repository::sources()),
    );
}

fn unfinished(sources: &[Source]) -> Vec<String> {
    lines(sources, |_, code| UNFINISHED.iter().any(|refused| code.contains(refused)))
}

fn sleeping(sources: &[Source]) -> Vec<String> {
    lines(sources, |source, code| {
        source.is_test()
            && source.file_name() != PATIENT
            && word_positions(code, "sleep").any(|at| code[at..].starts_with("sleep("))
    })
}

fn lines(sources: &[Source], is_refused: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let all = sources.iter().flat_map(|source| source.numbered_code().map(move |line| (source, line)));
    all.filter(|(source, (_, code))| is_refused(source, code))
        .map(|(source, (line, code))| format!("{}:{line}: {}", source.path, code.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{sleeping, unfinished};
    use crate::source::Source;

    #[test]
    fn unfinished_code_is_found() {
        for line in ["#[ignore]", "#[ignore = \"slow\"]", "todo!()", "unimplemented!()", "dbg!(a)"] {
            assert_eq!(unfinished(&[Source::new("a/src/b.rs", line)]).len(), 1, "{line}");
        }
        assert!(unfinished(&[Source::new("a/src/b.rs", "// todo!()")]).is_empty());
    }

    #[test]
    fn a_sleeping_test_is_found() {
        for line in ["std::thread::sleep(a);", "tokio::time::sleep(a).await;", "sleep(a).await;"] {
            assert_eq!(sleeping(&[Source::new("tests/e2e/a.rs", line)]).len(), 1, "{line}");
            assert!(sleeping(&[Source::new("tests/src/eventually.rs", line)]).is_empty(), "{line}");
            assert!(sleeping(&[Source::new("fanfare/src/a.rs", line)]).is_empty(), "{line}");
        }
    }
}
