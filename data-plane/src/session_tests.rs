//! Tests of the client session: the dispatch rules, the orders of validation, and what each violation costs.

use std::time::{Duration, UNIX_EPOCH};

use fanfare_proto::client::{
    HistoryRequest, PingRequest, PresenceRequest, RpcRequest, SendRequest, UnsubscribeRequest,
};

use fanfare_cluster::channel::{ChannelOptions, DataFormat};
use fanfare_cluster::member::Incarnation;
use fanfare_proto::client::{ConnectRequest, PublishRequest, RefreshRequest, SubscribeRequest};
use fanfare_proto::link::Revocation;

use super::*;
use crate::authenticator::{Capabilities, Denied, Granted, Permission};
use crate::metrics::ClientMetrics;

/// Tokens that say in plain words what they are.
struct Tokens;

impl Authenticator for Tokens {
    fn connection(&self, token: &str, _: SystemTime) -> Result<Arc<Identity>, Denied> {
        let user = |user: &str| Identity { user: user.into(), issued_at: Some(900), ..Default::default() };
        let granted = |channel: &str| Granted {
            channel: ChannelName::parse(channel).unwrap(),
            info: Bytes::new(),
            data: Bytes::new(),
        };
        let caps = r#"[{"channels": ["closed"], "allow": ["sub", "pub"]}]"#;
        let identity = match token {
            "expired" => return Err(Denied::Expired),
            "of a key to come" => return Err(Denied::KeyPending),
            "anonymous" => user(""),
            "ann" | "ann again" => Identity { expires_at: Some(1_060), ..user("ann") },
            "ann of old" => Identity { issued_at: Some(100), ..user("ann") },
            "ann, over" => Identity { expires_at: Some(1_000), ..user("ann") },
            "ann with news" => Identity { subscriptions: vec![granted("news")], ..user("ann") },
            "ann with nothing:known" => {
                Identity { subscriptions: vec![granted("nothing:known")], ..user("ann") }
            }
            "bob" => user("bob"),
            "capable" => {
                let capabilities = Capabilities::new(serde_json::from_str(caps).unwrap()).unwrap();
                Identity { capabilities, ..user("cap") }
            }
            _ => return Err(Denied::Invalid),
        };
        Ok(Arc::new(identity))
    }

    /// Such as "$secret of ann", with "until 1060" behind it if it ends.
    fn subscription(&self, token: &str, _: SystemTime) -> Result<Arc<SubscriptionGrant>, Denied> {
        if token == "expired" {
            return Err(Denied::Expired);
        }
        let mut words = token.split(' ');
        let (Some(channel), Some("of"), Some(user)) = (words.next(), words.next(), words.next()) else {
            return Err(Denied::Invalid);
        };
        Ok(Arc::new(SubscriptionGrant {
            user: user.into(),
            client: words.clone().next().filter(|word| *word == "elsewhere").map(str::to_owned),
            channel: ChannelName::parse(channel).unwrap(),
            info: Bytes::new(),
            issued_at: 900,
            expires_at: words.nth(1).map(|until| until.parse().unwrap()),
            permissions: Permissions::default(),
        }))
    }
}

/// What a connect comes to that asks for nothing it has missed.
fn connected() -> Step {
    Step::Connect { id: 1, since: BTreeMap::new() }
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
pub(super) fn change(rules: &mut Rules, change: impl FnOnce(&mut ChannelOptions)) {
    let mut options = open_options();
    change(&mut options);
    rules.channels = Arc::new(Namespaces::new(options, &[]).unwrap());
}

pub(super) fn open_rules() -> Rules {
    let channels = open_options();
    let client = ClientConfig { allow_anonymous_connect_without_token: true, ..Default::default() };
    let channels = Arc::new(Namespaces::new(channels, &[]).unwrap());
    let admission = Arc::new(Admission::new(&client, 1_000, ClientMetrics::default()));
    Rules { client, channels, authenticator: Arc::new(Tokens), revocations: Arc::default(), admission }
}

/// A client that is subscribed to "held", and to "granted" with a token that lets it publish there.
pub(super) struct Client {
    session: Session,
    pub(super) rules: Rules,
    encoding: Encoding,
}

impl Client {
    fn new(rules: Rules) -> Self {
        Self { session: Session::default(), rules, encoding: Encoding::Json }
    }

    pub(super) fn connected(rules: Rules) -> Self {
        let mut client = Self::new(rules);
        assert_eq!(client.connect(""), connected());
        client.session.connected();
        client
    }

    pub(super) fn with_token(rules: Rules, token: &str) -> Self {
        let mut client = Self::new(rules);
        assert_eq!(client.connect(token), connected());
        client.session.connected();
        client
    }

    pub(super) fn send(&mut self, command: Command) -> Step {
        let around = Surroundings {
            rules: &self.rules,
            id: ConnectionId::new(Incarnation::random(), 0, 0),
            encoding: self.encoding,
            now: UNIX_EPOCH + Duration::from_secs(1_000),
            subscriptions: 1,
            subscription: &|channel| match channel {
                "held" | "$held" => Some(Permissions::default()),
                "granted" => Some([Permission::Publish].into_iter().collect()),
                _ => None,
            },
        };
        self.session.command(command, &around)
    }

    fn connect(&mut self, token: &str) -> Step {
        let connect = ConnectRequest { token: token.into(), ..Default::default() };
        self.send(Command { id: 1, connect: Some(connect), ..Default::default() })
    }

    pub(super) fn subscribe(&mut self, request: SubscribeRequest) -> Step {
        self.send(Command { id: 2, subscribe: Some(request), ..Default::default() })
    }

    pub(super) fn subscribe_to(&mut self, channel: &str) -> Step {
        self.subscribe(to(channel))
    }

    pub(super) fn publish(&mut self, channel: &str, data: &'static str) -> Step {
        let publish = PublishRequest { channel: channel.into(), data: data.into(), ..Default::default() };
        self.send(Command { id: 2, publish: Some(publish), ..Default::default() })
    }
}

pub(super) fn to(channel: &str) -> SubscribeRequest {
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
    assert_eq!(connect("ann"), connected());
    assert_eq!(connect("anonymous"), connected());
    assert_eq!(connect("forged"), Step::Close(disconnect::INVALID_TOKEN));
    assert_eq!(connect("expired"), refuse(1, error::TOKEN_EXPIRED));

    let mut closed = open_rules();
    closed.client.allow_anonymous_connect_without_token = false;
    assert_eq!(Client::new(closed).connect(""), BAD_REQUEST);
    let mut named = open_rules();
    named.client.disallow_anonymous_connection_tokens = true;
    assert_eq!(Client::new(named).connect("anonymous"), Step::Close(disconnect::PERMISSION_DENIED));
    assert_eq!(connect("of a key to come"), refuse(1, error::INTERNAL), "which tells SDKs to come back");
    assert_eq!(connect("ann, over"), refuse(1, error::EXPIRED));
}

#[test]
fn a_user_may_be_named_by_a_proxy_and_a_token_is_stronger() {
    let mut closed = open_rules();
    closed.client.allow_anonymous_connect_without_token = false;
    let of_proxy = |token: &str| {
        let rules = Rules { client: closed.client.clone(), ..open_rules() };
        let mut client = Client { session: Session::of_user("zoe".into()), rules, encoding: Encoding::Json };
        (client.connect(token), client.session.user().to_owned())
    };
    assert_eq!(of_proxy(""), (connected(), "zoe".into()));
    assert_eq!(of_proxy("ann"), (connected(), "ann".into()));
}

#[test]
fn the_subscriptions_of_a_token_must_be_possible() {
    let connect = |token: &str, limit: usize| {
        let mut rules = open_rules();
        rules.client.channel_limit = limit;
        Client::new(rules).connect(token)
    };
    assert_eq!(connect("ann with news", 2), connected());
    assert_eq!(connect("ann with news", 1), Step::Close(disconnect::CHANNEL_LIMIT));
    assert_eq!(connect("ann with nothing:known", 9), refuse(1, error::UNKNOWN_CHANNEL));
}

#[test]
fn revoked_tokens_are_refused_wherever_they_are_shown() {
    let revoke = |rules: &Rules, issued_before: u64| {
        let revocation = Revocation { user: "ann".into(), issued_before, until: 9_000 };
        rules.revocations.add(vec![revocation]);
    };
    let rules = open_rules();
    revoke(&rules, 500);
    assert_eq!(Client::new(rules).connect("ann of old"), Step::Close(disconnect::INVALID_TOKEN));
    let mut client = Client::with_token(open_rules(), "ann");
    revoke(&client.rules, 500);
    let secret = |token: &str| SubscribeRequest { token: token.into(), ..to("$secret") };
    assert!(matches!(client.subscribe(secret("$secret of ann")), Step::Subscribe { .. }), "it is younger");
    revoke(&client.rules, 1_000);
    assert_eq!(client.subscribe(secret("$secret of ann")), Step::Close(disconnect::INVALID_TOKEN));
    let refresh = Some(RefreshRequest { token: "ann".into() });
    let step = client.send(Command { id: 2, refresh, ..Default::default() });
    assert_eq!(step, Step::Close(disconnect::INVALID_TOKEN));
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
    assert_eq!(client.subscribe_to("news"), Step::Subscribe { id: 2, channel, grant: None, wants: None });
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
    let mut ann = Client::with_token(anonymous.rules, "ann");
    assert!(matches!(ann.subscribe_to("news"), Step::Subscribe { .. }));
    assert!(matches!(ann.publish("news", "1"), Step::Publish { .. }));
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
    let unsubscribe = Some(UnsubscribeRequest { channel: "#ann".into() });
    let step = client.send(Command { id: 2, unsubscribe, ..Default::default() });
    assert_eq!(step, refuse(2, error::PERMISSION_DENIED), "operations on a user go through its channel");
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
    assert_eq!(refresh("ann again"), Step::Refresh { id: 2 });
    assert_eq!(refresh("ann with news"), Step::Close(disconnect::INSUFFICIENT_STATE));
    assert_eq!(refresh("bob"), Step::Close(disconnect::INVALID_TOKEN));
    assert_eq!(refresh("forged"), Step::Close(disconnect::INVALID_TOKEN));
    assert_eq!(refresh("expired"), Step::Close(disconnect::EXPIRED));
    assert_eq!(refresh(""), BAD_REQUEST);
    assert_eq!(client.session.expires_at(), Some(1_060));
}
