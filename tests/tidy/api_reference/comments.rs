//! The comments of a proto file, and how they read in Markdown.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::FileDescriptorProto;

/// Where something stands in a file: field numbers of `FileDescriptorProto` and indexes, in turn.
pub(crate) type Path = Vec<i32>;

/// The comments before everything in a file.
pub(crate) struct Comments(BTreeMap<Path, String>);

impl Comments {
    pub(crate) fn of(file: &FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let comments = locations.filter_map(|location| {
            let text = location.leading_comments.as_ref()?;
            Some((location.path.clone(), text.lines().map(str::trim).collect::<Vec<_>>().join("\n")))
        });
        Self(comments.collect())
    }

    /// The comment of what stands there; empty if there is none.
    pub(crate) fn at(&self, path: &[i32]) -> &str {
        self.0.get(path).map_or("", |text| text.trim())
    }
}

/// Paragraphs of one line each, with an empty line between two.
pub(crate) fn paragraphs(comment: &str, types: &BTreeSet<String>) -> String {
    let lines = comment.split("\n\n").map(|paragraph| in_one_line(paragraph, types));
    lines.collect::<Vec<_>>().join("\n\n")
}

/// All of a comment in one line, as a table's cell needs it.
pub(crate) fn cell(comment: &str, types: &BTreeSet<String>) -> String {
    in_one_line(comment, types).replace('|', "\\|")
}

/// Types become links, and names that no sentence has become code: `page_token`, `WAIT_FOR_WRITTEN`.
fn in_one_line(paragraph: &str, types: &BTreeSet<String>) -> String {
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut marked = String::new();
    let mut rest = line.as_str();
    while let Some(begin) = rest.find(is_name) {
        let end = rest[begin..].find(|character| !is_name(character)).map_or(rest.len(), |end| begin + end);
        let name = &rest[begin..end];
        marked.push_str(&rest[..begin]);
        // "Message" may be a word; "PublishRequest" is none.
        if types.contains(name) && name.chars().filter(char::is_ascii_uppercase).count() > 1 {
            marked.push_str(&format!("[{name}](#{})", name.to_lowercase()));
        } else if name.contains('_') || is_status(name) {
            marked.push_str(&format!("`{name}`"));
        } else {
            marked.push_str(name);
        }
        rest = &rest[end..];
    }
    marked + rest
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The gRPC statuses that have no underscore.
fn is_status(name: &str) -> bool {
    matches!(name, "UNAVAILABLE" | "UNIMPLEMENTED" | "UNAUTHENTICATED" | "CANCELLED" | "ABORTED" | "INTERNAL")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{cell, paragraphs};

    fn types() -> BTreeSet<String> {
        ["Message", "PublishRequest"].map(str::to_owned).into()
    }

    #[test]
    fn types_become_links_and_names_become_code() {
        let comment = "As in PublishRequest.\nNot_a type: a Message, page_token, UNAVAILABLE.";
        let marked =
            "As in [PublishRequest](#publishrequest). `Not_a` type: a Message, `page_token`, `UNAVAILABLE`.";
        assert_eq!(paragraphs(comment, &types()), marked);
    }

    #[test]
    fn paragraphs_stay_apart_in_text_and_bars_do_not_end_a_cell() {
        assert_eq!(paragraphs("a\nb\n\nc", &types()), "a b\n\nc");
        assert_eq!(cell("a | b\n\nc", &types()), "a \\| b c");
    }
}
