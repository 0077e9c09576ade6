//! Ceilings for files, functions and structs.

use crate::functions::functions;
use crate::source::Source;
use crate::structs::structs;
use crate::{report, repository};

/// Lines of a file before its block of tests.
const FILE: usize = 400;
/// Lines of a function, its signature included.
const FUNCTION: usize = 60;
/// Fields of a struct.
const FIELDS: usize = 12;
/// Parameters of a function besides `self`.
const PARAMETERS: usize = 5;

#[test]
fn no_file_is_longer_than_400_lines_without_its_tests() {
    report::none(
        "A file has at most 400 lines; its tests, at the end, do not count.",
        &files(&repository::sources()),
    );
}

#[test]
fn no_function_is_longer_than_60_lines() {
    report::none("A function has at most 60 lines.", &long_functions(&repository::sources()));
}

#[test]
fn no_function_takes_more_than_5_parameters() {
    report::none(
        "A function has at most 5 parameters besides self.",
        &wide_functions(&repository::sources()),
    );
}

#[test]
fn no_struct_has_more_than_12_fields() {
    report::none("A struct has at most 12 fields.", &wide_structs(&repository::sources()));
}

fn files(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .map(|source| (source, source.lines_before_tests()))
        .filter(|(_, lines)| *lines > FILE)
        .map(|(source, lines)| format!("{}: {lines} lines", source.path))
        .collect()
}

fn long_functions(sources: &[Source]) -> Vec<String> {
    let all = sources.iter().flat_map(|source| functions(source).into_iter().map(move |f| (source, f)));
    all.filter(|(_, function)| function.lines > FUNCTION)
        .map(|(source, f)| format!("{}:{}: `{}` has {} lines", source.path, f.line, f.name, f.lines))
        .collect()
}

fn wide_functions(sources: &[Source]) -> Vec<String> {
    let all = sources.iter().flat_map(|source| functions(source).into_iter().map(move |f| (source, f)));
    all.filter(|(_, function)| function.parameters > PARAMETERS)
        .map(|(source, f)| {
            format!("{}:{}: `{}` takes {} parameters", source.path, f.line, f.name, f.parameters)
        })
        .collect()
}

fn wide_structs(sources: &[Source]) -> Vec<String> {
    let all = sources.iter().flat_map(|source| structs(source).into_iter().map(move |s| (source, s)));
    // The fields of a configuration's sections are its keys, which are flat because people know them so.
    all.filter(|(source, found)| {
        found.fields.len() > FIELDS && !["config.rs", "options.rs"].contains(&source.file_name())
    })
    .map(|(source, s)| format!("{}:{}: `{}` has {} fields", source.path, s.line, s.name, s.fields.len()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{files, long_functions, wide_functions, wide_structs};
    use crate::source::Source;

    fn one(text: String) -> [Source; 1] {
        [Source::new("a/src/b.rs", text)]
    }

    #[test]
    fn a_file_of_401_lines_is_found_and_its_tests_do_not_count() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    // x\n".repeat(500));
        assert!(files(&one("// x\n".repeat(400) + &tests)).is_empty());
        assert_eq!(files(&one("// x\n".repeat(401) + &tests)).len(), 1);
    }

    #[test]
    fn a_function_of_61_lines_is_found() {
        let function =
            |lines: usize| format!("    fn a() {{\n{}    }}\n", "        b();\n".repeat(lines - 2));
        assert!(long_functions(&one(function(60))).is_empty());
        assert_eq!(long_functions(&one(function(61))).len(), 1);
    }

    #[test]
    fn a_function_of_6_parameters_is_found() {
        let function = |count| format!("fn a(&self, {}) {{}}\n", "b: B, ".repeat(count));
        assert!(wide_functions(&one(function(5))).is_empty());
        assert_eq!(wide_functions(&one(function(6))).len(), 1);
    }

    #[test]
    fn a_struct_of_13_fields_is_found() {
        let found = |count| format!("struct A {{\n{}}}\n", "    b: B,\n".repeat(count));
        assert!(wide_structs(&one(found(12))).is_empty());
        assert_eq!(wide_structs(&one(found(13))).len(), 1);
    }
}
