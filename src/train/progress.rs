//! The progress line on stderr: one line that updates itself on a terminal, else a plain line now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Weight of the newest step in the smoothed figures: about the last 20 steps count.
const NEWEST: f64 = 0.05;
/// Between two plain lines, where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// What one step did.
#[derive(Debug, Clone, Copy)]
pub struct StepReport {
    /// The step just done, counted from 1.
    pub step: u64,
    /// Mean loss in nats a token.
    pub loss: f32,
    pub learning_rate: f32,
    /// Pictures in the step.
    pub samples: usize,
    /// Time the step waited for its batch; part of `step_seconds`.
    pub data_wait_seconds: f64,
    pub step_seconds: f64,
}

/// Shows how far training is. Failing to write to stderr stops nothing.
pub struct Progress {
    meter: Meter,
    shows: Shows,
    started: Instant,
}

enum Shows {
    Bar(ProgressBar),
    Lines { out: Box<dyn Write + Send>, last: Option<Instant> },
    Nothing,
}

impl Progress {
    /// For steps `start_step + 1 ..= total_steps`, as stderr allows: a terminal gets the updating line.
    pub fn new(total_steps: u64, start_step: u64) -> Self {
        let shows = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(total_steps), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:20} {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_position(start_step);
            Shows::Bar(bar)
        } else {
            Shows::Lines { out: Box::new(std::io::stderr()), last: None }
        };
        Progress { meter: Meter::new(total_steps, start_step), shows, started: Instant::now() }
    }

    /// Shows no progress and no notes; warnings still come.
    pub fn quiet(total_steps: u64, start_step: u64) -> Self {
        Progress {
            meter: Meter::new(total_steps, start_step),
            shows: Shows::Nothing,
            started: Instant::now(),
        }
    }

    /// Takes in a step.
    pub fn step(&mut self, report: StepReport) {
        self.meter.take(report);
        let elapsed = self.started.elapsed();
        match &mut self.shows {
            Shows::Bar(bar) => {
                bar.set_position(report.step);
                bar.set_message(self.meter.line(elapsed));
            }
            Shows::Lines { out, last } => {
                // The first and the last step too: a short run should show where it began and ended.
                if last.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) || report.step == self.meter.total {
                    let _ = writeln!(out, "{}", self.meter.line(elapsed));
                    *last = Some(Instant::now());
                }
            }
            Shows::Nothing => {}
        }
    }

    /// A line that stays, such as an evaluation's result.
    pub fn note(&mut self, line: &str) {
        match &mut self.shows {
            Shows::Bar(bar) => bar.suspend(|| eprintln!("{line}")),
            Shows::Lines { out, .. } => drop(writeln!(out, "{line}")),
            Shows::Nothing => {}
        }
    }

    /// A note that is shown even where progress is not.
    pub fn warn(&mut self, line: &str) {
        match &self.shows {
            Shows::Nothing => eprintln!("{line}"),
            _ => self.note(line),
        }
    }

    /// Leaves the last state standing.
    pub fn finish(self) {
        if let Shows::Bar(bar) = self.shows {
            bar.abandon();
        }
    }
}

/// The figures of the line, without a clock or an output.
#[derive(Debug)]
struct Meter {
    total: u64,
    start: u64,
    last: Option<StepReport>,
    /// Running means, each divided by `weight`: the first steps count in full.
    loss: f64,
    seconds: f64,
    wait: f64,
    samples: f64,
    weight: f64,
}

impl Meter {
    fn new(total: u64, start: u64) -> Self {
        Meter { total, start, last: None, loss: 0.0, seconds: 0.0, wait: 0.0, samples: 0.0, weight: 0.0 }
    }

    fn take(&mut self, report: StepReport) {
        self.last = Some(report);
        // A skipped step's NaN must not stay in the mean for good.
        if !report.loss.is_finite() {
            return;
        }
        let mix = |mean: &mut f64, newest: f64| *mean += NEWEST * (newest - *mean);
        mix(&mut self.loss, f64::from(report.loss));
        mix(&mut self.seconds, report.step_seconds);
        mix(&mut self.wait, report.data_wait_seconds);
        mix(&mut self.samples, report.samples as f64);
        mix(&mut self.weight, 1.0);
    }

    /// `elapsed` is the time since the start, evaluations and checkpoints included: they will come again.
    fn line(&self, elapsed: Duration) -> String {
        let Some(last) = self.last else { return format!("step {}/{}", self.start, self.total) };
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let done = last.step.saturating_sub(self.start).max(1) as f64;
        let left = elapsed.as_secs_f64() / done * self.total.saturating_sub(last.step) as f64;
        format!(
            "step {}/{}  loss {:.4}  learning rate {:.2e}  {:.1} samples/s  waiting for data {:.0} %  {} left",
            last.step,
            self.total,
            if self.weight > 0.0 { self.loss / self.weight } else { f64::NAN },
            last.learning_rate,
            share(self.samples, self.seconds),
            100.0 * share(self.wait, self.seconds),
            duration(left),
        )
    }
}

/// Seconds as people say them: `42 s`, `3 min 5 s`, `2 h 7 min`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn report(step: u64, loss: f32) -> StepReport {
        StepReport {
            step,
            loss,
            learning_rate: 3e-4,
            samples: 64,
            data_wait_seconds: 0.05,
            step_seconds: 0.5,
        }
    }

    #[test]
    fn the_line_tells_loss_rate_speed_wait_and_time_left() {
        let mut meter = Meter::new(1000, 100);
        assert_eq!(meter.line(Duration::ZERO), "step 100/1000");
        for step in 101..=110 {
            meter.take(report(step, 2.5));
        }
        assert_eq!(
            meter.line(Duration::from_secs(10)),
            "step 110/1000  loss 2.5000  learning rate 3.00e-4  128.0 samples/s  waiting for data 10 %  14 min 50 s left"
        );
    }

    #[test]
    fn the_loss_is_smoothed_and_a_nan_does_not_stay() {
        let mut meter = Meter::new(10, 0);
        meter.take(report(1, f32::NAN));
        assert!(meter.line(Duration::ZERO).contains("loss NaN"), "nothing finite was seen yet");
        meter.take(report(2, 1.0));
        assert!(meter.line(Duration::ZERO).contains("loss 1.0000"));
        meter.take(report(3, 3.0));
        meter.take(report(4, f32::NAN));
        let line = meter.line(Duration::ZERO);
        assert!(line.starts_with("step 4/10  loss 2.0"), "{line}");
    }

    #[test]
    fn a_step_that_took_no_time_divides_by_nothing() {
        let mut meter = Meter::new(1, 0);
        meter.take(StepReport { step_seconds: 0.0, data_wait_seconds: 0.0, ..report(1, 1.0) });
        assert!(meter.line(Duration::ZERO).ends_with("0.0 samples/s  waiting for data 0 %  0 s left"));
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn without_a_terminal_the_first_and_last_steps_and_notes_are_lines() {
        let text = Shared::default();
        let shows = Shows::Lines { out: Box::new(text.clone()), last: None };
        let mut progress = Progress { meter: Meter::new(100, 0), shows, started: Instant::now() };
        for step in 1..=100 {
            progress.step(report(step, 1.0));
            if step == 50 {
                progress.note("evaluation: loss 1.1");
                progress.warn("careful");
            }
        }
        progress.finish();
        let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        let starts: Vec<&str> = text.lines().map(|line| line.split("  ").next().unwrap()).collect();
        assert_eq!(starts, ["step 1/100", "evaluation: loss 1.1", "careful", "step 100/100"]);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(
            [0.4, 59.6, 3599.0, 7620.0].map(duration),
            ["0 s", "1 min 0 s", "59 min 59 s", "2 h 7 min"]
        );
    }
}
