//! How much a pattern makes the kernels do: tiles touched, keys packed, rows loaded. What a cost model multiplies.
//!
//! The counts follow the loops of `cpu_forward.rs` and `kernels/attention/forward.cuh`: each residue class of each term
//! is cut into blocks of queries, each block meets the keys that its first or last query sees, tile by tile. One step a
//! block, so that a quarter of a million tokens take milliseconds.

use pulp::{Arch, Simd, WithSimd};

use super::cpu_block::{GROUP, HELD, KEY_TILE, MOST_SLOTS, block_width, tile};
use super::cpu_tile::ROWS;
use super::cuda::TILE_ROWS;
use super::pattern::Pattern;
use crate::device::Device;

/// The tiles of one device's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Queries of a block.
    pub queries: usize,
    /// Keys of a tile.
    pub keys: usize,
    /// A block's queries are rounded up to a multiple of this.
    pub query_step: usize,
    /// A tile's keys are rounded up to a multiple of this.
    pub key_step: usize,
    /// A class of at most this many keys is brought near once, not once a block.
    pub held: usize,
    /// Tiles that stay near from one block to the next, where a block meets no more.
    pub kept: usize,
    /// Blocks that go through their keys together, where they meet more tiles, from the same key on.
    pub group: usize,
    /// Queries of a block and keys of a tile where a term is narrow ([`Pattern::is_narrow`]).
    pub narrow: (usize, usize),
}

impl Tiling {
    /// Those that the device works in. On the CPU they follow its widest vectors. On a GPU they are those of narrow blocks:
    /// wide ones (`blocks.rs`) take two of them at a time.
    pub fn of(device: Device) -> Tiling {
        match device {
            Device::Cpu => Arch::new().dispatch(Widest),
            _ => Tiling {
                queries: TILE_ROWS,
                keys: TILE_ROWS,
                query_step: TILE_ROWS,
                key_step: TILE_ROWS,
                held: 0,
                kept: 0,
                group: 1,
                narrow: (TILE_ROWS, TILE_ROWS),
            },
        }
    }
}

struct Widest;

impl WithSimd for Widest {
    type Output = Tiling;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Tiling {
        Tiling {
            queries: block_width::<S>(false),
            keys: KEY_TILE,
            query_step: S::F32_LANES,
            key_step: ROWS,
            held: HELD,
            kept: MOST_SLOTS,
            group: GROUP,
            narrow: (block_width::<S>(true), tile(true)),
        }
    }
}

/// What one head of one sequence takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Blocks of queries, each a task of its own.
    pub blocks: u64,
    /// Query rows that are loaded, a query once for each term.
    pub query_rows: u64,
    /// Tiles of which every pair is visible, and tiles of which some may not be.
    pub full_tiles: u64,
    pub partial_tiles: u64,
    /// Pairs that are computed, visible or not: whole tiles, rounded up to vectors.
    pub pairs: u64,
    /// Rows of keys, each with its values, that are brought near the arithmetic.
    pub key_rows: u64,
    /// The most pairs that one block computes: what a device with more units than blocks waits for.
    pub longest_block: u64,
}

impl Work {
    pub fn add(&mut self, other: &Work) {
        self.blocks += other.blocks;
        self.query_rows += other.query_rows;
        self.full_tiles += other.full_tiles;
        self.partial_tiles += other.partial_tiles;
        self.pairs += other.pairs;
        self.key_rows += other.key_rows;
        self.longest_block = self.longest_block.max(other.longest_block);
    }

    /// Tiles that a square of `length` tokens has and that are never looked at, in the tiling's sizes.
    pub fn empty_tiles(&self, length: usize, tiling: Tiling) -> u64 {
        let all = length.div_ceil(tiling.queries) * length.div_ceil(tiling.keys);
        (all as u64).saturating_sub(self.full_tiles + self.partial_tiles)
    }
}

/// The work of `pattern` over `length` queries and as many keys.
pub fn count(pattern: Pattern, length: usize, tiling: Tiling) -> Work {
    let mut work = Work::default();
    let wide = tiling;
    for term in 0..pattern.terms() {
        let tiling = match pattern.is_narrow(term, length) {
            true => Tiling { queries: wide.narrow.0, keys: wide.narrow.1, group: 1, ..wide },
            false => wide,
        };
        for number in 0..pattern.classes(term, length) {
            let class = pattern.class(term, number, length, length, length);
            let prefix = if term == 0 { pattern.prefix_keys(length) } else { 0 };
            let held_class = class.keys().len() <= tiling.held;
            // Of two runs of keys that take turns neither stays near.
            let alone = prefix == 0;
            let mut first = true;
            let mut last = 0..0;
            for t0 in (0..class.queries).step_by(tiling.queries) {
                let t1 = class.queries.min(t0 + tiling.queries);
                let width = (t1 - t0).next_multiple_of(tiling.query_step) as u64;
                let (touched, inner) = (class.touched(t0, t1), class.seen_by_all(t0, t1));
                let whole_width = t1 - t0 == tiling.queries;
                let before = work.pairs;
                for (keys, inner) in [(0..prefix, 0..prefix), (touched, inner)] {
                    if keys.is_empty() {
                        continue;
                    }
                    let tiles = keys.len().div_ceil(tiling.keys);
                    let rows = rounded(keys.len(), tiling);
                    let full = if whole_width { full_tiles(&keys, &inner, tiling.keys) } else { 0 };
                    work.full_tiles += full as u64;
                    work.partial_tiles += (tiles - full) as u64;
                    work.pairs += rows as u64 * width;
                    if !(held_class && alone) {
                        // Tiles begin where the block's keys do: those of the block before fit if it began whole tiles earlier.
                        let same = keys.start.abs_diff(last.start).is_multiple_of(tiling.keys);
                        let follows = t0 / tiling.queries % tiling.group > 0 && keys.start == last.start;
                        let near = if alone && follows && tiles > tiling.kept {
                            last.end - last.start
                        } else if alone && same && tiles <= tiling.kept {
                            last.end.saturating_sub(keys.start).min(keys.len()) / tiling.keys * tiling.keys
                        } else {
                            0
                        };
                        work.key_rows += (keys.len() - near) as u64;
                        last = keys;
                    } else if first {
                        work.key_rows += class.keys().len() as u64;
                        first = false;
                    }
                }
                work.blocks += 1;
                work.query_rows += (t1 - t0) as u64;
                work.longest_block = work.longest_block.max(work.pairs - before);
            }
        }
    }
    work
}

/// Keys of a run with each of its tiles rounded up.
fn rounded(keys: usize, tiling: Tiling) -> usize {
    keys / tiling.keys * tiling.keys + (keys % tiling.keys).next_multiple_of(tiling.key_step)
}

/// Tiles of `keys`, cut from its start, that hold a whole tile of keys and lie in `inner`.
fn full_tiles(keys: &std::ops::Range<usize>, inner: &std::ops::Range<usize>, tile: usize) -> usize {
    let first = inner.start.max(keys.start).saturating_sub(keys.start).div_ceil(tile);
    let end = inner.end.min(keys.end).saturating_sub(keys.start) / tile;
    end.saturating_sub(first)
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
