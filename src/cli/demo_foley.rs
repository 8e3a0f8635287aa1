//! `evoke demo foley`: a moving world, a model that learns how it sounds, and what it makes of clips it has never seen.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::Output;
use super::prepare_motion::MotionSet;
use crate::Result;
use crate::config::Settings;
use crate::data::motion::MotionOptions;
use crate::data::scenes::{Level, Split};
use crate::data::sound::{Encoding, SoundSet};
use crate::decode::sampling::Sampling;
use crate::device::Device;
use crate::error::At;
use crate::eval::sound::Bits;
use crate::look::heard;
use crate::look::wav::playable_wav;
use crate::train::files::Disk;
use crate::train::foley::listen::{self, Listened};
use crate::train::foley::{Config, FoleyRun, evaluate, load};
use crate::train::run::{self, Options};
use crate::train::task::spread;
use crate::train::{budget, progress};

/// The demo's settings, found by trying: small enough for two cores and a few minutes.
const SETTINGS: &str = include_str!("demo_foley.toml");
const TRAIN_CLIPS: usize = 12_000;
const HELD_OUT: usize = 200;
/// Clips whose bits are measured, and those that are made to sound.
const JUDGED: usize = 200;
const HEARD: usize = 200;
/// Clips on the page, and as files.
const ON_PAGE: usize = 8;
const FILES: usize = 3;
/// Samples a second: the world's highest partial stays below half of it.
const RATE: u32 = 2000;
/// The model's own distribution: a surer one is silent where a strike may begin at any of a hundred samples.
const TEMPERATURE: f32 = 1.0;

/// What `demo foley --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    seconds: f64,
    peak_bytes: Option<usize>,
    /// On held-out clips.
    bits_per_sample: Bits,
    onset_f1: f64,
    onset_f1_dealt: f64,
    onset_precision: f64,
    onset_recall: f64,
    pitch_right: f64,
    samples_per_second: f64,
    page: PathBuf,
    sounds: Vec<PathBuf>,
}

/// The demo in a folder that is its own.
pub(super) fn run(
    folder: &Path,
    seed: u64,
    device: Device,
    steps: Option<usize>,
    out: &Output,
) -> Result<()> {
    let began = Instant::now();
    let (data, run_folder) = (folder.join("data"), folder.join("run"));
    out.note("1/4 drawing shapes that move and strike, with their sounds");
    MotionSet {
        out: data.clone(),
        options: MotionOptions {
            level: Level::Small,
            side: 24,
            shapes: 1,
            seconds: 1.0,
            sample_rate: RATE,
            frame_rate: (20, 1),
        },
        seed,
        // Mu-law would spend half its codes on tails that nobody hears.
        encoding: Encoding::Linear8,
        counts: [(Split::Train, TRAIN_CLIPS), (Split::Val, HELD_OUT), (Split::Unseen, HELD_OUT)],
        overwrite: false,
    }
    .prepare(out)?;

    out.note("2/4 learning how they sound");
    let mut sets = vec![format!("train.seed={seed}")];
    sets.extend(steps.map(|steps| format!("train.steps={steps}")));
    let config: Config = Settings::default().with_text(SETTINGS, "the demo's settings", &sets)?;
    let batch = config.train.batch;
    run::train::<FoleyRun>(&Options {
        data: &data,
        out: &run_folder,
        config,
        resume: false,
        device,
        quiet: false,
        files: &Disk,
    })?;

    out.note("3/4 listening to clips it has never seen");
    let mut trained = load::load(&run_folder, device, &mut |line| out.note(line))?;
    let split = SoundSet::open(&data)?.split("val")?;
    let encoding = trained.identity.sound.encoding;
    let judged = spread(split.len(), JUDGED);
    let bits = evaluate::evaluate(&mut trained.session, &split, &judged, encoding, batch)?.bits_per_sample;
    let sampling = Sampling { temperature: TEMPERATURE, top_k: 0, top_p: 1.0, seed };
    let clips = spread(split.len(), HEARD);
    let listened = listen::listen(&mut trained.session, &split, &clips, encoding, sampling, &mut |_| {})?;

    out.note("4/4 writing sounds and the page");
    let sounds = write_sounds(folder, &listened)?;
    let verdict = listened.report.verdict;
    let page = folder.join("report.html");
    let report = Report {
        seconds: began.elapsed().as_secs_f64(),
        peak_bytes: budget::peak_memory(),
        bits_per_sample: bits,
        onset_f1: verdict.onset_f1,
        onset_f1_dealt: listened.report.onset_f1_dealt,
        onset_precision: verdict.onset_precision,
        onset_recall: verdict.onset_recall,
        pitch_right: verdict.pitch_right,
        samples_per_second: listened.report.samples_per_second,
        page: page.clone(),
        sounds,
    };
    let shown = &listened.heard[..ON_PAGE.min(listened.heard.len())];
    let html = heard::page("Evoke: foley's first minutes", &summary(&report), shown)?;
    std::fs::write(&page, html).at("write", &page)?;
    out.result(&report, told)
}

/// The first few sounds as WAV files, the truth beside the model.
fn write_sounds(folder: &Path, listened: &Listened) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (number, heard) in listened.heard.iter().take(FILES).enumerate() {
        for (name, wave) in [("truth", &heard.truth), ("model", &heard.model)] {
            let path = folder.join(format!("{}-{name}.wav", number + 1));
            std::fs::write(&path, playable_wav(wave, heard.rate)?).at("write", &path)?;
            paths.push(path);
        }
    }
    Ok(paths)
}

fn summary(report: &Report) -> Vec<(String, String)> {
    let bits = &report.bits_per_sample;
    let mut summary = vec![
        (
            "onsets within 50 ms (F1)".to_string(),
            format!("{:.2} (another clip's: {:.2})", report.onset_f1, report.onset_f1_dealt),
        ),
        ("strikes at their pitch".to_string(), format!("{:.0} %", 100.0 * report.pitch_right)),
        ("bits a sample, true video".to_string(), format!("{:.4}", bits.own)),
        (
            "another's video costs".to_string(),
            format!("{:+.4} \u{b1} {:.4} bits a sample", bits.gain(), bits.ci95),
        ),
        ("no video costs".to_string(), format!("{:+.4} bits a sample", bits.none - bits.own)),
        ("samples a second".to_string(), format!("{:.0}", report.samples_per_second)),
        ("time".to_string(), progress::duration(report.seconds)),
    ];
    if let Some(peak) = report.peak_bytes {
        summary.push(("peak memory".to_string(), budget::bytes(peak)));
    }
    summary
}

fn told(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in summary(report) {
        text.push_str(&format!("{name:<26} {value}\n"));
    }
    text + &format!("page  {}", report.page.display())
}
