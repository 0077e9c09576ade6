//! Finds the structs of a file, with their fields.

use crate::functions::split;
use crate::mask::is_word;
use crate::source::{Source, word_positions};

/// A struct with named or unnamed fields.
pub(crate) struct Struct<'a> {
    pub(crate) name: &'a str,
    /// The line, from 1, with its name.
    pub(crate) line: usize,
    /// The line and text of each field.
    pub(crate) fields: Vec<(usize, &'a str)>,
}

/// Every struct of `source` that has fields.
pub(crate) fn structs(source: &Source) -> Vec<Struct<'_>> {
    let code = source.code.as_str();
    word_positions(code, "struct").filter_map(|at| parse(source, at + "struct".len())).collect()
}

fn parse(source: &Source, at: usize) -> Option<Struct<'_>> {
    let after = source.code[at..].strip_prefix(' ')?;
    let name = &after[..after.find(|c| !is_word(c))?];
    let body = at + 1 + name.len() + opening(&after[name.len()..])? + 1;
    let inside = &source.code[body..];
    let fields = split(inside)
        .into_iter()
        .map(|field| {
            let offset = field.as_ptr() as usize - inside.as_ptr() as usize;
            let blank = field.len() - field.trim_start().len();
            (source.line_of(body + offset + blank), field.trim())
        })
        .collect();
    Some(Struct { name, line: source.line_of(at), fields })
}

/// Where the fields begin in what follows the name; none for a unit struct.
fn opening(after_name: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut bounds = false;
    for (at, character) in after_name.char_indices() {
        bounds |= after_name[at..].starts_with("where");
        match character {
            '<' => depth += 1,
            '>' if !after_name[..at].ends_with('-') => depth = depth.saturating_sub(1),
            '{' => return Some(at),
            '(' if depth == 0 && !bounds => return Some(at),
            ';' => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::structs;
    use crate::source::Source;

    #[test]
    fn fields_are_counted_with_their_lines() {
        let text = "/// A.\npub struct A<T> {\n    /// B, or c.\n    pub b: HashMap<u8, T>,\n    #[serde(default, skip)]\n    c: (u8, u8),\n}\n";
        let source = Source::new("a.rs", text);
        let found = structs(&source);
        assert_eq!((found[0].name, found[0].line), ("A", 2));
        let lines: Vec<usize> = found[0].fields.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [4, 5]);
    }

    #[test]
    fn bounds_are_not_fields() {
        let source = Source::new("a.rs", "struct A<F>\nwhere\n    F: Fn(u8, u8),\n{\n    f: F,\n}\n");
        assert_eq!(structs(&source)[0].fields.len(), 1);
    }

    #[test]
    fn unnamed_fields_count_and_a_unit_has_none() {
        let source = Source::new("a.rs", "struct A(u8, Vec<(u8, u8)>);\nstruct B;\n");
        let found = structs(&source);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].fields.len(), 2);
    }
}
