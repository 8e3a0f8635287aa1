//! How a strike sounds: a few damped partials.
//!
//! | what | decides |
//! |---|---|
//! | size | pitch: small 523 Hz, medium 349 Hz, large 233 Hz |
//! | shape | timbre: how strong the partials at 2 and 3 times the pitch are |
//! | colour | how fast it fades: time constants from 25 to 130 ms |
//! | speed | loudness: amplitude 0.12 for a touch, 0.6 from 1.2 sides a second across the surface |
//!
//! Where two shapes strike each other both sound, the larger one at a third of the loudness. Amplitudes add up; partials
//! above 0.45 of the sample rate are left out, whatever is left is as loud.

use super::body::{Body, Size};
use super::numbers::{exponential, turn};
use crate::data::scenes::{Colour, Shape};

/// Fades by this many time constants, to 0.1 % of its start, then ends.
const LENGTH: f64 = 7.0;
/// How loud the larger one of two is: a third, so that the strike has one pitch that is heard first.
pub const SECOND: f64 = 1.0 / 3.0;

/// A shape's sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    /// The pitch; the lowest partial.
    pub hertz: f64,
    /// Amplitudes of the partials at 1, 2, 3 times the pitch; their sum is 1, and the first is the strongest.
    pub partials: [f64; 3],
    /// Seconds after which it has faded to 1/e.
    pub fades: f64,
}

impl Voice {
    pub fn of(body: &Body) -> Voice {
        let hertz = match body.size {
            Size::Small => 523.0,
            Size::Medium => 349.0,
            Size::Large => 233.0,
        };
        let partials = match body.shape {
            Shape::Circle => [0.9, 0.1, 0.0],
            Shape::Square => [0.6, 0.0, 0.4],
            Shape::Triangle => [0.5, 0.4, 0.1],
            _ => [0.45, 0.3, 0.25],
        };
        let milliseconds = match body.colour {
            Colour::Red => 40.0,
            Colour::Green => 60.0,
            Colour::Blue => 90.0,
            Colour::Yellow => 130.0,
            Colour::Purple => 25.0,
            Colour::Cyan => 75.0,
            Colour::Orange => 50.0,
            Colour::Pink => 110.0,
            Colour::Brown => 30.0,
            Colour::Black => 100.0,
        };
        Voice { hertz, partials, fades: milliseconds / 1000.0 }
    }

    /// Adds its sound from sample `start` on: `loudness * sum_k partial_k sin(2 pi k hertz t) e^(-t / fades)`. It
    /// begins with a sine's zero on a whole sample, so that there is no click and like strikes sound alike.
    pub fn add(&self, wave: &mut [f64], start: usize, rate: f64, loudness: f64) {
        let damping = exponential(-1.0 / (self.fades * rate));
        let last = wave.len().min(start + (LENGTH * self.fades * rate) as usize);
        let audible = |k: usize| self.hertz * (k + 1) as f64 <= 0.45 * rate;
        let whole: f64 = (0..self.partials.len()).filter(|&k| audible(k)).map(|k| self.partials[k]).sum();
        for (k, partial) in self.partials.iter().enumerate() {
            if *partial == 0.0 || !audible(k) {
                continue;
            }
            // One turn of a shrinking pointer a sample: no sine in the loop.
            let (sine, cosine) = turn(self.hertz * (k + 1) as f64 / rate);
            let (sine, cosine) = (sine * damping, cosine * damping);
            let (mut x, mut y) = (loudness * partial / whole, 0.0);
            for sample in wave.get_mut(start..last).unwrap_or_default() {
                *sample += y;
                (x, y) = (x * cosine - y * sine, x * sine + y * cosine);
            }
        }
    }
}

/// Loudness of a strike at this speed across the surface, in sides a second.
pub fn loudness(speed: f64) -> f64 {
    0.12 + 0.4 * speed.min(1.2)
}
