//! What moves: shapes that never turn, with their outlines, masses, and when they meet walls and each other.

use serde::{Deserialize, Serialize};

use crate::data::scenes::{Colour, Shape};

/// A point, a way or a velocity; shares of the picture's side (a second), y downwards.
pub type Vector = [f64; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Size {
    Small,
    Large,
    /// Stands in the rich world only.
    Medium,
}

impl Size {
    pub const ALL: [Size; 3] = [Size::Small, Size::Large, Size::Medium];

    /// As a share of the picture's side.
    pub fn radius(self) -> f64 {
        match self {
            Size::Small => 0.12,
            Size::Medium => 0.145,
            Size::Large => 0.175,
        }
    }
}

/// A shape that moves on a straight line until it strikes something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Body {
    pub shape: Shape,
    pub colour: Colour,
    pub size: Size,
    pub place: Vector,
    pub velocity: Vector,
}

/// Bodies count as touching this far apart, so that no rounding lets a corner slip past another.
const SKIN: f64 = 1e-6;

impl Body {
    /// All are cut from the same sheet; the shapes' areas hardly differ.
    pub fn mass(&self) -> f64 {
        self.size.radius() * self.size.radius()
    }

    /// Corners around its place, and how far the outline lies around them.
    fn outline(&self) -> (Vec<Vector>, f64) {
        let radius = self.size.radius();
        // The world draws convex shapes alone; any other would be taken for a circle.
        let (corners, around) = self.shape.convex().unwrap_or((&[(0.0, 0.0)], 1.0));
        let corners = corners.iter().map(|&(x, y)| [f64::from(x) * radius, f64::from(y) * radius]);
        (corners.collect(), f64::from(around) * radius)
    }

    /// How far it reaches from its place along the axis: to lower and to higher coordinates.
    pub fn reach(&self, axis: usize) -> (f64, f64) {
        let (corners, around) = self.outline();
        let along = corners.iter().map(|corner| corner[axis]);
        (
            -along.clone().fold(f64::INFINITY, f64::min) + around,
            along.fold(f64::NEG_INFINITY, f64::max) + around,
        )
    }

    /// How far it reaches in any direction.
    pub fn furthest(&self) -> f64 {
        let (corners, around) = self.outline();
        around + corners.iter().map(|&corner| dot(corner, corner).sqrt()).fold(0.0, f64::max)
    }

    pub fn advance(&mut self, seconds: f64) {
        for axis in 0..2 {
            self.place[axis] += self.velocity[axis] * seconds;
        }
    }

    /// Seconds until it touches a wall across this axis; walls are the picture's edges.
    pub fn meets_wall(&self, axis: usize) -> Option<f64> {
        let (low, high) = self.reach(axis);
        let (place, speed) = (self.place[axis], self.velocity[axis]);
        if speed > 0.0 {
            Some(((1.0 - high - place) / speed).max(0.0))
        } else if speed < 0.0 {
            Some(((low - place) / speed).max(0.0))
        } else {
            None
        }
    }

    /// Seconds until it touches the other, and the direction from the touched outline towards the other, of length 1.
    ///
    /// Neither turns, so they touch when the way between their places reaches the outline of the Minkowski sum of the
    /// one and the mirrored other: a convex polygon, with a margin all around.
    pub fn meets(&self, other: &Body) -> Option<(f64, Vector)> {
        let way = minus(other.place, self.place);
        let velocity = minus(other.velocity, self.velocity);
        let (mine, around) = self.outline();
        let (theirs, further) = other.outline();
        let sums = mine.iter().flat_map(|&a| theirs.iter().map(move |&b| minus(a, b))).collect();
        enter(&hull(sums), around + further + SKIN, way, velocity)
    }
}

/// When a point that starts outside enters the polygon with its margin, and the outward direction there.
fn enter(corners: &[Vector], margin: f64, from: Vector, velocity: Vector) -> Option<(f64, Vector)> {
    let mut first: Option<(f64, Vector)> = None;
    let mut hit = |seconds: f64, outward: Vector| {
        if first.is_none_or(|(earliest, _)| seconds < earliest) {
            first = Some((seconds, outward));
        }
    };
    for (i, &corner) in corners.iter().enumerate() {
        let way = minus(from, corner);
        // The edge to the next corner, moved outwards by the margin.
        let edge = minus(corners[(i + 1) % corners.len()], corner);
        let length = dot(edge, edge).sqrt();
        if length > 0.0 {
            let outward = [edge[1] / length, -edge[0] / length];
            let (apart, speed) = (dot(way, outward) - margin, dot(velocity, outward));
            // Slightly within is a touch that rounding moved.
            if speed < 0.0 && apart > -SKIN {
                let seconds = (apart / -speed).max(0.0);
                let along = dot(way, edge) + seconds * dot(velocity, edge);
                if (0.0..=length * length).contains(&along) {
                    hit(seconds, outward);
                }
            }
        }
        // The circle around the corner.
        let (nearing, speed) = (dot(way, velocity), dot(velocity, velocity));
        let apart = dot(way, way) - margin * margin;
        let root = nearing * nearing - speed * apart;
        if nearing < 0.0 && root >= 0.0 && apart > -SKIN * margin {
            let seconds = ((-nearing - root.sqrt()) / speed).max(0.0);
            let at = [way[0] + seconds * velocity[0], way[1] + seconds * velocity[1]];
            let length = dot(at, at).sqrt();
            hit(seconds, [at[0] / length, at[1] / length]);
        }
    }
    first
}

/// The convex hull, its interior on the left of each edge where y points up (Andrew's monotone chain).
fn hull(mut points: Vec<Vector>) -> Vec<Vector> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    points.dedup();
    let mut corners = Vec::new();
    for pass in 0..2 {
        let start = corners.len();
        for &point in &points {
            while corners.len() >= start + 2 {
                let (a, b): (Vector, Vector) = (corners[corners.len() - 2], corners[corners.len() - 1]);
                let (edge, next) = (minus(b, a), minus(point, b));
                if edge[0] * next[1] - edge[1] * next[0] > 0.0 {
                    break;
                }
                corners.pop();
            }
            corners.push(point);
        }
        if points.len() > 1 {
            // The last point starts the other half.
            corners.pop();
        }
        points.reverse();
        if pass == 0 && points.len() == 1 {
            break;
        }
    }
    corners
}

pub fn minus(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1]]
}

pub fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}
