//! A scene: two or three objects, where they stand, and the relations that hold between them.

use super::random::Draws;
use super::shapes::{Colour, Shape, Size};
use super::world::{Level, Split, World};

/// One coloured shape. Lengths are shares of the picture's side; y points down.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub shape: Shape,
    pub colour: Colour,
    pub size: Size,
    pub x: f32,
    pub y: f32,
    pub radius: f32,
    /// Half the tangent of the turning angle, so that no sine is needed.
    pub tilt: f32,
    /// Brightness of the colour, about 1.
    pub shade: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Side by side; the first object is the left one.
    Horizontal,
    /// One over the other; the first object is the upper one.
    Vertical,
}

/// What holds between two objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    LeftOf,
    Above,
    Touching,
    InFrontOf,
    Inside,
    RightOf,
    Below,
    Behind,
}

/// `objects[first]` stands in `relation` to `objects[second]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    pub first: usize,
    pub relation: Relation,
    pub second: usize,
}

/// How the objects are placed. Objects are drawn in their order, later ones over earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Two, apart, along an axis.
    Pair(Axis),
    /// Two that touch, along an axis.
    Touching(Axis),
    /// The second covers a part of the first.
    Overlapping,
    /// The second lies within the first.
    Inside,
    /// Three in a row.
    Between(Axis),
    /// The first above or below the second, the third left or right of the second.
    Corner,
}

/// Two or three objects on a plain ground. Its pixels and captions follow from it alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    pub level: Level,
    pub layout: Layout,
    pub objects: Vec<Object>,
    /// The ground's colour in its middle, 0..255, and how it changes from left to right and from top to bottom.
    pub ground: [f32; 3],
    pub slope: [f32; 2],
}

/// No shape reaches further from its centre along an axis than this, in radii, even when tilted.
pub(super) const REACH: f32 = 1.12;
/// Objects keep this from the picture's edge.
const MARGIN: f32 = 0.015;

impl Relation {
    /// The same relation told the way round that held-out arrangements are listed in.
    pub fn canonical(self, first: Shape, second: Shape) -> (Shape, Relation, Shape) {
        match self {
            Relation::RightOf => (second, Relation::LeftOf, first),
            Relation::Below => (second, Relation::Above, first),
            Relation::Behind => (second, Relation::InFrontOf, first),
            Relation::Touching if (second as usize) < first as usize => (second, self, first),
            _ => (first, self, second),
        }
    }

    /// The relation of the second to the first.
    pub fn inverse(self) -> Relation {
        match self {
            Relation::LeftOf => Relation::RightOf,
            Relation::RightOf => Relation::LeftOf,
            Relation::Above => Relation::Below,
            Relation::Below => Relation::Above,
            Relation::InFrontOf => Relation::Behind,
            Relation::Behind => Relation::InFrontOf,
            Relation::Touching | Relation::Inside => self,
        }
    }
}

impl Axis {
    pub fn relation(self) -> Relation {
        match self {
            Axis::Horizontal => Relation::LeftOf,
            Axis::Vertical => Relation::Above,
        }
    }

    fn point(self, along: f32, across: f32) -> (f32, f32) {
        match self {
            Axis::Horizontal => (along, across),
            Axis::Vertical => (across, along),
        }
    }
}

impl Object {
    /// Signed distance from the point (x, y) to its outline as a share of the side; negative within.
    pub fn distance(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = ((x - self.x) / self.radius, (y - self.y) / self.radius);
        if self.tilt == 0.0 {
            return self.radius * self.shape.distance(dx, dy);
        }
        let scale = 1.0 / (1.0 + self.tilt * self.tilt);
        let (cos, sin) = ((1.0 - self.tilt * self.tilt) * scale, 2.0 * self.tilt * scale);
        self.radius * self.shape.distance(cos * dx + sin * dy, cos * dy - sin * dx)
    }

    /// The area that two objects share, in squares of the side; with itself, an object's own area. Counted on a grid
    /// of `steps` x `steps` over what their bounding boxes share.
    pub(super) fn shared_area(&self, other: &Object, steps: usize) -> f32 {
        let (a, b) = (self.radius * REACH, other.radius * REACH);
        let (left, right) = ((self.x - a).max(other.x - b), (self.x + a).min(other.x + b));
        let (top, bottom) = ((self.y - a).max(other.y - b), (self.y + a).min(other.y + b));
        if left >= right || top >= bottom {
            return 0.0;
        }
        let (cell_x, cell_y) = ((right - left) / steps as f32, (bottom - top) / steps as f32);
        let both = |i: &usize| {
            let x = left + cell_x * ((i % steps) as f32 + 0.5);
            let y = top + cell_y * ((i / steps) as f32 + 0.5);
            self.distance(x, y) < 0.0 && other.distance(x, y) < 0.0
        };
        (0..steps * steps).filter(both).count() as f32 * cell_x * cell_y
    }
}

impl Scene {
    /// Draws layout first, then shapes and colours until the split admits them, so that what is held out does not
    /// change how often each layout appears.
    pub(super) fn draw(world: &World, split: Split, mut draws: Draws) -> Scene {
        let level = world.options().level;
        let axis = draws.pick(&[Axis::Horizontal, Axis::Vertical]);
        let layout = match level {
            Level::Small => Layout::Pair(axis),
            Level::Rich => draws.pick(&[
                Layout::Pair(axis),
                Layout::Touching(axis),
                Layout::Overlapping,
                Layout::Inside,
                Layout::Between(axis),
                Layout::Corner,
            ]),
        };
        // For a corner: is the first object above the second, and the third right of it?
        let (first_above, third_right) = (draws.below(2) == 0, draws.below(2) == 0);
        let facts = facts(layout, first_above, third_right);
        let things = loop {
            let things: Vec<(Shape, Colour)> = (0..layout.count())
                .map(|which| {
                    let container = layout == Layout::Inside && which == 0;
                    let shapes = if container { &Shape::CONTAINERS[..] } else { world.shapes() };
                    (draws.pick(shapes), draws.pick(world.colours()))
                })
                .collect();
            if layout.tells_apart(&things) && world.admits(split, &things, &facts) {
                break things;
            }
        };
        let mut objects: Vec<Object> = things
            .into_iter()
            .map(|(shape, colour)| Object {
                shape,
                colour,
                size: if level == Level::Small {
                    Size::Large
                } else {
                    draws.pick(&[Size::Small, Size::Large])
                },
                x: 0.5,
                y: 0.5,
                radius: 0.0,
                tilt: if level == Level::Small { 0.0 } else { draws.between(-0.06, 0.06) },
                shade: draws.between(0.92, 1.04),
            })
            .collect();
        place(&mut objects, layout, level, (first_above, third_right), &mut draws);
        let light = draws.between(-8.0, 6.0);
        let ground = [246.0, 243.0, 236.0].map(|channel| channel + light + draws.between(-5.0, 3.0));
        let slope = [draws.between(-14.0, 14.0), draws.between(-14.0, 14.0)];
        Scene { level, layout, objects, ground, slope }
    }

    /// The relations its captions speak of, and those that follow from them in a row.
    pub fn facts(&self) -> Vec<Fact> {
        let above = self.objects[0].y < self.objects[1].y;
        let right = self.objects.get(2).is_some_and(|third| third.x > self.objects[1].x);
        facts(self.layout, above, right)
    }
}

impl Layout {
    pub(super) fn count(self) -> usize {
        match self {
            Layout::Between(_) | Layout::Corner => 3,
            _ => 2,
        }
    }

    /// No two objects may answer to the same words, and those that meet must differ in colour to be told apart.
    fn tells_apart(self, things: &[(Shape, Colour)]) -> bool {
        let meet = matches!(self, Layout::Touching(_) | Layout::Overlapping | Layout::Inside);
        things
            .iter()
            .enumerate()
            .all(|(i, a)| things[..i].iter().all(|b| a.1 != b.1 || (!meet && a.0 != b.0)))
    }
}

fn facts(layout: Layout, first_above: bool, third_right: bool) -> Vec<Fact> {
    let fact = |first, relation, second| Fact { first, relation, second };
    match layout {
        Layout::Pair(axis) => vec![fact(0, axis.relation(), 1)],
        Layout::Touching(_) => vec![fact(0, Relation::Touching, 1)],
        Layout::Overlapping => vec![fact(1, Relation::InFrontOf, 0)],
        Layout::Inside => vec![fact(1, Relation::Inside, 0)],
        Layout::Between(axis) => {
            let relation = axis.relation();
            vec![fact(0, relation, 1), fact(1, relation, 2), fact(0, relation, 2)]
        }
        Layout::Corner => vec![
            if first_above { fact(0, Relation::Above, 1) } else { fact(1, Relation::Above, 0) },
            if third_right { fact(1, Relation::LeftOf, 2) } else { fact(2, Relation::LeftOf, 1) },
        ],
    }
}

/// Gives the objects their radii and positions.
fn place(objects: &mut [Object], layout: Layout, level: Level, corner: (bool, bool), draws: &mut Draws) {
    let radii = |small: [f32; 2], large: [f32; 2], objects: &mut [Object], draws: &mut Draws| {
        for object in objects {
            let [low, high] = if object.size == Size::Small { small } else { large };
            object.radius = draws.between(low, high);
        }
    };
    match layout {
        Layout::Pair(axis) if level == Level::Small => lattice_pair(objects, axis, draws),
        Layout::Pair(axis) => {
            radii([0.08, 0.095], [0.145, 0.17], objects, draws);
            let apart = draws.between(0.44, 0.56);
            row(objects, axis, apart, 0.05, draws);
        }
        Layout::Touching(axis) => {
            radii([0.085, 0.1], [0.15, 0.175], objects, draws);
            let apart = meeting_distance(objects, axis, 0.0, 1.0 / 400.0, 48);
            row(objects, axis, apart, 0.0, draws);
        }
        Layout::Overlapping => {
            // A large object over a small one would hide it.
            objects[1].size = if objects[0].size == Size::Small { Size::Small } else { objects[1].size };
            radii([0.1, 0.115], [0.17, 0.19], objects, draws);
            let axis = draws.pick(&[Axis::Horizontal, Axis::Vertical]);
            // The front object is the left or upper one, or the other.
            let swapped = draws.below(2) == 0;
            if swapped {
                objects.swap(0, 1);
            }
            let share = draws.between(0.18, 0.3);
            let apart = meeting_distance(objects, axis, share, 1.0 / 160.0, 24);
            row(objects, axis, apart, 0.0, draws);
            if swapped {
                objects.swap(0, 1);
            }
        }
        Layout::Inside => {
            (objects[0].size, objects[1].size) = (Size::Large, Size::Small);
            radii([0.075, 0.085], [0.26, 0.29], objects, draws);
            let reach = objects[0].radius * REACH + MARGIN;
            objects[0].x = draws.between(reach, 1.0 - reach);
            objects[0].y = draws.between(reach, 1.0 - reach);
            objects[1].x = objects[0].x + draws.between(-0.015, 0.015);
            objects[1].y = objects[0].y + draws.between(-0.015, 0.015);
        }
        Layout::Between(axis) => {
            radii([0.072, 0.082], [0.115, 0.127], objects, draws);
            let reaches: f32 = objects.iter().map(|object| 2.0 * REACH * object.radius).sum();
            let spare = 1.0 - 2.0 * MARGIN - reaches;
            let gap = draws.between(0.35, 0.48) * spare;
            let mut along = MARGIN + draws.between(0.0, 1.0) * (spare - 2.0 * gap);
            let across = draws.between(0.22, 0.78);
            for object in objects {
                let reach = object.radius * REACH;
                (object.x, object.y) = axis.point(along + reach, across + draws.between(-0.03, 0.03));
                along += 2.0 * reach + gap;
            }
        }
        Layout::Corner => {
            radii([0.085, 0.095], [0.135, 0.155], objects, draws);
            let (left, right) = (0.5 - draws.between(0.22, 0.26), 0.5 + draws.between(0.22, 0.26));
            let (top, bottom) = (0.5 - draws.between(0.22, 0.26), 0.5 + draws.between(0.22, 0.26));
            let (first_y, y) = if corner.0 { (top, bottom) } else { (bottom, top) };
            let (x, third_x) = if corner.1 { (left, right) } else { (right, left) };
            for (object, (x, y)) in objects.iter_mut().zip([(x, first_y), (x, y), (third_x, y)]) {
                object.x = x + draws.between(-0.03, 0.03);
                object.y = y + draws.between(-0.03, 0.03);
            }
        }
    }
}

/// The small world's pairs: near the middles of an 8 x 8 grid of cells (the patches, at the demo's sizes), three or four
/// cells apart. A model of patches has less to learn than with objects anywhere.
fn lattice_pair(objects: &mut [Object], axis: Axis, draws: &mut Draws) {
    const CELL: f32 = 1.0 / 8.0;
    // The outermost cells stay empty, so that no object is cut off.
    const INNER: usize = 6;
    const SWAY: f32 = 0.014;
    let apart = 3 + draws.below(2);
    let (along, across) = (draws.below(INNER - apart), draws.below(INNER));
    for (object, along) in objects.iter_mut().zip([along, along + apart]) {
        object.radius = draws.between(0.155, 0.165);
        let middle = |cell: usize, draws: &mut Draws| (cell as f32 + 1.5) * CELL + draws.between(-SWAY, SWAY);
        (object.x, object.y) = axis.point(middle(along, draws), middle(across, draws));
    }
}

/// Two objects `apart` between their centres along the axis, each at most `sway` off it, anywhere in the picture.
fn row(objects: &mut [Object], axis: Axis, apart: f32, sway: f32, draws: &mut Draws) {
    let reach = |object: &Object| object.radius * REACH + MARGIN;
    let (low, high) = (reach(&objects[0]), 1.0 - apart - reach(&objects[1]));
    let along = draws.between(low, high.max(low));
    let widest = reach(&objects[0]).max(reach(&objects[1])) + sway;
    let across = draws.between(widest, 1.0 - widest);
    for (object, along) in objects.iter_mut().zip([along, along + apart]) {
        (object.x, object.y) = axis.point(along, across + draws.between(-sway, sway));
    }
}

/// The distance between the centres at which the two, coming from afar, first share more than this share of the
/// smaller one's area: 0 is a touch. Stepwise, since through a ring's hole a small object may leave again.
fn meeting_distance(objects: &[Object], axis: Axis, share: f32, step: f32, grid: usize) -> f32 {
    let (first, mut second) = (objects[0].clone(), objects[1].clone());
    let smaller = first.shared_area(&first, grid).min(second.shared_area(&second, grid));
    let mut apart = (first.radius + second.radius) * REACH;
    while apart > step {
        let (x, y) = axis.point(apart, 0.0);
        (second.x, second.y) = (first.x + x, first.y + y);
        if first.shared_area(&second, grid) > share * smaller {
            break;
        }
        apart -= step;
    }
    apart
}
