//! What the tests from outside share: a real server on free ports, and one way to wait.

pub mod eventually;
pub mod sandbox;
pub mod store;
pub mod tls;
pub mod websocket;
