//! The embedded world, moving: shapes on straight lines that bounce off walls and strike each other, each strike with
//! its sound, drawn from a seed.
//!
//! Everything is a pure function of (options, seed, split, index), with the same bits on every machine. Strikes have
//! exact times (see `course`); `voice` says how they sound; nothing but a strike makes a sound, so whoever watches
//! can know all that is to be heard. Some shapes never appear in some colours in training: see [`World`].

mod body;
mod course;
mod draw;
mod numbers;
mod source;
mod voice;
mod world;

#[cfg(test)]
mod tests;

pub use body::{Body, Size};
pub use course::{Course, Event, Partner};
pub use source::MovingScenes;
pub use voice::{Voice, loudness};
pub use world::{Clip, MotionOptions, Strike, World, is_held_out};
