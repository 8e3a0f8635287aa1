//! Optimisation beside the update itself ([`crate::ops::optimizer`]): how the learning rate moves.

pub mod schedule;
