//! What the moving world promises, checked from the outside.

use std::collections::BTreeSet;

use super::*;
use crate::data::scenes::{Level, Split};

const SPLITS: [Split; 3] = [Split::Train, Split::Val, Split::Unseen];

fn options() -> MotionOptions {
    MotionOptions { sample_rate: 4000, ..MotionOptions::default() }
}

fn rich() -> World {
    World::new(MotionOptions { level: Level::Rich, shapes: 3, seconds: 4.0, ..options() }, 5).unwrap()
}

fn worlds() -> [World; 2] {
    [World::new(options(), 5).unwrap(), rich()]
}

fn energy(bodies: &[Body]) -> f64 {
    bodies.iter().map(|b| b.mass() * (b.velocity[0] * b.velocity[0] + b.velocity[1] * b.velocity[1])).sum()
}

/// The bits of the first clips, so that a change of the world never goes unnoticed.
#[test]
fn clips_are_a_pure_function_of_their_key_and_keep_their_bits() {
    let digests = worlds().map(|world| {
        let bytes: Vec<u8> = SPLITS
            .iter()
            .flat_map(|&split| (0..4).map(move |index| (split, index)))
            .flat_map(|(split, index)| {
                let clip = world.clip(split, index);
                assert_eq!(clip, World::new(world.options().clone(), 5).unwrap().clip(split, index));
                assert_ne!(clip, world.clip(split, index + 1));
                [clip.frames, bytemuck::cast_slice(&clip.wave).to_vec()].concat()
            })
            .collect();
        crate::data::hash_hex(&bytes)
    });
    assert_eq!(digests, ["ef15196be4a25a02", "b00e3906ff8fe52c"]);
}

#[test]
fn nothing_leaves_the_picture_or_enters_another_and_energy_is_kept() {
    let world = rich();
    for index in 0..300 {
        let (course, _) = world.course(SPLITS[index as usize % 3], index);
        let start = energy(&course.at(0.0));
        for tick in 0..200 {
            let bodies = course.at(f64::from(tick) * 0.02);
            assert!((energy(&bodies) / start - 1.0).abs() < 1e-9, "{index}: energy");
            for (i, body) in bodies.iter().enumerate() {
                for axis in 0..2 {
                    let (low, high) = body.reach(axis);
                    let place = body.place[axis];
                    assert!(place - low > -1e-9 && place + high < 1.0 + 1e-9, "{index}: beyond a wall");
                }
                for other in &bodies[..i] {
                    assert!(!overlap(body, other), "{index}: {body:?} in {other:?}");
                }
            }
        }
    }
}

/// Looked for on a fine grid with the signed distances that pictures are drawn with: none of the physics' own code.
fn overlap(one: &Body, other: &Body) -> bool {
    let depth = |body: &Body, x: f64, y: f64| {
        let radius = body.size.radius();
        let (dx, dy) = ((x - body.place[0]) / radius, (y - body.place[1]) / radius);
        body.shape.distance(dx as f32, dy as f32) * radius as f32
    };
    let radius = one.size.radius();
    (0..41 * 41).any(|i| {
        let x = one.place[0] + radius * (f64::from(i % 41) / 20.0 - 1.0);
        let y = one.place[1] + radius * (f64::from(i / 41) / 20.0 - 1.0);
        depth(one, x, y) < -1e-4 && depth(other, x, y) < -1e-4
    })
}

#[test]
fn at_a_strike_things_touch_and_turn_back() {
    let world = rich();
    let mut pairs = 0;
    for index in 0..200 {
        let (course, _) = world.course(Split::Train, index);
        for event in &course.events {
            let bodies = course.at(event.seconds);
            let body = &bodies[event.body];
            match event.partner {
                Partner::Wall(axis) => {
                    let (low, high) = body.reach(axis);
                    let gap = (body.place[axis] - low).min(1.0 - high - body.place[axis]);
                    assert!(gap.abs() < 1e-9, "{gap}");
                    assert!((body.velocity[axis].abs() - event.speed).abs() < 1e-12);
                }
                Partner::Body(other) => {
                    pairs += 1;
                    let gap = gap(body, &bodies[other]).min(gap(&bodies[other], body));
                    assert!((-1e-5..2e-3).contains(&gap), "{index}: {gap}");
                    let before = course.at(event.seconds - 1e-6);
                    let impulse = |bodies: &[Body], axis: usize| -> f64 {
                        [event.body, other].iter().map(|&i| bodies[i].mass() * bodies[i].velocity[axis]).sum()
                    };
                    for axis in 0..2 {
                        assert!((impulse(&before, axis) - impulse(&bodies, axis)).abs() < 1e-9);
                    }
                }
            }
        }
    }
    assert!(pairs > 100, "{pairs} strikes of two shapes");
}

/// The least distance from points along the outline of the one to the other, with the distances pictures are drawn with.
fn gap(one: &Body, other: &Body) -> f32 {
    let (corners, around) = one.shape.convex().unwrap();
    let points = (0..2000).map(|i| {
        let share = i as f32 / 2000.0 * corners.len() as f32;
        let (from, to) = (corners[share as usize], corners[(share as usize + 1) % corners.len()]);
        let (along, angle) = (share.fract(), std::f32::consts::TAU * share);
        let way = |from: f32, to: f32| from + (to - from) * along;
        (way(from.0, to.0) + around * angle.cos(), way(from.1, to.1) + around * angle.sin())
    });
    let (radius, theirs) = (one.size.radius(), other.size.radius());
    let distances = points.map(|(x, y)| {
        let x = one.place[0] + f64::from(x) * radius - other.place[0];
        let y = one.place[1] + f64::from(y) * radius - other.place[1];
        other.shape.distance((x / theirs) as f32, (y / theirs) as f32) * theirs as f32
    });
    distances.fold(f32::INFINITY, f32::min)
}

#[test]
fn held_out_combinations_stay_out_of_training_and_stand_in_every_unseen_clip() {
    for world in worlds() {
        let mut seen = BTreeSet::new();
        for index in 0..400 {
            for split in SPLITS {
                let bodies = world.course(split, index).0.at(0.0);
                assert!(!bodies.is_empty() && bodies.len() <= world.options().shapes);
                let held_out = bodies.iter().any(|body| is_held_out(body.shape, body.colour));
                assert_eq!(held_out, split == Split::Unseen);
                if split == Split::Train {
                    seen.extend(bodies.iter().map(|body| (body.shape as usize, body.colour as usize)));
                }
            }
        }
        // All others are shown, every shape and every colour among them.
        let all = 3 * world.colours().len();
        let kept = all - seen.len();
        assert!(kept == 3 || kept == 4, "{kept} of {all} held out");
        assert!((0..3).all(|shape| seen.iter().any(|pair| pair.0 == shape)));
        assert!((0..world.colours().len()).all(|colour| seen.iter().any(|pair| pair.1 == colour)));
    }
}

#[test]
fn strikes_come_at_a_pace_that_can_be_heard_and_never_clip() {
    for world in worlds() {
        let (mut strikes, mut near, mut speeds) = (0, 0, Vec::new());
        for index in 0..300 {
            let clip = world.clip(Split::Train, index);
            strikes += clip.strikes.len();
            near += clip.strikes.windows(2).filter(|pair| pair[1].seconds - pair[0].seconds < 0.06).count();
            let peak = clip.wave.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
            assert!(peak <= 0.9 && (clip.strikes.is_empty() || peak > 0.05), "{peak}");
            assert_eq!(clip.wave.len(), world.samples());
            assert_eq!(clip.frames.len(), world.frames() * 32 * 32 * 3);
            let (course, _) = world.course(Split::Train, index);
            speeds.extend(course.events.iter().map(|event| event.speed));
        }
        let pace = strikes as f64 / (300.0 * world.options().seconds);
        println!("{pace:.2} strikes a second, {near} of {strikes} near each other");
        assert!((1.5..4.0).contains(&pace), "{pace} strikes a second");
        assert!(near * 50 < strikes, "{near} of {strikes} strikes follow another within 60 ms");
        assert!(speeds.iter().filter(|&&speed| speed < 0.1).count() * 50 < strikes);
    }
}

#[test]
fn silence_until_the_first_strike_and_sound_right_after() {
    let world = World::new(options(), 9).unwrap();
    for index in 0..50 {
        let clip = world.clip(Split::Val, index);
        let Some(first) = clip.strikes.first() else { continue };
        let start = (first.seconds * 4000.0).ceil() as usize;
        assert!(clip.wave[..=start].iter().all(|&sample| sample == 0.0));
        let soon = &clip.wave[start + 1..start + 12];
        assert!(soon.iter().any(|sample| sample.abs() > 0.3 * first.loudness as f32), "{soon:?}");
    }
}

/// The same course at other rates: strikes keep their times, pictures at the same time are the same.
#[test]
fn rates_do_not_change_what_happens() {
    let slow = World::new(options(), 3).unwrap();
    let fast = MotionOptions { frame_rate: (40, 1), sample_rate: 16_000, ..options() };
    let fast = World::new(fast, 3).unwrap();
    for index in 0..10 {
        let (slow, fast) = (slow.clip(Split::Train, index), fast.clip(Split::Train, index));
        assert_eq!(slow.strikes.len(), fast.strikes.len());
        for (a, b) in slow.strikes.iter().zip(&fast.strikes) {
            assert_eq!((a.seconds, a.hertz), (b.seconds, b.hertz));
        }
        let frame = 32 * 32 * 3;
        assert_eq!(slow.frames[7 * frame..8 * frame], fast.frames[14 * frame..15 * frame]);
        assert_ne!(fast.frames[13 * frame..14 * frame], fast.frames[14 * frame..15 * frame]);
    }
}

#[test]
fn options_out_of_range_are_errors_that_say_the_range() {
    for (wrong, says) in [
        (MotionOptions { side: 4, ..options() }, "8 to 1024"),
        (MotionOptions { shapes: 4, ..options() }, "1, 2 or 3"),
        (MotionOptions { seconds: f64::NAN, ..options() }, "0.1 to 600"),
        (MotionOptions { sample_rate: 8, ..options() }, "1000 to 192000"),
        (MotionOptions { frame_rate: (1, 0), ..options() }, "frame"),
        (MotionOptions { frame_rate: (0, 1), ..options() }, "frame"),
    ] {
        let error = World::new(wrong, 1).unwrap_err();
        assert!(error.to_string().contains(says) && error.exit_code() == 2, "{error}");
    }
}
