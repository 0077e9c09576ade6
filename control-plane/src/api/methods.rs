//! What a caller needs to be allowed for each method.

use crate::config::Role;

/// What a method needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: load balancers ask it.
    Open,
    /// Any of the configured keys. So do paths that do not exist, which the services refuse by themselves.
    AnyKey,
    /// A key with the role.
    Role(Role),
}

/// What the method at this path needs.
pub(crate) fn access(path: &str) -> Access {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
        return Access::AnyKey;
    };
    match (service, method) {
        // Not `Watch`: streams that last would take the room of those who ask.
        ("grpc.health.v1.Health", "Check") => Access::Open,
        ("fanfare.v1.PushService", _) => Access::Role(Role::Push),
        ("fanfare.v1.PresenceService", _) => Access::Role(Role::Read),
        ("fanfare.v1.ConnectionService", "GetConnection" | "ListConnections") => Access::Role(Role::Read),
        ("fanfare.v1.ConnectionService", _) => Access::Role(Role::Operate),
        ("fanfare.v1.HistoryService", "GetHistory") => Access::Role(Role::Read),
        ("fanfare.v1.HistoryService", _) => Access::Role(Role::Operate),
        ("fanfare.v1.ClusterService", "ListNodes" | "ListChannels") => Access::Role(Role::Read),
        // What is added later needs most until it says otherwise.
        ("fanfare.v1.ClusterService", _) => Access::Role(Role::Operate),
        _ => Access::AnyKey,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_method_of_ours_needs_a_role() {
        let files = prost_types::FileDescriptorSet::decode(fanfare_proto::DESCRIPTORS).unwrap();
        let ours = files.file.iter().filter(|file| file.package() == "fanfare.v1");
        let mut seen = 0;
        for service in ours.flat_map(|file| &file.service) {
            for method in &service.method {
                let path = format!("/fanfare.v1.{}/{}", service.name(), method.name());
                assert!(matches!(access(&path), Access::Role(_)), "{path}");
                seen += 1;
            }
        }
        assert!(seen >= 10, "{seen} methods");
    }

    #[test]
    fn roles_are_as_documented() {
        let role = |path: &str| match access(path) {
            Access::Role(role) => role,
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(role("/fanfare.v1.PushService/PublishStream"), Role::Push);
        assert_eq!(role("/fanfare.v1.ConnectionService/GetConnection"), Role::Read);
        assert_eq!(role("/fanfare.v1.ClusterService/ListNodes"), Role::Read);
        for method in [
            "PresenceService/GetPresence",
            "PresenceService/WatchPresence",
            "ConnectionService/ListConnections",
            "ClusterService/ListChannels",
        ] {
            assert_eq!(role(&format!("/fanfare.v1.{method}")), Role::Read);
        }
        assert_eq!(role("/fanfare.v1.ConnectionService/RevokeTokens"), Role::Operate);
        assert_eq!(role("/fanfare.v1.HistoryService/GetHistory"), Role::Read);
        assert_eq!(role("/fanfare.v1.HistoryService/RemoveHistory"), Role::Operate);
        assert_eq!(access("/grpc.health.v1.Health/Check"), Access::Open);
        for path in [
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/x.Y/Z",
            "/",
            "",
            "/x",
        ] {
            assert_eq!(access(path), Access::AnyKey, "{path}");
        }
    }
}
