//! The whole server from outside, through its real doors.

mod abuse;
mod bystander;
mod calls;
mod channels;
mod churn;
mod command_line;
mod dispatch;
mod frames;
mod http;
mod life;
mod operations;
mod protobuf;
mod receipts;
mod signals;
mod strangers;
mod tokens;
