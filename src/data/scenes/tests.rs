//! What the scene world promises, checked from the outside: captions are parsed back and compared with geometry.

use std::collections::{BTreeSet, HashMap};

use super::*;

const SPLITS: [Split; 3] = [Split::Train, Split::Val, Split::Unseen];

fn worlds() -> [World; 2] {
    [Level::Small, Level::Rich].map(|level| World::new(WorldOptions { level, side: 64 }, 7))
}

fn scenes(world: &World, split: Split, count: u64) -> impl Iterator<Item = Scene> {
    (0..count).map(move |index| world.scene(split, index))
}

#[test]
fn a_scene_is_a_pure_function_of_its_key() {
    for world in worlds() {
        for split in SPLITS {
            // In another order, and from a world made anew.
            let forward: Vec<_> = scenes(&world, split, 50).map(|s| (s.pixels(32), s.captions())).collect();
            let again = World::new(world.options(), world.seed());
            for index in (0..50).rev() {
                let scene = again.scene(split, index);
                assert_eq!((scene.pixels(32), scene.captions()), forward[index as usize]);
            }
        }
    }
}

/// The bits of the first scenes, so that a change of the world never goes unnoticed: shards made before it would
/// hold other pictures than those made after it under the same seed.
#[test]
fn scenes_keep_their_bits_between_versions() {
    let digests = worlds().map(|world| {
        let bytes: Vec<u8> = SPLITS
            .iter()
            .flat_map(|&split| scenes(&world, split, 20))
            .flat_map(|scene| [scene.pixels(48), scene.captions().join("|").into_bytes()].concat())
            .collect();
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&bytes))
    });
    assert_eq!(digests, ["4c6ab5cf112c5df3", "f5291d2f03728ab9"]);
}

#[test]
fn seeds_splits_and_indices_give_other_pictures() {
    let options = WorldOptions::default();
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        for split in SPLITS {
            for scene in scenes(&World::new(options, seed), split, 20) {
                assert!(seen.insert(scene.pixels(64)), "a picture came twice: {:?}", scene.captions());
            }
        }
    }
}

#[test]
fn training_never_shows_what_is_held_out_and_unseen_always_does() {
    for world in worlds() {
        for split in SPLITS {
            for scene in scenes(&world, split, 4_000) {
                let pair = scene.objects.iter().any(|o| is_held_out_pair(o.shape, o.colour));
                let arrangement = scene.facts().iter().any(|fact| {
                    let shape = |which: usize| scene.objects[which].shape;
                    is_held_out_arrangement(shape(fact.first), fact.relation, shape(fact.second))
                });
                match split {
                    Split::Train | Split::Val => assert!(!pair && !arrangement, "{:?}", scene.captions()),
                    Split::Unseen => assert!(pair, "{:?}", scene.captions()),
                }
            }
        }
    }
}

/// Read from the captions alone, not from the rule: no phrase of a shape in a colour that `unseen` is about may stand
/// in any training caption.
#[test]
fn held_out_pairs_never_stand_in_a_training_caption() {
    for world in worlds() {
        let pairs = |split| -> BTreeSet<(String, String)> {
            let captions = scenes(&world, split, 4_000).flat_map(|scene| scene.captions());
            let pairs = captions.flat_map(|caption| {
                let words: Vec<String> = caption.split(' ').map(str::to_string).collect();
                words.windows(2).map(|w| (w[0].clone(), w[1].clone())).collect::<Vec<_>>()
            });
            let is_pair = |(colour, shape): &(String, String)| {
                world.colours().iter().any(|c| c.word() == colour)
                    && world.shapes().iter().any(|s| s.word() == shape)
            };
            pairs.filter(is_pair).collect()
        };
        let (train, val, unseen) = (pairs(Split::Train), pairs(Split::Val), pairs(Split::Unseen));
        let all = world.shapes().len() * world.colours().len();
        let held_out = unseen.difference(&train).count();
        assert_eq!(unseen.len(), all);
        assert_eq!(train, val);
        assert_eq!(train.len() + held_out, all);
        let share = held_out as f64 / all as f64;
        assert!((0.14..0.18).contains(&share), "{share}");
    }
}

#[test]
fn training_shows_every_shape_colour_relation_and_word_often() {
    for world in worlds() {
        let count = 4_000;
        let mut shapes: HashMap<Shape, usize> = HashMap::new();
        let mut colours: HashMap<Colour, usize> = HashMap::new();
        let mut relations: HashMap<Relation, usize> = HashMap::new();
        let mut words: HashMap<String, usize> = HashMap::new();
        for scene in scenes(&world, Split::Train, count) {
            for object in &scene.objects {
                *shapes.entry(object.shape).or_default() += 1;
                *colours.entry(object.colour).or_default() += 1;
            }
            for fact in scene.facts() {
                *relations.entry(fact.relation).or_default() += 1;
            }
            for word in scene.captions().join(" ").split(' ') {
                *words.entry(word.to_string()).or_default() += 1;
            }
        }
        let often = count as usize / 20;
        assert!(world.shapes().iter().all(|s| shapes[s] > often), "{shapes:?}");
        assert!(world.colours().iter().all(|c| colours[c] > often), "{colours:?}");
        assert_eq!(relations.len(), if world.options().level == Level::Small { 2 } else { 5 });
        assert!(relations.values().all(|&n| n > often), "{relations:?}");
        // Exactly the announced vocabulary, and no word is rare.
        let mut seen: Vec<&str> = words.keys().map(String::as_str).collect();
        seen.sort_unstable();
        assert_eq!(seen, world.words());
        assert!(words.values().all(|&n| n > often), "{words:?}");
    }
}

#[test]
fn objects_lie_inside_the_picture_and_apart_unless_the_relation_says_otherwise() {
    const STEPS: usize = 112;
    for world in worlds() {
        for scene in SPLITS.into_iter().flat_map(|split| scenes(&world, split, 100)) {
            // Areas counted on a grid that reaches beyond the picture, by the outlines alone.
            let mut area = vec![0usize; scene.objects.len()];
            let mut shared = 0;
            for i in 0..STEPS * STEPS {
                let x = -0.2 + 1.4 * ((i % STEPS) as f32 + 0.5) / STEPS as f32;
                let y = -0.2 + 1.4 * ((i / STEPS) as f32 + 0.5) / STEPS as f32;
                let hits: Vec<usize> =
                    (0..scene.objects.len()).filter(|&o| scene.objects[o].distance(x, y) < 0.0).collect();
                if !hits.is_empty() {
                    assert!((0.0..1.0).contains(&x) && (0.0..1.0).contains(&y), "{scene:?}");
                }
                hits.iter().for_each(|&o| area[o] += 1);
                shared += usize::from(hits.len() > 1);
            }
            assert!(area.iter().all(|&cells| cells > 15), "{area:?} {scene:?}");
            let share = shared as f64 / area.iter().copied().min().unwrap() as f64;
            match scene.layout {
                Layout::Overlapping => assert!((0.1..0.45).contains(&share), "{share} {scene:?}"),
                Layout::Inside if scene.objects[0].shape == Shape::Ring => assert_eq!(shared, 0, "{scene:?}"),
                Layout::Inside => assert_eq!(shared, area[1], "{scene:?}"),
                Layout::Touching(_) => assert!(share < 0.03, "{share} {scene:?}"),
                Layout::Pair(_) | Layout::Between(_) | Layout::Corner => assert_eq!(shared, 0, "{scene:?}"),
            }
            let sizes = |size| scene.objects.iter().filter(move |o| o.size == size).map(|o| o.radius);
            if let (Some(small), Some(large)) =
                (sizes(Size::Small).reduce(f32::max), sizes(Size::Large).reduce(f32::min))
            {
                assert!(small * 1.3 < large, "small and large look alike: {scene:?}");
            }
        }
    }
}

/// Touching is looked for between the nearest points: the gap is at most a hundredth of the side.
#[test]
fn touching_objects_touch() {
    let [_, world] = worlds();
    let mut met = 0;
    for scene in scenes(&world, Split::Train, 400) {
        if !matches!(scene.layout, Layout::Touching(_)) {
            continue;
        }
        met += 1;
        let gap = (0..300 * 300)
            .map(|i| ((i % 300) as f32 / 300.0, (i / 300) as f32 / 300.0))
            .map(|(x, y)| scene.objects[0].distance(x, y).max(scene.objects[1].distance(x, y)))
            .fold(f32::INFINITY, f32::min);
        assert!(gap < 0.01, "{gap} {scene:?}");
    }
    assert!(met > 30);
}

#[test]
fn captions_are_distinct_and_true_of_the_picture() {
    for world in worlds() {
        for scene in SPLITS.into_iter().flat_map(|split| scenes(&world, split, 600)) {
            let captions = scene.captions();
            assert_eq!(captions.iter().collect::<BTreeSet<_>>().len(), 5);
            let mut named = BTreeSet::new();
            for caption in &captions {
                let said = parse(caption, &scene);
                named.extend(said.iter().flat_map(|&(a, _, b)| [a, b]));
                assert!(!said.is_empty(), "{caption}");
                for (a, relation, b) in said {
                    assert!(holds(&scene, a, &relation, b), "{caption}: {a} {relation} {b} in {scene:?}");
                }
            }
            assert_eq!(named.len(), scene.objects.len(), "{captions:?}");
        }
    }
}

/// A parser of its own: objects become letters, then the few sentence patterns are told apart. Each gives claims
/// (object, relation, object).
fn parse(caption: &str, scene: &Scene) -> Vec<(usize, String, usize)> {
    let words: Vec<&str> = caption.split(' ').collect();
    let mut sentence: Vec<String> = Vec::new();
    let mut objects = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if words[at] != "a" && words[at] != "an" {
            sentence.push(words[at].to_string());
            at += 1;
            continue;
        }
        assert_eq!(words[at] == "an", "aeiou".contains(&words[at + 1][..1]), "{caption}");
        at += 1;
        let size = ["small", "large"].contains(&words[at]).then(|| words[at]);
        at += usize::from(size.is_some());
        let fits: Vec<usize> = (0..scene.objects.len())
            .filter(|&o| {
                let object = &scene.objects[o];
                object.colour.word() == words[at]
                    && object.shape.word() == words[at + 1]
                    && size.is_none_or(|size| size == object.size.word())
            })
            .collect();
        assert_eq!(fits.len(), 1, "{caption} names {fits:?}");
        objects.push(fits[0]);
        sentence.push("N".to_string());
        at += 2;
    }
    let pattern =
        sentence.join(" ").replace("there is ", "").replace("left of", "left").replace("right of", "right");
    let pattern = pattern
        .replace("in front of", "front")
        .replace("overlapping", "overlaps")
        .replace("touches", "touching");
    let parts: Vec<&str> = pattern.split(' ').collect();
    let claim = |a: usize, relation: &str, b: usize| (objects[a], relation.to_string(), objects[b]);
    match parts[..] {
        ["N", relation, "N"] | ["N", "is", relation, "N"] => vec![claim(0, relation, 1)],
        [relation, "N", "is", "N"] => vec![claim(1, relation, 0)],
        ["N", "and", "N", "touch"] => vec![claim(0, "touching", 1)],
        ["N", "with", "N", "inside"] => vec![claim(1, "inside", 0)],
        ["N", "between", "N", "and", "N"] => vec![claim(0, "between", 1), claim(0, "between", 2)],
        ["between", "N", "and", "N", "is", "N"] => vec![claim(2, "between", 0), claim(2, "between", 1)],
        // Both readings of a chain have to be true.
        ["N", one, "N", two, "N"] => vec![claim(0, one, 1), claim(1, two, 2), claim(0, two, 2)],
        ["N", "with", "N", relation, "it"] => vec![claim(1, relation, 0)],
        ["N", "with", "N", one, "it", "and", "N", two, "it"] => vec![claim(1, one, 0), claim(2, two, 0)],
        ["N", one, "N", "and", two, "N"] | ["N", "is", one, "N", "and", two, "N"] => {
            vec![claim(0, one, 1), claim(0, two, 2)]
        }
        _ => panic!("no such sentence: {caption} ({pattern})"),
    }
}

/// Is the claim true, by position and outline alone?
fn holds(scene: &Scene, a: usize, relation: &str, b: usize) -> bool {
    let (first, second) = (&scene.objects[a], &scene.objects[b]);
    let (right, down) = (second.x - first.x, second.y - first.y);
    // Clear along its axis: beyond chance, and in a chain of a corner also for the far object.
    let clear = 0.15;
    match relation {
        "left" => right > clear,
        "right" => right < -clear,
        "above" => down > clear,
        "below" => down < -clear,
        "touching" => matches!(scene.layout, Layout::Touching(_)),
        "front" => a > b && first.shared_area(second, 40) > 0.0,
        "behind" => a < b && first.shared_area(second, 40) > 0.0,
        "overlaps" => first.shared_area(second, 40) > 0.0,
        "inside" => right.hypot(down) + first.radius < second.radius,
        "between" => {
            let third = &scene.objects[3 - a - b];
            let (x, y) = (third.x - first.x, third.y - first.y);
            // The others lie on opposite sides, nearly in line.
            x * right + y * down < -0.9 * x.hypot(y) * right.hypot(down)
        }
        _ => panic!("{relation}?"),
    }
}

/// For two objects the named axis is where they stand apart; the other axis must not be arguable.
#[test]
fn the_relation_of_a_pair_is_clear_to_see() {
    for world in worlds() {
        for scene in scenes(&world, Split::Train, 2_000) {
            let (a, b) = (&scene.objects[0], &scene.objects[1]);
            let (along, across) = match scene.layout {
                Layout::Pair(Axis::Horizontal) => (b.x - a.x, b.y - a.y),
                Layout::Pair(Axis::Vertical) => (b.y - a.y, b.x - a.x),
                _ => continue,
            };
            assert!(along > 3.0 * across.abs(), "{scene:?}");
        }
    }
}

#[test]
fn pictures_are_coloured_shapes_on_a_pale_ground() {
    for world in worlds() {
        for scene in scenes(&world, Split::Val, 200) {
            let side = 64;
            let pixels = scene.pixels(side);
            assert_eq!(pixels.len(), side * side * 3);
            for i in 0..side * side {
                let (x, y) =
                    (((i % side) as f32 + 0.5) / side as f32, ((i / side) as f32 + 0.5) / side as f32);
                let pixel = &pixels[i * 3..i * 3 + 3];
                // Well within an object, and under no later one, the pixel has that object's colour.
                let deep = scene.objects.iter().rev().find(|object| object.distance(x, y) < 0.02);
                match deep {
                    None => assert!(pixel.iter().all(|&channel| channel > 200), "{pixel:?}"),
                    Some(object) if object.distance(x, y) < -0.03 => {
                        for (&byte, colour) in pixel.iter().zip(object.colour.rgb()) {
                            assert!((byte as f32 - colour).abs() < 24.0, "{pixel:?} {object:?}");
                        }
                    }
                    Some(_) => {}
                }
            }
        }
    }
}
