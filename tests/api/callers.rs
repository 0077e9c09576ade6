//! Who may call: keys, roles, certificates, and how many at once.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fanfare_cluster::tls::{CertificateFiles, TlsConfig};
use fanfare_control_plane::{ApiConfig, ApiKeyConfig, InvalidApi, Role, StartError};
use fanfare_proto::v1::subject::Kind;
use fanfare_proto::v1::target::Kind as TargetKind;
use fanfare_proto::v1::{DisconnectRequest, ListNodesRequest, PublishRequest, Subject};
use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::push_request;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::calls::{call, list_nodes, publish};
use crate::replica::{Folder, Replica, local};

const PUSH_KEY: &str = "a-key-to-push-with";
const DESK_KEY: &str = "a-key-to-look-and-act-with";

fn key(name: &str, roles: &[Role], key: &str) -> ApiKeyConfig {
    ApiKeyConfig { name: name.to_owned(), roles: roles.to_vec(), key: key.to_owned(), ..Default::default() }
}

fn keys() -> Vec<ApiKeyConfig> {
    vec![key("shop", &[Role::Push], PUSH_KEY), key("desk", &[Role::Read, Role::Operate], DESK_KEY)]
}

fn reason(status: &Status) -> (Code, String) {
    let info = status.get_error_details().error_info().map(|info| info.reason.clone());
    (status.code(), info.unwrap_or_default())
}

fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    reason(&result.expect_err("it is refused"))
}

#[test]
fn each_key_opens_what_its_roles_say() {
    let replica = Replica::start(ApiConfig { keys: keys(), ..local() });
    let channel = replica.connect();
    let push = |key| replica.run(publish(channel.clone(), key, "news"));
    let list = |key| replica.run(list_nodes(channel.clone(), key));
    let required = (Code::Unauthenticated, "KEY_REQUIRED".to_owned());
    for wrong in [None, Some("another-key-that-is-wrong")] {
        assert_eq!(refused(push(wrong)), required);
        assert_eq!(refused(list(wrong)), required);
    }
    assert!(push(Some(PUSH_KEY)).is_ok() && list(Some(DESK_KEY)).is_ok());
    let forbidden = (Code::PermissionDenied, "ROLE_REQUIRED".to_owned());
    assert_eq!(refused(push(Some(DESK_KEY))), forbidden);
    assert_eq!(refused(list(Some(PUSH_KEY))), forbidden);

    let health = |key| {
        let mut client = HealthClient::new(channel.clone());
        let service = "fanfare.v1.ConnectionService".to_owned();
        replica.run(client.check(call(HealthCheckRequest { service }, key)))
    };
    assert!(health(None).is_ok(), "health needs no key");
    let unknown = |key| replica.run(crate::calls::unknown(channel.clone(), key)).unwrap_err().code();
    assert_eq!((unknown(None), unknown(Some(PUSH_KEY))), (Code::Unauthenticated, Code::Unimplemented));
    assert_eq!(replica.metric("fanfare_control_unauthenticated_calls_total"), 5.0);
    assert_eq!(replica.metric("fanfare_control_forbidden_calls_total"), 2.0);
}

#[test]
fn keys_are_replaced_while_the_replica_runs_and_bad_ones_change_nothing() {
    let folder = Folder::new();
    let key_file = folder.write("key", PUSH_KEY);
    let in_file = |key_file| ApiKeyConfig { key_file, ..key("shop", &[Role::Push], "") };
    let api = ApiConfig { keys: vec![in_file(key_file.clone())], ..local() };
    let replica = Replica::start(api.clone());
    let channel = replica.connect();
    let may_push = |key| replica.run(publish(channel.clone(), Some(key), "news")).is_ok();
    assert!(may_push(PUSH_KEY));
    folder.write("key", "the-key-that-comes-next\n");
    replica.control.reload(&api).unwrap();
    assert!(may_push("the-key-that-comes-next") && !may_push(PUSH_KEY));
    folder.write("key", "short");
    let error = replica.control.reload(&api).unwrap_err().to_string();
    assert!(error.contains("shop") && error.contains("at least 16 bytes"), "{error}");
    assert!(may_push("the-key-that-comes-next"));
}

#[test]
fn what_is_open_to_all_is_not_opened() {
    let everywhere = ([0, 0, 0, 0], 0).into();
    let open = ApiConfig { address: everywhere, ..local() };
    assert!(matches!(open.validate(), Err(InvalidApi::OpenToAll(_))));
    let error = Replica::try_start(open.clone()).err().expect("it does not start");
    assert!(matches!(error, StartError::Api(InvalidApi::OpenToAll(_))), "{error}");
    let replica = Replica::start(ApiConfig { keys: keys(), ..open.clone() });
    let error = replica.control.reload(&open).unwrap_err();
    assert!(matches!(error, InvalidApi::OpenToAll(_)), "the last key cannot be taken away: {error}");
    let claimed = TlsConfig { client_ca_file: "ca.pem".into(), ..Default::default() };
    assert!(ApiConfig { tls: claimed, ..open }.validate().is_err(), "without TLS nobody shows a certificate");
}

/// Makes a certificate for this machine; returns its files and its text.
fn certificate(folder: &Folder, name: &str) -> (CertificateFiles, String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let certificate_file = folder.write(&format!("{name}.pem"), &pem);
    let key_file = folder.write(&format!("{name}.key"), &key);
    (CertificateFiles { certificate_file, key_file }, pem, key)
}

fn connect(replica: &Replica, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
    let address = format!("https://localhost:{}", replica.control.api_address().port());
    replica.run(Endpoint::from_shared(address)?.tls_config(tls)?.connect())
}

#[test]
fn the_api_speaks_tls_and_takes_a_new_certificate_while_it_runs() {
    let folder = Folder::new();
    let (files, old, _) = certificate(&folder, "server");
    let tls = TlsConfig { certificates: vec![files], ..Default::default() };
    let api = ApiConfig { tls, keys: keys(), ..local() };
    let replica = Replica::start(api.clone());
    let trusting = |pem: &str| ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
    let channel = connect(&replica, trusting(&old)).unwrap();
    replica.run(publish(channel.clone(), Some(PUSH_KEY), "news")).unwrap();
    let (_, new, _) = certificate(&folder, "server");
    assert!(connect(&replica, trusting(&new)).is_err());
    replica.control.reload(&api).unwrap();
    let anew = connect(&replica, trusting(&new)).unwrap();
    replica.run(publish(anew, Some(PUSH_KEY), "news")).unwrap();
    replica.run(publish(channel, Some(PUSH_KEY), "news")).expect("connections that are there go on");
    assert!(replica.metric("fanfare_control_failed_handshakes_total") >= 1.0);
    // Who connects and says nothing holds up nobody.
    let silent = std::net::TcpStream::connect(replica.control.api_address()).unwrap();
    assert!(connect(&replica, trusting(&new)).is_ok());
    drop(silent);
}

#[test]
fn where_certificates_of_callers_are_asked_for_nobody_comes_in_without_one() {
    let folder = Folder::new();
    let (files, server, _) = certificate(&folder, "server");
    let (client_files, client, client_key) = certificate(&folder, "client");
    let tls = TlsConfig { certificates: vec![files], client_ca_file: client_files.certificate_file };
    // With certificates it may be reachable from everywhere, without any key.
    let replica = Replica::start(ApiConfig { tls, address: ([0, 0, 0, 0], 0).into(), ..local() });
    let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&server));
    let known = trusting.clone().identity(Identity::from_pem(&client, &client_key));
    let channel = connect(&replica, known).unwrap();
    replica.run(publish(channel.clone(), None, "news")).unwrap();
    // With TLS 1.3 a client learns of its refusal with its first call.
    let refused = connect(&replica, trusting).map(|channel| replica.run(publish(channel, None, "news")));
    assert!(!matches!(refused, Ok(Ok(_))), "{refused:?}");

    let log = log();
    let mut request = call(disconnect_request(), None);
    request.metadata_mut().insert("x-request-id", "with a certificate".parse().unwrap());
    let mut client = fanfare_proto::v1::connection_service_client::ConnectionServiceClient::new(channel);
    replica.run(client.disconnect(request)).unwrap();
    assert!(line_with(&log, "with a certificate").contains("caller=certificate "));
}

#[test]
fn calls_beyond_the_limit_are_refused_at_once_and_streams_count_while_they_are_open() {
    let replica = Replica::start(ApiConfig { concurrency_limit: 2, ..local() });
    let channel = replica.connect();
    let hold = || {
        let (sender, requests) = tokio::sync::mpsc::channel::<PublishRequest>(1);
        let answers = replica.run(crate::calls::stream(channel.clone(), requests)).unwrap();
        (sender, answers)
    };
    let (first, second) = (hold(), hold());
    let shed = replica.run(publish(channel.clone(), None, "news")).unwrap_err();
    assert_eq!(reason(&shed), (Code::ResourceExhausted, "CONCURRENCY_LIMIT".to_owned()));
    assert!(shed.get_error_details().retry_info().is_some());
    let health = replica.run(HealthClient::new(channel.clone()).check(HealthCheckRequest::default()));
    assert!(health.is_ok(), "who asks for health is not turned away");
    assert_eq!(replica.metric("fanfare_control_shed_calls_total"), 1.0);
    drop(first);
    eventually("there is room again", || replica.run(publish(channel.clone(), None, "news")).ok());
    drop(second);
}

#[test]
fn open_streams_do_not_hold_up_the_end() {
    let replica = Replica::start(local());
    let (_sender, requests) = tokio::sync::mpsc::channel::<PublishRequest>(1);
    let mut answers = replica.run(crate::calls::stream(replica.connect(), requests)).unwrap();
    let Replica { runtime, control, .. } = replica;
    assert!(runtime.block_on(control.stop(Duration::from_secs(5))), "all has ended in time");
    let end = runtime.block_on(answers.message()).unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
}

/// What is logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    });
    log.clone()
}

fn line_with(log: &Log, text: &str) -> String {
    eventually("the line is logged", || {
        let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
        log.lines().find(|line| line.contains("fanfare::audit") && line.contains(text)).map(str::to_owned)
    })
}

fn disconnect_request() -> DisconnectRequest {
    let subject = Some(Subject { kind: Some(Kind::User("42".to_owned())) });
    DisconnectRequest { subject, ..Default::default() }
}

#[test]
fn every_operation_leaves_a_line_that_says_who_did_what_and_how_it_ended() {
    let log = log();
    let replica = Replica::start(ApiConfig { keys: keys(), ..local() });
    let mut client = replica.connections();
    let mut disconnect = |key, id: &str| {
        let mut request = call(disconnect_request(), key);
        request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        replica.run(client.disconnect(request))
    };
    let answer = disconnect(Some(DESK_KEY), "audit-1").unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "audit-1");
    let line = line_with(&log, "audit-1");
    for part in ["caller=desk", "fanfare.v1.ConnectionService/Disconnect", "42", "code=\"OK\""] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let refused = disconnect(Some(PUSH_KEY), "audit-2").unwrap_err();
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "audit-2");
    let line = line_with(&log, "audit-2");
    assert!(line.contains("caller=shop") && line.contains("PERMISSION_DENIED"), "{line}");
    // Strangers do not fill the log; a counter has them.
    disconnect(None, "audit-3").unwrap_err();
    disconnect(Some(DESK_KEY), "audit-4").unwrap();
    line_with(&log, "audit-4");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("audit-3"), "{text}");
}

#[test]
fn a_call_without_a_request_id_gets_one() {
    let replica = Replica::start(local());
    let channel = replica.connect();
    let id = |metadata: &MetadataMap| metadata.get("x-request-id").unwrap().to_str().unwrap().to_owned();
    let mut client = fanfare_proto::v1::cluster_service_client::ClusterServiceClient::new(channel.clone());
    let first = replica.run(client.list_nodes(ListNodesRequest::default())).unwrap();
    let second = replica.run(client.list_nodes(ListNodesRequest::default())).unwrap();
    assert_ne!(id(first.metadata()), id(second.metadata()));
    let mut push = fanfare_proto::v1::push_service_client::PushServiceClient::new(channel);
    let request = Request::new(push_request(TargetKind::Channel(String::new()), "1"));
    assert!(!id(replica.run(push.publish(request)).unwrap_err().metadata()).is_empty());
}
