//! Cases of attention: every pattern, queries apart from keys, packed projections, dropout.

use super::blocks::Blocks;
use super::decode_cases::decode_cases;
use super::pattern::{ALL, Pattern, Rate};
use super::{Attention, Heads, weights};
use crate::graph::DType;
use crate::ops::cases::reference::softmax;
use crate::ops::cases::{Case, Gradient, Input, check};
use crate::ops::{Dropout, dropout, philox};

/// One attention: sizes, head channels, patterns (one for all heads or one for each), key lengths, dropout.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub heads: Heads,
    pub head_dim: usize,
    pub patterns: Vec<Pattern>,
    pub lengths: Option<Vec<u32>>,
    pub rate: f32,
}

impl Setting {
    fn visible(&self, b: usize, h: usize, i: usize, j: usize) -> bool {
        let pattern = self.patterns[if self.patterns.len() == 1 { 0 } else { h }];
        let length = self.lengths.as_ref().map_or(self.heads.keys, |lengths| lengths[b] as usize);
        j < length && pattern.visible(self.heads.queries, self.heads.keys, i, j)
    }
}

pub(super) const PATTERNS: [(&str, Pattern); 9] = [
    ("full", Pattern::full()),
    ("causal", Pattern::causal()),
    ("band 2,1", Pattern::banded(2, 1)),
    ("band 3,0", Pattern::banded(3, 0)),
    ("dilated 2,0 by 3", Pattern::dilated(2, 0, 3)),
    ("strided 4", Pattern::strided(4)),
    ("fixed 5", Pattern::fixed(5, 3, 2)),
    ("band 1,1 with prefix 2", Pattern::banded(1, 1).with_prefix(2)),
    ("causal with prefix 1", Pattern::causal().with_prefix(1)),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, pattern) in PATTERNS {
        for (queries, keys, head_dim) in [(1, 1, 8), (17, 17, 20)] {
            cases.push(checked(name, pattern, (2, 2, queries, keys), head_dim, 0.0).on_cpu());
        }
        for (queries, keys, head_dim) in [(1, 1, 32), (17, 17, 64), (65, 65, 32), (70, 133, 64)] {
            cases.push(checked(name, pattern, (2, 2, queries, keys), head_dim, 0.0));
        }
    }
    for (queries, keys) in [(7, 19), (20, 196), (1, 64)] {
        cases.push(checked("full", Pattern::full(), (2, 3, queries, keys), 16, 0.0).on_cpu());
        cases.push(checked("full", Pattern::full(), (1, 3, queries, keys), 32, 0.0));
    }
    for rate in [0.25, 0.5] {
        cases.push(checked("full", Pattern::full(), (2, 2, 33, 47), 16, rate).on_cpu());
        cases.push(checked("full", Pattern::full(), (2, 2, 33, 47), 32, rate));
        cases.push(checked("causal", Pattern::causal(), (2, 2, 20, 20), 64, rate));
        cases.push(checked("dilated 4,0 by 3", Pattern::dilated(4, 0, 3), (1, 2, 70, 70), 32, rate));
        cases.push(checked("fixed 20", Pattern::fixed(20, 17, 3), (1, 2, 70, 70), 32, rate));
        cases.push(checked("strided 9", Pattern::strided(9), (1, 2, 70, 70), 32, rate));
    }
    for head_dim in [96, 128] {
        cases.push(checked("causal", Pattern::causal(), (1, 2, 67, 67), head_dim, 0.0));
        cases.push(checked("full", Pattern::full(), (1, 1, 40, 130), head_dim, 0.1));
    }
    for head_dim in [32, 64, 96, 128] {
        let banded = checked("band 40,3", Pattern::banded(40, 3), (1, 2, 70, 70), head_dim, 0.0);
        cases.push(banded.stored_as(DType::F16));
    }
    cases.extend(mixed());
    cases.extend(in_time());
    cases.extend(padded());
    cases.extend(wide());
    cases.push(looked_at());
    cases.extend(decode_cases());
    let timed = [
        ("full", Pattern::full(), (16, 8, 196, 196), 32),
        ("full", Pattern::full(), (16, 8, 20, 196), 32),
        ("causal", Pattern::causal(), (16, 8, 20, 20), 32),
        ("full", Pattern::full(), (1, 8, 2048, 2048), 64),
        ("band 256,0", Pattern::banded(256, 0), (1, 4, 16_000, 16_000), 32),
        // A second of sound to three frames of 49 patches, the one shown and the one before.
        ("frame 1,0", Pattern::in_time(1, 0, 49, Rate::new(3, 16_000)), (1, 4, 16_000, 147), 32),
    ];
    for (name, pattern, (batch, heads, queries, keys), head_dim) in timed {
        let heads = Heads { batch, heads, queries, keys };
        cases
            .push(case(name, Setting { heads, head_dim, patterns: vec![pattern], lengths: None, rate: 0.0 }));
    }
    cases
}

/// Heads that differ: a band, a dilated one, a column and a summary, then merged ones among them.
fn mixed() -> Vec<Case> {
    let four = [
        Pattern::banded(5, 0),
        Pattern::dilated(3, 0, 4),
        Pattern::strided_column(6),
        Pattern::fixed_summary(6, 4, 2),
    ];
    let three = [Pattern::strided(9), Pattern::fixed(20, 17, 3), Pattern::full().with_prefix(2)];
    let with = |batch, queries, keys, head_dim, patterns: &[Pattern], lengths: Option<Vec<u32>>, rate| {
        let heads = Heads { batch, heads: patterns.len(), queries, keys };
        Setting { heads, head_dim, patterns: patterns.to_vec(), lengths, rate }
    };
    vec![
        against_double("by head", with(2, 17, 17, 8, &four, None, 0.0)).on_cpu(),
        against_double("by head", with(1, 70, 70, 32, &four, None, 0.0)),
        against_double("by head, merged", with(1, 70, 75, 32, &three, None, 0.25)),
    ]
}

/// Samples that see the frames about them: odd rates, frames that nobody sees, samples behind the last frame.
fn in_time() -> Vec<Case> {
    let patterns = [
        ("frame 1,0 of 3 tokens, 2 in 9", Pattern::in_time(1, 0, 3, Rate::new(2, 9))),
        ("frame 0,1 of 7 tokens, 3 in 40", Pattern::in_time(0, 1, 7, Rate::new(3, 40))),
        ("frame 0,1 of 1 token, 5 in 7", Pattern::in_time(0, 1, 1, Rate::new(5, 7))),
        ("frames up to it of 5 tokens, 1 in 6", Pattern::in_time(ALL, 0, 5, Rate::new(1, 6))),
        (
            "frame 0,0 of 4 tokens, 7 in 2, prefix 3",
            Pattern::in_time(0, 0, 4, Rate::new(7, 2)).with_prefix(3),
        ),
    ];
    let mut cases = Vec::new();
    for (name, pattern) in patterns {
        cases.push(checked(name, pattern, (2, 2, 41, 23), 12, 0.0).on_cpu());
        cases.push(checked(name, pattern, (1, 2, 70, 133), 32, 0.0));
    }
    let (name, pattern) = patterns[0];
    cases.push(checked(name, pattern, (2, 1, 150, 100), 64, 0.25));
    cases
}

/// Padded sequences, down to one without a key.
fn padded() -> Vec<Case> {
    let patterns = [
        ("full", Pattern::full()),
        ("causal", Pattern::causal()),
        ("band 3,2", Pattern::banded(3, 2)),
        ("strided 4", Pattern::strided(4)),
        ("fixed 5", Pattern::fixed(5, 3, 2)),
        ("band 1,1 with prefix 2", Pattern::banded(1, 1).with_prefix(2)),
    ];
    let mut cases = Vec::new();
    for (name, pattern) in patterns {
        for (lengths, keys, head_dim) in [(vec![0, 1, 9, 13], 13, 8), (vec![1, 0, 70], 70, 32)] {
            let heads = Heads { batch: lengths.len(), heads: 1, queries: 13, keys };
            let (patterns, lengths) = (vec![pattern], Some(lengths));
            let case = against_double(name, Setting { heads, head_dim, patterns, lengths, rate: 0.0 });
            cases.push(if head_dim == 8 { case.on_cpu() } else { case });
        }
    }
    cases
}

/// Wide blocks, which shapes of this size would not take: every kind of pattern, ends within the second band and
/// within the first, padded keys, dropout, both terms of a strided one.
fn wide() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, pattern, (batch, heads, queries, keys), head_dim, lengths, rate| {
        let heads = Heads { batch, heads, queries, keys };
        let setting = Setting { heads, head_dim, patterns: vec![pattern], lengths, rate };
        let (exact, plain) = (setting.clone(), setting.clone());
        let case = in_blocks(&format!("{name}, wide blocks"), setting, Blocks::Wide)
            .against(move |x| vec![reference(x, &exact, &|v| v)])
            .plain(move |x, round| vec![reference(x, &plain, round)]);
        cases.push(case);
    };
    for (name, pattern) in PATTERNS {
        add(name, pattern, (1, 2, 17, 17), 64, None, 0.0);
        add(name, pattern, (1, 1, 133, 133), 32, None, 0.0);
    }
    add("full", Pattern::full(), (2, 1, 75, 90), 64, Some(vec![1, 77]), 0.25);
    add("full", Pattern::full(), (1, 1, 90, 150), 32, Some(vec![139]), 0.25);
    add("causal", Pattern::causal(), (1, 2, 140, 140), 96, None, 0.1);
    add("band 40,3", Pattern::banded(40, 3), (1, 1, 150, 150), 64, None, 0.0);
    add("band 40,3", Pattern::banded(40, 3), (1, 1, 140, 140), 128, None, 0.1);
    add("strided 9", Pattern::strided(9), (1, 1, 150, 150), 32, Some(vec![140]), 0.25);
    add("fixed 20", Pattern::fixed(20, 17, 3), (1, 1, 150, 150), 32, None, 0.25);
    add(
        "frame 1,0 of 7 tokens, 3 in 40",
        Pattern::in_time(1, 0, 7, Rate::new(3, 40)),
        (1, 1, 140, 70),
        32,
        None,
        0.0,
    );
    cases.push({
        let heads = Heads { batch: 1, heads: 2, queries: 70, keys: 70 };
        let (patterns, lengths) = (vec![Pattern::banded(40, 3)], None);
        let setting = Setting { heads, head_dim: 64, patterns, lengths, rate: 0.0 };
        let exact = setting.clone();
        in_blocks("band 40,3, wide blocks", setting, Blocks::Wide)
            .against(move |x| vec![reference(x, &exact, &|v| v)])
            .stored_as(DType::F16)
    });
    cases
}

fn checked(
    name: &str,
    pattern: Pattern,
    (batch, heads, queries, keys): (usize, usize, usize, usize),
    head_dim: usize,
    rate: f32,
) -> Case {
    let (patterns, lengths) = (vec![pattern], None);
    against_double(
        name,
        Setting { heads: Heads { batch, heads, queries, keys }, head_dim, patterns, lengths, rate },
    )
}

fn against_double(name: &str, setting: Setting) -> Case {
    let (exact, plain) = (setting.clone(), setting.clone());
    case(name, setting)
        .against(move |x| vec![reference(x, &exact, &|v| v)])
        .plain(move |x, round| vec![reference(x, &plain, round)])
}

fn label(name: &str, Setting { heads: h, head_dim, rate, lengths, .. }: &Setting) -> String {
    let lengths = lengths.as_ref().map_or(String::new(), |lengths| format!(", key lengths {lengths:?}"));
    format!(
        "{name}, {} x {} heads of {head_dim}, {} x {}, dropout {rate}{lengths}",
        h.batch, h.heads, h.queries, h.keys
    )
}

/// q stands alone, k and v are packed in one tensor, as the decoder has them.
fn case(name: &str, setting: Setting) -> Case {
    traced(name, setting, None)
}

/// As [`case`], with kernels in the blocks that are asked for.
pub(super) fn in_blocks(name: &str, setting: Setting, blocks: Blocks) -> Case {
    traced(name, setting, Some(blocks))
}

fn traced(name: &str, setting: Setting, blocks: Option<Blocks>) -> Case {
    let label = label(name, &setting);
    let Setting { heads, head_dim, patterns, lengths, rate } = setting;
    let width = heads.heads * head_dim;
    let mut inputs = vec![
        Input::activation(&[heads.batch * heads.queries, width], 1.0),
        Input::activation(&[heads.batch * heads.keys, 2 * width], 1.0),
    ];
    inputs.extend(lengths.map(|lengths| Input::tokens(&[heads.batch], lengths)));
    Case::new("attention", label, inputs, move |g, x| {
        let (k, v) = (g.columns(x[1], 0, width), g.columns(x[1], width, width));
        let (patterns, dropout) = (patterns.clone(), Dropout::new(rate, 7));
        let op = Attention { heads, head_dim, patterns, has_lengths: x.len() > 2, dropout, blocks };
        Ok(vec![op.traced(g, [x[0], k, v], x.get(2).copied())?])
    })
}

/// Probabilities of one query.
fn probabilities(x: &[Vec<f64>], s: &Setting, b: usize, h: usize, i: usize) -> Vec<f64> {
    let Heads { heads, queries, keys, .. } = s.heads;
    let width = heads * s.head_dim;
    let scale = (s.head_dim as f64).sqrt().recip();
    let scores: Vec<f64> = (0..keys)
        .map(|j| {
            if !s.visible(b, h, i, j) {
                return f64::NEG_INFINITY;
            }
            let (q, k) =
                ((b * queries + i) * width + h * s.head_dim, (b * keys + j) * 2 * width + h * s.head_dim);
            scale * (0..s.head_dim).map(|c| x[0][q + c] * x[1][k + c]).sum::<f64>()
        })
        .collect();
    softmax(&scores)
}

/// `round` is what storing scores, weights and the result costs a plain form.
pub(super) fn reference(x: &[Vec<f64>], s: &Setting, round: &dyn Fn(f64) -> f64) -> Vec<f64> {
    let Heads { batch, heads, queries, keys } = s.heads;
    let width = heads * s.head_dim;
    let mut out = vec![0.0; batch * queries * width];
    for (b, h, i) in places(s.heads) {
        for (j, p) in probabilities(x, s, b, h, i).into_iter().enumerate() {
            // The element's number is that of a row padded to whole Philox groups.
            let row = ((b * heads + h) * queries + i) * keys.next_multiple_of(philox::GROUP);
            let p = round(p * kept(s.rate, row + j));
            for c in 0..s.head_dim {
                out[(b * queries + i) * width + h * s.head_dim + c] +=
                    p * x[1][(b * keys + j) * 2 * width + width + h * s.head_dim + c];
            }
        }
    }
    out.iter_mut().for_each(|v| *v = round(*v));
    out
}

fn places(h: Heads) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..h.batch * h.heads * h.queries)
        .map(move |n| (n / (h.heads * h.queries), n / h.queries % h.heads, n % h.queries))
}

fn kept(rate: f32, element: usize) -> f64 {
    let Some(d) = Dropout::new(rate, 7) else { return 1.0 };
    let (key, stream) = dropout::keys(d, &check::STATE);
    let threshold = philox::threshold(rate);
    if philox::keep(key, stream, threshold, element as u64) {
        f64::from(philox::kept_scale(threshold))
    } else {
        0.0
    }
}

fn looked_at() -> Case {
    let heads = Heads { batch: 2, heads: 3, queries: 5, keys: 9 };
    let patterns = vec![Pattern::banded(3, 0), Pattern::full(), Pattern::strided(4)];
    let setting = Setting { heads, head_dim: 32, patterns: patterns.clone(), lengths: None, rate: 0.0 };
    let width = heads.heads * setting.head_dim;
    let inputs = vec![
        Input::activation(&[heads.batch * heads.queries, width], 1.0),
        Input::activation(&[heads.batch * heads.keys, 2 * width], 1.0),
    ];
    Case::new("attention weights", "5 x 9, 3 heads", inputs, move |g, x| {
        let k = g.columns(x[1], 0, width);
        Ok(vec![weights(g, x[0], k, heads, &patterns)?])
    })
    .gradient(Gradient::None)
    .against(move |x| vec![places(heads).flat_map(|(b, h, i)| probabilities(x, &setting, b, h, i)).collect()])
}
