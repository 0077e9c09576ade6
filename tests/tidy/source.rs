//! One Rust file as the checks see it.

use crate::mask::{is_word, mask};

/// A Rust file: its text, and the same text with comments and literals blanked.
pub(crate) struct Source {
    /// From the root of the repository, with `/` between folders.
    pub(crate) path: String,
    pub(crate) text: String,
    /// As long as `text`, with spaces for comments and literals.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { path: path.into(), code: mask(&text), text }
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.ends_with("/tests.rs")
    }

    /// How many lines come before the block of tests at the end.
    pub(crate) fn lines_before_tests(&self) -> usize {
        let lines: Vec<&str> = self.code.lines().collect();
        lines
            .windows(2)
            .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests"))
            .unwrap_or(lines.len())
    }

    /// Number (from 1) and code of every line that is not test code.
    pub(crate) fn product_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let count = if self.is_test() { 0 } else { self.lines_before_tests() };
        self.numbered_code().take(count)
    }

    /// Number (from 1) and code of every line.
    pub(crate) fn numbered_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The line, from 1, that holds the byte at `position`.
    pub(crate) fn line_of(&self, position: usize) -> usize {
        self.code[..position].matches('\n').count() + 1
    }

    /// The path's last part.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Where `word` stands in `code` as a whole word.
pub(crate) fn word_positions<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::{Source, word_positions};

    #[test]
    fn the_block_of_tests_at_the_end_is_not_product_code() {
        let source = Source::new("a/src/b.rs", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(source.lines_before_tests(), 2);
        assert_eq!(source.product_code().count(), 2);
    }

    #[test]
    fn a_file_of_tests_has_no_product_code() {
        for path in ["tests/e2e/push.rs", "cluster/tests/a.rs", "cluster/src/dial/tests.rs"] {
            assert_eq!(Source::new(path, "fn a() {}\n").product_code().count(), 0, "{path}");
        }
    }

    #[test]
    fn a_part_of_a_word_is_not_the_word() {
        let found: Vec<usize> = word_positions("tonic tonic_health x.tonic", "tonic").collect();
        assert_eq!(found, [0, 21]);
    }
}
