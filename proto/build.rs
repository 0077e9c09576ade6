//! Generates the Rust code of every `.proto` file with protox, so that no protobuf compiler is needed.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

const CLIENT_PACKAGE: &str = "fanfare.client.v1";

const FILES: [&str; 7] = [
    "fanfare/v1/push.proto",
    "fanfare/v1/connections.proto",
    "fanfare/v1/history.proto",
    "fanfare/v1/cluster.proto",
    "fanfare/v1/presence.proto",
    "fanfare/link/v1/link.proto",
    "fanfare/client/v1/client.proto",
];

/// Fields that the JSON client protocol writes even when they are zero: SDKs read them unchecked.
const ALWAYS_WRITTEN: [&str; 8] = [
    "ClientInfo.user",
    "ClientInfo.client",
    "PresenceResult.presence",
    "PresenceStatsResult.num_clients",
    "PresenceStatsResult.num_users",
    "HistoryResult.publications",
    "HistoryResult.epoch",
    "HistoryResult.offset",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.binpb"), descriptors.encode_to_vec())?;

    let builder = tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .extern_path(".google.rpc.Status", "::tonic_types::Status");
    client_json(builder, &descriptors).compile_fds(descriptors)?;
    Ok(())
}

/// Gives the client protocol's messages the JSON form that SDKs speak, which is not proto3's:
/// snake_case names, zero values left out, and `bytes` as embedded raw JSON.
fn client_json(
    mut builder: tonic_prost_build::Builder,
    descriptors: &FileDescriptorSet,
) -> tonic_prost_build::Builder {
    let is_client = |file: &&FileDescriptorProto| file.package() == CLIENT_PACKAGE;
    for message in descriptors.file.iter().filter(is_client).flat_map(|file| &file.message_type) {
        let path = format!(".{CLIENT_PACKAGE}.{}", message.name());
        builder = builder
            .type_attribute(&path, "#[derive(serde::Serialize, serde::Deserialize)]")
            .type_attribute(&path, "#[serde(default)]");
        for field in &message.field {
            let name = format!("{}.{}", message.name(), field.name());
            let path = format!("{path}.{}", field.name());
            if field.type_name().ends_with(".ServerSubscription") {
                builder = builder.field_attribute(&path, "#[serde(with = \"crate::subscription_map\")]");
            }
            if field.r#type() == Type::Bytes {
                builder = builder.field_attribute(&path, "#[serde(with = \"crate::raw_json\")]");
            }
            if !ALWAYS_WRITTEN.contains(&name.as_str()) {
                builder =
                    builder.field_attribute(&path, "#[serde(skip_serializing_if = \"crate::is_default\")]");
            }
        }
    }
    builder
}
