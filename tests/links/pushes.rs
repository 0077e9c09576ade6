//! Many pushes at once: broadcasts, streams of pushes, and channels that take only so many.

use std::collections::BTreeMap;

use fanfare_proto::v1::publish_result::Result as OneResult;
use fanfare_proto::v1::publish_stream_response::Result as StreamResult;
use fanfare_proto::v1::push_service_client::PushServiceClient;
use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{
    BroadcastRequest, PublishRequest, PublishStreamRequest, PublishStreamResponse, Target, WaitFor,
};
use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::push_request;
use fanfare_tests::websocket::WebSocket;
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::planes::Planes;

fn to(channel: &str) -> Target {
    Target { kind: Some(Kind::Channel(channel.to_owned())) }
}

fn broadcast(targets: Vec<Target>) -> BroadcastRequest {
    let PublishRequest { message, wait_for, .. } = push_request(Kind::Channel(String::new()), "7");
    BroadcastRequest { targets, message, wait_for, ..Default::default() }
}

fn push(channel: &str, number: u64, wait_for: WaitFor) -> PublishStreamRequest {
    let request = push_request(Kind::Channel(channel.to_owned()), &number.to_string());
    PublishStreamRequest { publish: Some(PublishRequest { wait_for: wait_for.into(), ..request }) }
}

async fn open(
    planes: &Planes,
    requests: impl Stream<Item = PublishStreamRequest> + Send + 'static,
) -> Streaming<PublishStreamResponse> {
    planes.api().await.publish_stream(requests).await.expect("the stream opens").into_inner()
}

/// The same from a client that lets the server send little ahead: its own library ends a connection on which it
/// leaves many small frames unread.
async fn open_narrow(
    planes: &Planes,
    requests: impl Stream<Item = PublishStreamRequest> + Send + 'static,
) -> Streaming<PublishStreamResponse> {
    let endpoint =
        Endpoint::from_shared(planes.api_url()).expect("it is a URL").initial_stream_window_size(64 << 10);
    let channel = endpoint.connect().await.expect("the API is reachable");
    let answers = PushServiceClient::new(channel).publish_stream(requests).await;
    answers.expect("the stream opens").into_inner()
}

/// The whole answers to a stream, by number.
async fn all(answers: Streaming<PublishStreamResponse>) -> BTreeMap<u64, StreamResult> {
    let result = |answer: Result<PublishStreamResponse, Status>| {
        let answer = answer.expect("the stream goes on");
        (answer.sequence, answer.result.expect("there is a result"))
    };
    answers.map(result).collect::<Vec<_>>().await.into_iter().collect()
}

fn written(result: &StreamResult) -> Option<u64> {
    match result {
        StreamResult::Published(answer) => answer.receipt.as_ref().map(|receipt| receipt.written),
        StreamResult::Error(_) => None,
    }
}

#[test]
fn a_target_that_fails_does_not_hinder_the_others_of_a_broadcast() {
    let planes = Planes::start(8 << 20);
    let mut one = WebSocket::subscribed(planes.clients(), "one");
    let mut two = WebSocket::subscribed(planes.clients(), "two");
    let targets = vec![to("one"), to("unknown:1"), to("two"), Target { kind: None }, to("nobody")];
    let answer = planes.run(async { planes.api().await.broadcast(broadcast(targets)).await });
    let results = answer.unwrap().into_inner().results;
    let kind = |at: usize| match results[at].result.as_ref().unwrap() {
        OneResult::Published(answer) => Ok(answer.receipt.as_ref().unwrap().written),
        OneResult::Error(error) => Err(Code::from_i32(error.code)),
    };
    assert_eq!((kind(0), kind(2), kind(4)), (Ok(1), Ok(1), Ok(0)));
    assert_eq!((kind(1), kind(3)), (Err(Code::InvalidArgument), Err(Code::InvalidArgument)));
    assert_eq!((one.next_data("one"), two.next_data("two")), (json!(7), json!(7)));
}

#[test]
fn a_broadcast_has_a_thousand_targets_at_most_and_a_message_in_any_case() {
    let planes = Planes::start(8 << 20);
    // The longest names: a request with a thousand of them must fit.
    let names = (0..1000).map(|number| to(&format!("{number:0>255}")));
    let mut request = broadcast(names.collect());
    let send = |request| planes.run(async { planes.api().await.broadcast(request).await });
    let answer = send(request.clone()).unwrap().into_inner();
    assert!(answer.results.iter().all(|one| matches!(one.result, Some(OneResult::Published(_)))));
    assert_eq!(answer.results.len(), 1000);
    request.targets.push(to("one more"));
    assert_eq!(send(request).unwrap_err().code(), Code::InvalidArgument);
    let empty = BroadcastRequest { targets: vec![to("news")], ..Default::default() };
    assert_eq!(send(empty).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn a_stream_keeps_the_order_of_each_channel_and_answers_every_request() {
    const PUSHES: u64 = 4000;
    let planes = Planes::start(8 << 20);
    let mut one = WebSocket::subscribed(planes.clients(), "one");
    let mut two = WebSocket::subscribed(planes.clients(), "two");
    let requests = (1..=PUSHES).map(|number| {
        // Those that wait for sockets and those that do not go to the same channels.
        let wait_for = if number % 7 == 0 { WaitFor::Written } else { WaitFor::Accepted };
        push(if number % 2 == 0 { "two" } else { "one" }, number, wait_for)
    });
    let answers = planes.run(async { all(open(&planes, stream::iter(requests)).await).await });
    assert!(answers.keys().copied().eq(1..=PUSHES));
    for (number, answer) in &answers {
        assert_eq!(written(answer), Some(u64::from(number % 7 == 0)), "{number}: {answer:?}");
    }
    for number in 1..=PUSHES {
        let (client, channel) = if number % 2 == 0 { (&mut two, "two") } else { (&mut one, "one") };
        assert_eq!(client.next_data(channel), json!(number));
    }
}

#[test]
fn a_request_that_is_wrong_is_answered_and_the_stream_goes_on() {
    let planes = Planes::start(8 << 20);
    let requests = [
        push("news", 1, WaitFor::Accepted),
        PublishStreamRequest::default(),
        push("unknown:1", 2, WaitFor::Written),
        push("news", 3, WaitFor::Written),
    ];
    let answers = planes.run(async { all(open(&planes, stream::iter(requests)).await).await });
    let errors = answers.iter().filter_map(|(number, answer)| match answer {
        StreamResult::Error(error) => Some((*number, Code::from_i32(error.code))),
        StreamResult::Published(_) => None,
    });
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors, [(2, Code::InvalidArgument), (3, Code::InvalidArgument)]);
    assert_eq!(answers.len(), 4);
}

// A push that waits for a stalled node must not hold up those behind it.
#[test]
fn answers_come_when_they_are_ready() {
    let planes = Planes::start(8 << 20);
    let _client = WebSocket::subscribed(planes.clients(), "stalled");
    planes.proxy().stall();
    planes.run(async {
        let (sender, requests) = mpsc::channel(8);
        let mut answers = open(&planes, ReceiverStream::new(requests)).await;
        sender.send(push("stalled", 1, WaitFor::Written)).await.unwrap();
        sender.send(push("nobody", 2, WaitFor::Accepted)).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().sequence, 2);
        planes.proxy().open();
        drop(sender);
        let late = answers.message().await.unwrap().unwrap();
        assert_eq!((late.sequence, late.result.as_ref().and_then(written)), (1, Some(1)));
        assert!(answers.message().await.unwrap().is_none());
    });
}

// A link that takes nothing for a moment is not cut because somebody streams: the stream waits for it.
#[test]
fn a_stream_that_is_faster_than_a_link_waits_for_it() {
    let planes = Planes::start(1 << 20);
    let _client = WebSocket::subscribed(planes.clients(), "flood");
    let json = format!("\"{}\"", "x".repeat(20_000));
    let requests = (0..1500).map(move |_| {
        let publish = push_request(Kind::Channel("flood".to_owned()), &json);
        PublishStreamRequest { publish: Some(PublishRequest { wait_for: 0, ..publish }) }
    });
    planes.proxy().stall();
    let (mut answered, mut waited) = (0, false);
    planes.run(async {
        let mut answers = open(&planes, stream::iter(requests)).await;
        loop {
            let patience = std::time::Duration::from_millis(500);
            match tokio::time::timeout(patience, answers.message()).await {
                Ok(answer) => match answer.expect("the stream goes on") {
                    Some(answer) => answered += u64::from(answer.result.as_ref().and_then(written).is_some()),
                    None => break,
                },
                Err(_) => {
                    waited = true;
                    planes.proxy().open();
                }
            }
        }
    });
    assert_eq!((answered, waited), (1500, true));
    assert_eq!(planes.control_metric("fanfare_control_link_cuts_total"), 0.0);
}

#[test]
fn who_does_not_read_answers_is_not_read_from_and_what_was_taken_is_published() {
    let planes = Planes::start(8 << 20);
    let published = || planes.control_metric("fanfare_control_publications_total");
    let sent = planes.run(async {
        let (sender, requests) = mpsc::channel(1);
        let answers = open_narrow(&planes, ReceiverStream::new(requests)).await;
        let mut sent = 0_u64;
        let patience = std::time::Duration::from_secs(1);
        // Until the stream takes no more.
        while let Ok(taken) =
            tokio::time::timeout(patience, sender.send(push("news", sent, WaitFor::Accepted))).await
        {
            taken.expect("the stream is open");
            sent += 1;
        }
        drop(answers);
        sent
    });
    assert!(published() > 0.0 && published() < sent as f64, "{} of {sent}", published());
    // The caller has gone in the middle: the replica goes on, and nothing of it waits any more.
    assert!(planes.push("news", "1").complete);
    let before = published();
    assert_eq!(planes.push("news", "1").nodes_asked, 0);
    assert_eq!(published(), before + 1.0, "nobody publishes what is left of the stream");
}

#[test]
fn a_channel_takes_as_many_publications_per_second_as_its_namespace_says() {
    let planes = Planes::start(8 << 20);
    let push = || {
        let request = push_request(Kind::Channel("slow:1".to_owned()), "1");
        planes.run(async { planes.api().await.publish(request).await })
    };
    let refused = eventually("the bucket is empty", || push().err());
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "PUBLICATION_RATE_LIMIT");
    let wait = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(wait.as_millis() > 0 && wait.as_millis() <= 500, "{wait:?}");

    let mut client = WebSocket::connect(planes.clients());
    let error = eventually("a client is refused", || {
        let reply = client.command("publish", &json!({ "channel": "slow:2", "data": 1 }));
        reply["error"]["code"].as_u64()
    });
    assert_eq!(error, 111);
    eventually("there is a token again", || push().ok());
}
