//! A model that makes groups of samples at once, as a user trains and hears it.

mod common;

use std::path::Path;

use common::{contents, evoke, json, refused, run, says, succeeded, text};

const SETTINGS: [&str; 13] = [
    "model.head=groups",
    "model.group=40",
    "model.width=16",
    "model.heads=2",
    "model.encoder_layers=1",
    "model.decoder_layers=1",
    "model.tokens=frame",
    "model.window=3",
    "loss.spectrogram=1",
    "optimizer.learning_rate=0.003",
    "train.batch=2",
    "train.steps=3",
    "train.evaluate_seconds=0.15",
];

/// Trains a few steps; returns what was told.
fn train(data: &Path, out: &Path) -> String {
    let mut command = evoke();
    command.args(["train", "foley", "--device", "cpu", "--data", text(data), "--out", text(out)]);
    for set in SETTINGS {
        command.args(["--set", set]);
    }
    String::from_utf8(succeeded(command.output().unwrap()).stderr).unwrap()
}

fn read(path: &Path) -> Vec<i16> {
    hound::WavReader::open(path).unwrap().samples().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_run_that_makes_groups_is_heard_at_evaluations_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    let scenes = "prepare scenes --video --train 4 --val 3 --unseen 0 --seconds 0.2 --rate 1000 --size 8 --shapes 1 \
                  --frame-rate 10 --out";
    succeeded(evoke().args(scenes.split_whitespace()).arg(&data).output().unwrap());
    says(&train(&data, &out), &["step 3: 2 clips made to sound, 0.15 s each"]);
    // 150 samples of four groups, made 8,000 a second for browsers.
    let samples = out.join("samples");
    for name in ["step-00000003-1-model.wav", "step-00000003-2-truth.wav"] {
        assert_eq!(read(&samples.join(name)).len(), 1200, "{name} of {:?}", contents(&samples));
    }

    let page = folder.path().join("page.html");
    let evaluate =
        ["evaluate", text(&out), "--data", text(&data), "--device", "cpu", "--listen", "2", "--json"];
    let judged = run(&[&evaluate[..], &["--page", text(&page), "--temperature", "0.5"]].concat());
    says(&String::from_utf8_lossy(&judged.stderr), &["--temperature: without effect", "draws nothing"]);
    let report = json(judged);
    assert_eq!((&report["unit"], &report["heard"]["clips"]), (&"of spectrogram loss".into(), &2.into()));
    assert!(std::fs::read_to_string(&page).unwrap().contains("<audio"));
}

#[test]
fn a_run_that_makes_groups_writes_a_wav() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("words")).unwrap();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 1000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let tone = |path: &Path, samples: usize| {
        let mut file = hound::WavWriter::create(path, spec).unwrap();
        for n in 0..samples {
            file.write_sample(((n as f64 * 0.4).sin() * 20_000.0) as i16).unwrap();
        }
        file.finalize().unwrap();
    };
    for name in ["a", "b", "c", "d"] {
        tone(&at("words").join(format!("{name}.wav")), 200);
    }
    tone(&at("start.wav"), 70);
    let prepare = "prepare audio --rate 1000 --seconds 0.2 --val-share 0.5";
    let mut prepare: Vec<&str> = prepare.split_whitespace().collect();
    let (words, data, out) = (at("words"), at("data"), at("run"));
    prepare.extend([text(&words), "--out", text(&data)]);
    succeeded(run(&prepare));
    train(&data, &out);

    // Longer than a clip, no whole groups, and a prompt that ends within one.
    let (start, made) = (at("start.wav"), at("made.wav"));
    let options =
        ["--prompt", text(&start), "--seconds", "0.43", "-o", text(&made), "--device", "cpu", "--json"];
    let sound = [&["sound", text(&out)], &options[..]].concat();
    let plain = run(&sound);
    assert!(!String::from_utf8_lossy(&plain.stderr).contains("without effect"));
    let report = json(plain);
    assert_eq!((&report["samples"], &report["sample_rate"]), (&430.into(), &1000.into()));
    assert!(report["samples_per_second"].as_f64().unwrap() > 0.0);
    let first = read(&made);
    assert_eq!(first.len(), 430);
    // The prompt but for its coding, then something that is no silence.
    let near = first.iter().zip(read(&start)).all(|(a, b)| (i32::from(*a) - i32::from(b)).abs() < 1500);
    assert!(near && first[70..].iter().any(|&sample| sample != 0), "{first:?}");

    let told = run(&[&sound[..], &["--temperature", "0.7", "--top-p", "0.9", "--seed", "4"]].concat());
    says(
        &String::from_utf8_lossy(&told.stderr),
        &["--temperature, --top-p, --seed: without effect", "model.head = \"groups\""],
    );
    json(told);
    assert_eq!(read(&made), first, "nothing is drawn");
    let line = refused(run(&[&sound[..], &["--variations", "2"]].concat()), 2);
    says(&line, &["--variations 2", "all would be the same"]);
}
