//! Pictures and pages, where people would rather look than read.

pub mod attention;
pub mod canvas;
mod curves;
pub mod drawing;
pub mod heard;
pub mod html;
pub mod plot;
pub mod positions;
pub mod spectrogram;
pub mod terminal;
mod text;
pub mod wav;

pub use canvas::Canvas;
