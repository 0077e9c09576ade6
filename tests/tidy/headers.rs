//! Every file says in one sentence what it is for.

use crate::source::Source;
use crate::{report, repository};

#[test]
fn every_file_begins_with_one_sentence_that_says_what_it_is_for() {
    report::none(
        "The first paragraph of a file is a `//!` comment of one sentence with a full stop.",
        &violations(&repository::sources()),
    );
}

fn violations(sources: &[Source]) -> Vec<String> {
    sources.iter().filter_map(|source| Some(format!("{}: {}", source.path, fault(source)?))).collect()
}

fn fault(source: &Source) -> Option<&'static str> {
    let paragraph: Vec<&str> = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let paragraph = paragraph.join(" ");
    if paragraph.is_empty() {
        Some("does not begin with a `//!` line")
    } else if !paragraph.ends_with('.') {
        Some("the first paragraph does not end with a full stop")
    } else if begins_another_sentence(&paragraph) {
        Some("the first paragraph has more than one sentence")
    } else {
        None
    }
}

fn begins_another_sentence(paragraph: &str) -> bool {
    paragraph
        .match_indices(". ")
        .any(|(at, stop)| paragraph[at + stop.len()..].starts_with(|c: char| c.is_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::fault;
    use crate::source::Source;

    fn fault_of(text: &str) -> Option<&'static str> {
        fault(&Source::new("a.rs", text))
    }

    #[test]
    fn a_sentence_over_two_lines_is_accepted() {
        assert_eq!(fault_of("//! Dials\n//! a replica, e.g. with TLS.\n//!\n//! More. And more\n"), None);
    }

    #[test]
    fn a_missing_header_is_found() {
        assert!(fault_of("use std::fs;\n").is_some());
        assert!(fault_of("").is_some());
        assert!(fault_of("// Dials.\n").is_some());
    }

    #[test]
    fn a_header_without_a_full_stop_is_found() {
        assert!(fault_of("//! Dials a replica\n").is_some());
    }

    #[test]
    fn two_sentences_are_found() {
        assert!(fault_of("//! Dials. Also hangs up.\n").is_some());
    }
}
