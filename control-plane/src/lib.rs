//! The control plane: takes pushes from backends, owns channels, and speaks to nodes over links.

mod api;
mod config;
mod link_service;
mod links;
mod metrics;
mod owner;
mod owners;
mod push;
mod receipts;
mod router;
mod start;

pub use config::{ApiConfig, ApiKeyConfig, ControlPlaneConfig, Role};
pub use start::{ControlPlane, StartError};
