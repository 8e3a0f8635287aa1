//! What a foley model may not be: each rule is one line that names the key, its value and what it must be.

use super::Stem;
use super::foley::Foley;

impl Foley {
    /// Everything that is out of range, a line each. What depends on the data is checked with the model.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        self.check_sizes(&mut problems);
        self.check_sight(&mut problems);
        problems
    }

    fn check_sizes(&self, problems: &mut Vec<String>) {
        let mut within = |key: &str, value: usize, least: usize, most: usize| {
            if value < least {
                problems.push(format!("model.{key} is {value}, but must be at least {least}"));
            } else if value > most {
                problems.push(format!("model.{key} is {value}, but must be at most {most}"));
            }
        };
        // The upper ends only keep products of sizes far from overflow; memory runs out long before.
        within("width", self.width, 2, 65_536);
        within("heads", self.heads, 1, 65_536);
        within("encoder_layers", self.encoder_layers, 1, 1_000);
        within("decoder_layers", self.decoder_layers, 1, 1_000);
        within("feed_forward", self.feed_forward, 0, 1_048_576);
        within("patch", self.patch, 1, 4_096);
        within("period", self.period, 0, 1_048_576);
        within("encoder_window", self.encoder_window, 0, 1_048_576);
        within("window", self.window, 1, 16_777_216);
        within("stride", self.stride, 0, 16_777_216);
        within("cross_every", self.cross_every, 1, 1_000);
        within("group", self.group, 1, 1_048_576);
        if self.heads > 0 && !self.width.is_multiple_of(self.heads) {
            problems.push(format!(
                "model.width is {}, but must be a multiple of model.heads ({})",
                self.width, self.heads
            ));
        }
        if !self.width.is_multiple_of(2) {
            problems.push(format!("model.width is {}, but sinusoids need an even one", self.width));
        }
        if self.period > 0 && self.period < 2 * self.width {
            problems.push(format!(
                "model.period is {}, but {} channels need as many waves of a whole number of turns each: take 0, or \
                 at least {}",
                self.period,
                self.width,
                2 * self.width
            ));
        }
        for (key, rate) in
            [("encoder_dropout", self.encoder_dropout), ("decoder_dropout", self.decoder_dropout)]
        {
            if !(0.0..1.0).contains(&rate) {
                problems.push(format!("model.{key} is {rate}, but must be at least 0 and below 1"));
            }
        }
        if self.stem == Stem::Convolution && (self.patch < 2 || !self.patch.is_power_of_two()) {
            problems.push(format!(
                "model.patch is {}, but the convolution stem halves the frame each time: take a power of 2, 2 or more",
                self.patch
            ));
        }
    }

    fn check_sight(&self, problems: &mut Vec<String>) {
        if !matches!(self.cross_window.len(), 0 | 2) {
            problems.push(format!(
                "model.cross_window is {:?}, but must be [before, after] in frames, or [] for all",
                self.cross_window
            ));
        }
        if self.cross_window.iter().any(|&frames| frames > 1_048_576) {
            problems
                .push(format!("model.cross_window is {:?}, but at most 1048576 frames", self.cross_window));
        }
        if self.patterns.len() > self.decoder_layers {
            problems.push(format!(
                "model.patterns has {} texts, but model.decoder_layers is {}",
                self.patterns.len(),
                self.decoder_layers
            ));
        }
        if self.heads > 0 && self.heads <= 65_536 && self.decoder_layers <= 1_000 {
            // How long a clip is decides about the default stride alone.
            problems.extend(self.layer_patterns(16_000).err().map(|error| error.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::foley::{Head, Preset, Tokens};
    use crate::config::{Activation, NormOrder};

    fn told(change: impl FnOnce(&mut Foley)) -> String {
        let mut foley = Foley::default();
        change(&mut foley);
        foley.problems().join("; ")
    }

    #[test]
    fn the_defaults_and_every_choice_are_in_order() {
        assert_eq!(told(|_| {}), "");
        for preset in
            [Preset::Dense, Preset::Band, Preset::Longformer, Preset::SparseStrided, Preset::SparseFixed]
        {
            assert_eq!(told(|f| f.preset = preset), "");
        }
        assert_eq!(
            told(|f| {
                f.tokens = Tokens::Frame;
                f.stem = Stem::Convolution;
                f.norm = NormOrder::Post;
                f.activation = Activation::Relu;
                f.head = Head::Groups;
                f.cross_window = vec![];
                f.patterns = vec![
                    "band:16 band:16 dilated:16:2 dilated:16:4".into(),
                    "causal".into(),
                    "strided-local:sqrt strided-column:sqrt fixed:128:8 band:4+prefix:1".into(),
                ];
            }),
            ""
        );
    }

    #[test]
    fn each_rule_is_broken_by_its_own_value_and_tells_the_key() {
        let mut cases: Vec<(String, &str)> = vec![
            (told(|f| f.width = 0), "model.width is 0"),
            (told(|f| f.width = 7), "multiple of model.heads"),
            (told(|f| (f.width, f.heads) = (7, 7)), "even"),
            (told(|f| f.heads = 0), "model.heads is 0"),
            (told(|f| f.encoder_layers = 0), "model.encoder_layers"),
            (told(|f| f.decoder_layers = 0), "model.decoder_layers"),
            (told(|f| f.feed_forward = 1 << 21), "model.feed_forward"),
            (told(|f| f.patch = 0), "model.patch"),
            (told(|f| (f.stem, f.patch) = (Stem::Convolution, 12)), "power of 2"),
            (told(|f| f.period = 100), "model.period is 100"),
            (told(|f| f.window = 0), "model.window is 0"),
            (told(|f| f.cross_every = 0), "model.cross_every"),
            (told(|f| f.cross_window = vec![1]), "[before, after]"),
            (told(|f| f.group = 0), "model.group"),
            (told(|f| f.encoder_dropout = 1.0), "model.encoder_dropout"),
            (told(|f| f.decoder_dropout = f32::NAN), "model.decoder_dropout"),
            (told(|f| f.patterns = vec!["causal".into(); 5]), "model.patterns has 5"),
        ];
        for text in [
            "band:0",
            "band:-3",
            "bant:3",
            "band",
            "dilated:4",
            "dilated:4:0",
            "",
            "band:8 band:8",
            "full",
            "band:4,4",
            "band:4+prefix:2",
            "in-time:1,0:4:3/16000",
        ] {
            cases.push((told(|f| f.patterns = vec![text.into()]), "model.patterns"));
        }
        for (told, part) in cases {
            assert!(told.contains(part) && !told.contains('\n'), "{part} in: {told}");
        }
    }
}
