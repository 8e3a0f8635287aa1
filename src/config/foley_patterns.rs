//! Which samples each head of each layer of the foley model sees: the texts of `model.patterns`, and the published
//! settings.

use super::foley::{Foley, Preset};
use crate::ops::attention::pattern::Pattern;
use crate::{Error, Result};

/// Window of the lowest layer in the `longformer` preset (Beltagy et al. 2020: 32 at the bottom).
const LOWEST_WINDOW: usize = 32;
/// Heads that are dilated there, and the most they are: 1, 2, 3 over the upper half of the layers.
const DILATED_HEADS: usize = 2;
const MOST_DILATION: usize = 3;
/// Of a block of the `sparse-fixed` preset one in so many samples is its summary: 8 of 128, as in Child et al. 2019.
const SUMMARY_SHARE: usize = 16;

impl Foley {
    /// The patterns of each decoder layer for clips of `samples`: one for all heads, or one a head.
    ///
    /// # Errors
    /// A text that is no pattern, that lets a sample see later ones, or whose number of patterns fits no head.
    pub fn layer_patterns(&self, samples: usize) -> Result<Vec<Vec<Pattern>>> {
        (0..self.decoder_layers)
            .map(|layer| match self.patterns.get(layer).or(self.patterns.last()) {
                Some(text) => self.parsed(text, samples),
                None => Ok(self.published(layer, samples)),
            })
            .collect()
    }

    fn parsed(&self, text: &str, samples: usize) -> Result<Vec<Pattern>> {
        let refused = |why: String| Error::usage(format!("model.patterns: {why}"));
        let patterns = Pattern::parse_heads(text, self.heads, Some(samples))
            .map_err(|error| refused(error.to_string()))?;
        for pattern in &patterns {
            // A prefix is seen by all: behind the first sample it would be seen before it has sounded.
            if !pattern.is_causal() || pattern.prefix_keys(usize::MAX) > 1 {
                return Err(refused(format!(
                    "`{pattern}` lets a sample see later ones; a window looks back only, and a prefix is one sample"
                )));
            }
        }
        Ok(patterns)
    }

    fn published(&self, layer: usize, samples: usize) -> Vec<Pattern> {
        let band = |left: usize, dilation: usize| Pattern::dilated(left as u32, 0, dilation as u32);
        let stride = self.stride_for(samples);
        let by_head = |pattern: &dyn Fn(usize) -> Pattern| (0..self.heads).map(pattern).collect();
        match self.preset {
            Preset::Dense => vec![Pattern::causal()],
            Preset::Band => vec![band(self.window, 1)],
            Preset::Longformer => {
                let (window, dilation) = self.longformer(layer);
                by_head(&|head| band(window, if head < DILATED_HEADS { dilation } else { 1 }))
            }
            Preset::SparseStrided => by_head(&|head| match (head + layer) % 2 {
                0 => Pattern::strided_local(stride as u32),
                _ => Pattern::strided_column(stride as u32),
            }),
            Preset::SparseFixed => {
                let count = (stride / SUMMARY_SHARE).max(1);
                let places = stride / count;
                by_head(&|head| {
                    // The last samples of a block, then those before them, for each head others.
                    let first = stride - count * (1 + head % places);
                    Pattern::fixed(stride as u32, first as u32, count as u32)
                })
            }
        }
    }

    /// Window and dilation of a layer: the window rises by the same factor from layer to layer.
    fn longformer(&self, layer: usize) -> (usize, usize) {
        let layers = self.decoder_layers;
        let lowest = LOWEST_WINDOW.min(self.window) as f64;
        let share = if layers > 1 { layer as f64 / (layers - 1) as f64 } else { 1.0 };
        let window = (lowest * (self.window as f64 / lowest).powf(share)).round() as usize;
        let upper = layers - layers / 2;
        let from_top = layers - 1 - layer;
        let dilation =
            if from_top < upper && layers > 1 { MOST_DILATION - from_top * MOST_DILATION / upper } else { 1 };
        (window, dilation)
    }

    /// The Sparse Transformer's period for clips of `samples`.
    pub fn stride_for(&self, samples: usize) -> usize {
        match self.stride {
            0 => 1 << (samples.max(2) as f64).sqrt().log2().round() as u32,
            stride => stride,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(foley: &Foley, layer: usize) -> Vec<String> {
        foley.layer_patterns(16_000).unwrap()[layer].iter().map(|pattern| format!("{pattern:?}")).collect()
    }

    #[test]
    fn the_character_model_of_the_longformer_is_reached() {
        let foley = Foley {
            decoder_layers: 12,
            heads: 8,
            window: 8192,
            preset: Preset::Longformer,
            ..Foley::default()
        };
        let layers: Vec<(usize, usize)> = (0..12).map(|layer| foley.longformer(layer)).collect();
        assert_eq!((layers[0].0, layers[11].0), (32, 8192));
        assert!(layers.windows(2).all(|two| two[0].0 < two[1].0), "{layers:?}");
        let dilations: Vec<usize> = layers.iter().map(|layer| layer.1).collect();
        assert_eq!(dilations, [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 3]);
        let top = foley.layer_patterns(64_000).unwrap();
        assert_eq!(top[11][1], Pattern::dilated(8192, 0, 3));
        assert_eq!(top[11][2], Pattern::dilated(8192, 0, 1));
        assert_eq!(top[5][0], Pattern::dilated(layers[5].0 as u32, 0, 1));
    }

    #[test]
    fn sparse_presets_take_the_root_of_the_length() {
        let strided = Foley { preset: Preset::SparseStrided, ..Foley::default() };
        assert_eq!(strided.stride_for(16_000), 128);
        assert_eq!(strided.stride_for(65_536), 256);
        assert_eq!(Foley { stride: 100, ..strided.clone() }.stride_for(16_000), 100);
        assert_ne!(printed(&strided, 0)[0], printed(&strided, 0)[1], "heads in turn");
        let fixed = Foley { preset: Preset::SparseFixed, ..Foley::default() };
        let heads = fixed.layer_patterns(16_000).unwrap();
        assert_eq!(heads[0][0], Pattern::fixed(128, 120, 8));
        assert_eq!(heads[0][3], Pattern::fixed(128, 96, 8));
    }

    #[test]
    fn the_last_text_is_also_that_of_the_layers_behind_it() {
        let texts = vec!["band:4".to_string(), "2*band:1 band:3 dilated:4:5".to_string()];
        let foley = Foley { patterns: texts, ..Foley::default() };
        let layers = foley.layer_patterns(100).unwrap();
        assert_eq!(layers[0], [Pattern::banded(4, 0)]);
        assert_eq!(layers[3][3], Pattern::dilated(4, 0, 5));
        assert_eq!(layers[1], layers[3]);
    }
}
