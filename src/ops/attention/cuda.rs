//! Launches of the attention kernels (`kernels/attention`): forward, backward without atomics, and the weights.

use bytemuck::{Pod, Zeroable};

use super::blocks::{Blocks, WIDE_KEYS, WIDE_QUERIES, grouping};
use super::pattern::Pattern;
use super::{Attention, Heads};
use crate::device::gpu::{Launch, Launcher, Span};
use crate::graph::{DType, Graph};
use crate::ops::dropout;
use crate::{Error, Result};

/// Head sizes that there are kernels for.
pub(super) const HEAD_SIZES: [usize; 4] = [32, 64, 96, 128];
/// Rows of a tile, as in `kernels/attention/sizes.cuh`.
pub(super) const TILE_ROWS: usize = 64;
/// Elements of 16 bytes: what rows and columns must be multiples of.
const CHUNK: usize = 8;
/// Threads of the small kernels, and their warps.
const THREADS: usize = 128;
const WARPS: usize = THREADS / 32;

/// A pattern as `Pattern` in `kernels/attention/pattern.cuh`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq)]
pub(super) struct CudaPattern {
    pub kind: i32,
    pub a: i32,
    pub b: i32,
    pub c: i32,
    pub d: i32,
    pub e: i32,
    pub prefix: i32,
}

/// Patterns by head as `PatternTable` in `kernels/attention/sizes.cuh`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(super) struct CudaPatterns {
    patterns: [CudaPattern; 8],
    of_head: [u8; 64],
}

/// As `AttentionSizes` in `kernels/attention/sizes.cuh`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct CudaSizes {
    shape: [i32; 4],
    strides: [i32; 4],
    gradient_strides: [i32; 4],
    term: i32,
    scale: f32,
    site: u32,
    threshold: u32,
    kept: f32,
}

/// Refuses what there is no kernel for, before anything runs.
pub(super) fn check(graph: &Graph, head_dim: usize, heads: usize, patterns: &[Pattern]) -> Result<()> {
    if graph.storage() == DType::F32 {
        return Ok(());
    }
    if !HEAD_SIZES.contains(&head_dim) {
        return Err(Error::usage(format!(
            "attention: a head of {head_dim} channels has no CUDA kernel; choose width and heads so that width / heads \
             is 32, 64, 96 or 128, or use --device cpu"
        )));
    }
    table(heads, patterns).map(|_| ())
}

/// Elements between the rows of a tensor, as the kernels take it.
pub(super) fn stride(span: &Span) -> Result<i32> {
    let aligned =
        span.row_stride.is_multiple_of(CHUNK) && span.offset.is_multiple_of(CHUNK * span.dtype.bytes());
    match (aligned, i32::try_from(span.row_stride)) {
        (true, Ok(stride)) => Ok(stride),
        _ => Err(Error::failed(format!(
            "attention: the rows of {} do not begin on 16 bytes: {} elements apart",
            span.name, span.row_stride
        ))),
    }
}

/// The patterns by head, each once.
pub(super) fn table(heads: usize, patterns: &[Pattern]) -> Result<CudaPatterns> {
    let mut table = CudaPatterns::zeroed();
    let mut known: Vec<Pattern> = Vec::new();
    if heads > table.of_head.len() {
        return Err(Error::usage(format!(
            "attention: {heads} heads; the CUDA kernels take at most {}",
            table.of_head.len()
        )));
    }
    for head in 0..heads {
        let pattern = patterns[if patterns.len() == 1 { 0 } else { head }];
        let number = known.iter().position(|k| *k == pattern).unwrap_or_else(|| {
            known.push(pattern);
            known.len() - 1
        });
        if number >= table.patterns.len() {
            return Err(Error::usage(format!(
                "attention: more than {} different patterns in one layer",
                table.patterns.len()
            )));
        }
        table.patterns[number] = pattern.cuda()?;
        table.of_head[head] = number as u8;
    }
    Ok(table)
}

impl Attention {
    fn sizes(&self, strides: [&Span; 4], gradients: [Option<&Span>; 4], term: usize) -> Result<CudaSizes> {
        let Heads { batch, heads, queries, keys } = self.heads;
        let drawn = dropout::Parameters::of(self.dropout);
        let mut sizes = CudaSizes {
            shape: [batch as i32, heads as i32, queries as i32, keys as i32],
            strides: [0; 4],
            gradient_strides: [0; 4],
            term: term as i32,
            scale: (self.head_dim as f32).sqrt().recip(),
            site: drawn.site,
            threshold: drawn.threshold,
            kept: drawn.scale,
        };
        for (to, span) in sizes.strides.iter_mut().zip(strides) {
            *to = stride(span)?;
        }
        for (to, span) in sizes.gradient_strides.iter_mut().zip(gradients) {
            *to = span.map_or(Ok(0), stride)?;
        }
        Ok(sizes)
    }

    /// The launches that forward and dq need: a second one for patterns whose terms group the queries apart.
    fn query_terms(&self) -> usize {
        if self.patterns.iter().any(|p| p.groups_apart()) { 2 } else { 1 }
    }

    /// Blocks of so many queries, of the pattern that has most.
    fn query_tiles(&self, term: usize, rows: usize) -> usize {
        let tiles = |p: &Pattern| {
            let classes = p.query_stride(grouping(p, term));
            classes * self.heads.queries.div_ceil(classes).div_ceil(rows)
        };
        self.patterns.iter().map(tiles).max().unwrap_or(0)
    }

    /// Blocks of so many keys of a term, with its pattern's prefix where it is the first one.
    fn key_tiles(&self, term: usize, rows: usize) -> usize {
        let keys = self.heads.keys;
        let tiles = |p: &Pattern| {
            let prefix = if term == 0 { p.prefix_keys(keys).div_ceil(rows) } else { 0 };
            let classes = p.query_stride(term);
            prefix + classes * p.most_keys(term, keys).div_ceil(rows)
        };
        self.patterns.iter().filter(|p| term < p.terms()).map(tiles).max().unwrap_or(0)
    }

    /// The blocks of the queries of a launch.
    fn blocks(&self, term: usize) -> Blocks {
        self.blocks.unwrap_or_else(|| Blocks::suited(self.heads, &self.patterns, term))
    }

    /// The blocks of keys of a launch: fewer keys than queries may leave the chip idle.
    fn key_blocks(&self, term: usize) -> Blocks {
        let wide = self.key_tiles(term, Blocks::Wide.rows()) * self.heads.heads * self.heads.batch;
        let fits = WIDE_KEYS.contains(&self.head_dim) && (self.blocks.is_some() || Blocks::fill(wide));
        self.blocks(term).where_it(fits)
    }

    fn kernel(&self, what: &str, like: &Span) -> String {
        format!("attention_{what}_{}_{}", like.suffix(), self.head_dim)
    }

    /// The key lengths, where there are any: input `number`.
    fn lengths(&self, launch: &Launcher, number: usize) -> Option<Span> {
        self.has_lengths.then(|| launch.input(number))
    }

    fn state(&self, launch: &Launcher) -> Option<Span> {
        self.dropout.map(|_| launch.step_state())
    }
}

pub(super) fn forward(op: &Attention, launch: &mut Launcher) -> Result<()> {
    let (out, log_sum_exp) = (launch.output(0), launch.output(1));
    let [q, k, v] = [0, 1, 2].map(|i| launch.input(i));
    let table = table(op.heads.heads, &op.patterns)?;
    for term in 0..op.query_terms() {
        let sizes = op.sizes([&q, &k, &v, &out], [None; 4], term)?;
        let (lengths, state) = (op.lengths(launch, 3), op.state(launch));
        let blocks = op.blocks(term);
        launch
            .kernel(&op.kernel(&format!("forward{}", blocks.suffix()), &out))
            .out(out.clone())
            .out(log_sum_exp.clone())
            .read(q.clone())
            .read(k.clone())
            .read(v.clone())
            .read_or_null(lengths)
            .read_or_null(state)
            .plain(&sizes)
            .plain(&table)
            .grid3(op.query_tiles(term, blocks.rows()), op.heads.heads, op.heads.batch)?;
    }
    Ok(())
}

/// Bytes of delta.
pub(super) fn backward_workspace(op: &Attention) -> usize {
    let Heads { batch, heads, queries, .. } = op.heads;
    batch * heads * queries * size_of::<f32>()
}

pub(super) fn backward(op: &Attention, launch: &mut Launcher) -> Result<()> {
    let Heads { batch, heads, queries, keys } = op.heads;
    let [q, k, v, out, dout, log_sum_exp] = [0, 1, 2, 3, 4, 5].map(|i| launch.input(i));
    let [dq, dk, dv] = [0, 1, 2].map(|i| launch.output(i));
    let delta = launch.workspace(0, batch * heads * queries, DType::F32);
    let table = table(heads, &op.patterns)?;
    let sizes = |term| op.sizes([&q, &k, &v, &out], [Some(&dq), Some(&dk), Some(&dv), Some(&dout)], term);
    let lanes = (op.head_dim / CHUNK).next_power_of_two();
    launch
        .kernel(&op.kernel("delta", &out))
        .out(delta.clone())
        .read(out.clone())
        .read(dout.clone())
        .plain(&sizes(0)?)
        .grid((batch * queries * heads).div_ceil(THREADS / lanes))?;
    if op.patterns.iter().any(|p| !p.covers_all_keys()) {
        for gradient in [&dk, &dv] {
            launch
                .kernel(&format!("attention_clear_{}", gradient.suffix()))
                .out(gradient.clone())
                .size(batch * keys)
                .size(heads * op.head_dim)
                .size(gradient.row_stride)
                .grid((batch * keys * heads * op.head_dim / CHUNK).div_ceil(THREADS))?;
        }
    }
    let optional = [op.lengths(launch, 6), op.state(launch)];
    let given = [&q, &k, &v, &dout, &log_sum_exp, &delta];
    for term in 0..op.patterns.iter().map(|p| p.terms()).max().unwrap_or(0) {
        let blocks = op.key_blocks(term);
        let name = op.kernel(&format!("keys{}", blocks.suffix()), &out);
        let kernel = launch.kernel(&name).out(dk.clone()).out(dv.clone());
        let tiles = op.key_tiles(term, blocks.rows());
        reads(kernel, given, &optional, &sizes(term)?, &table).grid3(tiles, heads, batch)?;
    }
    for term in 0..op.query_terms() {
        let blocks = op.blocks(term).where_it(WIDE_QUERIES.contains(&op.head_dim));
        let kernel = launch.kernel(&op.kernel(&format!("queries{}", blocks.suffix()), &out)).out(dq.clone());
        let tiles = op.query_tiles(term, blocks.rows());
        reads(kernel, given, &optional, &sizes(term)?, &table).grid3(tiles, heads, batch)?;
    }
    Ok(())
}

/// What both kernels of backward read, behind what each of them writes.
fn reads<'l>(
    kernel: Launch<'l>,
    given: [&Span; 6],
    [lengths, state]: &[Option<Span>; 2],
    sizes: &CudaSizes,
    table: &CudaPatterns,
) -> Launch<'l> {
    let kernel = given.into_iter().fold(kernel, |kernel, span| kernel.read(span.clone()));
    kernel.read_or_null(lengths.clone()).read_or_null(state.clone()).plain(sizes).plain(table)
}

pub(super) fn weights(op: &Attention, launch: &mut Launcher) -> Result<()> {
    let Heads { batch, heads, queries, .. } = op.heads;
    let (out, q, k) = (launch.output(0), launch.input(0), launch.input(1));
    let sizes = op.sizes([&q, &k, &k, &q], [None; 4], 0)?;
    let table = table(heads, &op.patterns)?;
    launch
        .kernel(&format!("attention_weights_{}", q.suffix()))
        .out(out)
        .read(q)
        .read(k)
        .plain(&sizes)
        .plain(&table)
        .size(op.head_dim)
        .grid3(queries.div_ceil(WARPS), heads, batch)
}
