//! An owner, nodes and clients under a seeded scheduler, and an oracle that holds every subscriber's share against the truth.

mod calm;
mod channels;
mod controls;
mod dice;
mod mangler;
mod person;
mod scenarios;
mod schedule;
mod seeds;
mod subscription;
mod truth;
mod wire;
mod words;
mod world;
