//! The whole server from outside, through its real doors.

mod abuse;
mod bystander;
mod calls;
mod channels;
mod churn;
mod command_line;
mod dispatch;
mod expiry;
mod frames;
mod history;
mod http;
mod identity;
mod key_server;
mod keys;
mod life;
mod limits;
mod operations;
mod permissions;
mod protobuf;
mod receipts;
mod signals;
mod stores;
mod strangers;
mod tls;
mod tokens;
