//! The control plane: takes pushes from backends, owns channels, and speaks to nodes over links.

mod api;
mod config;
mod history;
mod inspections;
mod journal;
mod link_service;
mod links;
mod members;
mod metrics;
mod operation;
mod owner;
mod owners;
mod presence;
mod push;
mod rate;
mod receipts;
mod refusal;
mod repeats;
mod revocations;
mod router;
pub mod simulation;
mod start;

pub use api::keys::InvalidKey;
pub use api::opening::InvalidApi;
pub use config::{ApiConfig, ApiKeyConfig, ControlPlaneConfig, HistoryConfig, HistoryEngine, Role};
pub use history::{InvalidRedis, RedisConfig, RedisSentinel, RedisTls};
pub use presence::PresenceConfig;
pub use start::{ControlPlane, StartError};
