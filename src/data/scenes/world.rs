//! The world's vocabulary, its splits, and the combinations that are held out of training.

use serde::{Deserialize, Serialize};

use super::random::Draws;
use super::scene::{Fact, Relation, Scene};
use super::shapes::{Colour, Shape};

/// How much there is to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Six shapes, six colours, two objects, four relations: what `evoke demo` learns in minutes.
    #[default]
    Small,
    /// Ten shapes, ten colours, sizes, two or three objects, and also touching, overlapping, inside, between.
    Rich,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldOptions {
    pub level: Level,
    /// Side of the square pictures in pixels. Small objects of the rich world want 96 or more.
    pub side: usize,
}

impl Default for WorldOptions {
    fn default() -> Self {
        WorldOptions { level: Level::Small, side: 64 }
    }
}

/// Which pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    Train,
    /// Fresh pictures of combinations that training shows.
    Val,
    /// Every picture shows at least one shape in a colour that training never gives it.
    Unseen,
}

impl Split {
    /// As it is called in a data set.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Unseen => "unseen",
        }
    }
}

/// Pictures and captions from a seed.
///
/// Training and `Val` never show a held-out pair of shape and colour (one in six of all pairs, a diagonal of their
/// table, so that every shape and every colour is still seen often), nor a held-out arrangement of two shapes and
/// their relation (one in seven). `Unseen` always shows a held-out pair, and arrangements freely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    options: WorldOptions,
    seed: u64,
}

impl World {
    pub fn new(options: WorldOptions, seed: u64) -> Self {
        World { options, seed }
    }

    pub fn options(&self) -> WorldOptions {
        self.options
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn shapes(&self) -> &'static [Shape] {
        match self.options.level {
            Level::Small => &Shape::ALL[..Shape::SMALL],
            Level::Rich => &Shape::ALL,
        }
    }

    pub fn colours(&self) -> &'static [Colour] {
        match self.options.level {
            Level::Small => &Colour::ALL[..Colour::SMALL],
            Level::Rich => &Colour::ALL,
        }
    }

    /// The scene of this split and index: the same for the same options and seed, always and everywhere.
    pub fn scene(&self, split: Split, index: u64) -> Scene {
        let level = match self.options.level {
            Level::Small => 1,
            Level::Rich => 2,
        };
        let split_key = match split {
            Split::Train => 1,
            Split::Val => 2,
            Split::Unseen => 3,
        };
        // The side is no part of the key: a scene can be looked at in any resolution.
        let draws = Draws::new(&[level, self.seed, split_key, index]);
        Scene::draw(self, split, draws)
    }

    /// May a scene with these (shape, colour) objects in these relations stand in this split?
    pub(super) fn admits(&self, split: Split, things: &[(Shape, Colour)], facts: &[Fact]) -> bool {
        let held_out_pair = things.iter().any(|&(shape, colour)| is_held_out_pair(shape, colour));
        match split {
            Split::Unseen => held_out_pair,
            Split::Train | Split::Val => {
                !held_out_pair
                    && !facts.iter().any(|fact| {
                        is_held_out_arrangement(things[fact.first].0, fact.relation, things[fact.second].0)
                    })
            }
        }
    }

    /// Every word its captions can use, in alphabetical order.
    pub fn words(&self) -> Vec<&'static str> {
        let mut words = vec!["a", "is", "there", "above", "below", "left", "right", "of", "with", "it"];
        words.extend(self.shapes().iter().map(|shape| shape.word()));
        words.extend(self.colours().iter().map(|colour| colour.word()));
        if self.options.level == Level::Rich {
            words.extend(["an", "and", "small", "large", "between", "inside", "touching"]);
            words.extend(["touches", "touch", "overlapping", "in", "front", "behind"]);
        }
        words.sort_unstable();
        words
    }
}

/// Is this shape never shown in this colour in training? A diagonal: one colour in six for each shape, and one shape
/// in six for each colour.
pub fn is_held_out_pair(shape: Shape, colour: Colour) -> bool {
    (shape as usize + colour as usize) % 6 == 4
}

/// Are these two shapes never shown in this relation in training?
pub fn is_held_out_arrangement(first: Shape, relation: Relation, second: Shape) -> bool {
    let (first, relation, second) = relation.canonical(first, second);
    (first as usize + 2 * second as usize + 3 * relation as usize) % 7 == 3
}
