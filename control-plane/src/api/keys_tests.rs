//! What must hold for the keys of the API.

use std::path::PathBuf;

use super::*;

const SECRET: &str = "0123456789abcdef";

fn key(name: &str, roles: &[Role], key: &str) -> ApiKeyConfig {
    ApiKeyConfig { name: name.to_owned(), roles: roles.to_vec(), key: key.to_owned(), ..Default::default() }
}

fn why(keys: &[ApiKeyConfig]) -> String {
    KeySet::load(keys).unwrap_err().to_string()
}

#[test]
fn a_key_opens_what_its_roles_say_and_nothing_else() {
    let keys = KeySet::load(&[
        key("shop", &[Role::Push], SECRET),
        key("desk", &[Role::Read, Role::Operate], "another key of many bytes".replace(' ', "-").as_str()),
    ])
    .unwrap();
    let shop = format!("Bearer {SECRET}");
    let admit = |text: &str, access| keys.admit(Some(text.as_bytes()), access);
    assert_eq!(admit(&shop, Access::Role(Role::Push)).unwrap().as_deref(), Some("shop"));
    assert_eq!(admit(&shop, Access::AnyKey).unwrap().as_deref(), Some("shop"));
    let forbidden = Refusal::Forbidden { key: "shop".into(), role: Role::Operate };
    assert_eq!(admit(&shop, Access::Role(Role::Operate)), Err(forbidden));
    assert!(admit("bearer another-key-of-many-bytes", Access::Role(Role::Operate)).is_ok());
    for wrong in ["", "Bearer", "Bearer ", SECRET, "Basic 0123456789abcdef", "Bearer 0123456789abcdeg"] {
        for access in [Access::AnyKey, Access::Role(Role::Push)] {
            assert_eq!(admit(wrong, access), Err(Refusal::Unauthenticated), "{wrong:?}");
        }
        assert_eq!(admit(wrong, Access::Open), Ok(None));
    }
    assert_eq!(keys.admit(None, Access::AnyKey), Err(Refusal::Unauthenticated));
}

#[test]
fn without_keys_everything_is_open() {
    let keys = KeySet::load(&[]).unwrap();
    assert!(keys.is_empty());
    assert_eq!(keys.admit(None, Access::Role(Role::Operate)), Ok(None));
}

#[test]
fn a_key_can_be_in_a_file_or_be_given_as_its_hash() {
    let file = std::env::temp_dir().join(format!("fanfare-key-{}", std::process::id()));
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let in_file = ApiKeyConfig { key_file: file.clone(), ..key("a", &[Role::Push], "") };
    // printf 0123456789abcdef | sha256sum
    let key_sha256 = "9F9F5111F7B27A781F1F1DDDE5EBC2DD2B796BFC7365C9C28B548E564176929F".to_owned();
    let hashed = ApiKeyConfig { key_sha256, ..key("b", &[Role::Push], "") };
    for config in [in_file, hashed] {
        let keys = KeySet::load(std::slice::from_ref(&config)).unwrap();
        let authorization = format!("Bearer {SECRET}");
        assert!(keys.admit(Some(authorization.as_bytes()), Access::AnyKey).is_ok(), "{}", config.name);
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn what_is_wrong_with_a_key_is_said_with_its_name_and_without_the_key() {
    assert!(why(&[key("", &[Role::Push], SECRET)]).contains("number 1"));
    assert!(why(&[key("a", &[], SECRET)]).contains("\"a\": it needs at least one of the roles"));
    assert!(why(&[key("a", &[Role::Push], "")]).contains("exactly one of"));
    let both = ApiKeyConfig { key_sha256: "0".repeat(64), ..key("a", &[Role::Push], SECRET) };
    assert!(why(&[both]).contains("exactly one of"));
    let short = why(&[key("a", &[Role::Push], "hunter2hunter2")]);
    assert!(short.contains("at least 16 bytes") && !short.contains("hunter2"), "{short}");
    assert!(why(&[key("a", &[Role::Push], "a key with spaces in it")]).contains("without spaces"));
    let twice = [key("a", &[Role::Push], SECRET), key("a", &[Role::Push], "0123456789abcdeX")];
    assert!(why(&twice).contains("another one of this name"));
    let same = [key("a", &[Role::Push], SECRET), key("b", &[Role::Push], SECRET)];
    assert!(why(&same).contains("same key"));
    for hash in ["12", &"g".repeat(64), &"0".repeat(66)] {
        let config = ApiKeyConfig { key_sha256: hash.to_owned(), ..key("a", &[Role::Push], "") };
        assert!(why(&[config]).contains("64 hexadecimal digits"), "{hash}");
    }
    let config = ApiKeyConfig { key_file: PathBuf::from("/no/such/file"), ..key("a", &[Role::Push], "") };
    assert!(why(&[config]).contains("key_file /no/such/file"));
}
