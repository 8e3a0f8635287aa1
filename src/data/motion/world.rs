//! The moving world's options and splits, and its clips.

use serde::{Deserialize, Serialize};

use super::body::{Body, Size};
use super::course::{Course, Partner};
use super::draw;
use super::voice::{SECOND, Voice, loudness};
use crate::data::scenes::random::Draws;
use crate::data::scenes::{Colour, Level, Shape, Split};
use crate::{Error, Result};

/// What a clip is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MotionOptions {
    /// Small: four colours, two sizes. Rich: six colours, three sizes, and grounds of all shades.
    pub level: Level,
    /// Side of the square frames in pixels.
    pub side: usize,
    /// The most shapes in a clip, 1 to 3; each clip has from one to this many.
    pub shapes: usize,
    pub seconds: f64,
    /// Samples a second.
    pub sample_rate: u32,
    /// Frames a second as a fraction. Frame k shows the time k / rate.
    pub frame_rate: (u32, u32),
}

impl Default for MotionOptions {
    fn default() -> Self {
        MotionOptions {
            level: Level::Small,
            side: 32,
            shapes: 2,
            seconds: 3.0,
            sample_rate: 16_000,
            frame_rate: (20, 1),
        }
    }
}

/// A strike as it is heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strike {
    pub seconds: f64,
    /// The pitch, of the louder one where two shapes strike each other.
    pub hertz: f64,
    /// The amplitude with which it starts.
    pub loudness: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// `[frames, side, side, 3]`, red, green, blue.
    pub frames: Vec<u8>,
    /// `[samples]` in -0.9..=0.9.
    pub wave: Vec<f32>,
    pub strikes: Vec<Strike>,
}

/// Clips from a seed.
///
/// Training and `Val` never show a shape in a colour that is held out for it (see [`is_held_out`]); in every clip of
/// `Unseen` at least one shape wears such a colour. The shapes of one clip differ in colour.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    options: MotionOptions,
    seed: u64,
}

const SHAPES: [Shape; 3] = [Shape::Circle, Shape::Square, Shape::Triangle];
/// No clip sounds louder than this.
const PEAK: f64 = 0.9;
/// Strikes of a clip keep this many seconds from each other and from the clip's ends, as far as possible.
const APART: f64 = 0.06;
/// Softer strikes than this, in sides a second, are avoided: one hardly sees them.
const GRAZE: f64 = 0.1;
/// Strikes a second.
const BUSY: f64 = 4.5;
/// Beginnings that are tried before the best of them is taken.
const TRIES: usize = 512;

/// Is this shape never shown in this colour in training? One colour in four, another one for each shape.
pub fn is_held_out(shape: Shape, colour: Colour) -> bool {
    (shape as usize + colour as usize) % 4 == 3
}

impl World {
    /// # Errors
    /// If an option is out of its range.
    pub fn new(options: MotionOptions, seed: u64) -> Result<World> {
        let rate = f64::from(options.frame_rate.0) / f64::from(options.frame_rate.1);
        let wrong = |what: &str| Err(Error::usage(format!("the moving world: {what}")));
        if !(8..=1024).contains(&options.side) {
            return wrong("frames are 8 to 1024 pixels wide");
        }
        if !(1..=3).contains(&options.shapes) {
            return wrong("a clip has at most 1, 2 or 3 shapes");
        }
        if !(0.1..=600.0).contains(&options.seconds) {
            return wrong("a clip lasts 0.1 to 600 seconds");
        }
        if !(1000..=192_000).contains(&options.sample_rate) {
            return wrong("sounds have 1000 to 192000 samples a second");
        }
        if !(rate > 0.0 && rate <= 1000.0) || options.seconds * rate < 0.5 {
            return wrong("clips have at least one frame, and at most 1000 frames a second");
        }
        Ok(World { options, seed })
    }

    pub fn options(&self) -> &MotionOptions {
        &self.options
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Frames of a clip.
    pub fn frames(&self) -> usize {
        let (frames, seconds) = self.options.frame_rate;
        (self.options.seconds * f64::from(frames) / f64::from(seconds)).round() as usize
    }

    /// Samples of a clip.
    pub fn samples(&self) -> usize {
        (self.options.seconds * f64::from(self.options.sample_rate)).round() as usize
    }

    pub fn colours(&self) -> &'static [Colour] {
        match self.options.level {
            Level::Small => &Colour::ALL[..4],
            Level::Rich => &Colour::ALL[..6],
        }
    }

    fn draws(&self, split: Split, index: u64) -> Draws {
        let level = match self.options.level {
            Level::Small => 1,
            Level::Rich => 2,
        };
        let split = match split {
            Split::Train => 1,
            Split::Val => 2,
            Split::Unseen => 3,
        };
        // Side and rates are no part of the key: a course can be seen and heard at any resolution. The first word
        // keeps it apart from the still world.
        Draws::new(&[0x6d6f_7665, level, self.seed, split, index])
    }

    /// The course of this split and index, and the colour of its ground.
    pub fn course(&self, split: Split, index: u64) -> (Course, [f32; 3]) {
        let mut draws = self.draws(split, index);
        let count = 1 + draws.below(self.options.shapes);
        let things = loop {
            let things: Vec<(Shape, Colour)> =
                (0..count).map(|_| (draws.pick(&SHAPES), draws.pick(self.colours()))).collect();
            let distinct = things.iter().enumerate().all(|(i, a)| things[..i].iter().all(|b| a.1 != b.1));
            let held_out = things.iter().any(|&(shape, colour)| is_held_out(shape, colour));
            if distinct && held_out == (split == Split::Unseen) {
                break things;
            }
        };
        let sizes = match self.options.level {
            Level::Small => &Size::ALL[..2],
            Level::Rich => &Size::ALL,
        };
        // Before any place is tried: small shapes, which fit more often, are no more frequent.
        let things: Vec<_> =
            things.into_iter().map(|(shape, colour)| (shape, colour, draws.pick(sizes))).collect();
        let ground = match self.options.level {
            Level::Small => 246.0,
            Level::Rich => draws.between(190.0, 250.0),
        };
        let mut best: Option<(usize, Course)> = None;
        for _ in 0..TRIES {
            if let Some((flaws, course)) = self.attempt(&things, &mut draws)
                && best.as_ref().is_none_or(|(fewest, _)| flaws < *fewest)
            {
                best = Some((flaws, course));
                if flaws == 0 {
                    break;
                }
            }
        }
        // Three shapes of these sizes always find a place within so many tries; without one, an empty stage.
        let course = best.map_or_else(Course::empty, |(_, course)| course);
        (course, [ground, ground - 2.0, ground - 8.0])
    }

    /// One beginning and what follows from it, with the number of its flaws. `None` if the shapes do not fit.
    fn attempt(&self, things: &[(Shape, Colour, Size)], draws: &mut Draws) -> Option<(usize, Course)> {
        // Slower with more shapes, which have less room: about as many strikes.
        let pace = [0.7, 0.42, 0.3][things.len() - 1];
        let mut bodies: Vec<Body> = Vec::new();
        for &(shape, colour, size) in things {
            let mut body = Body { shape, colour, size, place: [0.0; 2], velocity: [0.0; 2] };
            for axis in 0..2 {
                let (low, high) = body.reach(axis);
                let share = f64::from(draws.between(0.05, 0.95));
                body.place[axis] = low + (1.0 - low - high) * share;
                let speed = pace * f64::from(draws.between(0.4, 1.6));
                body.velocity[axis] = if draws.below(2) == 0 { speed } else { -speed };
            }
            bodies.push(body);
        }
        let reach = Body::furthest;
        let clear = bodies.iter().enumerate().all(|(i, a)| {
            bodies[..i].iter().all(|b| {
                let (x, y) = (a.place[0] - b.place[0], a.place[1] - b.place[1]);
                (x * x + y * y).sqrt() > reach(a) + reach(b)
            })
        });
        if !clear {
            return None;
        }
        let seconds = self.options.seconds;
        let course = Course::run(bodies, seconds, (seconds * 20.0).ceil() as usize)?;
        let mut flaws = course.events.iter().filter(|event| event.speed < GRAZE).count();
        let times = course.events.iter().map(|event| event.seconds);
        let marks: Vec<f64> = std::iter::once(0.0).chain(times).chain(std::iter::once(seconds)).collect();
        flaws += marks.windows(2).filter(|pair| pair[1] - pair[0] < APART).count();
        flaws += course.events.len().saturating_sub((BUSY * seconds).ceil() as usize);
        Some((flaws, course))
    }

    /// The clip of this split and index: the same for the same options and seed, always and everywhere.
    pub fn clip(&self, split: Split, index: u64) -> Clip {
        let (course, ground) = self.course(split, index);
        let (rate, side) = (f64::from(self.options.sample_rate), self.options.side);
        let mut frames = Vec::with_capacity(self.frames() * side * side * 3);
        let period = f64::from(self.options.frame_rate.1) / f64::from(self.options.frame_rate.0);
        for frame in 0..self.frames() {
            draw::frame(&course.at(frame as f64 * period), ground, side, &mut frames);
        }
        let mut wave = vec![0.0; self.samples()];
        let mut strikes = sound(&course, rate, &mut wave);
        // Loud strikes on top of each other: the clip as a whole becomes softer.
        let peak = wave.iter().fold(0.0f64, |peak, sample| peak.max(sample.abs()));
        let gain = if peak > PEAK { PEAK / peak } else { 1.0 };
        strikes.iter_mut().for_each(|strike| strike.loudness *= gain);
        Clip { frames, wave: wave.iter().map(|sample| (sample * gain) as f32).collect(), strikes }
    }
}

/// Adds the sounds of all strikes to the wave.
fn sound(course: &Course, rate: f64, wave: &mut [f64]) -> Vec<Strike> {
    let bodies = course.at(0.0);
    let mut strikes = Vec::with_capacity(course.events.len());
    for event in &course.events {
        let start = (event.seconds * rate).ceil() as usize;
        let loudness = loudness(event.speed);
        let mut lead = Voice::of(&bodies[event.body]);
        if let Partner::Body(other) = event.partner {
            let mut other = Voice::of(&bodies[other]);
            if other.hertz > lead.hertz {
                std::mem::swap(&mut lead, &mut other);
            }
            other.add(wave, start, rate, loudness * SECOND);
        }
        lead.add(wave, start, rate, loudness);
        strikes.push(Strike { seconds: event.seconds, hertz: lead.hertz, loudness });
    }
    strikes
}
