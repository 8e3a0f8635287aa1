//! Forward, backward, weights and decoding against a naive f64 attention that walks the brute-force mask.

use super::super::cpu_backward::{Operands, Split, split_backward};
use super::super::pattern::{ALL, Rate};
use super::*;
use crate::ops::philox;

/// What an attention takes: q, k and v packed as columns of rows, with a gap at the end.
struct Case {
    name: String,
    batch: usize,
    heads: usize,
    head_dim: usize,
    queries: usize,
    keys: usize,
    patterns: Vec<Pattern>,
    key_lengths: Option<Vec<u32>>,
    dropout: Option<Dropout>,
}

impl Case {
    fn new(sizes: [usize; 5], patterns: &[Pattern]) -> Self {
        let [batch, heads, head_dim, queries, keys] = sizes;
        let name = format!("{sizes:?} {patterns:?}");
        let patterns = patterns.to_vec();
        Self { name, batch, heads, head_dim, queries, keys, patterns, key_lengths: None, dropout: None }
    }

    fn lengths(mut self, lengths: &[u32]) -> Self {
        self.name += &format!(" lengths {lengths:?}");
        self.key_lengths = Some(lengths.to_vec());
        self
    }

    fn dropout(mut self, rate: f32) -> Self {
        self.name += &format!(" dropout {rate}");
        self.dropout = Some(Dropout { rate, key: [11, 22], stream: [3, 4] });
        self
    }

    fn problem(&self) -> Problem<'_> {
        Problem {
            batch: self.batch,
            heads: self.heads,
            head_dim: self.head_dim,
            queries: self.queries,
            keys: self.keys,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
            patterns: &self.patterns,
            key_lengths: self.key_lengths.as_deref(),
            dropout: self.dropout,
        }
    }

    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// q, k, v, dout, densely packed.
    fn inputs(&self) -> [Vec<f32>; 4] {
        let (q, k) = (self.batch * self.queries * self.width(), self.batch * self.keys * self.width());
        let mut seed = 0;
        [q, k, k, q].map(|len| {
            seed += 1;
            numbers(seed, len)
        })
    }
}

/// Numbers in -1.7 .. 1.7 with variance near 1.
fn numbers(seed: u32, len: usize) -> Vec<f32> {
    let value = |e| philox::value([seed, 5], [1, 2], e as u64) as f32;
    (0..len).map(|e| (value(e) / 65536.0 - 0.5) * 3.4).collect()
}

struct Results<T> {
    out: Vec<T>,
    log_sum_exp: Vec<T>,
    dq: Vec<T>,
    dk: Vec<T>,
    dv: Vec<T>,
}

/// The definition, in f64, pair by pair.
fn oracle(problem: &Problem, [q, k, v, dout]: [&[f64]; 4]) -> Results<f64> {
    let Problem { batch, heads, head_dim, queries, keys, .. } = *problem;
    let width = heads * head_dim;
    let zeros = |len: usize| vec![0.0; len];
    let mut r = Results {
        out: zeros(q.len()),
        log_sum_exp: vec![f64::NEG_INFINITY; batch * heads * queries],
        dq: zeros(q.len()),
        dk: zeros(k.len()),
        dv: zeros(k.len()),
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (b, h, i) in
        (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..queries).map(move |i| (b, h, i))))
    {
        let at = |row: usize| row * width + h * head_dim..row * width + (h + 1) * head_dim;
        let query = at(b * queries + i);
        let seen: Vec<usize> =
            (0..problem.key_length(b)).filter(|&j| problem.pattern(h).visible(queries, keys, i, j)).collect();
        let score = |j: usize| problem.scale as f64 * dot(&q[query.clone()], &k[at(b * keys + j)]);
        let scores: Vec<f64> = seen.iter().map(|&j| score(j)).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
        let statistic = (b * heads + h) * queries + i;
        r.log_sum_exp[statistic] = top + sum.ln();
        let kept = |j: usize| {
            problem.dropout.map_or(1.0, |dropout| {
                let threshold = philox::threshold(dropout.rate);
                let element = (statistic * keys.next_multiple_of(8) + j) as u64;
                let keep = philox::keep(dropout.key, dropout.stream, threshold, element);
                if keep { philox::kept_scale(threshold) as f64 } else { 0.0 }
            })
        };
        let gradients: Vec<f64> =
            seen.iter().map(|&j| kept(j) * dot(&dout[query.clone()], &v[at(b * keys + j)])).collect();
        let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp() / sum).collect();
        let mean = dot(&weights, &gradients);
        for (n, &j) in seen.iter().enumerate() {
            let key = at(b * keys + j);
            let d_score = problem.scale as f64 * weights[n] * (gradients[n] - mean);
            for (qc, kc) in query.clone().zip(key) {
                r.out[qc] += weights[n] * kept(j) * v[kc];
                r.dv[kc] += weights[n] * kept(j) * dout[qc];
                r.dq[qc] += d_score * k[kc];
                r.dk[kc] += d_score * q[qc];
            }
        }
    }
    r
}

/// Runs the kernels on q, k, v as columns of one packed buffer with a gap; outputs are poisoned before.
fn kernels(problem: &Problem, inputs: &[Vec<f32>; 4], split: Option<Split>) -> Results<f32> {
    const GAP: usize = 3;
    let width = problem.heads * problem.head_dim;
    let (q_rows, k_rows) = (problem.batch * problem.queries, problem.batch * problem.keys);
    let [q, k, v, dout] = inputs;
    let stride = 3 * width + GAP;
    let mut packed = vec![f32::NAN; q_rows.max(k_rows) * stride];
    for (column, (from, rows)) in [(q, q_rows), (k, k_rows), (v, k_rows)].into_iter().enumerate() {
        for row in 0..rows {
            packed[row * stride + column * width..][..width].copy_from_slice(&from[row * width..][..width]);
        }
    }
    let view = |column: usize| View { data: packed.get(column * width..).unwrap_or(&[]), row_stride: stride };
    let mut out = vec![f32::NAN; q.len()];
    let mut log_sum_exp = vec![f32::NAN; problem.batch * problem.heads * problem.queries];
    let (q, k, v) = (view(0), view(1), view(2));
    forward(ViewMut::new(&mut out, width), &mut log_sum_exp, q, k, v, problem);
    let mut gradients = vec![f32::NAN; packed.len()];
    {
        let [dq, dk, dv] = ViewMut::split_columns(&mut gradients, stride, [width; 3]);
        let out = View { data: &out, row_stride: width };
        let dout = View { data: dout, row_stride: width };
        match split {
            None => backward(dq, dk, dv, out, dout, &log_sum_exp, q, k, v, problem),
            Some(split) => {
                let (dq, dk, dv) = (&dq, &dk, &dv);
                let log_sum_exp = &log_sum_exp[..];
                split_backward(Operands { dq, dk, dv, out, dout, log_sum_exp, q, k, v }, problem, split);
            }
        }
    }
    for row in gradients.chunks(stride) {
        assert!(row[3 * width..].iter().all(|x| x.is_nan()), "the gap was written");
    }
    let unpack = |column: usize, rows: usize| -> Vec<f32> {
        (0..rows).flat_map(|row| gradients[row * stride + column * width..][..width].to_vec()).collect()
    };
    let (dq, dk, dv) = (unpack(0, q_rows), unpack(1, k_rows), unpack(2, k_rows));
    Results { out, log_sum_exp, dq, dk, dv }
}

fn close(name: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{name}");
    // The error of a sum grows with its terms: measured against the largest value of the tensor.
    let size = want.iter().filter(|x| x.is_finite()).fold(1.0, |top: f64, x| top.max(x.abs()));
    for (n, (&got, &want)) in got.iter().zip(want).enumerate() {
        if want == f64::NEG_INFINITY {
            assert_eq!(got, f32::NEG_INFINITY, "{name}[{n}]");
            continue;
        }
        let err = (got as f64 - want).abs();
        assert!(err <= tolerance * size, "{name}[{n}]: {got} against {want}, error {err:e}");
    }
}

fn check(case: &Case) {
    let problem = case.problem();
    problem.check().unwrap();
    let inputs = case.inputs();
    let wide = inputs.each_ref().map(|x| x.iter().map(|&x| x as f64).collect::<Vec<f64>>());
    let want = oracle(&problem, wide.each_ref().map(|x| &x[..]));
    let got = kernels(&problem, &inputs, Some(Split::Sequences));
    let two = kernels(&problem, &inputs, Some(Split::QueriesThenKeys));
    const TOLERANCE: f64 = 3e-6;
    for (what, got, two, want) in [
        ("out", &got.out, &two.out, &want.out),
        ("log_sum_exp", &got.log_sum_exp, &two.log_sum_exp, &want.log_sum_exp),
        ("dq", &got.dq, &two.dq, &want.dq),
        ("dk", &got.dk, &two.dk, &want.dk),
        ("dv", &got.dv, &two.dv, &want.dv),
    ] {
        close(&format!("{}: {what}", case.name), got, want, TOLERANCE);
        assert!(same_bits(got, two), "{}: {what} depends on the split", case.name);
    }
    weights_agree(case, &wide[2], &want.out, &inputs);
}

/// The weights, applied to the values, are the output.
fn weights_agree(case: &Case, v: &[f64], out: &[f64], inputs: &[Vec<f32>; 4]) {
    if case.dropout.is_some() {
        return;
    }
    let (problem, width) = (case.problem(), case.width());
    let view = |data| View { data, row_stride: width };
    for batch in 0..case.batch {
        let mut weights = vec![f32::NAN; case.heads * case.queries * case.keys];
        super::weights(&mut weights, view(&inputs[0]), view(&inputs[1]), batch, &problem);
        for h in 0..case.heads {
            for i in 0..case.queries {
                for c in h * case.head_dim..(h + 1) * case.head_dim {
                    let row = &weights[(h * case.queries + i) * case.keys..][..case.keys];
                    let sum: f64 = row
                        .iter()
                        .enumerate()
                        .map(|(j, &w)| w as f64 * v[(batch * case.keys + j) * width + c])
                        .sum();
                    let err = (sum - out[(batch * case.queries + i) * width + c]).abs();
                    assert!(err <= 3e-6, "{}: weights of query {i}: error {err:e}", case.name);
                }
            }
        }
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// One of each kind, small enough to matter at every size.
fn kinds() -> Vec<Pattern> {
    vec![
        Pattern::full(),
        Pattern::causal(),
        Pattern::banded(3, 2),
        Pattern::banded(20, 0),
        Pattern::banded(0, ALL),
        Pattern::dilated(2, 1, 3),
        Pattern::dilated(4, 0, 70),
        Pattern::strided_local(5),
        Pattern::strided_column(5),
        Pattern::strided(5),
        Pattern::fixed_local(8),
        Pattern::fixed_summary(8, 5, 3),
        Pattern::fixed(8, 6, 2),
        Pattern::banded(2, 0).with_prefix(1),
        Pattern::strided(4).with_prefix(3),
        Pattern::full().with_prefix(9),
        Pattern::dilated(1, 0, 4).with_prefix(70),
        Pattern::in_time(1, 0, 6, Rate::new(2, 7)),
        Pattern::in_time(0, 1, 5, Rate::new(5, 3)).with_prefix(2),
        Pattern::in_time(0, 0, 300, Rate::new(1, 9)),
    ]
}

#[test]
fn every_pattern_at_odd_sizes() {
    for pattern in kinds() {
        for n in [1, 2, 7, 17, 65, 196] {
            check(&Case::new([1, 2, 8, n, n], &[pattern]));
        }
        for (queries, keys) in [(1, 5), (5, 1), (20, 196), (65, 70), (70, 65), (90, 300), (3, 0), (0, 3)] {
            check(&Case::new([2, 1, 16, queries, keys], &[pattern]));
        }
    }
}

#[test]
fn every_head_dimension() {
    for head_dim in [1, 3, 8, 16, 20, 24, 32, 48, 64, 96, 100, 128, 200] {
        for n in [7, 65, 130] {
            check(&Case::new([1, 2, head_dim, n, n], &[Pattern::full()]));
        }
        check(&Case::new([1, 2, head_dim, 65, 65], &[Pattern::causal()]).dropout(0.1));
    }
}

#[test]
fn key_lengths_and_patterns_by_head() {
    for pattern in kinds() {
        for n in [7, 65] {
            let lengths = [0, 1, n as u32 / 2, n as u32, 1000];
            check(&Case::new([5, 2, 8, n, n], &[pattern]).lengths(&lengths));
        }
    }
    let by_head = kinds();
    check(&Case::new([2, by_head.len(), 8, 67, 67], &by_head).lengths(&[67, 31]));
    check(&Case::new([2, by_head.len(), 8, 40, 67], &by_head).dropout(0.2));
}

#[test]
fn dropout_of_every_pattern() {
    for pattern in kinds() {
        for (queries, keys) in [(17, 17), (65, 70), (20, 196)] {
            check(&Case::new([2, 2, 16, queries, keys], &[pattern]).dropout(0.3));
        }
    }
    check(&Case::new([1, 1, 8, 9, 9], &[Pattern::full()]).dropout(1.0));
    check(&Case::new([1, 1, 8, 9, 9], &[Pattern::full()]).dropout(0.0));
}

/// Otherwise the kernels would be held to a wrong gradient.
#[test]
fn the_oracle_gradient_is_the_finite_difference() {
    for case in [
        Case::new([1, 2, 3, 4, 5], &[Pattern::causal(), Pattern::full()]).lengths(&[4]),
        Case::new([1, 1, 2, 4, 4], &[Pattern::full()]).dropout(0.3),
    ] {
        let problem = case.problem();
        let mut inputs = case.inputs().map(|x| x.iter().map(|&x| x as f64).collect::<Vec<f64>>());
        let gradients = oracle(&problem, inputs.each_ref().map(|x| &x[..]));
        for (n, gradient) in [gradients.dq, gradients.dk, gradients.dv].iter().enumerate() {
            for e in 0..gradient.len() {
                const STEP: f64 = 1e-5;
                let mut loss = |shift: f64| -> f64 {
                    inputs[n][e] += shift;
                    let out = oracle(&problem, inputs.each_ref().map(|x| &x[..])).out;
                    inputs[n][e] -= shift;
                    out.iter().zip(&inputs[3]).map(|(out, d)| out * d).sum()
                };
                let slope = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
                let err = (slope - gradient[e]).abs();
                assert!(err <= 1e-8, "{}: input {n}, element {e}: error {err:e}", case.name);
            }
        }
    }
}

/// More keys than stay packed: blocks go through them in groups, the last of which are not whole.
#[test]
fn groups_of_blocks_see_what_single_blocks_do() {
    for pattern in
        [Pattern::full(), Pattern::causal(), Pattern::causal().with_prefix(70), Pattern::banded(ALL, 100)]
    {
        check(&Case::new([1, 1, 48, 1100, 1100], &[pattern]));
    }
    check(&Case::new([2, 1, 64, 900, 850], &[Pattern::causal()]).lengths(&[850, 801]));
    check(&Case::new([1, 1, 64, 850, 850], &[Pattern::causal()]).dropout(0.2));
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for case in [
        Case::new([1, 1, 64, 1000, 1000], &[Pattern::causal()]).dropout(0.1),
        Case::new([1, 1, 64, 900, 1000], &[Pattern::full()]),
        Case::new([3, 3, 16, 131, 131], &[Pattern::full()]).dropout(0.1),
        Case::new([1, 1, 32, 700, 700], &[Pattern::strided(16).with_prefix(2)]),
        Case::new([1, 3, 8, 500, 500], &[Pattern::dilated(9, 9, 3)]),
        Case::new([1, 3, 8, 700, 410], &[Pattern::in_time(1, 0, 9, Rate::new(1, 17))]),
    ] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| kernels(&case.problem(), &case.inputs(), None))
        };
        let one = run(1);
        for threads in [1, 2, 5] {
            let many = run(threads);
            assert!(same_bits(&one.out, &many.out) && same_bits(&one.log_sum_exp, &many.log_sum_exp));
            assert!(same_bits(&one.dq, &many.dq), "{} dq on {threads} threads", case.name);
            assert!(same_bits(&one.dk, &many.dk), "{} dk on {threads} threads", case.name);
            assert!(same_bits(&one.dv, &many.dv), "{} dv on {threads} threads", case.name);
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let mut case = Case::new([1, 1, 16, 33, 33], &[Pattern::causal()]);
    case.name += " large scores";
    let mut inputs = case.inputs();
    inputs[0].iter_mut().for_each(|q| *q *= 1000.0);
    let problem = case.problem();
    let wide = inputs.each_ref().map(|x| x.iter().map(|&x| x as f64).collect::<Vec<f64>>());
    let want = oracle(&problem, wide.each_ref().map(|x| &x[..]));
    let got = kernels(&problem, &inputs, None);
    close("out", &got.out, &want.out, 2e-3);
    close("log_sum_exp", &got.log_sum_exp, &want.log_sum_exp, 1e-6);
    close("dv", &got.dv, &want.dv, 2e-3);
}

/// A value that is not finite must reach the outputs, where the guard of the training loop sees it.
#[test]
fn nan_comes_through() {
    let case = Case::new([1, 1, 16, 20, 20], &[Pattern::full()]);
    for n in 0..3 {
        let mut inputs = case.inputs();
        inputs[n][5 * 16 + 3] = f32::NAN;
        let got = kernels(&case.problem(), &inputs, None);
        let rows = if n == 0 { 5 * 16..6 * 16 } else { 0..20 * 16 };
        assert!(got.out[rows].iter().all(|x| !x.is_finite() || n == 2), "input {n}");
        assert!(got.out.iter().any(|x| x.is_nan()), "input {n}");
    }
}

#[test]
fn a_long_band_costs_its_band_alone() {
    const N: usize = 20_000;
    let case = Case::new([1, 1, 16, N, N], &[Pattern::banded(64, 0)]);
    let start = std::time::Instant::now();
    let got = kernels(&case.problem(), &case.inputs(), None);
    let seconds = start.elapsed().as_secs_f64();
    // 20,000 x 65 pairs are 0.3 GFLOP; 20,000 x 20,000 would be 90.
    assert!(seconds <= 5.0, "{seconds} s");
    assert!(got.dk.iter().chain(&got.out).all(|x| x.is_finite()));
}

#[test]
fn decoding_gives_the_rows_of_forward() {
    for (pattern, ring) in [
        (Pattern::causal(), None),
        (Pattern::banded(4, 0), Some(5)),
        (Pattern::dilated(3, 0, 2), Some(7)),
        (Pattern::fixed_local(6), Some(6)),
        (Pattern::strided(4), None),
        (Pattern::banded(3, 0).with_prefix(2), Some(4)),
    ] {
        let case = Case::new([2, 2, 20, 40, 40], &[pattern]);
        let (problem, width) = (case.problem(), case.width());
        let [q, k, v, _] = &case.inputs();
        let want = kernels(&problem, &case.inputs(), None).out;
        let pinned = pattern.prefix_keys(case.keys);
        assert_eq!(ring, pattern.reach());
        let capacity = pinned + ring.unwrap_or(case.keys - pinned);
        let mut cache = [vec![f32::NAN; 2 * capacity * width], vec![f32::NAN; 2 * capacity * width]];
        for position in 0..case.keys {
            let (patterns, scale) = (&case.patterns[..], problem.scale);
            let (batch, heads, head_dim, keys) = (2, 2, 20, position + 1);
            let (queries, query) = (1, 0);
            let sizes = Decode {
                batch,
                heads,
                head_dim,
                queries,
                query,
                keys,
                capacity,
                pinned,
                scale,
                patterns,
                key_lengths: None,
            };
            let mut query = vec![];
            for b in 0..batch {
                let row = (b * case.keys + position) * width;
                let slot = (b * capacity + sizes.slot(position)) * width;
                cache[0][slot..][..width].copy_from_slice(&k[row..][..width]);
                cache[1][slot..][..width].copy_from_slice(&v[row..][..width]);
                query.extend_from_slice(&q[row..][..width]);
            }
            let view = |data| View { data, row_stride: width };
            let mut out = vec![f32::NAN; batch * width];
            decode(ViewMut::new(&mut out, width), view(&query), view(&cache[0]), view(&cache[1]), &sizes);
            // Before the prefix is whole, forward has seen keys that are yet to come.
            for b in 0..if keys >= pinned { batch } else { 0 } {
                let want: Vec<f64> =
                    want[(b * case.keys + position) * width..][..width].iter().map(|&x| x as f64).collect();
                let got = &out[b * width..][..width];
                close(&format!("{pattern:?} position {position}"), got, &want, 3e-6);
            }
        }
    }
}

#[test]
fn impossible_problems_are_refused() {
    let case = Case::new([2, 4, 8, 3, 3], &[Pattern::full(); 3]);
    assert!(case.problem().check().is_err());
    assert!(Case::new([2, 4, 8, 3, 3], &[Pattern::full()]).lengths(&[1]).problem().check().is_err());
    assert!(Case::new([2, 4, 8, 3, 3], &[Pattern::full()]).dropout(f32::NAN).problem().check().is_err());
}
