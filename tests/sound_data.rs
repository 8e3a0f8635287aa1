//! Sound sets as a user makes them: folders of WAV files without ffmpeg, killed and gone on with, bad files named.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::{Random, contents, evoke, json, killed_until_done, refused, refused_after, says, succeeded};
use evoke::data::codes::{Encoding, decode_all};
use evoke::data::sound::SoundSet;
use serde_json::Value;

const RATE: u32 = 16_000;

/// Writes 16-bit sound; `value(n)` is sample `n` of every channel but for the sign, which turns in each second one.
fn wav(path: &Path, rate: u32, channels: u16, samples: usize, value: impl Fn(usize) -> f64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for n in 0..samples {
        for channel in 0..channels {
            let sign = if channel % 2 == 1 { -1.0 } else { 1.0 };
            writer.write_sample((value(n) * sign * 32_767.0) as i16).unwrap();
        }
    }
    writer.finalize().unwrap();
}

/// `evoke prepare audio` where there is no ffmpeg.
fn audio(from: &Path, out: &Path, options: &[&str]) -> Command {
    let mut command = evoke();
    command.env("EVOKE_FFMPEG", "/no/such/ffmpeg").args(["prepare", "audio", "--json"]).arg(from);
    command.arg("--out").arg(out).args(options);
    command
}

/// The report of one file.
fn file<'a>(report: &'a Value, name: &str) -> &'a Value {
    let files = report["files"].as_array().unwrap();
    files.iter().find(|file| file["path"] == name).unwrap_or_else(|| panic!("{name} in {files:?}"))
}

#[test]
fn a_folder_with_lists_becomes_three_splits_and_bad_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (from, out) = (folder.path().join("words"), folder.path().join("data"));
    let tone = |n: usize| (n as f64 * 0.3).sin() * 0.5;
    for i in 0..6 {
        wav(&from.join(format!("zero/{i}.wav")), RATE, 1, RATE as usize, tone);
        wav(&from.join(format!("one/{i}.wav")), RATE, 1, RATE as usize - 2000, tone);
    }
    wav(&from.join("long.wav"), RATE, 1, 40_000, tone);
    wav(&from.join("bad/stereo.wav"), RATE, 2, RATE as usize, tone);
    wav(&from.join("bad/silent.wav"), RATE, 1, RATE as usize, |_| 0.0);
    wav(&from.join("bad/empty.wav"), RATE, 1, 0, tone);
    wav(&from.join("bad/rate.wav"), 44_100, 1, 44_100, tone);
    wav(&from.join("bad/cut.wav"), RATE, 1, 3 * RATE as usize, tone);
    let whole = std::fs::read(from.join("bad/cut.wav")).unwrap();
    std::fs::write(from.join("bad/cut.wav"), &whole[..44 + 2 * RATE as usize + 101]).unwrap();
    std::fs::write(from.join("bad/text.wav"), "these are words\n").unwrap();
    std::fs::write(from.join("bad/other.mp3"), "so are these\n").unwrap();
    std::fs::write(from.join("validation_list.txt"), "zero/0.wav\none/0.wav\n").unwrap();
    std::fs::write(from.join("testing_list.txt"), "zero/1.wav\nnot/there.wav\n").unwrap();

    let report = json(audio(&from, &out, &["--silence=-60"]).output().unwrap());
    let samples = |split: &str| report["splits"][split]["samples"].as_u64().unwrap();
    // Nine words, three clips of the long file, the stereo mix is silence, and one clip of the broken file with the
    // padded rest.
    assert_eq!((samples("train"), samples("val"), samples("test")), (9 + 3 + 2, 2, 1));
    for (name, reason) in [
        ("bad/stereo.wav", "1 silent"),
        ("bad/silent.wav", "1 silent"),
        ("bad/empty.wav", "has no samples"),
        ("bad/rate.wav", "has 44100 samples a second, not 16000; install ffmpeg to resample it"),
        ("bad/cut.wav", "is cut off"),
        ("bad/text.wav", "is no WAV file that can be read"),
        ("bad/other.mp3", "is no WAV file; install ffmpeg to read it"),
    ] {
        says(file(&report, name)["reason"].as_str().unwrap(), &[reason]);
    }
    assert_eq!(file(&report, "bad/cut.wav")["clips"], 2);
    assert_eq!(file(&report, "long.wav")["reason"], Value::Null);
    assert!((report["hours"].as_f64().unwrap() - 17.0 / 3600.0).abs() < 1e-9);
    assert!((report["loudness"].as_f64().unwrap() + 9.0).abs() < 1.0, "{}", report["loudness"]);

    let data = SoundSet::open(&out).unwrap();
    let test = data.split("test").unwrap();
    assert_eq!((test.key(0), test.frames(0).len()), ("zero/1.wav@0.000", 0));
    let heard = decode_all(Encoding::MuLaw8, test.samples(0));
    assert_eq!(heard.len(), RATE as usize);
    assert!(
        (0..heard.len()).all(|n| (f64::from(heard[n]) - tone(n)).abs() < 0.03),
        "a cell is up to .022 wide there"
    );
    let val = data.split("val").unwrap();
    let short = (0..2).find(|&i| val.key(i) == "one/0.wav@0.000").unwrap();
    assert!(
        val.samples(short)[RATE as usize - 2000..].iter().all(|&code| code == 128),
        "padded with silence"
    );

    let shown = json(evoke().args(["inspect", "--json"]).arg(&out).output().unwrap());
    assert_eq!((&shown["sound"]["samples"], &shown["splits"]["val"]["clips"]), (&16_000.into(), &2.into()));
    succeeded(evoke().arg("verify").arg(&out).output().unwrap());
    succeeded(evoke().arg("inspect").arg(&out).output().unwrap());
}

#[test]
fn options_of_the_sound_are_kept_in_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let (from, out) = (folder.path().join("words"), folder.path().join("data"));
    wav(&from.join("quiet.wav"), 8000, 1, 10_000, |n| (n as f64 * 0.3).sin() * 0.01);
    let options =
        ["--rate", "8000", "--encoding", "mu-law-16", "--gain", "--seconds", "0.5", "--short", "drop"];
    let report = json(audio(&from, &out, &options).output().unwrap());
    says(file(&report, "quiet.wav")["reason"].as_str().unwrap(), &["1 too short"]);
    let data = SoundSet::open(&out).unwrap();
    assert_eq!((data.format().sample_rate, data.format().samples, data.format().gain), (8000, 4000, true));
    let split = data.split(data.split_names().next().unwrap()).unwrap();
    let heard = decode_all(Encoding::MuLaw16, split.samples(0));
    assert!((heard.iter().fold(0.0f32, |peak, x| peak.max(*x)) - 1.0).abs() < 1e-3);
}

#[test]
fn a_killed_prepare_goes_on_and_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("music");
    // Eleven files on eight lanes, of lengths that end in the middle of shards of 64 clips.
    for i in 0..11 {
        let noise = move |n: usize| ((n * (i + 3)) as f64 * 0.01).sin() * 0.3;
        wav(&from.join(format!("{i:02}.wav")), RATE, 1, RATE as usize * (5 + 4 * i) + 100 * i, noise);
    }
    let options = ["--shard-mib", "1", "--val-share", "0.2"];
    let reference = folder.path().join("reference");
    let started = Instant::now();
    let report = json(audio(&from, &reference, &options).output().unwrap());
    let whole = started.elapsed();
    assert!(report["splits"]["train"]["shards"].as_u64().unwrap() > 3);
    let mut random = Random(7);
    let mut all = 0;
    for run in 0..3 {
        let out = folder.path().join(format!("run-{run}"));
        let kills = killed_until_done(|| audio(&from, &out, &options), &out, whole, &mut random);
        all += kills;
        assert!(contents(&out) == contents(&reference), "run {run}: other bytes after {kills} kills");
    }
    println!("{all} kills in 3 runs");
}

#[test]
fn other_options_or_files_do_not_continue_a_stopped_set() {
    let folder = tempfile::tempdir().unwrap();
    let (from, out) = (folder.path().join("music"), folder.path().join("data"));
    wav(&from.join("a.wav"), RATE, 1, 64_000, |_| 0.1);
    // What a kill leaves: the journal of a set that was begun.
    json(audio(&from, &out, &[]).output().unwrap());
    let error = refused(audio(&from, &out, &[]).output().unwrap(), 1);
    says(&error, &["already holds a complete data set", "--overwrite"]);
    json(audio(&from, &out, &["--overwrite", "--seconds", "2"]).output().unwrap());
    assert_eq!(SoundSet::open(&out).unwrap().format().samples, 32_000);
}

#[test]
fn mistakes_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let (from, out) = (folder.path().join("music"), folder.path().join("data"));
    let error = refused(audio(&from, &out, &[]).output().unwrap(), 1);
    says(&error, &["music", "cannot read"]);
    std::fs::create_dir_all(&from).unwrap();
    says(&refused(audio(&from, &out, &[]).output().unwrap(), 1), &["no file with one of the endings wav"]);
    std::fs::write(from.join("text.wav"), "words").unwrap();
    let error = refused(audio(&from, &out, &[]).output().unwrap(), 1);
    says(&error, &["no clip could be used", "text.wav: is no WAV file"]);
    let film = ["prepare", "video", "--out"];
    let output = evoke().env("EVOKE_FFMPEG", "/no/such/ffmpeg").args(film).arg(&out).arg(&from).output();
    says(&refused(output.unwrap(), 1), &["/no/such/ffmpeg", "install ffmpeg", "EVOKE_FFMPEG"]);

    // Sound is not taken for pictures with captions.
    wav(&from.join("a.wav"), RATE, 1, 16_000, |_| 0.1);
    json(audio(&from, &out, &["--val-share", "0"]).output().unwrap());
    let mut train = evoke();
    train.args(["train", "captioner", "--data"]).arg(&out).arg("--out").arg(folder.path().join("run"));
    let line = refused_after(train.output().unwrap(), 1, &["device: "]);
    says(&line, &["holds sound, and this needs pictures with captions"]);
}

#[test]
fn plan_video_does_the_ancestors_sum() {
    let plan = ["plan", "video", "--minutes", "1000", "--fps", "10", "--size", "200x200"];
    let text = String::from_utf8(succeeded(evoke().args(plan).output().unwrap()).stdout).unwrap();
    says(&text, &["72.0 GB", "600000 of 200 x 200 pixels"]);
    let report = json(evoke().args(plan).arg("--json").output().unwrap());
    assert_eq!(report["picture_bytes"], 72_000_000_000u64);
    assert_eq!(report["sound_bytes"], 960_000_000u64);
}
