//! Cases of decoding: over a ring of keys, and over keys that stay.

use super::Heads;
use super::cases::{PATTERNS, Setting, reference};
use super::decode::{self, Cache};
use super::pattern::{Pattern, Rate};
use crate::graph::DType;
use crate::ops::cases::reference::softmax;
use crate::ops::cases::{Case, Gradient, Input};

pub(super) fn decode_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, pattern) in PATTERNS {
        let prefix = pattern.prefix_keys(usize::MAX);
        // A ring as long as the pattern reaches back, or all keys where it has no end.
        for (count, head_dim) in [(1, 32), (7, 32), (150, 32), (40, 96)] {
            let capacity = prefix + pattern.reach().unwrap_or(count);
            let cache = Cache { batch: 2, heads: 2, capacity: capacity.max(prefix + 1), pinned: prefix };
            cases.push(decoded(name, pattern, cache, count, head_dim));
        }
    }
    for head_dim in [64, 128] {
        let cache = Cache { batch: 1, heads: 3, capacity: 300, pinned: 0 };
        cases.push(decoded("causal", Pattern::causal(), cache, 299, head_dim));
        cases.push(decoded("causal", Pattern::causal(), cache, 299, head_dim).stored_as(DType::F16));
        let cache = Cache { capacity: 100, ..cache };
        cases.push(decoded("causal", Pattern::causal(), cache, 99, head_dim));
    }
    // Few heads with many keys: in a ring, by residues, and of keys that stay.
    let cache = Cache { batch: 2, heads: 2, capacity: 530, pinned: 3 };
    for (name, pattern) in [
        ("band 200", Pattern::banded(200, 0).with_prefix(3)),
        ("dilated 130,0 by 4", Pattern::dilated(130, 0, 4)),
    ] {
        for head_dim in [32, 96] {
            cases.push(decoded(name, pattern, cache, 1111, head_dim));
        }
    }
    let heads = Heads { batch: 1, heads: 2, queries: 3, keys: 401 };
    cases.push(decoded_fixed("full", Pattern::full(), heads, 1, 64));
    let frames = Pattern::in_time(1, 0, 7, Rate::new(3, 20));
    for (name, pattern, position) in [
        ("frame 1,0 of 7 tokens", frames, 0),
        ("frame 1,0 of 7 tokens", frames, 19),
        ("frame 1,0 of 7 tokens", frames, 41),
        ("frame 1,0 of 7 tokens, prefix 2", frames.with_prefix(2), 13),
        // Behind the last frame: nothing is seen.
        ("frame 0,0 of 7 tokens", Pattern::in_time(0, 0, 7, Rate::new(1, 4)), 49),
        ("full", Pattern::full(), 3),
        ("dilated 4,0 by 3", Pattern::dilated(4, 0, 3), 44),
        ("strided 9", Pattern::strided(9), 47),
    ] {
        let heads = Heads { batch: 2, heads: 2, queries: 50, keys: 53 };
        cases.push(decoded_fixed(name, pattern, heads, position, 32));
    }
    cases
}

/// One step over a cache in which `count` keys have been stored, the last ones where the ring still holds them.
fn decoded(name: &str, pattern: Pattern, cache: Cache, count: usize, head_dim: usize) -> Case {
    let Cache { batch, heads, capacity, pinned } = cache;
    let width = heads * head_dim;
    let inputs = vec![
        Input::activation(&[batch, width], 1.0),
        Input::activation(&[batch * capacity, 2 * width], 1.0),
        Input::tokens(&[1], vec![count as u32]),
    ];
    let label = format!(
        "{name}, {batch} x {heads} heads of {head_dim}, key {count}, a ring of {}",
        capacity - pinned
    );
    Case::new("attention decode", label, inputs, move |g, x| {
        let (k, v) = (g.columns(x[1], 0, width), g.columns(x[1], width, width));
        Ok(vec![decode::decode(g, [x[0], k, v], x[2], cache, &[pattern])?])
    })
    .gradient(Gradient::None)
    .against(move |x| {
        let row = |j: usize| if j < pinned { j } else { pinned + (j - pinned) % (capacity - pinned) };
        let seen: Vec<usize> = (0..count).filter(|&j| pattern.visible(1, count, 0, j)).map(row).collect();
        let mut out = vec![0.0; batch * width];
        for (b, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
            let at = |row: usize, c: usize| x[1][(b * capacity + row) * 2 * width + h * head_dim + c];
            let scale = (head_dim as f64).sqrt().recip();
            let query = |c: usize| x[0][b * width + h * head_dim + c];
            let scores: Vec<f64> = seen
                .iter()
                .map(|&r| scale * (0..head_dim).map(|c| query(c) * at(r, c)).sum::<f64>())
                .collect();
            for (p, &r) in softmax(&scores).iter().zip(&seen) {
                for c in 0..head_dim {
                    out[b * width + h * head_dim + c] += p * at(r, width + c);
                }
            }
        }
        vec![out]
    })
}

/// One query of many over keys that stay: its row of the whole attention.
fn decoded_fixed(name: &str, pattern: Pattern, heads: Heads, position: usize, head_dim: usize) -> Case {
    let Heads { batch, heads: count, queries, keys } = heads;
    let width = count * head_dim;
    let inputs = vec![
        Input::activation(&[batch, width], 1.0),
        Input::activation(&[batch * keys, 2 * width], 1.0),
        Input::tokens(&[1], vec![position as u32]),
    ];
    let label = format!(
        "{name}, {batch} x {count} heads of {head_dim}, query {position} of {queries}, {keys} keys stay"
    );
    Case::new("attention decode", label, inputs, move |g, x| {
        let (k, v) = (g.columns(x[1], 0, width), g.columns(x[1], width, width));
        Ok(vec![decode::decode_fixed(g, [x[0], k, v], x[2], heads, &[pattern])?])
    })
    .gradient(Gradient::None)
    .against(move |x| {
        // The query in its row of a sequence of zeros.
        let mut q = vec![0.0; batch * queries * width];
        let row = |b: usize| (b * queries + position) * width..(b * queries + position + 1) * width;
        (0..batch).for_each(|b| q[row(b)].copy_from_slice(&x[0][b * width..(b + 1) * width]));
        let setting = Setting { heads, head_dim, patterns: vec![pattern], lengths: None, rate: 0.0 };
        let all = reference(&[q, x[1].clone()], &setting, &|v| v);
        vec![(0..batch).flat_map(|b| all[row(b)].to_vec()).collect()]
    })
}
