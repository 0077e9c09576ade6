//! The little of Markdown that the checks read: tables, sections, and text without code.

/// The cells of a table's row, without the bars; none for any other line.
pub(crate) fn cells(line: &str) -> Option<Vec<String>> {
    let inside = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let (mut cells, mut cell, mut in_code, mut escaped) = (Vec::new(), String::new(), false, false);
    for character in inside.chars() {
        match character {
            '|' if escaped => {
                cell.pop();
                cell.push('|');
            }
            '|' if !in_code => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            _ => {
                in_code ^= character == '`';
                cell.push(character);
            }
        }
        escaped = character == '\\';
    }
    cells.push(cell.trim().to_owned());
    Some(cells)
}

/// What stands between one pair of backticks and nothing else.
pub(crate) fn in_backticks(cell: &str) -> Option<&str> {
    let inside = cell.strip_prefix('`')?.strip_suffix('`')?;
    (!inside.is_empty() && !inside.contains('`')).then_some(inside)
}

/// The lines of the section under a heading of the second level.
pub(crate) fn section<'a>(text: &'a str, heading: &str) -> Option<Vec<&'a str>> {
    let mut lines = text.lines().skip_while(|line| line.trim_end() != heading);
    lines.next()?;
    Some(lines.take_while(|line| !line.starts_with("## ")).collect())
}

/// Number (from 1) and text of the lines outside fenced code.
pub(crate) fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut in_fence = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        } else if !in_fence {
            lines.push((index + 1, line));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{cells, in_backticks, prose, section};

    #[test]
    fn a_bar_in_code_or_behind_a_backslash_does_not_end_a_cell() {
        assert_eq!(cells("| `a|b` | c \\| d |"), Some(vec!["`a|b`".to_owned(), "c | d".to_owned()]));
        assert_eq!(cells("no table"), None);
    }

    #[test]
    fn only_one_piece_of_code_is_taken() {
        assert_eq!(in_backticks("`a`"), Some("a"));
        assert_eq!(in_backticks("`a` and `b`"), None);
        assert_eq!(in_backticks("a"), None);
    }

    #[test]
    fn a_section_ends_at_the_next_heading() {
        let text = "## A\na\n### B\nb\n## C\nc\n";
        assert_eq!(section(text, "## A"), Some(vec!["a", "### B", "b"]));
        assert_eq!(section(text, "## D"), None);
    }

    #[test]
    fn fenced_code_is_not_prose() {
        assert_eq!(prose("a\n```sh\nb\n```\nc\n"), [(1, "a"), (5, "c")]);
    }
}
