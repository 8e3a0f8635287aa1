//! Pictures and pages, where people would rather look than read.

pub mod attention;
pub mod canvas;
mod curves;
pub mod html;
pub mod positions;
pub mod terminal;
mod text;

pub use canvas::Canvas;
