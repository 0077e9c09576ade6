//! Lists that the server gives in pages.

use crate::exit::Failure;

/// Things per page, as many as the server gives.
const PAGE: i32 = 1_000;

/// Asks for page after page, until there is none or as many as wanted have come. `ask` gets a page's size and token, and
/// returns how many things have come in it and the token of the next one.
pub(crate) async fn all(
    limit: Option<u32>,
    mut ask: impl AsyncFnMut(i32, String) -> Result<(usize, String), Failure>,
) -> Result<(), Failure> {
    let mut left = limit.map_or(usize::MAX, |limit| limit as usize);
    let mut token = String::new();
    while left > 0 {
        let size = i32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let (came, next) = ask(size, token.clone()).await?;
        if next.is_empty() {
            return Ok(());
        }
        if next == token {
            return Err(Failure::Failed("the server gives the same page again and again".to_owned()));
        }
        left = left.saturating_sub(came);
        token = next;
    }
    Ok(())
}
