//! What a configuration may not be: each rule is one line that names the key, its value and what it must be.

use super::{Captioner, Loss, Model, Positions, ScheduleKind, Settings, Stem};
use crate::{Error, Result};

impl<M: Model> Settings<M> {
    /// Errors: everything that is out of range, on one line.
    pub fn check(&self) -> Result<()> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(Error::usage(problems.join("; "))) }
    }

    /// Everything that is out of range, a line each.
    pub fn problems(&self) -> Vec<String> {
        let mut rules = Rules::default();
        self.model.check(&self.loss, &mut rules);
        self.check_learning(&mut rules);
        self.check_train(&mut rules);
        rules.problems
    }

    fn check_learning(&self, rules: &mut Rules) {
        let optimizer = &self.optimizer;
        rules.positive("optimizer.learning_rate", optimizer.learning_rate);
        rules.not_negative("optimizer.encoder_learning_rate", optimizer.encoder_learning_rate);
        rules.not_negative("optimizer.decoder_learning_rate", optimizer.decoder_learning_rate);
        rules.not_negative("optimizer.encoder_weight_decay", optimizer.encoder_weight_decay);
        rules.not_negative("optimizer.decoder_weight_decay", optimizer.decoder_weight_decay);
        rules.below_one("optimizer.beta1", optimizer.beta1);
        rules.below_one("optimizer.beta2", optimizer.beta2);
        rules.positive("optimizer.epsilon", optimizer.epsilon);
        rules.not_negative("optimizer.clip", optimizer.clip);
        rules.below_one("optimizer.average", optimizer.average);
        rules.share("schedule.final_share", self.schedule.final_share);
        if self.schedule.kind == ScheduleKind::Warmup && self.schedule.warmup_steps == 0 {
            rules.broken("schedule.warmup_steps is 0, but the warmup schedule divides by it: take 1 or more");
        }
    }

    fn check_train(&self, rules: &mut Rules) {
        let train = &self.train;
        // TOML's whole numbers end here, and config.toml must hold the seed.
        if train.seed > i64::MAX as u64 {
            rules.broken(format!("train.seed is {}, but must be at most {}", train.seed, i64::MAX));
        }
        rules.within("train.batch", train.batch, 1, 1_000_000);
        rules.within("train.accumulate", train.accumulate, 1, 1_000_000);
        rules.within("train.steps", train.steps, 0, 1_000_000_000_000);
        rules.within("train.keep", train.keep, 1, usize::MAX);
        rules.not_negative("train.epochs", train.epochs);
        rules.positive("train.evaluate_seconds", train.evaluate_seconds);
        if train.steps == 0 && train.epochs == 0.0 {
            rules.broken("train.steps and train.epochs are both 0: nothing would be trained");
        }
        rules.not_negative("train.skip_spikes", train.skip_spikes);
    }
}

/// The captioner's own sections.
pub(super) fn captioner(model: &Captioner, loss: &Loss, rules: &mut Rules) {
    // The upper ends only keep products of sizes far from overflow; memory runs out long before.
    rules.within("model.width", model.width, 1, 65_536);
    rules.within("model.heads", model.heads, 1, 65_536);
    rules.within("model.encoder_layers", model.encoder_layers, 1, 1_000);
    rules.within("model.decoder_layers", model.decoder_layers, 1, 1_000);
    rules.within("model.feed_forward", model.feed_forward, 0, 1_048_576);
    rules.within("model.patch", model.patch, 1, 4_096);
    rules.within("model.max_words", model.max_words, 2, 65_536);
    let width = model.width;
    if model.heads > 0 && !width.is_multiple_of(model.heads) {
        rules.broken(format!(
            "model.width is {width}, but must be a multiple of model.heads ({})",
            model.heads
        ));
    }
    if model.positions == Positions::Sinusoid2d && !width.is_multiple_of(4) {
        rules.broken(format!(
            "model.width is {width}, but two-dimensional sinusoids (model.positions) need a multiple of 4"
        ));
    }
    let one_dimension = [model.positions, model.word_positions].contains(&Positions::Sinusoid1d);
    if one_dimension && !width.is_multiple_of(2) {
        rules.broken(format!("model.width is {width}, but sinusoids need an even one"));
    }
    if model.word_positions == Positions::Sinusoid2d {
        rules.broken(
            "model.word_positions is sinusoid-2d, but words have one dimension: take sinusoid-1d or learned",
        );
    }
    if model.stem == Stem::Convolution && (model.patch < 2 || !model.patch.is_power_of_two()) {
        rules.broken(format!(
            "model.patch is {}, but the convolution stem halves the picture each time: take a power of 2, 2 or more",
            model.patch
        ));
    }
    rules.below_one("model.encoder_dropout", model.encoder_dropout);
    rules.below_one("model.decoder_dropout", model.decoder_dropout);
    rules.share("model.word_dropout", model.word_dropout);
    rules.below_one("loss.label_smoothing", loss.label_smoothing);
    rules.share("loss.parallel_prediction", loss.parallel_prediction);
}

/// Collects what is wrong. Comparisons are written so that NaN breaks them.
#[derive(Debug, Default)]
pub struct Rules {
    problems: Vec<String>,
}

impl Rules {
    pub fn broken(&mut self, line: impl Into<String>) {
        self.problems.push(line.into());
    }

    pub fn within(&mut self, key: &str, value: usize, least: usize, most: usize) {
        if value < least {
            self.broken(format!("{key} is {value}, but must be at least {least}"));
        } else if value > most {
            self.broken(format!("{key} is {value}, but must be at most {most}"));
        }
    }

    pub fn holds(&mut self, key: &str, value: f32, holds: bool, must: &str) {
        if !holds {
            self.broken(format!("{key} is {value}, but must be {must}"));
        }
    }

    pub fn below_one(&mut self, key: &str, value: f32) {
        self.holds(key, value, (0.0..1.0).contains(&value), "at least 0 and below 1");
    }

    pub fn share(&mut self, key: &str, value: f32) {
        self.holds(key, value, (0.0..=1.0).contains(&value), "from 0 to 1");
    }

    pub fn positive(&mut self, key: &str, value: f32) {
        self.holds(key, value, value > 0.0 && value.is_finite(), "greater than 0, and finite");
    }

    pub fn not_negative(&mut self, key: &str, value: f32) {
        self.holds(key, value, value >= 0.0 && value.is_finite(), "0 or more, and finite");
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn the_defaults_are_in_order() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_broken_by_its_own_value_and_tells_the_key() {
        let cases: [(&str, &str); 32] = [
            ("model.width=0", "model.width"),
            ("model.width=65600", "at most 65536"),
            ("model.heads=0", "model.heads"),
            ("model.heads=3", "multiple of model.heads"),
            ("model.encoder_layers=0", "model.encoder_layers"),
            ("model.decoder_layers=0", "model.decoder_layers"),
            ("model.patch=0", "model.patch"),
            ("model.max_words=1", "model.max_words"),
            ("model.word_positions=sinusoid-2d", "model.word_positions"),
            ("model.encoder_dropout=1.0", "model.encoder_dropout"),
            ("model.decoder_dropout=-0.1", "model.decoder_dropout"),
            ("model.word_dropout=nan", "model.word_dropout"),
            ("loss.label_smoothing=1", "loss.label_smoothing"),
            ("loss.parallel_prediction=1.5", "loss.parallel_prediction"),
            ("optimizer.learning_rate=0", "optimizer.learning_rate"),
            ("optimizer.learning_rate=inf", "optimizer.learning_rate"),
            ("optimizer.learning_rate=1e300", "optimizer.learning_rate"),
            ("optimizer.encoder_learning_rate=-1", "optimizer.encoder_learning_rate"),
            ("optimizer.decoder_learning_rate=nan", "optimizer.decoder_learning_rate"),
            ("optimizer.encoder_weight_decay=-1", "optimizer.encoder_weight_decay"),
            ("optimizer.decoder_weight_decay=inf", "optimizer.decoder_weight_decay"),
            ("optimizer.beta1=1", "optimizer.beta1"),
            ("optimizer.beta2=1", "optimizer.beta2"),
            ("optimizer.epsilon=0", "optimizer.epsilon"),
            ("optimizer.clip=-1", "optimizer.clip"),
            ("optimizer.average=1", "optimizer.average"),
            ("schedule.final_share=2", "schedule.final_share"),
            ("train.batch=0", "train.batch"),
            ("train.accumulate=0", "train.accumulate"),
            ("train.keep=0", "train.keep"),
            ("train.epochs=0", "nothing would be trained"),
            ("train.skip_spikes=nan", "train.skip_spikes"),
        ];
        for (set, names) in cases {
            let error = Config::load(None, &[set.to_string()]).unwrap_err();
            let line = error.to_string();
            assert!(line.contains(names) && !line.contains(';') && !line.contains('\n'), "{set}: {line}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn rules_that_tie_two_keys_together() {
        let line = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
            Config::load(None, &sets).map_err(|error| error.to_string())
        };
        assert!(line(&["width=6", "heads=1"]).unwrap_err().contains("multiple of 4"));
        assert!(line(&["width=6", "heads=1", "positions=learned"]).is_ok());
        assert!(line(&["width=7", "heads=1", "positions=learned"]).unwrap_err().contains("even"));
        assert!(line(&["width=7", "heads=1", "positions=learned", "word_positions=learned"]).is_ok());
        assert!(line(&["kind=warmup", "warmup_steps=0"]).unwrap_err().contains("schedule.warmup_steps"));
        assert!(line(&["warmup_steps=0"]).is_ok(), "cosine without a warm-up");
        assert!(line(&["stem=convolution", "patch=12"]).unwrap_err().contains("power of 2"));
        assert!(line(&["stem=convolution"]).is_ok());
        let two = line(&["batch=0", "keep=0"]).unwrap_err();
        assert!(two.contains("train.batch") && two.contains("train.keep"), "both are told: {two}");
    }
}
