//! Real SDKs, foreign gRPC clients, a real browser: each against a real server.

mod browser;
mod documented;
mod grpc;
mod messages;
mod presence;
mod program;
mod recovery;
mod second_page;
mod sessions;
mod stand_in;
mod tls;
mod tutorial;
