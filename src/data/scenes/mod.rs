//! The embedded world: pictures of coloured shapes in relations, with captions, drawn from a seed.
//!
//! Everything is a pure function of (options, seed, split, index), with the same bits on every machine, so nothing
//! has to be downloaded or stored. Some combinations are never shown in training: see [`World`].

mod draw;
mod phrases;
pub(super) mod random;
mod scene;
mod shapes;
mod world;

#[cfg(test)]
mod tests;

pub use scene::{Axis, Fact, Layout, Object, Relation, Scene};
pub use shapes::{Colour, Shape, Size};
pub use world::{Level, Split, World, WorldOptions, is_held_out_arrangement, is_held_out_pair};
