//! The vocabulary of things: shapes with their signed distances, colours, sizes.

/// What an object is. The first [`Shape::SMALL`] stand in the small world, all in the rich one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Cross,
    Ring,
    Diamond,
    Heart,
    Moon,
    Arrow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Colour {
    Red,
    Green,
    Blue,
    Yellow,
    Purple,
    Cyan,
    Orange,
    Pink,
    Brown,
    Black,
}

/// Spoken of in the rich world only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    Small,
    Large,
}

type Points = &'static [(f32, f32)];

// Outlines within [-1, 1] squared, y downwards, balanced by eye so that no shape looks much larger than another.
// Written out, not computed: sin and cos differ in their last bits between platforms, pictures must not.
const CIRCLE: f32 = 0.94;
const SQUARE: Points = &[(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)];
const TRIANGLE: Points = &[(0.0, -0.92), (1.0, 0.84), (-1.0, 0.84)];
const DIAMOND: Points = &[(0.0, -1.0), (0.8, 0.0), (0.0, 1.0), (-0.8, 0.0)];
const STAR: Points = &[
    (0.0, -0.98),
    (0.26, -0.26),
    (1.0, -0.23),
    (0.42, 0.24),
    (0.62, 0.96),
    (0.0, 0.54),
    (-0.62, 0.96),
    (-0.42, 0.24),
    (-1.0, -0.23),
    (-0.26, -0.26),
];
const CROSS: Points = &[
    (-0.32, -0.96),
    (0.32, -0.96),
    (0.32, -0.32),
    (0.96, -0.32),
    (0.96, 0.32),
    (0.32, 0.32),
    (0.32, 0.96),
    (-0.32, 0.96),
    (-0.32, 0.32),
    (-0.96, 0.32),
    (-0.96, -0.32),
    (-0.32, -0.32),
];
const ARROW: Points =
    &[(0.0, -1.0), (0.9, 0.0), (0.36, 0.0), (0.36, 0.96), (-0.36, 0.96), (-0.36, 0.0), (-0.9, 0.0)];
/// The lower part of the heart; two circles make the upper one.
const HEART: Points = &[(-0.857, -0.009), (0.0, -0.42), (0.857, -0.009), (0.0, 0.96)];

impl Shape {
    pub const ALL: [Shape; 10] = [
        Shape::Circle,
        Shape::Square,
        Shape::Triangle,
        Shape::Star,
        Shape::Cross,
        Shape::Ring,
        Shape::Diamond,
        Shape::Heart,
        Shape::Moon,
        Shape::Arrow,
    ];
    pub const SMALL: usize = 6;
    /// Shapes with room within for a small object.
    pub const CONTAINERS: [Shape; 4] = [Shape::Circle, Shape::Square, Shape::Ring, Shape::Diamond];

    pub fn word(self) -> &'static str {
        match self {
            Shape::Circle => "circle",
            Shape::Square => "square",
            Shape::Triangle => "triangle",
            Shape::Star => "star",
            Shape::Cross => "cross",
            Shape::Ring => "ring",
            Shape::Diamond => "diamond",
            Shape::Heart => "heart",
            Shape::Moon => "moon",
            Shape::Arrow => "arrow",
        }
    }

    /// The corners of a convex outline in units of the object's radius, and how far the outline lies around them: a
    /// circle is one corner with a distance. `None` for the shapes that are not convex.
    pub fn convex(self) -> Option<(&'static [(f32, f32)], f32)> {
        match self {
            Shape::Circle => Some((&[(0.0, 0.0)], CIRCLE)),
            Shape::Square => Some((SQUARE, 0.0)),
            Shape::Triangle => Some((TRIANGLE, 0.0)),
            Shape::Diamond => Some((DIAMOND, 0.0)),
            _ => None,
        }
    }

    /// Signed distance from (x, y) to the outline, in units of the object's radius; negative within. It never
    /// overstates the distance, so a point further than some length has no edge nearer than that.
    pub fn distance(self, x: f32, y: f32) -> f32 {
        let circle = |cx: f32, cy: f32, radius: f32| length(x - cx, y - cy) - radius;
        match self {
            Shape::Circle => circle(0.0, 0.0, CIRCLE),
            Shape::Ring => (length(x, y) - 0.72).abs() - 0.25,
            Shape::Moon => circle(-0.05, 0.0, 0.98).max(-circle(0.42, -0.12, 0.76)),
            Shape::Heart => {
                circle(-0.46, -0.36, 0.53).min(circle(0.46, -0.36, 0.53)).min(polygon(HEART, x, y))
            }
            Shape::Square => polygon(SQUARE, x, y),
            Shape::Triangle => polygon(TRIANGLE, x, y),
            Shape::Star => polygon(STAR, x, y),
            Shape::Cross => polygon(CROSS, x, y),
            Shape::Diamond => polygon(DIAMOND, x, y),
            Shape::Arrow => polygon(ARROW, x, y),
        }
    }
}

fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

/// Distance to the nearest edge; a ray to the right crosses the outline an odd number of times from within.
fn polygon(points: Points, x: f32, y: f32) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut within = false;
    let mut from = points[points.len() - 1];
    for &to in points {
        let (edge_x, edge_y) = (to.0 - from.0, to.1 - from.1);
        let (dx, dy) = (x - from.0, y - from.1);
        let along = ((dx * edge_x + dy * edge_y) / (edge_x * edge_x + edge_y * edge_y)).clamp(0.0, 1.0);
        let (gap_x, gap_y) = (dx - along * edge_x, dy - along * edge_y);
        nearest = nearest.min(gap_x * gap_x + gap_y * gap_y);
        if (from.1 > y) != (to.1 > y) && dx < dy * edge_x / edge_y {
            within = !within;
        }
        from = to;
    }
    if within { -nearest.sqrt() } else { nearest.sqrt() }
}

impl Colour {
    pub const ALL: [Colour; 10] = [
        Colour::Red,
        Colour::Green,
        Colour::Blue,
        Colour::Yellow,
        Colour::Purple,
        Colour::Cyan,
        Colour::Orange,
        Colour::Pink,
        Colour::Brown,
        Colour::Black,
    ];
    pub const SMALL: usize = 6;

    pub fn word(self) -> &'static str {
        match self {
            Colour::Red => "red",
            Colour::Green => "green",
            Colour::Blue => "blue",
            Colour::Yellow => "yellow",
            Colour::Purple => "purple",
            Colour::Cyan => "cyan",
            Colour::Orange => "orange",
            Colour::Pink => "pink",
            Colour::Brown => "brown",
            Colour::Black => "black",
        }
    }

    /// Red, green, blue in 0..255.
    pub fn rgb(self) -> [f32; 3] {
        match self {
            Colour::Red => [226.0, 42.0, 48.0],
            Colour::Green => [34.0, 164.0, 72.0],
            Colour::Blue => [36.0, 82.0, 222.0],
            Colour::Yellow => [250.0, 206.0, 24.0],
            Colour::Purple => [146.0, 48.0, 196.0],
            Colour::Cyan => [28.0, 196.0, 220.0],
            Colour::Orange => [246.0, 132.0, 22.0],
            Colour::Pink => [248.0, 140.0, 190.0],
            Colour::Brown => [132.0, 84.0, 46.0],
            Colour::Black => [34.0, 34.0, 40.0],
        }
    }
}

impl Size {
    pub fn word(self) -> &'static str {
        match self {
            Size::Small => "small",
            Size::Large => "large",
        }
    }
}
