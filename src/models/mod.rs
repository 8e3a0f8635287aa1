//! Models: ordinary functions over a [`crate::graph::Graph`].

pub mod captioner;
pub mod engine;
pub mod foley;
pub mod session;
pub mod watch;
