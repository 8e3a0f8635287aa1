//! `evoke profile attention`: what attention costs as sequences grow, by pattern.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Output;
use crate::config::{Captioner, Foley, Settings};
use crate::device::Device;
use crate::error::At;
use crate::ops::attention::pattern::Pattern;
use crate::profile::attention::report::Report;
use crate::profile::attention::setting::{self, FeedForward, Setting};
use crate::profile::attention::{check_type, page, peers, plots, run, saved, text};
use crate::{Error, Result};

/// Say what attention costs as sequences grow: by pattern, predicted and measured
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Patterns, as in a configuration: full, causal, band:256, dilated:256:8, strided:sqrt, fixed:sqrt:16, or one for each
    /// head: `2*band:64 2*full`; between them commas or semicolons
    #[arg(long, default_value = "full,causal,band:256,dilated:256:8,strided:sqrt,fixed:sqrt:16")]
    patterns: String,
    /// Tokens of a sequence: 1k,2k,4k, or 1k..32k for doublings; k is 1024
    #[arg(long, default_value = "1k..32k")]
    lengths: String,
    /// Sequences
    #[arg(long, default_value_t = 1)]
    batch: usize,
    #[arg(long, default_value_t = 4)]
    heads: usize,
    /// Channels of a head
    #[arg(long, default_value_t = 64)]
    head_size: usize,
    /// Storage: f32, bf16 or f16; the device's own if left out
    #[arg(long = "type")]
    storage: Option<String>,
    /// forward, backward, decode
    #[arg(long, default_value = "forward,backward")]
    passes: String,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Seconds that it may take: what would not fit is predicted and marked, and the rest is spent on repeats
    #[arg(long, default_value_t = 240.0)]
    seconds: f64,
    /// Seed of the random queries, keys and values
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Compare with the feed-forward layer of this captioner's or foley's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write a line for each point
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write one HTML page that opens without a network
    #[arg(long, value_name = "FILE.html")]
    page: Option<PathBuf>,
    /// Write each picture into this folder, as PNG and as SVG
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Put the times of other programs beside: the JSON that benches/peers/attention.py writes
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Measure nothing: tell and draw this report again, which --json wrote earlier
    #[arg(
        long,
        value_name = "REPORT.json",
        conflicts_with_all = ["patterns", "lengths", "batch", "heads", "head_size", "storage", "passes", "device",
            "seconds", "seed", "config"]
    )]
    from: Option<PathBuf>,
    /// Measure nothing: print the mask of this pattern over --length tokens
    #[arg(long, value_name = "PATTERN", conflicts_with_all = ["csv", "config", "page", "plots", "peers", "from"])]
    show: Option<String>,
    /// Tokens of the printed mask
    #[arg(long, requires = "show", default_value = "16")]
    length: String,
}

/// A mask and what it means.
#[derive(Debug, Serialize)]
struct Shown {
    pattern: String,
    length: usize,
    visible_pairs: u64,
    causal: bool,
    reach: Option<usize>,
    words: String,
    mask: Vec<String>,
}

/// Pixels of a PNG for each unit of its drawing.
const PIXELS: f64 = 3.0;
/// More rows fill no screen.
const LONGEST_SHOWN: usize = 256;

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        if let Some(pattern) = &self.show {
            return show(pattern, setting::length(&self.length)?, out);
        }
        // What is wrong with files is told before minutes are spent.
        let read = self.peers.as_deref().map(|file| Ok((file, peers::read(file)?))).transpose()?;
        for file in [&self.csv, &self.page].into_iter().flatten() {
            check_folder(file)?;
        }
        let (mut report, setting) = match &self.from {
            Some(file) => saved::read(file)?,
            None => self.measured(out)?,
        };
        if let Some((file, peers)) = read {
            report.peers = peers::beside(file, peers, &setting, &report.points)?;
        }
        if let Some(file) = &self.csv {
            std::fs::write(file, text::csv(&report.points)).at("write", file)?;
        }
        if let Some(file) = &self.page {
            std::fs::write(file, page::page(&report, &setting)?).at("write", file)?;
        }
        if let Some(folder) = &self.plots {
            std::fs::create_dir_all(folder).at("create the folder", folder)?;
            for picture in plots::plots(&report, &setting).iter().chain(&plots::maps(&report, &setting)?) {
                let file = |kind: &str| folder.join(format!("{}.{kind}", picture.name));
                let (svg, png) = (file("svg"), file("png"));
                std::fs::write(&svg, picture.drawing.file()).at("write", &svg)?;
                std::fs::write(&png, picture.drawing.png(PIXELS)?).at("write", &png)?;
            }
        }
        out.result(&report, text::told)
    }
}

impl Args {
    fn measured(&self, out: &Output) -> Result<(Report, Setting)> {
        let device = Device::parse(&self.device)?;
        if let Some(asked) = &self.storage {
            check_type(device, asked)?;
        }
        let width = self.heads * self.head_size;
        let feed_forward = match &self.config {
            Some(file) => of_config(file)?,
            None => FeedForward { model: "heads x head size".into(), width, inside: 4 * width },
        };
        let setting = Setting {
            patterns: setting::patterns(&self.patterns),
            lengths: setting::lengths(&self.lengths)?,
            batch: self.batch,
            heads: self.heads,
            head_size: self.head_size,
            passes: setting::passes(&self.passes)?,
            device,
            seconds: self.seconds,
            seed: self.seed,
            feed_forward,
        };
        out.note(device.describe(&self.device));
        let report = run(&setting, &|line| out.note(line))?;
        Ok((report, setting))
    }
}

/// Refuses a file in a folder that is not there.
fn check_folder(file: &Path) -> Result<()> {
    match file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        Some(folder) => Err(Error::failed(format!(
            "{}: there is no folder {}; make it first",
            file.display(),
            folder.display()
        ))),
        None => Ok(()),
    }
}

/// The sizes of a configuration's feed-forward layer, whichever model it is of.
fn of_config(file: &Path) -> Result<FeedForward> {
    let sizes = |model: &str, width, inside| FeedForward {
        model: format!("{model}, {}", file.display()),
        width,
        inside,
    };
    match Settings::<Captioner>::load(Some(file), &[]).map(|settings| settings.model) {
        Ok(model) => Ok(sizes("captioner", model.width, model.feed_forward())),
        // Its errors are of a captioner's keys: where it is no foley's either, they are told.
        Err(error) => match Settings::<Foley>::load(Some(file), &[]).map(|settings| settings.model) {
            Ok(model) => Ok(sizes("foley", model.width, model.feed_forward())),
            Err(_) => Err(error),
        },
    }
}

fn show(text: &str, length: usize, out: &Output) -> Result<()> {
    if length > LONGEST_SHOWN {
        return Err(Error::usage(format!(
            "--length {length}: a printed mask has at most {LONGEST_SHOWN} tokens"
        )));
    }
    let pattern = Pattern::parse(text, Some(length))?;
    let shown = Shown {
        pattern: pattern.to_string(),
        length,
        visible_pairs: pattern.visible_pairs(length, length, length),
        causal: pattern.is_causal(),
        reach: pattern.reach(),
        words: pattern.in_words(),
        mask: pattern.printed(length, length).lines().map(String::from).collect(),
    };
    out.result(&shown, |shown| {
        format!(
            "{}: {}\n{} of {} pairs are visible; a line is a query, a column a key, # is seen\n\n{}",
            shown.pattern,
            shown.words,
            shown.visible_pairs,
            shown.length * shown.length,
            shown.mask.join("\n")
        )
    })
}
