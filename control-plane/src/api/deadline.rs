//! What is left of a call's time, as its `grpc-timeout` header says.

use std::time::Duration;

use http::HeaderMap;

/// What is answered so much ahead of the call's deadline arrives in time.
const AHEAD: Duration = Duration::from_millis(50);

/// How long the call may take, less the time for its answer; none if it has no deadline. The header has up to 8
/// digits and a unit.
pub(crate) fn time_left(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let time = match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(time.saturating_sub(AHEAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_is_read_as_grpc_writes_it() {
        let parse = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            time_left(&headers)
        };
        assert_eq!(parse("250m"), Some(Duration::from_millis(200)));
        assert_eq!(parse("3S"), Some(Duration::from_millis(2950)));
        assert_eq!(parse("1n"), Some(Duration::ZERO));
        assert_eq!(parse("3"), None);
        assert_eq!(parse("3x"), None);
    }
}
