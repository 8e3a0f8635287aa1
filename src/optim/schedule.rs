//! The learning rate at each step: a pure function of the settings and the step, so a resume needs nothing.

use crate::config::{Model, ScheduleKind, Settings};

/// The learning rate of optimizer step `step`, counted from 1, in a run of `total` steps.
pub fn learning_rate<M: Model>(config: &Settings<M>, step: u64, total: u64) -> f32 {
    let schedule = &config.schedule;
    let peak = f64::from(config.optimizer.learning_rate);
    let (step, warmup) = (step.max(1) as f64, schedule.warmup_steps as f64);
    let rise = if step < warmup { step / warmup } else { 1.0 };
    let rate = match schedule.kind {
        ScheduleKind::Constant => peak * rise,
        ScheduleKind::Cosine if step < warmup => peak * rise,
        ScheduleKind::Cosine => {
            let left = (total as f64 - warmup).max(1.0);
            let progress = ((step - warmup) / left).clamp(0.0, 1.0);
            let last = f64::from(schedule.final_share);
            peak * (last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
        }
        // Vaswani 2017, with the factor k in front.
        ScheduleKind::Warmup => {
            let rising = if warmup > 0.0 { step * warmup.powf(-1.5) } else { f64::INFINITY };
            peak * (config.model.width() as f64).powf(-0.5) * step.powf(-0.5).min(rising)
        }
    };
    rate as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Schedule};

    fn config(kind: ScheduleKind) -> Config {
        let mut config =
            Config { schedule: Schedule { kind, warmup_steps: 100, final_share: 0.1 }, ..Config::default() };
        config.optimizer.learning_rate = 2.0;
        config.model.width = 64;
        config
    }

    #[test]
    fn warmup_of_the_transformer_paper_peaks_at_the_warmup_step() {
        let config = config(ScheduleKind::Warmup);
        let peak = 2.0 / 8.0 / 10.0;
        assert!((learning_rate(&config, 100, 1000) - peak).abs() < 1e-6);
        assert!((learning_rate(&config, 50, 1000) - peak / 2.0).abs() < 1e-6);
        assert!((learning_rate(&config, 400, 1000) - peak / 2.0).abs() < 1e-6);
    }

    #[test]
    fn cosine_rises_to_the_peak_and_ends_at_its_share() {
        let config = config(ScheduleKind::Cosine);
        assert!((learning_rate(&config, 50, 1100) - 1.0).abs() < 1e-6);
        assert!((learning_rate(&config, 100, 1100) - 2.0).abs() < 1e-6);
        assert!((learning_rate(&config, 600, 1100) - 1.1).abs() < 1e-6);
        assert!((learning_rate(&config, 1100, 1100) - 0.2).abs() < 1e-6);
    }
}
