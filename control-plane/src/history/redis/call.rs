//! A call of a script, and what a server has answered.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;

/// A script, known to servers by its hash.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) text: String,
    pub(super) hash: String,
}

/// What a script is called with: byte strings, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// A call of a script.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) script: &'a Script,
    /// All in one slot.
    pub(super) keys: Arguments,
    pub(super) arguments: Arguments,
    pub(super) wait: Option<Wait>,
}

/// So many replicas must have what was written, within this time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) replicas: u32,
    pub(super) patience: Duration,
}

/// What a server has answered.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    Nothing,
    Integer(i64),
    Bytes(Bytes),
    List(Vec<Reply>),
}

impl Arguments {
    pub(super) fn push(&mut self, text: impl fmt::Display) {
        self.push_with(|bytes| write!(bytes, "{text}").expect("a vector takes all"));
    }

    /// Adds what `write` writes as one more.
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}
