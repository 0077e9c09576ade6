//! Real SDKs, foreign gRPC clients, a real browser: each against a real server.

mod browser;
mod grpc;
mod messages;
mod program;
mod sessions;
