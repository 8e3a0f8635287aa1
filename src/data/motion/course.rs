//! The course of a clip: from strike to strike, with exact times. Between strikes everything moves on straight lines,
//! so nothing depends on a step or on the frame rate.

use super::body::{Body, dot, minus};

/// What struck.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Partner {
    /// A wall across this axis.
    Wall(usize),
    Body(usize),
}

/// One strike: `body` against `partner`, at `speed` sides a second across the surface on which they met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    pub seconds: f64,
    pub body: usize,
    pub partner: Partner,
    pub speed: f64,
}

#[derive(Debug, Clone)]
pub struct Course {
    /// When each straight stretch starts, and the bodies then.
    stretches: Vec<(f64, Vec<Body>)>,
    pub events: Vec<Event>,
}

impl Course {
    /// Lets the bodies move for this long; `None` if they strike more than `most` times.
    pub fn run(bodies: Vec<Body>, seconds: f64, most: usize) -> Option<Course> {
        let mut course = Course { stretches: vec![(0.0, bodies)], events: Vec::new() };
        loop {
            let (now, bodies) = &course.stretches[course.stretches.len() - 1];
            let Some((wait, mut event)) = next(bodies).filter(|(wait, _)| now + wait < seconds) else {
                return Some(course);
            };
            if course.events.len() == most {
                return None;
            }
            event.seconds = now + wait;
            let mut bodies = bodies.clone();
            bodies.iter_mut().for_each(|body| body.advance(wait));
            event.speed = bounce(&mut bodies, &event, wait);
            course.stretches.push((event.seconds, bodies));
            course.events.push(event);
        }
    }

    /// Nothing is there, and nothing happens.
    pub fn empty() -> Course {
        Course { stretches: vec![(0.0, Vec::new())], events: Vec::new() }
    }

    /// The bodies at this time.
    pub fn at(&self, seconds: f64) -> Vec<Body> {
        let after = self.stretches.partition_point(|(start, _)| *start <= seconds);
        let (start, bodies) = &self.stretches[after.max(1) - 1];
        let mut bodies = bodies.clone();
        bodies.iter_mut().for_each(|body| body.advance(seconds - start));
        bodies
    }
}

/// Which strike comes first, and after how many seconds.
fn next(bodies: &[Body]) -> Option<(f64, Event)> {
    let mut first: Option<(f64, Event)> = None;
    let mut offer = |wait: f64, body: usize, partner: Partner| {
        if first.as_ref().is_none_or(|(earliest, _)| wait < *earliest) {
            first = Some((wait, Event { seconds: 0.0, body, partner, speed: 0.0 }));
        }
    };
    for (i, body) in bodies.iter().enumerate() {
        for axis in 0..2 {
            if let Some(wait) = body.meets_wall(axis) {
                offer(wait, i, Partner::Wall(axis));
            }
        }
        for (j, other) in bodies.iter().enumerate().skip(i + 1) {
            if let Some((wait, _)) = body.meets(other) {
                offer(wait, i, Partner::Body(j));
            }
        }
    }
    first
}

/// Turns the velocities back, without loss: momentum and energy are kept. The speed at which they met.
fn bounce(bodies: &mut [Body], event: &Event, wait: f64) -> f64 {
    let i = event.body;
    match event.partner {
        Partner::Wall(axis) => {
            bodies[i].velocity[axis] = -bodies[i].velocity[axis];
            bodies[i].velocity[axis].abs()
        }
        Partner::Body(j) => {
            // From before the strike, where `next` found it, so that both speak of the same surface.
            let (mut one, mut other) = (bodies[i], bodies[j]);
            one.advance(-wait);
            other.advance(-wait);
            let Some((_, outward)) = one.meets(&other) else { return 0.0 };
            let speed = -dot(minus(other.velocity, one.velocity), outward);
            let push = 2.0 * speed / (1.0 / one.mass() + 1.0 / other.mass());
            for (axis, along) in outward.into_iter().enumerate() {
                bodies[i].velocity[axis] -= push / one.mass() * along;
                bodies[j].velocity[axis] += push / other.mass() * along;
            }
            speed
        }
    }
}
