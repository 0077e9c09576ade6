//! Lists in pages: how much stands on one, and where the next one begins.

use crate::refusal::Refusal;

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

pub(super) fn parse_size(size: i32) -> Result<usize, Refusal> {
    match usize::try_from(size) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(Refusal::invalid("page_size", "must not be negative")),
    }
}

/// A page goes on behind the last thing of the one before, so that what comes or goes in between shifts nothing. The
/// token is its id in hexadecimal, lest somebody takes it for something to write by hand.
pub(super) fn token_behind(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the page begins behind, if `read` can make it of the token's bytes; none for the first page.
pub(super) fn parse_token<T>(
    token: &str,
    read: impl FnOnce(Vec<u8>) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let digits = token.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let bytes = digits.map(|digits| digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect());
    let id = bytes.and_then(read);
    id.map(Some).ok_or_else(|| Refusal::invalid("page_token", "must be a next_page_token of this service"))
}
