//! Films through ffmpeg: sound and picture of one instant stay together, and what is wrong with a file is said.
//!
//! Needs the program of `EVOKE_FFMPEG`, or one in the PATH; without it these tests say that they skip.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{evoke, json, killed_until_done, says};
use evoke::data::codes::decode_all;
use evoke::data::sound::{SoundSet, SoundSplit};
use serde_json::Value;

fn ffmpeg() -> Option<PathBuf> {
    let program = PathBuf::from(std::env::var_os("EVOKE_FFMPEG").unwrap_or_else(|| "ffmpeg".into()));
    let runs = Command::new(&program).arg("-version").output().is_ok_and(|output| output.status.success());
    if !runs {
        eprintln!("sound_films: SKIPPED, there is no ffmpeg here; set EVOKE_FFMPEG to the program");
    }
    runs.then_some(program)
}

/// Makes a film: `options` are ffmpeg's, the output file included, with `~` between them.
fn make(program: &Path, options: &str) {
    let mut command = Command::new(program);
    command.args(["-v", "error", "-nostdin", "-y"]).args(options.split('~'));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{options}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A black film with one white frame, and silence with a beep (half of full scale for 0.1 s).
fn inputs(rate: &str, seconds: f64, flash: usize, beep: f64) -> String {
    let picture =
        format!("color=black:s=64x48:r={rate}:d={seconds},drawbox=c=white:t=fill:enable='eq(n,{flash})'");
    let end = beep + 0.1;
    let sound = format!("aevalsrc='if(between(t,{beep},{end}),0.5,0)':s=44100:d={seconds}");
    format!("-f~lavfi~-i~{picture}~-f~lavfi~-i~{sound}")
}

fn prepare(from: &[&Path], out: &Path, options: &[&str]) -> Command {
    let mut command = evoke();
    command
        .args(["prepare", "video", "--json", "--val-share", "0", "--out"])
        .arg(out)
        .args(from)
        .args(options);
    command
}

fn film(report: &Value, name: &str) -> Value {
    let files = report["files"].as_array().unwrap();
    files.iter().find(|file| file["path"] == name).unwrap_or_else(|| panic!("{name} in {files:?}")).clone()
}

/// Where in a film the flash and the beep are, in frames and samples from its start.
fn events(
    data: &SoundSet,
    split: &SoundSplit,
    name: &str,
    first: impl Fn(usize) -> usize,
) -> (Vec<usize>, Option<usize>) {
    let format = data.format();
    let (mut flashes, mut beep) = (Vec::new(), None);
    let mut clips: Vec<usize> = (0..split.len()).filter(|&i| split.key(i).starts_with(name)).collect();
    let second = |i: usize| split.key(i).rsplit_once('@').unwrap().1.parse::<f64>().unwrap();
    clips.sort_by(|&a, &b| second(a).total_cmp(&second(b)));
    for (number, &clip) in clips.iter().enumerate() {
        let frames = split.frames(clip).chunks_exact(format.height * format.width * 3);
        flashes
            .extend(frames.enumerate().filter(|(_, f)| f[0] > 128).map(|(n, _)| number * format.frames + n));
        let heard = decode_all(format.encoding, split.samples(clip));
        beep = beep.or(heard.iter().position(|x| x.abs() > 0.25).map(|n| first(number) + n));
    }
    (flashes, beep)
}

#[test]
fn a_flash_and_a_beep_stay_where_they_are() {
    let Some(program) = ffmpeg() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let both = inputs("30", 8.0, 150, 5.0);
    make(&program, &format!("{both}~-c:v~mpeg4~-c:a~flac~{}", at("plain.mkv")));
    make(&program, &format!("{both}~-c:v~mpeg4~-c:a~aac~{}", at("aac.mp4")));
    make(&program, &format!("{both}~-c:v~mpeg2video~-c:a~mp2~{}", at("stream.ts")));
    let plain = at("plain.mkv");
    let copy = "-map~0:v~-map~1:a~-c~copy";
    make(&program, &format!("-i~{plain}~-itsoffset~1.25~-i~{plain}~{copy}~{}", at("late-sound.mkv")));
    make(&program, &format!("-itsoffset~1.5~-i~{plain}~-i~{plain}~{copy}~{}", at("late-picture.mkv")));
    // Two seconds of sound are not in the file; what follows keeps its time.
    let gap = "-af~aselect='not(between(t,2,4))'~-c:v~copy~-c:a~pcm_s16le";
    make(&program, &format!("-i~{plain}~{gap}~{}", at("gap.mkv")));

    let out = folder.path().join("data");
    let options = ["--fps", "10", "--seconds", "1", "--size", "24x32"];
    let report = json(prepare(&[folder.path()], &out, &options).output().unwrap());
    let data = SoundSet::open(&out).unwrap();
    assert_eq!((data.format().frames, data.format().samples), (10, 16_000));
    let split = data.split("train").unwrap();
    // Of frames 1/30 s long a tenth of a second shows every third: number 150 is seen at 5 s. In the stream the sound
    // begins 480 samples of 44,100 Hz earlier, and all times count from there.
    let stream = 481.0 / 44_100.0;
    for (name, flash, beep) in [
        ("plain.mkv", 5.0, 5.0),
        ("aac.mp4", 5.0, 5.0),
        ("late-sound.mkv", 5.0, 6.25),
        ("late-picture.mkv", 6.5, 5.0),
        ("gap.mkv", 5.0, 5.0),
        ("stream.ts", f64::NAN, 5.0 + stream),
    ] {
        let (flashes, heard) = events(&data, &split, name, |clip| clip * 16_000);
        let samples = heard.unwrap_or_else(|| panic!("{name}: no beep in {report}")) as f64 - beep * 16_000.0;
        assert!(samples.abs() <= 1.0, "{name}: the beep is {samples} samples late");
        if flash.is_finite() {
            assert_eq!(flashes, [(flash * 10.0) as usize], "{name}");
        }
    }
    assert_eq!(film(&report, "plain.mkv")["clips"], 8);
    // What only the sound or only the picture has is no whole clip.
    assert_eq!(film(&report, "late-sound.mkv")["dropped"], 2);
    says(film(&report, "late-sound.mkv")["reason"].as_str().unwrap(), &["2 too short"]);
}

#[test]
fn odd_rates_do_not_drift() {
    let Some(program) = ffmpeg() else { return };
    let folder = tempfile::tempdir().unwrap();
    // Frame 3000 of 30000/1001 a second is seen at 100.1 s.
    let both = inputs("30000/1001", 103.0, 3000, 100.1);
    let path = folder.path().join("ntsc.mkv");
    make(&program, &format!("{both}~-c:v~mpeg4~-g~10~-c:a~flac~{}", path.display()));
    let out = folder.path().join("data");
    let options = ["--fps", "30000/1001", "--seconds", "1.5", "--size", "24x32", "--short", "pad"];
    json(prepare(&[&path], &out, &options).output().unwrap());
    let data = SoundSet::open(&out).unwrap();
    // 45 frames are 1.5015 s.
    assert_eq!((data.format().frames, data.format().samples), (45, 24_024));
    let split = data.split("train").unwrap();
    let (flashes, beep) = events(&data, &split, "ntsc.mkv", |clip| clip * 24_024);
    assert_eq!(flashes, [3000]);
    assert!(beep.unwrap().abs_diff(1_601_600) <= 1, "{beep:?}");
}

#[test]
fn files_that_lack_something_are_reported_and_dropped_or_padded() {
    let Some(program) = ffmpeg() else { return };
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("films");
    std::fs::create_dir(&from).unwrap();
    let at = |name: &str| from.join(name).display().to_string();
    let both = inputs("25", 7.0, 30, 2.0);
    make(&program, &format!("{both}~-c:v~mpeg4~-c:a~flac~{}", at("good.mkv")));
    make(&program, &format!("-i~{}~-an~-c~copy~{}", at("good.mkv"), at("mute.mkv")));
    make(&program, &format!("-i~{}~-vn~-c~copy~{}", at("good.mkv"), at("blind.mkv")));
    make(&program, &format!("-i~{}~-c~copy~{}", at("good.mkv"), at("cut.ts")));
    make(&program, &format!("-i~{}~-c:v~mpeg4~-c:a~aac~{}", at("good.mkv"), at("whole.mp4")));
    let bytes = std::fs::read(at("good.mkv")).unwrap();
    std::fs::write(at("cut.mkv"), &bytes[..bytes.len() * 6 / 10]).unwrap();
    let bytes = std::fs::read(at("whole.mp4")).unwrap();
    std::fs::write(at("cut.mp4"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(at("text.mp4"), "This is a text, not a film.\n".repeat(20)).unwrap();
    std::fs::write(at("empty.mp4"), "").unwrap();

    let options = ["--seconds", "2", "--size", "24x32"];
    let out = folder.path().join("drop");
    let report = json(prepare(&[&from], &out, &options).output().unwrap());
    let clips = |report: &Value, name: &str| film(report, name)["clips"].as_u64().unwrap();
    let reason =
        |report: &Value, name: &str| film(report, name)["reason"].as_str().unwrap_or("none").to_owned();
    assert_eq!((clips(&report, "good.mkv"), film(&report, "good.mkv")["dropped"].as_u64()), (3, Some(1)));
    for (name, why) in [
        ("mute.mkv", "has no sound"),
        ("blind.mkv", "has no picture"),
        ("cut.mp4", "ffmpeg cannot read it: "),
        ("text.mp4", "ffmpeg cannot read it: "),
        ("empty.mp4", "ffmpeg cannot read it: "),
    ] {
        assert_eq!(clips(&report, name), 0, "{name}");
        says(&reason(&report, name), &[why]);
        assert!(!reason(&report, name).contains('\n'), "{name}");
    }
    assert_eq!(film(&report, "mute.mkv")["dropped"], 3);
    assert!((1..3).contains(&clips(&report, "cut.mkv")), "{}", film(&report, "cut.mkv"));
    says(&reason(&report, "cut.mkv"), &["too short"]);
    assert!(report["hours"].as_f64().unwrap() > 0.0);

    let out = folder.path().join("pad");
    let padded =
        json(prepare(&[&from], &out, &[&options[..], &["--short", "pad"]].concat()).output().unwrap());
    for name in ["good.mkv", "mute.mkv", "blind.mkv"] {
        assert_eq!(clips(&padded, name), 4, "{name}");
    }
    says(&reason(&padded, "mute.mkv"), &["has no sound"]);
    let data = SoundSet::open(&out).unwrap();
    let split = data.split("train").unwrap();
    let of = |name: &str| (0..split.len()).filter(|&i| split.key(i).starts_with(name)).collect::<Vec<_>>();
    assert!(of("mute.mkv").iter().all(|&i| split.samples(i).iter().all(|&code| code == 128)));
    assert!(of("blind.mkv").iter().all(|&i| split.frames(i).iter().all(|&value| value == 0)));
}

#[test]
fn cuts_and_silence_are_filtered_and_the_table_counts_them() {
    let Some(program) = ffmpeg() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.mkv");
    // White from 3 s on, and sound from 4 s on: clips of 2 s are black and silent, cut and silent, two white and loud.
    let picture = "color=black:s=64x48:r=10:d=8,drawbox=c=white:t=fill:enable='gte(t,3)'";
    let sound = "aevalsrc='if(gte(t,4),0.5*sin(2000*t),0)|0':s=48000:d=8";
    make(
        &program,
        &format!("-f~lavfi~-i~{picture}~-f~lavfi~-i~{sound}~-c:v~mpeg4~-c:a~flac~{}", path.display()),
    );
    let options = ["--seconds", "2", "--size", "24x32"];
    let run = |out: &str, more: &[&str]| {
        let out = folder.path().join(out);
        let report = json(prepare(&[&path], &out, &[&options[..], more].concat()).output().unwrap());
        film(&report, "cut.mkv")
    };
    assert_eq!(run("all", &[])["clips"], 4);
    let cuts = run("cuts", &["--cuts", "drop"]);
    assert_eq!((&cuts["clips"], &cuts["reason"]), (&3.into(), &"1 with a cut".into()));
    let silence = run("silence", &["--silence", "-50"]);
    assert_eq!((&silence["clips"], &silence["reason"]), (&2.into(), &"2 silent".into()));
    // Two channels, one of them silent: half the amplitude, so -6 - 3 - 6 dB.
    assert!((silence["loudness"].as_f64().unwrap() + 15.1).abs() < 0.3, "{silence}");

    let mut table = evoke();
    table
        .args(["prepare", "video", "--silence=-50", "--out"])
        .arg(folder.path().join("table"))
        .arg(&path)
        .args(options);
    let text = String::from_utf8(common::succeeded(table.output().unwrap()).stdout).unwrap();
    says(&text, &["hours  clips dropped   loudness  file", "cut.mkv: 2 silent", "0.001      2       2"]);
}

#[test]
fn a_killed_film_goes_on_and_ends_with_the_same_bytes() {
    let Some(program) = ffmpeg() else { return };
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("films");
    std::fs::create_dir(&from).unwrap();
    for (name, seconds) in [("a.mkv", 50), ("b.mkv", 20), ("c.mkv", 35)] {
        let picture = format!("testsrc=s=160x120:r=25:d={seconds}");
        let sound = format!("anoisesrc=r=48000:a=0.3:d={seconds}:seed=5");
        let path = from.join(name).display().to_string();
        make(&program, &format!("-f~lavfi~-i~{picture}~-f~lavfi~-i~{sound}~-c:v~mpeg4~-c:a~aac~{path}"));
    }
    let options = ["--seconds", "1", "--size", "96x128", "--shard-mib", "1"];
    let reference = folder.path().join("reference");
    let started = std::time::Instant::now();
    let report = json(prepare(&[&from], &reference, &options).output().unwrap());
    let whole = started.elapsed();
    let out = folder.path().join("killed");
    let kills = killed_until_done(|| prepare(&[&from], &out, &options), &out, whole, &mut common::Random(3));
    let report_of = |folder: &Path| std::fs::read_to_string(folder.join("prepare-report.json")).unwrap();
    assert_eq!(report_of(&out), report_of(&reference), "{kills} kills");
    assert_eq!(SoundSet::open(&out).unwrap().hash(), report["dataset"]);
    println!("{kills} kills");
}
