//! Standard input as pushes: where a line ends, and what it asks for.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use fanfare_proto::v1::message::Payload;
use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{PublishRequest, Target};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest line that is read. The data of a push has at most half of it.
const MAX_LINE: usize = 1 << 20;
/// Lines that are handed on together, at most.
const MAX_BATCH: usize = 1_024;

/// How a line becomes a push.
#[derive(Debug)]
pub(super) struct Form {
    /// What is the same for all: tags, exclusions, the wait.
    pub(super) template: PublishRequest,
    /// For whom they are.
    pub(super) aim: Aim,
    /// Whether lines are bytes and not JSON.
    pub(super) binary: bool,
}

/// For whom the pushes are.
#[derive(Debug)]
pub(super) enum Aim {
    /// All for the same, so that a line is nothing but data.
    One(Target),
    /// Each line says it.
    EachLine,
}

/// A line that was read.
#[derive(Debug)]
pub(super) struct Line {
    /// Its number: the first is 1.
    pub(super) number: u64,
    /// What it asks for, or why nobody can know.
    pub(super) push: Result<PublishRequest, String>,
}

/// A line that says for whom it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addressed<'a> {
    channel: Option<String>,
    user: Option<String>,
    connection: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    idempotency_key: String,
}

/// Reads lines as fast as they come: whoever writes one and then pauses does not have to wait for a batch.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    form: Form,
    /// The beginning of a line whose end has not been read, at most [`MAX_LINE`] of it.
    begun: Vec<u8>,
    /// Bytes of that line, also those that were not kept.
    length: usize,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R, form: Form) -> Self {
        Self { input, form, begun: Vec::new(), length: 0, number: 0 }
    }

    /// The lines that end in what can be read at once; none at the end.
    pub(super) fn next_batch(&mut self) -> io::Result<Option<Vec<Line>>> {
        let mut batch = Vec::new();
        let buffer = self.input.fill_buf()?;
        if buffer.is_empty() {
            if self.length > 0 {
                batch.extend(finish(&self.form, &mut self.begun, &mut self.length, &mut self.number));
                return Ok(Some(batch));
            }
            return Ok(None);
        }
        let mut used = 0;
        while batch.len() < MAX_BATCH && used < buffer.len() {
            let rest = &buffer[used..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let piece = &rest[..end.unwrap_or(rest.len())];
            let room = MAX_LINE.saturating_sub(self.begun.len()).min(piece.len());
            self.begun.extend_from_slice(&piece[..room]);
            self.length += piece.len();
            used += piece.len();
            if end.is_some() {
                used += 1;
                batch.extend(finish(&self.form, &mut self.begun, &mut self.length, &mut self.number));
            }
        }
        self.input.consume(used);
        Ok(Some(batch))
    }
}

/// Ends a line. Lines without anything on them have a number and are nothing else.
fn finish(form: &Form, begun: &mut Vec<u8>, length: &mut usize, number: &mut u64) -> Option<Line> {
    *number += 1;
    let length = std::mem::take(length);
    let push = match begun.trim_ascii().is_empty() {
        true if length <= MAX_LINE => None,
        _ if length > MAX_LINE => Some(Err(format!("it has more than {MAX_LINE} bytes"))),
        _ => Some(form.push(begun)),
    };
    begun.clear();
    push.map(|push| Line { number: *number, push })
}

impl Form {
    /// What a line asks for.
    fn push(&self, line: &[u8]) -> Result<PublishRequest, String> {
        let mut request = self.template.clone();
        let message = request.message.get_or_insert_default();
        match &self.aim {
            Aim::One(target) => {
                message.payload = Some(self.payload(line)?);
                request.target = Some(target.clone());
            }
            Aim::EachLine => {
                let line: Addressed<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
                message.payload = Some(Payload::Json(line.data.get().to_owned()));
                message.tags.extend(line.tags);
                request.idempotency_key = line.idempotency_key;
                let kind = match (line.channel, line.user, line.connection) {
                    (Some(channel), None, None) => Kind::Channel(channel),
                    (None, Some(user), None) => Kind::User(user),
                    (None, None, Some(connection)) => Kind::Connection(connection),
                    _ => return Err("it must have one of channel, user and connection".to_owned()),
                };
                request.target = Some(Target { kind: Some(kind) });
            }
        }
        Ok(request)
    }

    fn payload(&self, line: &[u8]) -> Result<Payload, String> {
        if self.binary {
            return Ok(Payload::Data(line.to_vec().into()));
        }
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
        serde_json::from_str::<&RawValue>(text).map_err(|error| format!("it is not JSON: {error}"))?;
        Ok(Payload::Json(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use fanfare_proto::v1::Message;

    use super::*;

    fn to_news(binary: bool) -> Form {
        let aim = Aim::One(Target { kind: Some(Kind::Channel("news".to_owned())) });
        Form { template: PublishRequest::default(), aim, binary }
    }

    fn each() -> Form {
        let tags = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "1".to_owned())]);
        let template =
            PublishRequest { message: Some(Message { tags, ..Default::default() }), ..Default::default() };
        Form { template, aim: Aim::EachLine, binary: false }
    }

    /// Number and data of each line, read in pieces of the size.
    fn read(text: &[u8], piece: usize, form: Form) -> Vec<(u64, Result<String, String>)> {
        let mut lines = Lines::new(BufReader::with_capacity(piece, text), form);
        let mut all = Vec::new();
        while let Some(batch) = lines.next_batch().unwrap() {
            assert!(batch.len() <= MAX_BATCH);
            all.extend(batch.into_iter().map(|line| {
                let data = line.push.map(|push| match push.message.unwrap().payload.unwrap() {
                    Payload::Json(text) => text,
                    Payload::Data(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                });
                (line.number, data)
            }));
        }
        all
    }

    #[test]
    fn lines_are_the_same_in_pieces_of_any_size() {
        let text = b"1\n\n[2, 3]\r\nnope\n{\"a\":\"\xc3\xa4\"}";
        for piece in 1..30 {
            let lines = read(text, piece, to_news(false));
            let numbers: Vec<u64> = lines.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, [1, 3, 4, 5], "the empty line counts and is nothing else");
            assert_eq!(lines[0].1, Ok("1".to_owned()));
            assert!(lines[2].1.as_ref().unwrap_err().contains("not JSON"), "{:?}", lines[2]);
            assert_eq!(lines[3].1, Ok("{\"a\":\"ä\"}".to_owned()));
        }
    }

    #[test]
    fn bytes_stay_as_they_are() {
        assert_eq!(read(b" x \n", 4, to_news(true)), [(1, Ok(" x ".to_owned()))]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_not_kept() {
        let mut text = vec![b'1'; MAX_LINE];
        text.extend(b"1\n2\n");
        let mut lines = Lines::new(BufReader::with_capacity(4096, text.as_slice()), to_news(false));
        let mut all = Vec::new();
        while let Some(batch) = lines.next_batch().unwrap() {
            assert!(lines.begun.len() <= MAX_LINE);
            all.extend(batch);
        }
        assert!(all[0].push.as_ref().unwrap_err().contains("more than"), "{:?}", all[0]);
        assert!(all[1].number == 2 && all[1].push.is_ok());
        let spaces = [vec![b' '; MAX_LINE + 1], b"\n".to_vec()].concat();
        assert!(
            read(&spaces, 4096, to_news(false))[0].1.is_err(),
            "what was not kept is not known to be empty"
        );
    }

    #[test]
    fn a_line_can_say_for_whom_it_is() {
        let push = |line: &str| each().push(line.as_bytes());
        let request = push(r#"{"user": "42", "data": {"a": 1}, "tags": {"b": "2"}}"#).unwrap();
        assert_eq!(request.target.unwrap().kind, Some(Kind::User("42".to_owned())));
        let message = request.message.unwrap();
        assert_eq!(message.payload, Some(Payload::Json("{\"a\": 1}".to_owned())));
        let tags: Vec<_> = message.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(tags, [("a", "1"), ("b", "2")], "the line's own tags are stronger");
        for (bad, why) in [
            (r#"{"data": 1}"#, "one of channel, user and connection"),
            (r#"{"channel": "a", "user": "b", "data": 1}"#, "one of channel, user and connection"),
            (r#"{"channel": "a"}"#, "data"),
            (r#"{"channel": "a", "data": 1, "tag": {}}"#, "unknown field `tag`"),
            ("nope", "line 1 column 2"),
        ] {
            let error = push(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
