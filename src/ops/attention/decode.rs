//! One step of decoding over a cache: a new query a sequence sees the keys that its pattern shows, in a ring as long as
//! the pattern reaches back and no longer.
//!
//! out, q (batch, heads * head_dim); k, v (batch * capacity, heads * head_dim); count (1) u32: keys so far, the query's own
//! among them. Key `j` lies in row `j` of its sequence where `j < pinned`, else in the ring behind ([`cpu::Decode::slot`]).

use bytemuck::{Pod, Zeroable};

use super::cpu::{self, Decode};
use super::cuda;
use super::pattern::Pattern;
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::ops::{Cost, Op};
use crate::{Error, Result};

/// The sizes of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    pub batch: usize,
    pub heads: usize,
    /// Rows of a sequence.
    pub capacity: usize,
    /// Keys that stay for good: at least the pattern's prefix.
    pub pinned: usize,
}

/// Traces one step, with one pattern for all heads or one for each. The caller stores the new key and value first, and sees to it that `count` is at least 1.
///
/// # Errors
/// If the shapes do not fit, or the ring is shorter than the pattern reaches back.
pub fn decode(
    graph: &mut Graph,
    [q, k, v]: [Id; 3],
    count: Id,
    cache: Cache,
    patterns: &[Pattern],
) -> Result<Id> {
    let Cache { batch, heads, capacity, pinned } = cache;
    let (rows, width) = graph.matrix(q);
    let fits = rows == batch
        && [k, v].iter().all(|&id| graph.matrix(id) == (batch * capacity, width))
        && graph.tensor(count).len() == 1
        && heads > 0
        && width % heads == 0;
    if !fits || pinned >= capacity {
        return Err(Error::failed(format!(
            "attention while decoding: queries ({rows}, {width}), keys {:?}, {cache:?}",
            graph.matrix(k)
        )));
    }
    super::check_patterns(graph, width / heads, heads, patterns)?;
    if patterns.iter().filter_map(|pattern| pattern.reach()).any(|reach| reach > capacity - pinned) {
        return Err(Error::usage(format!(
            "attention while decoding: a ring of {} keys is shorter than its pattern reaches back",
            capacity - pinned
        )));
    }
    let out = graph.activation("attention", &[batch, width]);
    let op = DecodeStep { cache, head_dim: width / heads, patterns: patterns.to_vec() };
    graph.push(op, &[q, k, v, count], &[out]);
    Ok(out)
}

#[derive(Debug)]
struct DecodeStep {
    cache: Cache,
    head_dim: usize,
    patterns: Vec<Pattern>,
}

impl DecodeStep {
    fn scale(&self) -> f32 {
        (self.head_dim as f32).sqrt().recip()
    }
}

impl Op for DecodeStep {
    fn name(&self) -> &'static str {
        "attention decode"
    }

    fn cost(&self) -> Cost {
        // At most the whole cache is seen.
        let seen = (self.cache.batch * self.cache.capacity * self.cache.heads * self.head_dim) as f64;
        Cost { bytes: 8.0 * seen, flops: 4.0 * seen }
    }

    fn cpu(&self, args: &Args) {
        let Cache { batch, heads, capacity, pinned } = self.cache;
        let sizes = Decode {
            batch,
            heads,
            head_dim: self.head_dim,
            keys: args.input::<u32>(3)[0] as usize,
            capacity,
            pinned,
            scale: self.scale(),
            patterns: &self.patterns,
            key_lengths: None,
        };
        let [q, k, v] = [0, 1, 2].map(|i| args.input_columns(i));
        cpu::decode(args.output_columns(0), q, k, v, &sizes);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        let Cache { batch, heads, capacity, pinned } = self.cache;
        let (out, count) = (launch.output(0), launch.input(3));
        let [q, k, v] = [0, 1, 2].map(|i| launch.input(i));
        let sizes = CudaDecodeSizes {
            shape: [heads as i32, capacity as i32, pinned as i32],
            strides: [cuda::stride(&q)?, cuda::stride(&k)?, cuda::stride(&v)?, cuda::stride(&out)?],
            scale: self.scale(),
        };
        let table = cuda::table(heads, &self.patterns)?;
        launch
            .kernel(&format!("attention_decode_{}_{}", out.suffix(), self.head_dim))
            .out(out)
            .read(q)
            .read(k)
            .read(v)
            .read(count)
            .read_or_null(None)
            .plain(&sizes)
            .plain(&table)
            .grid(batch * heads)
    }
}

/// As `DecodeSizes` in `kernels/attention/decode.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct CudaDecodeSizes {
    shape: [i32; 3],
    strides: [i32; 4],
    scale: f32,
}
