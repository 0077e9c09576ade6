//! The rules of the house, each a test that reads the repository.

mod api_reference;
mod code_map;
mod codes;
mod configuration;
mod documents;
mod functions;
mod headers;
mod imports;
mod locks;
mod markdown;
mod mask;
mod names;
mod queues;
mod refused;
mod report;
mod repository;
mod sizes;
mod source;
mod strangers;
mod structs;
