//! Foley.
pub mod positions;
