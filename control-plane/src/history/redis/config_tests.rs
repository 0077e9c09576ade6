//! The configuration of a history in Redis: what is refused, and by which key.

use super::*;

fn refused(change: impl FnOnce(&mut RedisConfig)) -> String {
    let mut config = RedisConfig::default();
    change(&mut config);
    config.validate().expect_err("it is wrong").to_string()
}

#[test]
fn what_cannot_be_used_is_refused_by_the_key_to_mend() {
    assert_eq!(RedisConfig::default().validate(), Ok(()));
    for bad in
        ["redis", ":6379", "redis:", "redis:0", "redis:65536", "redis://h:1", "u@h:1", "a:b:1", "[::1:1"]
    {
        let error = refused(|config| config.addresses = vec![bad.to_owned()]);
        assert!(error.starts_with("history.redis.addresses"), "{bad}: {error}");
    }
    assert!(refused(|config| config.addresses.clear()).contains("at least one"));
    assert!(refused(|config| config.addresses = vec!["h:1".into(), "h:1".into()]).contains("twice"));
    for bad in ["a{b", "a}b", "a b", "ü", &"x".repeat(65)] {
        let error = refused(|config| config.prefix = bad.to_owned());
        assert!(error.starts_with("history.redis.prefix"), "{error}");
    }
    assert!(refused(|config| config.user = "fanfare".into()).starts_with("history.redis.user needs"));
    assert!(refused(|config| config.wait_replicas = 17).starts_with("history.redis.wait_replicas"));
    assert!(refused(|config| config.response_timeout = Span(Duration::ZERO)).contains("response_timeout"));
    assert!(
        refused(|config| config.connect_timeout = Span(Duration::from_secs(61))).contains("connect_timeout")
    );
    assert!(refused(|config| config.tls.ca_file = "x".into()).starts_with("history.redis.tls.enabled"));
    let half = |config: &mut RedisConfig| {
        config.tls = RedisTls { enabled: true, key_file: "x".into(), ..RedisTls::default() };
    };
    assert!(refused(half).starts_with("history.redis.tls.certificate_file"));
    assert!(refused(|config| config.sentinel.user = "x".into()).starts_with("history.redis.sentinel.master"));
    let both = |config: &mut RedisConfig| {
        config.cluster = true;
        config.sentinel.master = "main".into();
    };
    assert!(refused(both).starts_with("history.redis.cluster"));
    let numbered = |config: &mut RedisConfig| (config.cluster, config.database) = (true, 1);
    assert!(refused(numbered).starts_with("history.redis.database"));
}

#[test]
fn a_password_comes_from_one_place() {
    let file = std::env::temp_dir().join(format!("fanfare-redis-password-{}", std::process::id()));
    std::fs::write(&file, "secret\n").unwrap();
    let mut config = RedisConfig { password_file: file.clone(), ..RedisConfig::default() };
    assert_eq!(config.read_password(), Ok(Some("secret".to_owned())));
    config.password = "x".into();
    assert_eq!(
        config.validate().unwrap_err().to_string(),
        "history.redis.password and its file cannot both be set"
    );
    config.password.clear();
    std::fs::write(&file, "\n").unwrap();
    assert!(config.validate().unwrap_err().to_string().contains("is empty"));
    std::fs::remove_file(&file).unwrap();
    assert!(config.validate().unwrap_err().to_string().starts_with("history.redis.password_file"));
    assert_eq!(RedisConfig::default().read_password(), Ok(None));
}

#[test]
fn addresses_are_names_and_numbers() {
    for text in ["redis-0.redis:6379", "127.0.0.1:1", "[::1]:6379"] {
        assert_eq!(Address::parse(text).expect(text).to_string(), text);
    }
}
