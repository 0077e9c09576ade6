//! Tests of the client session: the dispatch rules, the orders of validation, and what each violation costs.

use std::time::{Duration, UNIX_EPOCH};

use fanfare_proto::client::{
    HistoryRequest, PingRequest, PresenceRequest, RpcRequest, SendRequest, UnsubscribeRequest,
};

use fanfare_cluster::channel::ChannelOptions;

use super::*;

struct Tokens;

impl Authenticator for Tokens {
    fn authenticate(&self, token: &str, _: SystemTime) -> Result<Option<Identity>, Denied> {
        match token {
            "expired" => Err(Denied::Expired),
            "anonymous" => Ok(None),
            "ann" | "ann again" => {
                Ok(Some(Identity { user: "ann".into(), info: Bytes::new(), expires_at: Some(1_060) }))
            }
            "bob" => Ok(Some(Identity { user: "bob".into(), info: Bytes::new(), expires_at: None })),
            _ => Err(Denied::Invalid),
        }
    }
}

fn open_options() -> ChannelOptions {
    ChannelOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: true,
        allow_publish_for_anonymous: true,
        ..Default::default()
    }
}

/// Changes the options of channels outside of namespaces.
fn change(rules: &mut Rules, change: impl FnOnce(&mut ChannelOptions)) {
    let mut options = open_options();
    change(&mut options);
    rules.channels = Arc::new(Namespaces::new(options, &[]).unwrap());
}

fn open_rules() -> Rules {
    let channels = open_options();
    let client = ClientConfig { allow_anonymous_connect_without_token: true, ..Default::default() };
    let channels = Arc::new(Namespaces::new(channels, &[]).unwrap());
    Rules { client, channels, authenticator: Some(Arc::new(Tokens)) }
}

/// A client that is subscribed to "held" and to nothing else.
struct Client {
    session: Session,
    rules: Rules,
    encoding: Encoding,
}

impl Client {
    fn new(rules: Rules) -> Self {
        Self { session: Session::default(), rules, encoding: Encoding::Json }
    }

    fn connected(rules: Rules) -> Self {
        let mut client = Self::new(rules);
        assert_eq!(client.connect(""), Step::Connect { id: 1 });
        client.session.connected();
        client
    }

    fn send(&mut self, command: Command) -> Step {
        let around = Surroundings {
            rules: &self.rules,
            encoding: self.encoding,
            now: UNIX_EPOCH + Duration::from_secs(1_000),
            subscriptions: 1,
            is_subscribed: &|channel| channel == "held",
        };
        self.session.command(command, &around)
    }

    fn connect(&mut self, token: &str) -> Step {
        let connect = ConnectRequest { token: token.into(), ..Default::default() };
        self.send(Command { id: 1, connect: Some(connect), ..Default::default() })
    }

    fn subscribe(&mut self, request: SubscribeRequest) -> Step {
        self.send(Command { id: 2, subscribe: Some(request), ..Default::default() })
    }

    fn subscribe_to(&mut self, channel: &str) -> Step {
        self.subscribe(to(channel))
    }

    fn publish(&mut self, channel: &str, data: &'static str) -> Step {
        let publish = PublishRequest { channel: channel.into(), data: data.into(), ..Default::default() };
        self.send(Command { id: 2, publish: Some(publish), ..Default::default() })
    }
}

fn to(channel: &str) -> SubscribeRequest {
    SubscribeRequest { channel: channel.into(), ..Default::default() }
}

const BAD_REQUEST: Step = Step::Close(disconnect::BAD_REQUEST);

#[test]
fn nothing_comes_before_connect_and_connect_comes_once() {
    let mut client = Client::new(open_rules());
    assert_eq!(client.subscribe_to("news"), BAD_REQUEST);
    let mut client = Client::connected(open_rules());
    assert_eq!(client.connect(""), BAD_REQUEST);
}

#[test]
fn ids_are_not_zero_except_for_send() {
    let mut client = Client::connected(open_rules());
    assert_eq!(client.send(Command { rpc: Some(RpcRequest::default()), ..Default::default() }), BAD_REQUEST);
    let send = Command { send: Some(SendRequest::default()), ..Default::default() };
    assert_eq!(client.send(send), Step::Close(disconnect::NOT_AVAILABLE));
}

#[test]
fn a_pong_is_welcome_only_after_a_ping() {
    let mut client = Client::connected(open_rules());
    client.session.ping_sent();
    assert_eq!(client.send(Command::default()), Step::Nothing);
    assert!(!client.session.is_awaiting_pong());
    assert_eq!(client.send(Command::default()), BAD_REQUEST);
}

#[test]
fn who_a_client_is_decides_how_connect_ends() {
    let connect = |token: &str| Client::new(open_rules()).connect(token);
    assert_eq!(connect("ann"), Step::Connect { id: 1 });
    assert_eq!(connect("anonymous"), Step::Connect { id: 1 });
    assert_eq!(connect("forged"), Step::Close(disconnect::INVALID_TOKEN));
    assert_eq!(connect("expired"), refuse(1, error::TOKEN_EXPIRED));

    let mut closed = open_rules();
    closed.client.allow_anonymous_connect_without_token = false;
    assert_eq!(Client::new(closed).connect(""), BAD_REQUEST);
    let keyless = Rules { authenticator: None, ..open_rules() };
    assert_eq!(Client::new(keyless).connect("ann"), Step::Close(disconnect::INVALID_TOKEN));
}

#[test]
fn after_an_error_to_connect_nothing_may_come() {
    let mut client = Client::new(open_rules());
    assert_eq!(client.connect("expired"), refuse(1, error::TOKEN_EXPIRED));
    assert_eq!(client.connect("ann"), BAD_REQUEST);
}

#[test]
fn subscribe_is_checked_in_the_protocols_order() {
    let mut client = Client::connected(open_rules());
    let channel = ChannelName::parse("news").unwrap();
    assert_eq!(client.subscribe_to("news"), Step::Subscribe { id: 2, channel });
    assert_eq!(client.subscribe_to(""), BAD_REQUEST);
    assert_eq!(client.subscribe(SubscribeRequest { delta: "zip".into(), ..to("news") }), BAD_REQUEST);
    assert_eq!(
        client.subscribe(SubscribeRequest { r#type: 4, ..to("news") }),
        refuse(2, error::NOT_AVAILABLE)
    );
    assert_eq!(client.subscribe_to(&"x".repeat(256)), refuse(2, error::BAD_REQUEST));
    assert_eq!(client.subscribe_to("held"), refuse(2, error::ALREADY_SUBSCRIBED));
    for private in ["$secret", "#42"] {
        assert_eq!(client.subscribe_to(private), refuse(2, error::PERMISSION_DENIED));
    }
    let map = SubscribeRequest { r#type: 1, ..to("news") };
    assert_eq!(client.subscribe(map), refuse(2, error::PERMISSION_DENIED));
    let filtered = SubscribeRequest { tf: Some(Default::default()), ..to("news") };
    assert_eq!(client.subscribe(filtered), refuse(2, error::BAD_REQUEST));
    let strict = SubscribeRequest { recover: true, flag: 3, ..to("news") };
    assert_eq!(client.subscribe(strict), refuse(2, error::UNRECOVERABLE_POSITION));

    client.rules.client.channel_limit = 1;
    assert_eq!(client.subscribe_to("news"), refuse(2, error::LIMIT_EXCEEDED));
    assert_eq!(client.subscribe_to("held"), refuse(2, error::ALREADY_SUBSCRIBED), "said before the limit");
}

#[test]
fn options_say_who_may_subscribe_and_publish() {
    let mut rules = open_rules();
    change(&mut rules, |options| {
        options.allow_subscribe_for_anonymous = false;
        options.allow_publish_for_anonymous = false;
    });
    let mut anonymous = Client::connected(rules);
    assert_eq!(anonymous.subscribe_to("news"), refuse(2, error::PERMISSION_DENIED));
    assert_eq!(anonymous.publish("news", "1"), refuse(2, error::PERMISSION_DENIED));
    anonymous.session.identity = Tokens.authenticate("ann", SystemTime::now()).unwrap().map(Box::new);
    assert!(matches!(anonymous.subscribe_to("news"), Step::Subscribe { .. }));
    assert!(matches!(anonymous.publish("news", "1"), Step::Publish { .. }));
}

#[test]
fn json_clients_stay_out_of_binary_channels() {
    let mut client = Client::connected(open_rules());
    change(&mut client.rules, |options| options.publication_data_format = DataFormat::Binary);
    assert_eq!(client.subscribe_to("news"), refuse(2, error::BAD_REQUEST));
    client.encoding = Encoding::Protobuf;
    assert!(matches!(client.subscribe_to("news"), Step::Subscribe { .. }));
}

#[test]
fn publish_is_checked_in_the_protocols_order() {
    let mut client = Client::connected(open_rules());
    assert!(matches!(client.publish("news", "{}"), Step::Publish { .. }));
    assert_eq!(client.publish("", "{}"), BAD_REQUEST);
    assert_eq!(client.publish("news", ""), refuse(2, error::BAD_REQUEST));
    assert_eq!(client.publish("news", "{"), refuse(2, error::BAD_REQUEST));
    assert_eq!(client.publish("#42", "{}"), refuse(2, error::PERMISSION_DENIED));
}

#[test]
fn what_is_not_there_is_said_to_be_not_available() {
    let mut client = Client::connected(open_rules());
    let commands = [
        Command { rpc: Some(RpcRequest::default()), ..Default::default() },
        Command { presence: Some(PresenceRequest { channel: "c".into() }), ..Default::default() },
        Command {
            history: Some(HistoryRequest { channel: "c".into(), ..Default::default() }),
            ..Default::default()
        },
    ];
    for command in commands {
        assert_eq!(client.send(Command { id: 2, ..command }), refuse(2, error::NOT_AVAILABLE));
    }
    assert_eq!(client.send(Command { id: 2, ping: Some(PingRequest {}), ..Default::default() }), BAD_REQUEST);
    assert_eq!(client.send(Command { id: 2, ..Default::default() }), BAD_REQUEST, "an id and nothing else");
}

#[test]
fn unsubscribe_is_always_answered() {
    let mut client = Client::connected(open_rules());
    let unsubscribe = UnsubscribeRequest { channel: "never".into() };
    let step = client.send(Command { id: 2, unsubscribe: Some(unsubscribe), ..Default::default() });
    assert_eq!(step, Step::Unsubscribe { id: 2, channel: "never".into() });
}

#[test]
fn a_refreshed_token_must_be_the_same_users() {
    let mut client = Client::new(open_rules());
    client.connect("ann");
    client.session.connected();
    let mut refresh = |token: &str| {
        let refresh = RefreshRequest { token: token.into() };
        client.send(Command { id: 2, refresh: Some(refresh), ..Default::default() })
    };
    let Step::Reply(reply) = refresh("ann again") else { panic!("expected a reply") };
    assert_eq!(reply.refresh, Some(RefreshResult { expires: true, ttl: 60, ..Default::default() }));
    assert_eq!(refresh("bob"), Step::Close(disconnect::INVALID_TOKEN));
    assert_eq!(refresh("forged"), Step::Close(disconnect::INVALID_TOKEN));
    assert_eq!(refresh("expired"), Step::Close(disconnect::EXPIRED));
    assert_eq!(refresh(""), BAD_REQUEST);
}
