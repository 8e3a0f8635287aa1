//! The progress line of `evoke prepare`.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;
use crate::Result;
use crate::data::sound::{SoundSource, SoundWriter};
use crate::data::writer::{Source, Tick, Writer};

/// Writes one split with a progress line.
pub(super) fn write_split(out: &Output, writer: &mut Writer, name: &str, source: &dyn Source) -> Result<()> {
    let finished = writer.finished(name);
    if finished > 0 {
        out.note(format!("{name}: {finished} of {} pictures are finished from before", source.len()));
    }
    let progress = Progress::new(name, "pictures");
    let result = writer.split(name, source, &|tick| progress.show(tick));
    progress.clear();
    result
}

/// Writes one split of clips with a progress line.
pub(super) fn write_clips(
    out: &Output,
    writer: &mut SoundWriter,
    name: &str,
    source: &dyn SoundSource,
) -> Result<()> {
    let finished = writer.finished(name);
    if finished > 0 {
        out.note(format!("{name}: {finished} of {} clips are finished from before", source.len()));
    }
    let progress = Progress::new(name, "clips");
    let result = writer.split(name, source, &|tick| progress.show(tick));
    progress.clear();
    result
}

/// A line that is redrawn on a terminal, and repeated now and then elsewhere.
pub(super) struct Progress {
    name: String,
    /// What is counted: `pictures`, `clips`.
    what: &'static str,
    bar: ProgressBar,
    started: Instant,
    spoken: std::cell::Cell<Instant>,
}

impl Progress {
    /// How often a line goes to a file or a pipe.
    const QUIET: Duration = Duration::from_secs(10);

    pub fn new(name: &str, what: &'static str) -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name.to_owned());
        let now = Instant::now();
        Progress { name: name.into(), what, bar, started: now, spoken: std::cell::Cell::new(now) }
    }

    pub fn show(&self, tick: Tick) {
        let rate = (tick.done - tick.resumed) as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let left = Duration::from_secs_f64(((tick.total - tick.done) as f64 / rate.max(1e-9)).min(1e9));
        let skipped = if tick.skipped > 0 { format!(", {} skipped", tick.skipped) } else { String::new() };
        let text = format!("{rate:.0} {}/s, {} left{skipped}", self.what, indicatif::HumanDuration(left));
        self.bar.set_length(tick.total as u64);
        self.bar.set_position(tick.done as u64);
        self.bar.set_message(text.clone());
        if self.bar.is_hidden() && self.spoken.get().elapsed() >= Progress::QUIET {
            self.spoken.set(Instant::now());
            eprintln!("{}: {} of {}, {text}", self.name, tick.done, tick.total);
        }
    }

    /// Takes the line from the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
