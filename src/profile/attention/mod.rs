//! `evoke profile attention`: for each pattern, what attention costs as the sequence grows, predicted before it is
//! measured, against what this machine allows and against the feed-forward layer beside it.
//!
//! [`run`] counts every point ([`mod@cost`]), measures the machine's ceilings ([`rates`]) and a few short points, calibrates
//! the cost model on these, predicts all others, and measures as many of them as the budget of seconds and the free
//! memory allow, the cheapest first. [`summary`] draws the conclusions; [`text`] and [`page`] show them.

pub mod cost;
pub mod fit;
mod memory;
pub mod page;
pub mod peers;
pub mod plots;
pub mod report;
pub mod runs;
pub mod saved;
pub mod setting;
pub mod summary;
pub mod text;

use std::time::Instant;

use crate::bench::Quantiles;
use crate::bench::energy::Meter;
use crate::device::{Device, cuda};
use crate::graph::DType;
use crate::ops::attention::pattern::Pattern;
use crate::ops::attention::work::{self, Tiling};
use crate::profile::rates;
use crate::train::budget;
use crate::{Error, Result};

use self::cost::{Cost, Counts, calibrated, cost, planned, seconds};
use self::memory::Since;
use self::report::{FeedForwardTimes, Machine, Report, Sizes, Tiles};
use self::runs::{Part, Ready, Traced, metered, timed};
use self::setting::{Pass, Setting};

/// One pattern at one length: what it takes, what was predicted, what was measured, by pass.
pub struct Site {
    pub pattern: usize,
    pub length: usize,
    pub patterns: Vec<Pattern>,
    /// Whether it was asked for, or is there for the calibration alone.
    pub listed: bool,
    pub calibration: bool,
    pub not_tried: Option<&'static str>,
    /// In the order of the setting's passes.
    pub passes: Vec<Measured>,
}

/// One pass of a [`Site`].
pub struct Measured {
    pub pass: Pass,
    pub cost: Cost,
    pub planned: usize,
    pub predicted: f64,
    pub times: Option<Quantiles>,
    /// Joules of one run.
    pub energy: Option<f64>,
    /// Bytes by which the process grew, where the system tells.
    pub grown: Option<usize>,
}

/// Most seconds for each pass of a calibration point, and the share of all seconds for all of them.
const CALIBRATION: f64 = 0.4;
const CALIBRATION_SHARE: f64 = 0.2;
/// The longest sequence that calibrates.
const LONGEST_CALIBRATION: usize = 4096;
/// Of free memory, what a point may take: the rest is for what a plan does not count.
const MEMORY_SHARE: f64 = 0.9;
/// Of the time that is left, what repeats may take: a prediction may be short.
const TIME_SHARE: f64 = 0.85;
/// Seconds for each pass of a point beyond which repeats say little more.
const MOST_SECONDS: f64 = 2.0;
/// Tokens over which the feed-forward layer is timed.
const FEED_FORWARD_TOKENS: usize = 1024;

/// Profiles. `note` takes lines that say how far it is.
///
/// # Errors
/// If the setting is impossible, or the device fails.
pub fn run(s: &Setting, note: &dyn Fn(&str)) -> Result<Report> {
    s.check()?;
    let began = Instant::now();
    let machine = machine(s);
    note(&format!("{}: measuring the ceilings", machine.device));
    let ceilings = rates::measure(s.device)?;
    let feed_forward = feed_forward(s)?;
    let mut sites = sites(s, machine.units)?;
    let counter = Meter::of(s.device);
    let meter = counter.as_ref().ok();
    note("calibrating the cost model");
    let passes: usize = sites.iter().filter(|site| site.calibration).map(|site| site.passes.len()).sum();
    let each = CALIBRATION.min(CALIBRATION_SHARE * s.seconds / passes.max(1) as f64);
    for site in sites.iter_mut().filter(|site| site.calibration) {
        // Where a short point takes long nevertheless, this is one run.
        measure(s, site, meter, &|_| each)?;
    }
    predict(s, &mut sites);
    measure_rest(s, &mut sites, (began, machine.memory_available), meter, note)?;
    let tiles = tiles(s)?;
    let sizes =
        Sizes { batch: s.batch, heads: s.heads, head_size: s.head_size, seed: s.seed, budget_s: s.seconds };
    let datasheet = rates::datasheet(s.device);
    let points = summary::points(s, &sites, &ceilings, datasheet);
    let fits = summary::fits(s, &points, &feed_forward, machine.memory_available)?;
    let prediction = summary::prediction(s, &points);
    let seconds = began.elapsed().as_secs_f64();
    Ok(Report {
        machine,
        setting: sizes,
        ceilings,
        datasheet,
        energy: counter.into(),
        feed_forward,
        points,
        fits,
        tiles,
        prediction,
        peers: Vec::new(),
        seconds,
    })
}

fn machine(s: &Setting) -> Machine {
    let (name, units) = match s.device {
        Device::Cuda(number) => match cuda::usable(number) {
            Ok(card) => (card.name.clone(), card.multiprocessors.max(1) as usize),
            Err(_) => (String::new(), 1),
        },
        _ => (processor(), rayon::current_num_threads()),
    };
    Machine {
        program: format!("evoke {}", env!("CARGO_PKG_VERSION")),
        device: s.device.to_string(),
        name,
        units,
        vector: crate::device::cpu::vector().to_string(),
        storage: match s.device.storage() {
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            _ => "f32",
        }
        .to_string(),
        memory_available: budget::available(s.device),
    }
}

/// The processor's name, where the system tells.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or(String::new(), |(_, name)| name.trim().to_string())
}

fn feed_forward(s: &Setting) -> Result<FeedForwardTimes> {
    const SECONDS: f64 = 0.5;
    let mut ready = Ready::new(Traced::feed_forward(s, FEED_FORWARD_TOKENS)?, s.device, s.seed)?;
    let forward = timed(&mut ready, Part::Forward, 0.0, SECONDS)?;
    ready.seed_gradients();
    let backward = timed(&mut ready, Part::Backward, 0.0, SECONDS)?;
    let mut alone = Ready::new(Traced::feed_forward(s, s.batch)?, s.device, s.seed)?;
    let decode = timed(&mut alone, Part::Forward, 0.0, SECONDS / 4.0)?;
    Ok(FeedForwardTimes {
        sizes: s.feed_forward.clone(),
        forward_s_per_token: forward.median_s / FEED_FORWARD_TOKENS as f64,
        backward_s_per_token: backward.median_s / FEED_FORWARD_TOKENS as f64,
        decode_s: decode.median_s,
    })
}

/// The lengths that calibrate: the shortest ones of the list, which must stay long enough to leave an upper half; else
/// shorter ones beside it.
fn calibration_lengths(lengths: &[usize]) -> Vec<usize> {
    const SHORTEST: usize = 16;
    let count = if lengths.len() >= 4 { 2 } else { usize::from(lengths.len() == 3) };
    let mut own: Vec<usize> =
        lengths.iter().copied().take(count).filter(|&n| n <= LONGEST_CALIBRATION).collect();
    if own.len() < 2 {
        let base = lengths[0].min(LONGEST_CALIBRATION);
        own.extend([base / 2, base / 4].into_iter().filter(|&n| n >= SHORTEST && n < lengths[0]));
    }
    own.sort_unstable();
    own.dedup();
    own
}

/// All points with their counts, the lengths rising.
fn sites(s: &Setting, units: usize) -> Result<Vec<Site>> {
    let calibration = calibration_lengths(&s.lengths);
    let mut lengths: Vec<usize> = s.lengths.iter().chain(&calibration).copied().collect();
    lengths.sort_unstable();
    lengths.dedup();
    let mut sites = Vec::new();
    for &length in &lengths {
        for (pattern, text) in s.patterns.iter().enumerate() {
            let listed = s.lengths.contains(&length);
            let patterns = match s.at(text, length) {
                Ok(patterns) => patterns,
                Err(error) if listed => return Err(error),
                // A summary may be too long for the block of a sequence as short as this.
                Err(_) => continue,
            };
            let passes = s
                .passes
                .iter()
                .map(|&pass| {
                    let cost = cost(s, &patterns, length, pass, units);
                    let planned = planned(s, &patterns, length, pass)?;
                    Ok(Measured {
                        pass,
                        cost,
                        planned,
                        predicted: f64::NAN,
                        times: None,
                        energy: None,
                        grown: None,
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            let calibration = calibration.contains(&length);
            sites.push(Site { pattern, length, patterns, listed, calibration, not_tried: None, passes });
        }
    }
    Ok(sites)
}

/// Measures all passes of a site, each for about as long as `allowance` of its place in the list says.
fn measure(
    s: &Setting,
    site: &mut Site,
    meter: Option<&Meter>,
    allowance: &dyn Fn(usize) -> f64,
) -> Result<()> {
    let backward = s.passes.contains(&Pass::Backward);
    let mut ready: Option<(Ready, Option<Since>)> = None;
    for number in 0..site.passes.len() {
        let (pass, expected) = (site.passes[number].pass, site.passes[number].predicted);
        let expected = if expected.is_finite() { expected } else { 0.0 };
        let ((times, energy), grown) = if pass == Pass::Decode {
            ready = None;
            let since = Since::now();
            let traced = Traced::decoding(s, &site.patterns, site.length)?;
            let mut alone = Ready::new(traced, s.device, s.seed)?;
            let times = metered(&mut alone, Part::Forward, expected, allowance(number), meter)?;
            (times, since.and_then(|since| since.growth()))
        } else {
            let (attention, since) = match ready.take() {
                Some(both) => ready.insert(both),
                None => {
                    let before = Since::now();
                    let traced = Traced::attention(s, &site.patterns, site.length, backward)?;
                    ready.insert((Ready::new(traced, s.device, s.seed)?, before))
                }
            };
            let part = if pass == Pass::Backward { Part::Backward } else { Part::Forward };
            if part == Part::Backward {
                if !s.passes.contains(&Pass::Forward) {
                    attention.clocked(Part::Forward, expected)?;
                }
                attention.seed_gradients();
            }
            let times = metered(attention, part, expected, allowance(number), meter)?;
            // Both passes share the memory of the backward pass, so that the forward pass's own shows only where it is alone.
            let whole = part == Part::Backward || !backward;
            (times, since.as_ref().filter(|_| whole).and_then(Since::growth))
        };
        site.passes[number].times = Some(times);
        site.passes[number].energy = energy;
        site.passes[number].grown = grown;
    }
    Ok(())
}

/// Calibrates the model by pass and predicts every point; a point that calibrates is predicted from the others.
fn predict(s: &Setting, sites: &mut [Site]) {
    for number in 0..s.passes.len() {
        let known: Vec<(usize, usize, Counts, f64)> = sites
            .iter()
            .enumerate()
            .filter_map(|(at, site)| {
                let one = &site.passes[number];
                one.times.map(|times| (at, site.pattern, one.cost.counts, times.median_s))
            })
            .collect();
        let model = |without: Option<usize>, pattern: usize, counts: &Counts| {
            let used: Vec<_> = known.iter().filter(|(at, ..)| Some(*at) != without).collect();
            let points: Vec<(Counts, f64)> = used.iter().map(|(_, _, counts, t)| (*counts, *t)).collect();
            let c = calibrated(&points);
            let own: Vec<f64> = used
                .iter()
                .filter(|(_, p, ..)| *p == pattern)
                .map(|(_, _, counts, t)| (t / seconds(&c, counts)).ln())
                .filter(|ratio| ratio.is_finite())
                .collect();
            let factor =
                if own.is_empty() { 1.0 } else { (own.iter().sum::<f64>() / own.len() as f64).exp() };
            factor * seconds(&c, counts)
        };
        for (at, site) in sites.iter_mut().enumerate() {
            let without = site.calibration.then_some(at);
            let one = &mut site.passes[number];
            one.predicted = model(without, site.pattern, &one.cost.counts);
        }
    }
}

/// Measures what did not calibrate, as far as time and memory go.
fn measure_rest(
    s: &Setting,
    sites: &mut [Site],
    (began, available): (Instant, Option<usize>),
    meter: Option<&Meter>,
    note: &dyn Fn(&str),
) -> Result<()> {
    let once = |site: &Site| -> f64 {
        // The backward pass needs the forward's results, asked for or not.
        let forward = |one: &Measured| if one.pass == Pass::Backward { 0.5 * one.predicted } else { 0.0 };
        let extra: f64 =
            if s.passes.contains(&Pass::Forward) { 0.0 } else { site.passes.iter().map(forward).sum() };
        site.passes.iter().map(|one| one.predicted).sum::<f64>() + extra
    };
    let mut order: Vec<usize> = (0..sites.len()).filter(|&at| !sites[at].calibration).collect();
    order.sort_by(|&a, &b| once(&sites[a]).total_cmp(&once(&sites[b])));
    let left = || s.seconds - began.elapsed().as_secs_f64();
    let memory = available.map(|bytes| (bytes as f64 * MEMORY_SHARE) as usize);
    let mut needed = 0.0;
    let mut tried = 0;
    for &at in &order {
        let most = sites[at].passes.iter().map(|one| one.planned).max().unwrap_or(0);
        // Drawing an input takes a second buffer of its size for a moment.
        if memory.is_some_and(|memory| most + most / 4 > memory) {
            sites[at].not_tried = Some("memory");
        } else if needed + once(&sites[at]) > TIME_SHARE * left() {
            sites[at].not_tried = Some("time");
        } else {
            needed += once(&sites[at]);
            tried += sites[at].passes.len();
        }
    }
    let mut done = 0;
    for at in order {
        let site = &mut sites[at];
        if site.not_tried.is_some() {
            continue;
        }
        if once(site) > left() {
            site.not_tried = Some("time");
            continue;
        }
        let spare = (TIME_SHARE * left() - needed).max(0.0) / (tried - done).max(1) as f64;
        let predicted: Vec<f64> = site.passes.iter().map(|one| one.predicted).collect();
        needed -= once(site);
        let allowance = |number: usize| (predicted[number] + spare).min(predicted[number].max(MOST_SECONDS));
        measure(s, site, meter, &allowance)?;
        done += site.passes.len();
        let told: Vec<String> = site
            .passes
            .iter()
            .filter_map(|one| one.times.map(|t| format!("{} {:.4} s", one.pass.name(), t.median_s)))
            .collect();
        note(&format!("{} at {}: {}", s.patterns[site.pattern], site.length, told.join(", ")));
    }
    Ok(())
}

/// Tiles of the first head at each pattern's longest length.
fn tiles(s: &Setting) -> Result<Vec<Tiles>> {
    // In one size for all patterns, so that the squares compare; narrow windows are cut finer.
    let tiling = Tiling::of(s.device);
    let tiling = Tiling { narrow: (tiling.queries, tiling.keys), ..tiling };
    let mut all = Vec::new();
    for text in &s.patterns {
        for &length in &s.lengths {
            let pattern = s.at(text, length)?[0];
            let counted = work::count(pattern, length, tiling);
            all.push(Tiles {
                pattern: text.clone(),
                length,
                tile_queries: tiling.queries,
                tile_keys: tiling.keys,
                full: counted.full_tiles,
                partial: counted.partial_tiles,
                empty: counted.empty_tiles(length, tiling),
            });
        }
    }
    Ok(all)
}

/// What `--type` may say: the device decides.
///
/// # Errors
/// If the device stores activations otherwise.
pub fn check_type(device: Device, asked: &str) -> Result<()> {
    let has = match device.storage() {
        DType::BF16 => "bf16",
        DType::F16 => "f16",
        _ => "f32",
    };
    if !["f32", "bf16", "f16"].contains(&asked) {
        return Err(Error::usage(format!("--type {asked}: no such type; there are f32, bf16 and f16")));
    }
    if asked == has {
        return Ok(());
    }
    Err(Error::usage(format!(
        "--type {asked}: attention on {device} works on {has}; leave --type out, or take another --device"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_lengths_calibrate_or_shorter_ones_beside_the_list() {
        assert_eq!(calibration_lengths(&[1024, 2048, 4096, 8192]), [1024, 2048]);
        assert_eq!(calibration_lengths(&[64, 128, 256]), [16, 32, 64]);
        assert_eq!(calibration_lengths(&[1000]), [250, 500]);
        assert_eq!(calibration_lengths(&[1 << 17, 1 << 18]), [1024, 2048]);
        assert_eq!(calibration_lengths(&[1 << 15, 1 << 16, 1 << 17, 1 << 18]), [1024, 2048]);
    }
}
