//! Judging sound: strikes that are heard ([`mod@onsets`], [`pitch`]), bits a sample ([`bits`]), and how far two spectra are
//! apart ([`distance`]); [`Judge`] takes them together.
//!
//! Everything here takes waveforms with values in -1..=1 and a rate in samples a second.

pub mod bits;
pub mod distance;
mod judge;
pub mod onsets;
pub mod pitch;
mod transform;

#[cfg(test)]
mod tests;

pub use bits::{Bits, Mean, bits_per_sample};
pub use distance::spectral_distance;
pub use judge::{Judge, Verdict};
pub use onsets::{Matches, TOLERANCE, match_times, onsets};
pub use pitch::{Pitches, pitches, strike_pitch};
pub use transform::Spectrum;
