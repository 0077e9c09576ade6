//! The API of a replica: who may call, and what operators can do with connections.

mod callers;
mod calls;
mod node;
mod operations;
mod presence;
mod replica;
mod streams;
mod watches;
