//! What must hold for operations on connections when they come in.

use super::*;

const ID: &str = "01020304-0506-8008-8009-0a0b0c0d0e0f";

fn user(id: &str) -> Option<v1::Subject> {
    Some(v1::Subject { kind: Some(Kind::User(id.to_owned())) })
}

fn connection(id: &str) -> Option<v1::Subject> {
    Some(v1::Subject { kind: Some(Kind::Connection(id.to_owned())) })
}

fn disconnect(code: u32, reason: &str) -> Result<(u32, String), &'static str> {
    let request =
        v1::DisconnectRequest { subject: user("42"), code, reason: reason.to_owned(), ..Default::default() };
    match Operation::disconnect(&request) {
        Ok(Operation { action: Action::Disconnect(disconnect), .. }) => {
            Ok((disconnect.code, disconnect.reason))
        }
        other => Err(wrong_field(other)),
    }
}

fn wrong_field<T: std::fmt::Debug>(result: Result<T, Refusal>) -> &'static str {
    match result {
        Err(Refusal::Invalid { field, .. }) => field,
        other => panic!("expected a wrong field, got {other:?}"),
    }
}

#[test]
fn close_codes_are_those_that_a_backend_may_give() {
    assert_eq!(disconnect(0, ""), Ok((3503, "force disconnect".into())));
    assert_eq!(disconnect(0, "bye"), Ok((3503, "bye".into())));
    assert_eq!(disconnect(4500, ""), Ok((4500, String::new())));
    for code in [3001, 3011, 3500, 3503, 3507, 4000, 4999] {
        assert!(disconnect(code, "x").is_ok(), "{code}");
    }
    for code in [1, 1000, 3000, 3008, 3501, 3502, 3508, 3999, 5000] {
        assert_eq!(disconnect(code, "x"), Err("code"), "{code}");
    }
    assert!(disconnect(0, &"ä".repeat(61)).is_ok());
    assert_eq!(disconnect(0, &"ä".repeat(62)), Err("reason"), "bytes count, not characters");
}

#[test]
fn whom_it_concerns_is_checked() {
    let whom = |subject: Option<v1::Subject>, exclude: usize| {
        parse_whom(subject.as_ref(), &vec![ID.to_owned(); exclude])
    };
    let (subject, exclude) = whom(user("42"), 64).unwrap();
    assert_eq!((subject, exclude.len()), (Subject::User(ChannelName::parse("#42").unwrap()), 64));
    assert_eq!(whom(connection(ID), 0).unwrap().0, Subject::Connection(ID.parse().unwrap()));
    assert_eq!(wrong_field(whom(None, 0)), "subject");
    assert_eq!(wrong_field(whom(user(""), 0)), "subject.user");
    assert_eq!(wrong_field(whom(user(&"x".repeat(255)), 0)), "subject.user");
    assert_eq!(wrong_field(whom(connection("x"), 0)), "subject.connection");
    assert_eq!(wrong_field(whom(user("42"), 65)), EXCLUDED);
    assert_eq!(wrong_field(whom(connection(ID), 1)), EXCLUDED);
}

#[test]
fn channels_must_exist_and_belong_to_nobody() {
    let channels = Namespaces::default();
    let to = |channel: &str| {
        let channel = channel.to_owned();
        Operation::subscribe(
            v1::SubscribeRequest { subject: user("42"), channel, ..Default::default() },
            &channels,
        )
    };
    assert!(to("news").is_ok());
    for bad in ["", "#7", "unknown:1", "a\nb"] {
        assert_eq!(wrong_field(to(bad)), "channel", "{bad:?}");
    }
    let from = v1::UnsubscribeRequest { subject: user("42"), channel: "#42".into(), ..Default::default() };
    assert_eq!(wrong_field(Operation::unsubscribe(from, &channels)), "channel");
}

#[test]
fn an_expiry_is_a_time_or_never() {
    let refresh = |expires_at| {
        let request = v1::RefreshRequest { subject: user("42"), expires_at, ..Default::default() };
        Operation::refresh(&request).map(|operation| operation.action)
    };
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    assert_eq!(refresh(None), Ok(Action::Refresh(link::Refresh { expires_at: 0 })));
    assert_eq!(refresh(at(7, 1)), Ok(Action::Refresh(link::Refresh { expires_at: 8 })));
    for bad in [at(0, 0), at(-1, 0), at(7, -1)] {
        assert_eq!(wrong_field(refresh(bad)), "expires_at");
    }
}

#[test]
fn a_revocation_ends_in_the_future_and_begins_in_the_past() {
    let now = UNIX_EPOCH + Duration::from_millis(1_000_000_500);
    let parse = |issued_before: Option<i64>, until: Option<i64>| {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let request = v1::RevokeTokensRequest {
            user: "42".into(),
            issued_before: issued_before.map(at),
            until: until.map(at),
            ..Default::default()
        };
        parse_revocation(&request, now)
    };
    let (channel, revocation) = parse(None, Some(1_000_100)).unwrap();
    assert_eq!(channel.as_str(), "#42");
    assert_eq!((revocation.issued_before, revocation.until), (1_000_001, 1_000_100), "now, rounded up");
    assert_eq!(parse(Some(5), Some(1_000_100)).unwrap().1.issued_before, 5);
    assert!(parse(Some(1_000_060), Some(1_000_100)).is_ok(), "clocks differ");
    assert_eq!(wrong_field(parse(Some(1_000_061), Some(1_000_100))), "issued_before");
    for bad in [None, Some(-1), Some(1_000_000), Some(1_000_001 + 400 * 24 * 3600)] {
        assert_eq!(wrong_field(parse(None, bad)), "until", "{bad:?}");
    }
}
