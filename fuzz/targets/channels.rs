//! Channel names and namespaces: any name, beside a namespace of any name with any pattern.
#![no_main]

use fanfare_cluster::channel::{ChannelName, ChannelOptions, Namespace, Namespaces};
use libfuzzer_sys::fuzz_target;

// Three lines: a channel, a namespace, and what channels of it must match.
fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (channel, name, channel_regex) = (line(), line().to_owned(), line().to_owned());
    let options = ChannelOptions { channel_regex, ..Default::default() };
    let namespaces = Namespaces::new(ChannelOptions::default(), &[Namespace { name, options }]);
    let Ok(channel) = ChannelName::parse(channel) else { return };
    let (namespace, rest) = channel.split_namespace();
    let open = channel.as_str().strip_prefix('$').unwrap_or(channel.as_str());
    assert_eq!(open, namespace.map_or(rest.to_owned(), |namespace| format!("{namespace}:{rest}")));
    assert!(!channel.is_personal() || namespace.is_none(), "a personal channel is in no namespace");
    if let Some(users) = channel.users() {
        assert!(users.count() <= channel.as_str().len());
    }
    if let Ok(namespaces) = namespaces
        && let Ok(rules) = namespaces.of(&channel)
    {
        let admitted = rules.admits_name(&channel);
        assert!(admitted || !channel.is_personal(), "personal channels are named by their users");
    }
});
