//! `evoke demo`: makes a world, learns to describe it, and shows what came of it. Nothing to download.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::prepare_scenes::Scenes;
use super::{Output, demo_foley};
use crate::config::Config;
use crate::data::scenes::Level;
use crate::data::{Dataset, Split};
use crate::decode::{self, Method};
use crate::device::Device;
use crate::error::At;
use crate::look::html::{self, Curve, GalleryItem, GallerySection};
use crate::look::terminal;
use crate::train::captioner::CaptionerRun;
use crate::train::captioner::evaluate::{self, Described};
use crate::train::captioner::load::{self, Trained};
use crate::train::files::Disk;
use crate::train::metrics::METRICS;
use crate::train::run::{self, Options};
use crate::train::{budget, progress};
use crate::{Error, Result};

/// The demo's settings, found by trying: small enough for two cores and a few minutes.
const SETTINGS: &str = include_str!("demo.toml");
const TRAIN_PICTURES: usize = 16_000;
const HELD_OUT: usize = 500;
/// Written first, so that a later demo knows that the folder is its own to replace.
const MARKER: &str = "evoke-demo.txt";
/// Pictures of each split in the terminal, and on the page.
const SHOWN: usize = 3;
const ON_PAGE: usize = 12;

/// Make a world of scenes, learn to describe them, and show held-out results; nothing to download
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    model: Option<Model>,
    /// Folder for everything the demo makes; an earlier demo's is replaced [default: demo-captioner or demo-foley]
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    #[arg(long, default_value_t = 1, global = true)]
    seed: u64,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", global = true)]
    device: String,
    /// Training steps, instead of the demo's own number
    #[arg(long, global = true, hide = true)]
    steps: Option<usize>,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Model {
    /// From a picture to its sentence (the default)
    Captioner,
    /// From a silent video to its sound
    Foley,
}

#[derive(Debug, Serialize)]
struct Report {
    seconds: f64,
    peak_bytes: Option<usize>,
    held_out: HeldOut,
    page: PathBuf,
    attention: PathBuf,
}

/// Figures on pictures that training never showed. Losses and distinct captions are those of seen combinations.
#[derive(Debug, Serialize)]
struct HeldOut {
    seen_exact: f64,
    unseen_exact: f64,
    distinct_share: f64,
    reference_distinct_share: f64,
    nats_true: f64,
    nats_other: f64,
    nats_none: f64,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let device = Device::parse(&self.device)?;
        out.note(device.describe(&self.device));
        let model = self.model.unwrap_or(Model::Captioner);
        let own = match model {
            Model::Captioner => "demo-captioner",
            Model::Foley => "demo-foley",
        };
        let folder = self.out.clone().unwrap_or_else(|| own.into());
        fresh_folder(&folder)?;
        match model {
            Model::Captioner => self.captioner(&folder, device, out),
            Model::Foley => demo_foley::run(&folder, self.seed, device, self.steps, out),
        }
    }

    fn captioner(self, folder: &Path, device: Device, out: &Output) -> Result<()> {
        let began = Instant::now();
        let (data_folder, run_folder) = (folder.join("data"), folder.join("run"));

        out.note("1/4 drawing scenes");
        Scenes {
            out: data_folder.clone(),
            train: TRAIN_PICTURES,
            val: HELD_OUT,
            unseen: HELD_OUT,
            size: 64,
            level: Level::Small,
            seed: self.seed,
            overwrite: false,
        }
        .prepare(out)?;

        out.note("2/4 learning to describe them");
        let mut sets = vec![format!("train.seed={}", self.seed)];
        sets.extend(self.steps.map(|steps| format!("train.steps={steps}")));
        let config = Config::default().with_text(SETTINGS, "the demo's settings", &sets)?;
        run::train::<CaptionerRun>(&Options {
            data: &data_folder,
            out: &run_folder,
            config,
            resume: false,
            device,
            quiet: false,
            files: &Disk,
        })?;

        out.note("3/4 describing pictures it has never seen");
        let mut trained = load::load(&run_folder, device, &mut |line| out.note(line))?;
        let data = Dataset::open(&data_folder)?;
        let seen = Judged::new(&mut trained, data.split("val")?)?;
        let unseen = Judged::new(&mut trained, data.split("unseen")?)?;

        out.note("4/4 drawing");
        let attention = folder.join("attention.png");
        let first = &unseen.described[0];
        let pixels = unseen.split.pixels(first.sample);
        let caption = decode::caption(&mut trained.session, pixels, Method::GREEDY)?.remove(0);
        decode::attention(&mut trained.session, &trained.vocabulary, pixels, &caption)?.save(&attention)?;
        let page = folder.join("report.html");
        let report = Report {
            seconds: began.elapsed().as_secs_f64(),
            peak_bytes: budget::peak_memory(),
            held_out: HeldOut {
                seen_exact: seen.report.exact,
                unseen_exact: unseen.report.exact,
                distinct_share: seen.report.distinct_share,
                reference_distinct_share: seen.report.reference_distinct_share,
                nats_true: seen.report.nats_true,
                nats_other: seen.report.nats_other,
                nats_none: seen.report.nats_none,
            },
            page: page.clone(),
            attention: attention.clone(),
        };
        let html = page_of(&report, &run_folder, &[&seen, &unseen], &attention)?;
        std::fs::write(&page, html).at("write", &page)?;
        if !out.json {
            print!("{}", terminal_gallery(folder, &seen, &unseen)?);
        }
        out.result(&report, told)
    }
}

/// Makes the folder, or empties one that an earlier demo made.
fn fresh_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        let own = folder.join(MARKER).exists();
        let empty = folder.is_dir() && std::fs::read_dir(folder).at("list", folder)?.next().is_none();
        if !own && !empty {
            return Err(Error::failed(format!(
                "{}: is there already and no earlier demo made it; choose another --out",
                folder.display()
            )));
        }
        std::fs::remove_dir_all(folder).at("empty", folder)?;
    }
    std::fs::create_dir_all(folder).at("create the folder", folder)?;
    let marker = folder.join(MARKER);
    std::fs::write(&marker, "Made by `evoke demo`, which will replace this folder.\n").at("write", &marker)
}

/// A split with what the model says of it.
struct Judged {
    split: Split,
    report: evaluate::Report,
    described: Vec<Described>,
}

impl Judged {
    fn new(trained: &mut Trained, split: Split) -> Result<Judged> {
        let samples = evaluate::spread(split.len(), 0);
        let (report, described) =
            evaluate::evaluate(&mut trained.session, &trained.vocabulary, &split, &samples, Method::GREEDY)?;
        Ok(Judged { split, report, described })
    }

    fn references(&self, sample: usize) -> Vec<String> {
        (0..self.split.caption_count(sample))
            .map(|j| self.split.caption_text(sample, j).to_string())
            .collect()
    }

    fn items(&self, count: usize, side: usize) -> Vec<GalleryItem> {
        self.described
            .iter()
            .take(count)
            .map(|d| {
                let references = self.references(d.sample);
                GalleryItem {
                    pixels: self.split.pixels(d.sample).to_vec(),
                    height: side,
                    width: side,
                    caption: d.caption.clone(),
                    correct: Some(references.contains(&d.caption)),
                    references,
                }
            })
            .collect()
    }
}

/// Pixels of a side of the demo's pictures.
const SIDE: usize = 64;

fn terminal_gallery(out: &Path, seen: &Judged, unseen: &Judged) -> Result<String> {
    let colours = terminal::shows_colours(&std::io::stdout());
    let mut text = String::from("\n");
    for (name, judged) in [("seen combinations", seen), ("combinations never seen in training", unseen)] {
        text.push_str(&format!("Held-out pictures of {name}:\n\n"));
        let mut items = Vec::new();
        for (number, item) in judged.items(SHOWN, SIDE).into_iter().enumerate() {
            let path = out.join(format!(
                "{}-{}.png",
                if std::ptr::eq(judged, seen) { "seen" } else { "unseen" },
                number + 1
            ));
            let png = crate::look::canvas::png(&item.pixels, SIDE, SIDE)?;
            std::fs::write(&path, png).at("write", &path)?;
            let mark = if item.correct == Some(true) { "right" } else { "wrong" };
            let lines =
                vec![item.caption.clone(), format!("({mark}; one reference: {})", item.references[0])];
            items.push(terminal::Item {
                pixels: item.pixels,
                height: SIDE,
                width: SIDE,
                lines,
                path: Some(path),
            });
        }
        text.push_str(&terminal::gallery(&items, colours));
    }
    Ok(text)
}

fn page_of(report: &Report, run: &Path, judged: &[&Judged; 2], attention: &Path) -> Result<String> {
    let held = &report.held_out;
    let percent = |v: f64| format!("{:.1} %", 100.0 * v);
    let mut summary = vec![
        ("whole caption right, seen combinations".to_string(), percent(held.seen_exact)),
        ("whole caption right, never seen".to_string(), percent(held.unseen_exact)),
        ("distinct captions".to_string(), percent(held.distinct_share)),
        ("nats a token, true picture".to_string(), format!("{:.3}", held.nats_true)),
        ("nats a token, another's picture".to_string(), format!("{:.3}", held.nats_other)),
        ("nats a token, no picture".to_string(), format!("{:.3}", held.nats_none)),
        ("time".to_string(), progress::duration(report.seconds)),
    ];
    if let Some(peak) = report.peak_bytes {
        summary.push(("peak memory".to_string(), budget::bytes(peak)));
    }
    let section = |title: &str, judged: &Judged| GallerySection {
        title: title.into(),
        items: judged.items(ON_PAGE, SIDE),
    };
    let figure = std::fs::read(attention).at("read", attention)?;
    Ok(html::html(&html::Report {
        title: "Evoke: a captioner's first minutes".into(),
        summary,
        curves: curves(&run.join(METRICS))?,
        gallery: vec![
            section("Held-out pictures, seen combinations", judged[0]),
            section("Combinations never seen in training", judged[1]),
        ],
        figures: vec![("What each head looks at, word by word".into(), figure)],
    }))
}

/// The learning curves of a run's metrics.
fn curves(metrics: &Path) -> Result<Vec<Curve>> {
    let text = std::fs::read_to_string(metrics).at("read", metrics)?;
    let mut points: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    let names = ["loss", "learning_rate", "nats_true", "nats_other", "nats_none"];
    for line in text.lines() {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let step = value["step"].as_f64().unwrap_or(f64::NAN);
        for name in names {
            if let Some(y) = value[name].as_f64().or(value["evaluation"][name].as_f64()) {
                points.entry(name).or_default().push((step, y));
            }
        }
    }
    let mut series = |name: &str, label: &str| (label.to_string(), points.remove(name).unwrap_or_default());
    Ok(vec![
        Curve {
            title: "Training loss (nats a token, smoothed labels)".into(),
            x_label: "step".into(),
            series: vec![series("loss", "loss")],
        },
        Curve {
            title: "Held-out nats a token: does it look at the picture?".into(),
            x_label: "step".into(),
            series: vec![
                series("nats_true", "true picture"),
                series("nats_other", "another's"),
                series("nats_none", "none"),
            ],
        },
        Curve {
            title: "Learning rate".into(),
            x_label: "step".into(),
            series: vec![series("learning_rate", "learning rate")],
        },
    ])
}

fn told(report: &Report) -> String {
    let held = &report.held_out;
    let peak =
        report.peak_bytes.map_or(String::new(), |peak| format!(", peak memory {}", budget::bytes(peak)));
    format!(
        "whole caption right  {:>5.1} %  of held-out pictures of seen combinations\n\
         \x20                    {:>5.1} %  of combinations never seen in training\n\
         distinct captions    {:>5.1} %  (references: {:.1} %)\n\
         nats a token         {:>7.3}  true picture, {:.3} another's, {:.3} none\n\
         took {}{peak}\n\
         attention  {}\npage       {}",
        100.0 * held.seen_exact,
        100.0 * held.unseen_exact,
        100.0 * held.distinct_share,
        100.0 * held.reference_distinct_share,
        held.nats_true,
        held.nats_other,
        held.nats_none,
        progress::duration(report.seconds),
        report.attention.display(),
        report.page.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{DType, Graph};
    use crate::models::captioner::{Captioner, Ends, Purpose};

    /// On a machine with a GPU `auto` takes it, and heads of 24 channels have no kernel: the first command of the README
    /// would have failed there.
    #[test]
    fn bug_the_demos_heads_had_no_kernel() {
        let config = Config::default().with_text(SETTINGS, "the demo's settings", &[]).unwrap();
        let ends = Ends { height: SIDE, width: SIDE, vocabulary: 64 };
        let model = Captioner::new(&config.model, ends).unwrap();
        let purpose = Purpose { train: true, both_ways: false, label_smoothing: config.loss.label_smoothing };
        let words = config.model.max_words;
        model.step(&mut Graph::storing(DType::BF16), config.train.batch, words, purpose).unwrap();
    }
}
