//! The Redis adapter behind TLS, users and passwords.

use fanfare_cluster::quantity::Span;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::*;

/// What docs/operations.md lets the user do.
pub(super) const RULES: [&str; 19] = [
    "on",
    ">secret",
    "~fanfare:*",
    "+eval",
    "+evalsha",
    "+role",
    "+ping",
    "+select",
    "+wait",
    "+time",
    "+hmget",
    "+hset",
    "+hdel",
    "+get",
    "+set",
    "+unlink",
    "+pexpire",
    "+pttl",
    "+xadd",
];
pub(super) const MORE_RULES: [&str; 4] = ["+xtrim", "+xdel", "+xrange", "+xrevrange"];

pub(super) fn allow(store: &Store, user: &str, rules: &[&str]) {
    store.command(&[&["ACL", "SETUSER", user, "reset"], rules].concat());
}

fn as_user(store: &Store, password: &str) -> RedisConfig {
    RedisConfig { user: "fanfare".into(), password: password.into(), ..config(store) }
}

/// Files in a folder: an authority, and a certificate of it for 127.0.0.1.
fn certify(folder: &std::path::Path) {
    let key = || KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "the authority of a test");
    let issuer = CertifiedIssuer::self_signed(params, key()).unwrap();
    let own = key();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&own, &issuer).unwrap();
    std::fs::write(folder.join("authority.pem"), issuer.pem()).unwrap();
    std::fs::write(folder.join("own.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("own.key"), own.serialize_pem()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract_over_tls_as_a_user_with_few_rights() {
    for engine in engines() {
        let store = Store::start(engine);
        certify(&store.folder);
        let port = servers::free_port();
        for (key, file) in
            [("tls-ca-cert-file", "authority.pem"), ("tls-cert-file", "own.pem"), ("tls-key-file", "own.key")]
        {
            let file = store.folder.join(file);
            store.command(&["CONFIG", "SET", key, file.to_str().unwrap()]);
        }
        store.command(&["CONFIG", "SET", "tls-port", &port.to_string()]);
        allow(&store, "fanfare", &[&RULES[..], &MORE_RULES].concat());
        let file = |name: &str| store.folder.join(name);
        let tls = RedisTls {
            enabled: true,
            ca_file: file("authority.pem"),
            certificate_file: file("own.pem"),
            key_file: file("own.key"),
        };
        let good = RedisConfig {
            addresses: vec![format!("127.0.0.1:{port}")],
            tls: tls.clone(),
            database: 3,
            ..as_user(&store, "secret")
        };
        let history = open(&good).await;
        run_all(|| async { case(&history) }).await;
        let without = RedisTls { certificate_file: Default::default(), key_file: Default::default(), ..tls };
        let history = open(&RedisConfig { tls: without, ..good.clone() }).await;
        why(history.read(all(&case(&history))).await);
        let strangers = RedisTls { enabled: true, ..RedisTls::default() };
        let history = open(&RedisConfig { tls: strangers, ..good.clone() }).await;
        let error = why(history.read(all(&case(&history))).await);
        assert!(error.contains("certificate"), "{error}");
        let plain = RedisConfig { addresses: good.addresses, ..as_user(&store, "secret") };
        let history =
            open(&RedisConfig { response_timeout: Span(Duration::from_millis(300)), ..plain }).await;
        why(history.read(all(&case(&history))).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_and_a_new_one_is_found() {
    for engine in engines() {
        let store = Store::start(engine);
        allow(&store, "fanfare", &["on", ">new secret", "~*", "+@all"]);
        let password_file = store.folder.join("password");
        std::fs::write(&password_file, "old secret\n").unwrap();
        let file = password_file.clone();
        let history = open(&RedisConfig { password_file, ..as_user(&store, "") }).await;
        let case = case(&history);
        let error = why(history.append(case.request(vec![entry("a")])).await);
        assert!(error.contains("mend history.redis.user, password or password_file"), "{error}");
        std::fs::write(&file, "new secret\n").unwrap();
        publishes_again(&case).await;
        store.command(&["CONFIG", "SET", "requirepass", "x"]);
        let store = store.with_password("x");
        let nobody = open(&config(&store)).await;
        let error = why(nobody.append(case.request(vec![entry("a")])).await);
        assert!(error.contains("mend history.redis.user, password or password_file"), "{error}");
        let somebody = open(&RedisConfig { password: "x".into(), ..config(&store) }).await;
        assert!(somebody.append(case.request(vec![entry("a")])).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named() {
    for engine in engines() {
        let store = Store::start(engine);
        for missing in [&RULES[5..], &MORE_RULES].concat() {
            let without = missing.replace('+', "-");
            allow(&store, "fanfare", &[&RULES[..], &MORE_RULES, &[&without]].concat());
            let history = open(&as_user(&store, "secret")).await;
            let answer = history.append(case(&history).request(vec![entry("a")])).await;
            if ["+role", "+ping", "+wait"].contains(&missing) {
                answer.expect("it does without");
            } else if missing == "+select" {
                answer.expect("it has the first database");
            } else {
                let error = why(answer);
                assert!(
                    error.contains("access control list") && error.contains(missing),
                    "{missing}: {error}"
                );
            }
        }
        allow(&store, "fanfare", &[&RULES[..], &MORE_RULES].concat());
        let history = open(&as_user(&store, "secret")).await;
        let case = case(&history);
        case.publish(&["a"]).await;
        allow(&store, "fanfare", &[&RULES[..], &MORE_RULES, &["-xtrim"]].concat());
        let error = why(history.append(case.request(vec![entry("b")])).await);
        assert!(error.contains("access control list"), "{error}");
        allow(&store, "fanfare", &[&RULES[..], &MORE_RULES].concat());
        publishes_again(&case).await;
        allow(&store, "fanfare", &[&RULES[..], &MORE_RULES, &["resetkeys", "~other:*"]].concat());
        let error = why(history.append(case.request(vec![entry("a")])).await);
        assert!(error.contains("access control list"), "{error}");
        let prefixed = RedisConfig { prefix: "other:".into(), ..as_user(&store, "secret") };
        assert!(open(&prefixed).await.append(case.request(vec![entry("a")])).await.is_ok());
    }
}
