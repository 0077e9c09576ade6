//! Blanks comments and literals, so that a check sees only code.

/// The same text with every comment, string and character literal turned to spaces.
/// Line breaks and byte positions stay as they are.
pub(crate) fn mask(text: &str) -> String {
    Masking { rest: text, masked: String::with_capacity(text.len()) }.run()
}

struct Masking<'a> {
    rest: &'a str,
    masked: String,
}

impl Masking<'_> {
    fn run(mut self) -> String {
        while let Some(first) = self.rest.chars().next() {
            if self.rest.starts_with("//") {
                self.blank(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.blank(block_comment(self.rest));
            } else if first == '"' {
                self.blank(string(self.rest));
            } else if first == '\'' {
                self.quote();
            } else if is_word(first) {
                self.word();
            } else {
                self.keep(first.len_utf8());
            }
        }
        self.masked
    }

    /// A word, and the raw string that may begin with it.
    fn word(&mut self) {
        let length = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let raw = matches!(&self.rest[..length], "r" | "br" | "cr");
        self.keep(length);
        if raw && let Some(length) = raw_string(self.rest) {
            self.blank(length);
        }
    }

    /// A character literal, or the mark of a lifetime.
    fn quote(&mut self) {
        let mut inside = self.rest.chars().skip(1);
        match (inside.next(), inside.next()) {
            (Some('\\'), _) => {
                let end = self.rest[3..].find('\'').map_or(self.rest.len(), |at| at + 4);
                self.blank(end);
            }
            (Some(literal), Some('\'')) => self.blank(literal.len_utf8() + 2),
            _ => self.keep(1),
        }
    }

    fn keep(&mut self, length: usize) {
        self.masked.push_str(&self.rest[..length]);
        self.rest = &self.rest[length..];
    }

    fn blank(&mut self, length: usize) {
        for byte in self.rest[..length].bytes() {
            self.masked.push(if byte == b'\n' { '\n' } else { ' ' });
        }
        self.rest = &self.rest[length..];
    }
}

/// Whether a character can be part of a name.
pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of what follows the `r` of a raw string, if it is one and not a raw name.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let inside = text[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&close).map_or(inside.len(), |at| at + close.len());
    Some(hashes + 1 + length)
}

#[cfg(test)]
mod tests {
    use super::mask;

    fn masks(text: &str, expected: &str) {
        assert_eq!(mask(text), expected);
    }

    #[test]
    fn comments_are_blanked_up_to_their_end() {
        masks("a // b\nc", "a     \nc");
        masks("a /* b /* c */ d */ e", "a                   e");
    }

    #[test]
    fn strings_are_blanked_with_their_escapes() {
        masks(r#"f("a\"b") + 1"#, r"f(      ) + 1");
        masks(r##"f(r#"a"b"#, c)"##, "f(r       , c)");
        masks("r#type = 1", "r#type = 1");
    }

    #[test]
    fn characters_are_blanked_and_lifetimes_stay() {
        masks("&'a str", "&'a str");
        masks(r"x == '\'' || y", r"x ==      || y");
        masks(r"x == '\\' || y", r"x ==      || y");
        masks("x == '\"' || y", "x ==     || y");
    }

    #[test]
    fn positions_do_not_move_after_a_letter_of_several_bytes() {
        let text = "\"é\" // ü\nfn";
        assert_eq!(mask(text).len(), text.len());
        assert_eq!(mask(text).find("fn"), text.find("fn"));
    }
}
