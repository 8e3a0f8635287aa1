//! `prepare scenes --video` as a user runs it: the set holds what the world says, wrong options get one line.

mod common;

use std::path::Path;

use common::{json, refused, run, says, succeeded, text};
use evoke::data::motion::{MotionOptions, World};
use evoke::data::scenes::Split;
use evoke::data::sound::{Encoding, SoundSet};
use evoke::data::{codes, verify};
use serde_json::Value;

/// A small set; `more` comes after its options.
fn prepare(out: &Path, more: &[&str]) -> Vec<String> {
    let args =
        "prepare scenes --video --train 5 --val 3 --unseen 2 --seconds 1 --rate 4000 --size 16 --json --out";
    args.split(' ').chain([text(out)]).chain(more.iter().copied()).map(String::from).collect()
}

fn made(args: &[String]) -> Value {
    json(run(&args.iter().map(String::as_str).collect::<Vec<_>>()))
}

#[test]
fn a_set_of_moving_scenes_holds_frames_sounds_and_strikes_of_the_world() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("data");
    let summary = made(&prepare(&out, &[]));
    assert_eq!(
        (&summary["splits"]["train"]["samples"], &summary["splits"]["unseen"]["samples"]),
        (&5.into(), &2.into())
    );
    assert!((summary["hours"].as_f64().unwrap() - 10.0 / 3600.0).abs() < 1e-9, "{summary}");
    assert!(verify::dataset(&out).unwrap().faults.is_empty());

    let data = SoundSet::open(&out).unwrap();
    let options = MotionOptions { seconds: 1.0, sample_rate: 4000, side: 16, ..MotionOptions::default() };
    let world = World::new(options, 1).unwrap();
    assert_eq!(data.format(), &world.format(Encoding::MuLaw8));
    assert_eq!((data.format().frames, data.format().samples), (20, 4000));
    for (name, split) in [("train", Split::Train), ("val", Split::Val), ("unseen", Split::Unseen)] {
        let stored = data.split(name).unwrap();
        for i in 0..stored.len() {
            let clip = world.clip(split, i as u64);
            assert_eq!(stored.key(i), format!("{name}-{i:06}"));
            assert_eq!(stored.frames(i), clip.frames);
            assert_eq!(stored.samples(i), codes::encode_all(Encoding::MuLaw8, &clip.wave));
            let strikes: Vec<f32> = stored.strikes(i).iter().map(|strike| strike.seconds).collect();
            assert_eq!(strikes, clip.strikes.iter().map(|strike| strike.seconds as f32).collect::<Vec<_>>());
        }
    }
    let shown = String::from_utf8(succeeded(run(&["inspect", text(&out)])).stdout).unwrap();
    says(&shown, &["train", "unseen", "mu-law-8"]);
}

#[test]
fn the_same_options_give_the_same_set_and_others_another() {
    let folder = tempfile::tempdir().unwrap();
    let hash = |name: &str, more: &[&str]| made(&prepare(&folder.path().join(name), more))["dataset"].clone();
    let first = hash("a", &[]);
    assert_eq!(first, hash("b", &[]));
    for (name, more) in [
        ("c", ["--seed", "2"]),
        ("d", ["--frame-rate", "30000/1001"]),
        ("e", ["--encoding", "linear-8"]),
        ("f", ["--level", "rich"]),
        ("g", ["--shapes", "3"]),
    ] {
        assert_ne!(first, hash(name, &more), "{more:?}");
    }
}

#[test]
fn wrong_options_get_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("data");
    for (more, part) in [
        (["--shapes", "9"], "1, 2 or 3"),
        (["--seconds", "0"], "0.1 to 600"),
        (["--rate", "3"], "1000 to 192000"),
        (["--size", "3"], "8 to 1024"),
        (["--frame-rate", "5000"], "at most 1000 frames"),
    ] {
        let args = prepare(&out, &[]);
        // The later option replaces the earlier one of the same name.
        let kept = args.iter().position(|arg| arg == more[0]);
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        if let Some(at) = kept {
            args.drain(at..at + 2);
        }
        args.extend(more);
        says(&refused(run(&args), 2), &[part]);
    }
    assert!(!out.exists());
    // Options of clips without --video are a mistake, not ignored.
    let output = run(&["prepare", "scenes", "--seconds", "2", "--out", text(&out)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--video"));
}
