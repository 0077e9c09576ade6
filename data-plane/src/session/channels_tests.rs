//! Tests of what a session may do in channels: by token, by name, by option.

use fanfare_cluster::channel::ChannelOptions;
use fanfare_proto::client::{Command, SubRefreshRequest, SubscribeRequest};

use super::tests::{Client, change, open_rules, to};
use super::*;

/// Options that let nobody do anything.
fn closed_rules() -> Rules {
    let mut rules = open_rules();
    change(&mut rules, |options| *options = ChannelOptions::default());
    rules
}

#[test]
fn a_subscription_token_opens_what_is_closed_and_only_that() {
    let mut client = Client::with_token(closed_rules(), "ann");
    let with = |channel: &str, token: &str| SubscribeRequest { token: token.into(), ..to(channel) };
    let denied = refuse(2, error::PERMISSION_DENIED);
    let wrong = Step::Close(disconnect::INVALID_TOKEN);
    assert_eq!(client.subscribe_to("$secret"), denied);
    let granted = client.subscribe(with("$secret", "$secret of ann"));
    assert!(matches!(granted, Step::Subscribe { grant: Some(_), .. }), "{granted:?}");
    assert_eq!(client.subscribe(with("$secret", "$other of ann")), wrong);
    assert_eq!(client.subscribe(with("$secret", "$secret of bob")), wrong);
    assert_eq!(client.subscribe(with("$secret", "$secret of ann elsewhere")), wrong);
    assert_eq!(client.subscribe(with("$secret", "$secret of ann until 1000")), refuse(2, error::EXPIRED));
    assert_eq!(client.subscribe(with("$secret", "expired")), refuse(2, error::TOKEN_EXPIRED));
    assert_eq!(client.subscribe(with("$secret", "forged")), denied);
    assert_eq!(client.subscribe(with("#bob", "#bob of ann")), denied, "personal channels are not for tokens");
}

#[test]
fn a_channel_may_be_limited_to_users() {
    let mut rules = closed_rules();
    change(&mut rules, |options| options.allow_user_limited_channels = true);
    let mut ann = Client::with_token(rules, "ann");
    assert!(matches!(ann.subscribe_to("chat#bob,ann"), Step::Subscribe { .. }));
    assert_eq!(ann.subscribe_to("chat#bob"), refuse(2, error::PERMISSION_DENIED), "though all else is open");
    assert_eq!(ann.publish("chat#bob", "1"), refuse(2, error::PERMISSION_DENIED));
    let mut anonymous = Client::connected(ann.rules);
    assert_eq!(anonymous.subscribe_to("chat#"), refuse(2, error::PERMISSION_DENIED), "nobody is no user");
}

#[test]
fn subscribers_and_those_whose_tokens_say_so_may_publish() {
    let mut rules = closed_rules();
    let mut client = Client::connected(closed_rules());
    assert_eq!(client.publish("held", "1"), refuse(2, error::PERMISSION_DENIED));
    assert!(matches!(client.publish("granted", "1"), Step::Publish { .. }));
    let only_subscribers = ChannelOptions { allow_publish_for_subscriber: true, ..ChannelOptions::default() };
    change(&mut rules, |options| *options = only_subscribers);
    let mut client = Client::connected(rules);
    assert!(matches!(client.publish("held", "1"), Step::Publish { .. }));
    assert_eq!(client.publish("news", "1"), refuse(2, error::PERMISSION_DENIED));
    let mut capable = Client::with_token(closed_rules(), "capable");
    assert!(matches!(capable.subscribe_to("closed"), Step::Subscribe { .. }));
    assert!(matches!(capable.publish("closed", "1"), Step::Publish { .. }));
    assert_eq!(capable.subscribe_to("other"), refuse(2, error::PERMISSION_DENIED));
}

#[test]
fn a_subscription_is_refreshed_with_a_token_of_its_own() {
    let mut client = Client::with_token(open_rules(), "ann");
    let mut refresh = |channel: &str, token: &str| {
        let sub_refresh =
            SubRefreshRequest { channel: channel.into(), token: token.into(), ..Default::default() };
        client.send(Command { id: 2, sub_refresh: Some(sub_refresh), ..Default::default() })
    };
    let refreshed = |step: Step| matches!(step, Step::SubRefresh { id: 2, .. });
    assert!(refreshed(refresh("$held", "$held of ann")));
    assert!(refreshed(refresh("", "$held of ann")), "the Python SDK leaves the channel out");
    assert_eq!(refresh("", "$other of ann"), refuse(2, error::PERMISSION_DENIED));
    assert_eq!(refresh("$other", "$other of ann"), refuse(2, error::PERMISSION_DENIED));
    assert_eq!(refresh("$held", ""), refuse(2, error::BAD_REQUEST));
    assert_eq!(refresh("$held", "expired"), refuse(2, error::EXPIRED));
    assert_eq!(refresh("$held", "forged"), Step::Close(disconnect::INVALID_TOKEN));
    assert_eq!(refresh("$held", "$held of bob"), Step::Close(disconnect::INVALID_TOKEN));
}
