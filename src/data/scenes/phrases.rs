//! Captions: five phrasings of each scene, each true, each naming its objects without ambiguity.
//!
//! What is named first follows from what can be seen (the left or upper object, the one in front), so no caption
//! depends on anything hidden from the model.

use super::scene::{Layout, Object, Relation, Scene};
use super::world::Level;

impl Scene {
    /// The scene's reference captions, all different.
    pub fn captions(&self) -> Vec<String> {
        let sized: Vec<String> = self.objects.iter().map(|object| self.name(object, true)).collect();
        let plain: Vec<String> = self.objects.iter().map(|object| self.name(object, false)).collect();
        match self.layout {
            Layout::Pair(axis) => {
                let (relation, inverse) = (word(axis.relation()), word(axis.relation().inverse()));
                let ((a, b), (plain_a, plain_b)) = ((&sized[0], &sized[1]), (&plain[0], &plain[1]));
                // After each beginning (an object, "there is", a relation) one object comes first: its place decides.
                vec![
                    format!("{a} {relation} {b}"),
                    format!("{plain_a} is {relation} {plain_b}"),
                    format!("{a} with {b} {inverse} it"),
                    format!("there is {b} {inverse} {a}"),
                    format!("{inverse} {plain_a} is {plain_b}"),
                ]
            }
            Layout::Touching(_) => {
                let (a, b) = (&sized[0], &sized[1]);
                vec![
                    format!("{a} touching {b}"),
                    format!("{b} touching {a}"),
                    format!("{} touches {}", plain[0], plain[1]),
                    format!("{a} and {b} touch"),
                    format!("there is {} touching {}", plain[1], plain[0]),
                ]
            }
            Layout::Overlapping => {
                let (back, front) = (&sized[0], &sized[1]);
                vec![
                    format!("{front} in front of {back}"),
                    format!("{back} behind {front}"),
                    format!("{} overlapping {}", plain[1], plain[0]),
                    format!("there is {front} in front of {back}"),
                    format!("{} is behind {}", plain[0], plain[1]),
                ]
            }
            Layout::Inside => {
                let (outer, inner) = (&sized[0], &sized[1]);
                vec![
                    format!("{inner} inside {outer}"),
                    format!("{outer} with {inner} inside"),
                    format!("{} is inside {}", plain[1], plain[0]),
                    format!("there is {inner} inside {outer}"),
                    format!("inside {} is {}", plain[0], plain[1]),
                ]
            }
            Layout::Between(axis) => {
                let (relation, inverse) = (word(axis.relation()), word(axis.relation().inverse()));
                let (a, b, c) = (&sized[0], &sized[1], &sized[2]);
                vec![
                    format!("{b} between {a} and {c}"),
                    format!("{a} {relation} {b} {relation} {c}"),
                    format!("{} {inverse} {} {inverse} {}", plain[2], plain[1], plain[0]),
                    format!("there is {b} between {a} and {c}"),
                    format!("between {} and {} is {}", plain[0], plain[2], plain[1]),
                ]
            }
            Layout::Corner => {
                let (a, b, c) = (&sized[0], &sized[1], &sized[2]);
                let above = self.objects[0].y < self.objects[1].y;
                let right = self.objects[2].x > self.objects[1].x;
                // The first relative to the corner, and the third relative to the corner.
                let vertical = if above { Relation::Above } else { Relation::Below };
                let horizontal = if right { Relation::RightOf } else { Relation::LeftOf };
                let (v, h) = (word(vertical), word(horizontal));
                let (not_v, not_h) = (word(vertical.inverse()), word(horizontal.inverse()));
                // In the two chains the last relation holds for both objects before it.
                vec![
                    format!("{b} with {a} {v} it and {c} {h} it"),
                    format!("{a} {v} {b} {not_h} {c}"),
                    format!("{} {h} {} {not_v} {}", plain[2], plain[1], plain[0]),
                    format!("there is {b} {not_v} {a} and {not_h} {c}"),
                    format!("{} is {not_v} {} and {not_h} {}", plain[1], plain[0], plain[2]),
                ]
            }
        }
    }

    fn name(&self, object: &Object, sized: bool) -> String {
        let size = if sized && self.level == Level::Rich { object.size.word() } else { "" };
        let rest = format!("{} {}", object.colour.word(), object.shape.word());
        let noun = if size.is_empty() { rest } else { format!("{size} {rest}") };
        let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        format!("{article} {noun}")
    }
}

fn word(relation: Relation) -> &'static str {
    match relation {
        Relation::LeftOf => "left of",
        Relation::RightOf => "right of",
        Relation::Above => "above",
        Relation::Below => "below",
        Relation::Touching => "touching",
        Relation::InFrontOf => "in front of",
        Relation::Behind => "behind",
        Relation::Inside => "inside",
    }
}
