//! One step of decoding over a cache: a new query a sequence sees the keys that its pattern shows, in a ring as long as
//! the pattern reaches back and no longer.
//!
//! out, q (batch, heads * head_dim); k, v (batch * capacity, heads * head_dim); count (1) u32: keys so far, the query's own
//! among them. Key `j` lies in row `j` of its sequence where `j < pinned`, else in the ring behind ([`cpu::Decode::slot`]).
//!
//! Or, for cross-attention, over keys that stay: then the number that lives on the device is the query's own, and the
//! result is that query's row of [`super::attention`].

use bytemuck::{Pod, Zeroable};

use super::Heads;
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
    if patterns.iter().any(|pattern| !pattern.shifts()) {
        return Err(Error::failed("attention while decoding: frames lie in no ring; see `decode_fixed`"));
    }
    if patterns.iter().filter_map(|pattern| pattern.reach()).any(|reach| reach > capacity - pinned) {
        return Err(Error::usage(format!(
            "attention while decoding: a ring of {} keys is shorter than its pattern reaches back",
            capacity - pinned
        )));
    }
    let out = graph.activation("attention", &[batch, width]);
    let op = DecodeStep { cache, queries: None, head_dim: width / heads, patterns: patterns.to_vec() };
    graph.push(op, &[q, k, v, count], &[out]);
    Ok(out)
}

/// Traces one step against all keys there are: q (batch, heads * head_dim) is query `position` (1) u32 of
/// `heads.queries`, k and v (batch * keys, heads * head_dim). One pattern for all heads or one for each. The caller sees to
/// it that `position` is below `heads.queries`.
///
/// # Errors
/// If the shapes do not fit.
pub fn decode_fixed(
    graph: &mut Graph,
    [q, k, v]: [Id; 3],
    position: Id,
    heads: Heads,
    patterns: &[Pattern],
) -> Result<Id> {
    let Heads { batch, heads, queries, keys } = heads;
    let (rows, width) = graph.matrix(q);
    let fits = rows == batch
        && [k, v].iter().all(|&id| graph.matrix(id) == (batch * keys, width))
        && graph.tensor(position).len() == 1
        && heads > 0
        && width % heads == 0;
    if !fits {
        return Err(Error::failed(format!(
            "attention while decoding: queries ({rows}, {width}), keys {:?}, {batch} sequences of {keys} keys, \
             {heads} heads",
            graph.matrix(k)
        )));
    }
    super::check_patterns(graph, width / heads, heads, patterns)?;
    let out = graph.activation("attention", &[batch, width]);
    let op = DecodeStep {
        cache: Cache { batch, heads, capacity: keys, pinned: keys },
        queries: Some(queries),
        head_dim: width / heads,
        patterns: patterns.to_vec(),
    };
    graph.push(op, &[q, k, v, position], &[out]);
    Ok(out)
}

#[derive(Debug)]
struct DecodeStep {
    cache: Cache,
    /// Of the whole sequence, where the keys stay; else the query is the newest key's.
    queries: Option<usize>,
    head_dim: usize,
    patterns: Vec<Pattern>,
}

/// Up to so many blocks, the multiprocessors of an H100, each has one for itself, and its latency is the step's.
const FEW_BLOCKS: usize = 132;
/// Keys from which on a block of more threads is sooner done: two turns of a small one at 64 channels.
const MANY_KEYS: u64 = 128;

impl DecodeStep {
    fn scale(&self) -> f32 {
        (self.head_dim as f32).sqrt().recip()
    }

    /// Whether few heads have many keys each.
    fn takes_many_threads(&self) -> bool {
        let Cache { batch, heads, capacity, .. } = self.cache;
        // Of a ring the query stands on the last key; of keys that stay, a mean one.
        let queries = self.queries.unwrap_or(1).max(1);
        let seen = |pattern: &Pattern| pattern.visible_pairs(queries, capacity, capacity) / queries as u64;
        batch * heads <= FEW_BLOCKS && self.patterns.iter().map(seen).max() >= Some(MANY_KEYS)
    }
}

impl Op for DecodeStep {
    fn name(&self) -> &'static str {
        "attention decode"
    }

    fn cost(&self) -> Cost {
        let Cache { batch, heads, capacity, .. } = self.cache;
        // Of a ring at most the whole is seen; of keys that stay, what the mean query sees.
        let keys = self.queries.filter(|&queries| queries > 0).map_or(capacity as f64, |queries| {
            let pairs: u64 = self.patterns.iter().map(|p| p.visible_pairs(queries, capacity, capacity)).sum();
            pairs as f64 / (queries * self.patterns.len()) as f64
        });
        let seen = (batch * heads * self.head_dim) as f64 * keys;
        Cost { bytes: 8.0 * seen, flops: 4.0 * seen }
    }

    fn cpu(&self, args: &Args) {
        let Cache { batch, heads, capacity, pinned } = self.cache;
        let number = args.input::<u32>(3)[0] as usize;
        let (queries, query, keys) = match self.queries {
            Some(queries) => (queries, number, capacity),
            None => (1, 0, number),
        };
        let sizes = Decode {
            batch,
            heads,
            head_dim: self.head_dim,
            queries,
            query,
            keys,
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
        let (out, number) = (launch.output(0), launch.input(3));
        let [q, k, v] = [0, 1, 2].map(|i| launch.input(i));
        let sizes = CudaDecodeSizes {
            shape: [heads as i32, capacity as i32, pinned as i32, self.queries.unwrap_or(0) as i32],
            strides: [cuda::stride(&q)?, cuda::stride(&k)?, cuda::stride(&v)?, cuda::stride(&out)?],
            scale: self.scale(),
        };
        let table = cuda::table(heads, &self.patterns)?;
        let many = if self.takes_many_threads() { "_many" } else { "" };
        launch
            .kernel(&format!("attention_decode{many}_{}_{}", out.suffix(), self.head_dim))
            .out(out)
            .read(q)
            .read(k)
            .read(v)
            .read(number)
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
    shape: [i32; 4],
    strides: [i32; 4],
    scale: f32,
}
