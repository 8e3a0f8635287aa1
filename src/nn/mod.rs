//! Building blocks of models: parameters, and the layers that are made of ops.

pub mod init;
pub mod layers;
pub mod parameters;
pub mod positions;
mod sites;
pub mod stack;
pub mod stem;

pub use parameters::{Parameter, Parameters, Part};
pub use sites::Sites;
