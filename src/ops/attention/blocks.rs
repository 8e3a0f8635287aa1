//! Which blocks the kernels of forward and backward work in on a GPU: 64 rows, or 128, whose warps use each fragment that they
//! read for two bands of rows (`kernels/attention/forward.cuh`). Both give the same bits.

use super::Heads;
use super::cuda::TILE_ROWS;
use super::pattern::Pattern;

/// Head sizes with wide kernels of backward, for the queries and for the keys: larger ones' sums and scores take more than
/// the registers of a thread, or leave no room for a second block.
pub(super) const WIDE_QUERIES: [usize; 2] = [32, 64];
pub(super) const WIDE_KEYS: [usize; 1] = [32];

/// Blocks that an H100 has room for at once: two on each of 132 multiprocessors.
const RESIDENT: usize = 264;

/// Rows of a warp in a wide block.
const WARP_ROWS: usize = 32;

/// Blocks of queries, or of keys, of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocks {
    /// 64 rows: more blocks, and fewer pairs beside those that are seen.
    Narrow,
    /// 128 rows: half the reads of shared memory for each product.
    Wide,
}

impl Blocks {
    /// Whether so many blocks give every multiprocessor its share.
    pub fn fill(blocks: usize) -> bool {
        blocks >= RESIDENT
    }

    /// Wide ones only where `fits`.
    pub fn where_it(self, fits: bool) -> Blocks {
        if fits { self } else { Blocks::Narrow }
    }

    /// Added to a kernel's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Blocks::Narrow => "",
            Blocks::Wide => "_wide",
        }
    }

    /// Rows of a block.
    pub fn rows(self) -> usize {
        match self {
            Blocks::Narrow => TILE_ROWS,
            Blocks::Wide => 2 * TILE_ROWS,
        }
    }

    /// What suits a shape: wide blocks where they fill the chip, where classes fill them, and where the keys that a block
    /// goes through are mostly seen by each of its warps, which wait for one another at every tile.
    pub fn suited(heads: Heads, patterns: &[Pattern], term: usize) -> Blocks {
        let rows = Blocks::Wide.rows();
        let blocks = |p: &Pattern| {
            let classes = p.query_stride(grouping(p, term));
            classes * heads.queries.div_ceil(classes).div_ceil(rows)
        };
        let all: usize = patterns.iter().map(blocks).sum();
        let fills = Blocks::fill(heads.batch * (heads.heads / patterns.len().max(1)) * all);
        let suits = |p: &Pattern| {
            let term = grouping(p, term);
            let class = p.class(term, 0, heads.queries, heads.keys, heads.keys);
            // A block in the middle of the sequence stands for all.
            let t0 = class.queries / 2 / rows * rows;
            class.queries >= rows && {
                let of_block = class.touched(t0, class.queries.min(t0 + rows)).len();
                let of_warp = |t: usize| class.touched(t, class.queries.min(t + WARP_ROWS)).len();
                let starts = (t0..class.queries.min(t0 + rows)).step_by(WARP_ROWS);
                let warps = starts.len();
                3 * starts.map(of_warp).sum::<usize>() >= 2 * warps * of_block
            }
        };
        Blocks::Wide.where_it(fills && patterns.iter().all(suits))
    }
}

/// The term by whose classes a launch groups the queries.
pub(super) fn grouping(pattern: &Pattern, launch: usize) -> usize {
    if pattern.groups_apart() { launch } else { pattern.terms() - 1 }
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
