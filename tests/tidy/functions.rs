//! Finds the functions of a file, with their length and parameters.

use crate::mask::is_word;
use crate::source::{Source, word_positions};

/// A function with a body, as rustfmt lays it out.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    /// The line, from 1, with its name.
    pub(crate) line: usize,
    /// From the line with the name to the closing brace.
    pub(crate) lines: usize,
    /// Without `self`.
    pub(crate) parameters: usize,
}

/// Every function of `source`, those of traits without a body included (with one line).
pub(crate) fn functions(source: &Source) -> Vec<Function<'_>> {
    let lines: Vec<&str> = source.code.lines().collect();
    word_positions(&source.code, "fn")
        .filter_map(|at| {
            let after = source.code[at..].strip_prefix("fn ")?;
            let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
            if end == 0 {
                return None;
            }
            let line = source.line_of(at);
            Some(Function {
                name: &after[..end],
                line,
                lines: length(&lines[line - 1..]),
                parameters: parameters(&after[end..]),
            })
        })
        .collect()
}

/// How many lines the function has that begins on the first of `lines`.
fn length(lines: &[&str]) -> usize {
    let indent = indent_of(lines[0]);
    let mut in_body = false;
    for (index, line) in lines.iter().enumerate() {
        let line = line.trim_end();
        let closes = index > 0 && indent_of(line) == indent && line.trim_start().starts_with('}');
        if in_body && closes {
            return index + 1;
        }
        if !in_body && (line.ends_with(';') || line.ends_with('}')) {
            return index + 1;
        }
        in_body |= line.ends_with('{');
    }
    lines.len()
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Counts the parameters of a signature that begins behind the function's name.
fn parameters(signature: &str) -> usize {
    let Some(open) = outside_angles(signature, '(') else {
        return 0;
    };
    let inside = split(&signature[open + 1..]);
    inside.iter().filter(|parameter| !is_self(parameter)).count()
}

/// Where `wanted` first stands outside `<...>`.
fn outside_angles(text: &str, wanted: char) -> Option<usize> {
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            '>' if previous != '-' => depth = depth.saturating_sub(1),
            _ if character == wanted && depth == 0 => return Some(at),
            _ => {}
        }
        previous = character;
    }
    None
}

/// What stands between commas, up to the bracket that closes; empty parts are left out.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start, mut previous) = (Vec::new(), 0_usize, 0, ' ');
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if previous == '-' || previous == '=' => {}
            ')' | ']' | '}' | '>' if depth > 0 => depth -= 1,
            ')' | ']' | '}' => {
                parts.push(&text[start..at]);
                break;
            }
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        previous = character;
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn is_self(parameter: &str) -> bool {
    let name = parameter.split(':').next().unwrap_or(parameter);
    name.split(|c: char| !is_word(c)).any(|word| word == "self")
}

#[cfg(test)]
mod tests {
    use super::functions;
    use crate::source::Source;

    fn measured(text: &str) -> Vec<(String, usize, usize)> {
        let source = Source::new("a.rs", text);
        functions(&source)
            .iter()
            .map(|function| (function.name.to_owned(), function.lines, function.parameters))
            .collect()
    }

    #[test]
    fn a_function_ends_at_the_brace_below_its_name() {
        let text = "    pub(crate) async fn a(\n        b: B,\n    ) -> C {\n        if b {\n        }\n    }\n\n    fn d() {}\n";
        assert_eq!(measured(text), [("a".to_owned(), 6, 1), ("d".to_owned(), 1, 0)]);
    }

    #[test]
    fn a_function_without_a_body_ends_with_its_signature() {
        let text = "trait T {\n    fn a(&self) -> [u8; 4];\n    fn b(\n        &self,\n    )\n    where\n        Self: Sized;\n}\n";
        assert_eq!(measured(text), [("a".to_owned(), 1, 0), ("b".to_owned(), 5, 0)]);
    }

    #[test]
    fn a_body_may_follow_a_where_clause() {
        let text = "fn a<F>(f: F)\nwhere\n    F: Fn(u8) -> u8,\n{\n    f(1);\n}\n";
        assert_eq!(measured(text), [("a".to_owned(), 6, 1)]);
    }

    #[test]
    fn commas_inside_types_do_not_part_parameters() {
        let text = "fn a<F: Fn(A, B) -> C>(&'a mut self, f: F, (x, y): (A, B), g: Box<dyn Fn(A) -> B>) {}\n";
        assert_eq!(measured(text), [("a".to_owned(), 1, 3)]);
    }

    #[test]
    fn a_pointer_to_a_function_is_not_a_function() {
        assert_eq!(measured("type A = fn(u8) -> u8;\n// fn b() {}\n"), []);
    }
}
