//! Times of the CPU attention, printed: `cargo test --release --lib attention_times -- --ignored --nocapture`.
//! Best of many runs, so that other load on the machine counts least. `benches/peers/attention.py` does the same
//! work in PyTorch.

use super::*;
use std::time::Instant;

/// Name, `[batch, heads, head_dim, queries, keys]`, pattern.
type Size = (&'static str, [usize; 5], Pattern);

fn sizes() -> Vec<Size> {
    vec![
        ("patches", [16, 8, 32, 196, 196], Pattern::full()),
        ("scenes 16", [16, 8, 16, 64, 64], Pattern::full()),
        ("scenes 24", [16, 8, 24, 64, 64], Pattern::full()),
        ("scenes 32", [16, 8, 32, 64, 64], Pattern::full()),
        ("words to patches", [16, 8, 32, 20, 196], Pattern::full()),
        ("words", [16, 8, 32, 20, 20], Pattern::causal()),
        ("full 4096", [1, 4, 32, 4096, 4096], Pattern::full()),
        ("wide heads", [4, 8, 64, 196, 196], Pattern::full()),
        ("band 256", [1, 4, 32, 16_000, 16_000], Pattern::banded(256, 0)),
        ("dilated 256", [1, 4, 32, 16_000, 16_000], Pattern::dilated(256, 0, 4)),
        ("strided 128", [1, 4, 32, 16_000, 16_000], Pattern::strided(128)),
    ]
}

/// Best times in seconds of forward and of backward.
fn best([batch, heads, head_dim, queries, keys]: [usize; 5], pattern: Pattern, rate: f32) -> (f64, f64, u64) {
    let dropout = (rate > 0.0).then_some(Dropout { rate, key: [1, 2], stream: [3, 4] });
    let scale = 1.0 / (head_dim as f32).sqrt();
    let patterns = &[pattern][..];
    let problem =
        Problem { batch, heads, head_dim, queries, keys, scale, patterns, key_lengths: None, dropout };
    let width = heads * head_dim;
    let values = |seed: usize, rows: usize, columns: usize| -> Vec<f32> {
        (0..rows * columns).map(|e| (((e * 7919 + seed * 104_729) % 1000) as f32 - 500.0) / 300.0).collect()
    };
    // As in the model: q, k, v of self-attention are columns of one buffer.
    let stride = 3 * width;
    let packed = values(1, batch * queries.max(keys), stride);
    let dout = values(2, batch * queries, width);
    let view = |column: usize| View { data: &packed[column * width..], row_stride: stride };
    let (q, k, v) = (view(0), view(1), view(2));
    let mut out = vec![0.0; batch * queries * width];
    let mut log_sum_exp = vec![0.0; batch * heads * queries];
    let mut gradients = vec![0.0; packed.len()];
    let (mut first, mut second) = (f64::INFINITY, f64::INFINITY);
    let start = Instant::now();
    for _ in 0..200 {
        let t = Instant::now();
        forward(ViewMut::new(&mut out, width), &mut log_sum_exp, q, k, v, &problem);
        first = first.min(t.elapsed().as_secs_f64());
        let [dq, dk, dv] = ViewMut::split_columns(&mut gradients, stride, [width; 3]);
        let t = Instant::now();
        let (out, dout) = (View { data: &out, row_stride: width }, View { data: &dout, row_stride: width });
        backward(dq, dk, dv, out, dout, &log_sum_exp, q, k, v, &problem);
        second = second.min(t.elapsed().as_secs_f64());
        if start.elapsed().as_secs_f64() > 1.0 {
            break;
        }
    }
    (first, second, problem.visible_pairs() * head_dim as u64)
}

#[test]
#[ignore = "a benchmark: prints times"]
fn attention_times() {
    println!("{} threads", rayon::current_num_threads());
    for (name, size, pattern) in sizes() {
        for rate in [0.0, 0.1] {
            let (forward, backward, work) = best(size, pattern, rate);
            let gflops = |flops: u64, seconds: f64| (flops * work) as f64 / seconds / 1e9;
            println!(
                "{name:>18} {size:?} dropout {rate}: forward {:.3} ms ({:.0} GFLOP/s), backward {:.3} ms ({:.0}), both {:.3} ms ({:.0})",
                forward * 1e3,
                gflops(4, forward),
                backward * 1e3,
                gflops(10, backward),
                (forward + backward) * 1e3,
                gflops(14, forward + backward),
            );
        }
    }
}
