//! What forward and backward share: cutting a problem into blocks, packing rows into tiles, dropout, scratch.
//!
//! A block is up to four vectors of queries of one residue class; it meets its keys in tiles of [`KEY_TILE`].
//! Packing makes rows of keys neighbours (in a packed projection they lie a multiple of 2 KiB apart, in few sets of
//! the cache), pads the channels to whole vectors, and gathers dilated keys: 2 loads and stores a vector against 2 to 5
//! products over 64 queries, and in the backward pass twice that for the gradients. So tiles stay packed from one block of
//! queries to the next: all of a short class, and those of a window that the scratch has room for. Scratch is a buffer for
//! each thread, which grows on its first use and never again.

use super::cpu::Problem;
use super::cpu_tile::{LANES, Mask, ROWS, max_vectors};
use super::pattern::{Class, Pattern};
use crate::device::cpu::View;
use crate::ops::philox;
use pulp::{Simd, WithSimd};
use std::cell::RefCell;
use std::ops::Range;

/// Keys of a tile: scores, keys and values of a tile fill half a first-level cache of 48 KiB at 32 channels.
pub const KEY_TILE: usize = 64;

/// Keys that are packed together, once, where a class has no more than these: with their gradients 128 KiB at 32 channels,
/// well inside a second-level cache.
pub const HELD: usize = 256;

/// Most tiles that stay packed side by side; `slots` may be fewer.
pub const MOST_SLOTS: usize = 12;

/// Tiles that stay packed side by side: with their gradients at most 768 KiB, which a second-level cache of 1 MiB holds.
pub const fn slots(padded: usize) -> usize {
    let most = 768 / padded;
    if most > MOST_SLOTS {
        MOST_SLOTS
    } else if most * KEY_TILE < HELD {
        HELD / KEY_TILE
    } else {
        most
    }
}

/// Rows of a buffer of packed keys: a tile of any first row may be padded beyond the last key.
pub const fn key_rows(padded: usize) -> usize {
    slots(padded) * KEY_TILE + ROWS
}

/// Most queries of a block: four vectors of the widest kind.
pub const MAX_WIDTH: usize = 4 * LANES;

/// Where a block stands.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub problem: &'a Problem<'a>,
    pub batch: usize,
    pub head: usize,
    pub pattern: Pattern,
    pub term: usize,
    /// Keys of this sequence that are real.
    pub key_length: usize,
    /// Whether blocks and tiles are small, see [`Pattern::is_narrow`].
    pub narrow: bool,
}

impl<'a> Place<'a> {
    pub fn new(problem: &'a Problem<'a>, sequence: usize, term: usize) -> Self {
        let (batch, head) = (sequence / problem.heads, sequence % problem.heads);
        let pattern = problem.pattern(head);
        let narrow = pattern.is_narrow(term, problem.queries);
        Self { problem, batch, head, pattern, term, key_length: problem.key_length(batch), narrow }
    }

    /// Does this head's pattern have the term at all?
    pub fn exists(&self) -> bool {
        self.term < self.pattern.terms()
    }

    pub fn classes(&self) -> usize {
        self.pattern.classes(self.term, self.problem.queries)
    }

    pub fn class(&self, class: usize) -> Class {
        self.pattern.class(self.term, class, self.problem.queries, self.problem.keys, self.key_length)
    }

    /// Keys of the prefix, which the first term takes along.
    pub fn prefix_keys(&self) -> usize {
        if self.term == 0 { self.pattern.prefix_keys(self.key_length.min(self.problem.keys)) } else { 0 }
    }

    pub fn query_row(&self, class: &Class, t: usize) -> usize {
        self.batch * self.problem.queries + class.query(t)
    }

    pub fn key_row(&self, segment: &Segment, u: usize) -> usize {
        self.batch * self.problem.keys + segment.key(u)
    }

    /// First column of this head.
    pub fn column(&self) -> usize {
        self.head * self.problem.head_dim
    }

    /// Index of a query's log-sum-exp.
    pub fn statistic(&self, class: &Class, t: usize) -> usize {
        (self.batch * self.problem.heads + self.head) * self.problem.queries + class.query(t)
    }

    /// The keys that queries `t0..t1` may see: the prefix, then the class's own.
    pub fn segments<'c>(&self, class: &'c Class, t0: usize, t1: usize) -> [Segment<'c>; 2] {
        let (prefix, tile) = (0..self.prefix_keys(), tile(self.narrow));
        let (keys, inner) = (class.touched(t0, t1), class.seen_by_all(t0, t1));
        [
            Segment { class: None, inner: prefix.clone(), keys: prefix, tile },
            Segment { class: Some(class), keys, inner, tile },
        ]
    }
}

/// A run of keys that a block meets: of its class, or of the prefix.
pub struct Segment<'c> {
    pub class: Option<&'c Class>,
    pub keys: Range<usize>,
    /// The keys that all queries of the block see.
    pub inner: Range<usize>,
    /// Keys of a tile.
    pub tile: usize,
}

impl Segment<'_> {
    pub fn key(&self, u: usize) -> usize {
        self.class.map_or(u, |class| class.key(u))
    }

    /// The tiles of the segment.
    pub fn tiles(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        tiles(self.keys.clone(), self.tile)
    }

    /// What each lane of the block that starts at query `t0` sees.
    #[inline(always)]
    pub fn mask<S: Simd, const NV: usize>(&self, simd: S, t0: usize, lanes: usize) -> Mask<S, NV> {
        let (mut lo, mut hi) = ([simd.splat_u32s(0); NV], [simd.splat_u32s(0); NV]);
        if let Some(class) = self.class {
            let (mut starts, mut ends) = ([0; MAX_WIDTH], [0; MAX_WIDTH]);
            for (t, (start, end)) in (t0..t0 + lanes).zip(starts.iter_mut().zip(&mut ends)) {
                let seen = class.seen(t);
                (*start, *end) = (seen.start as u32, seen.end as u32);
            }
            lo.copy_from_slice(&S::as_simd_u32s(&starts).0[..NV]);
            hi.copy_from_slice(&S::as_simd_u32s(&ends).0[..NV]);
        }
        Mask { lo, hi, inner: self.inner.clone() }
    }
}

/// Queries of a full block for vectors of this kind.
pub const fn block_width<S: Simd>(narrow: bool) -> usize {
    let vectors = max_vectors::<S>();
    (if narrow { vectors.div_ceil(2) } else { vectors }) * S::F32_LANES
}

/// Keys of a full tile: few where blocks are narrow, so that tiles begin where those of the block before do.
pub const fn tile(narrow: bool) -> usize {
    if narrow { KEY_TILE / 2 } else { KEY_TILE }
}

/// A run of keys, cut into tiles of `tile`.
pub fn tiles(keys: Range<usize>, tile: usize) -> impl Iterator<Item = Range<usize>> {
    let end = keys.end;
    keys.step_by(tile).map(move |u| u..end.min(u + tile))
}

/// Channels of a packed row.
pub const fn padded(head_dim: usize) -> usize {
    head_dim.next_multiple_of(LANES)
}

/// Rows of keys and values, `[..key_rows(padded)][padded]`, and which they are.
pub struct PackedKeys<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
    /// In the slot `n`, from row `n * KEY_TILE` on; the first one may be a whole class that takes several slots.
    held: [Option<Held>; MOST_SLOTS],
    padded: usize,
    /// Whether a short class may be held whole: not by a task that owns the gradients of one tile alone.
    pub whole: bool,
}

/// Keys `keys` of the class, or of the prefix, from row `first` on.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    class: Option<Class>,
    pub keys: Range<usize>,
    pub first: usize,
    /// All keys of a short class, and alone in the scratch.
    whole: bool,
}

impl Held {
    /// The same as a segment, for its row numbers.
    pub fn segment(&self) -> Segment<'_> {
        Segment { class: self.class.as_ref(), keys: self.keys.clone(), inner: 0..0, tile: KEY_TILE }
    }

    fn overlaps(&self, keys: &Range<usize>) -> bool {
        self.keys.start < keys.end && keys.start < self.keys.end
    }
}

impl<'a> PackedKeys<'a> {
    /// Nothing is held; both buffers have [`key_rows`] rows.
    pub fn new(keys: &'a mut [f32], values: &'a mut [f32], padded: usize) -> Self {
        Self { keys, values, held: [const { None }; MOST_SLOTS], padded, whole: true }
    }

    /// The first row of the tile, if it is held.
    #[inline(always)]
    pub fn find(&self, segment: &Segment, tile: &Range<usize>) -> Option<usize> {
        // Of a tile no other may begin in the middle: rounded up, it would reach into the next slot.
        let inside = |held: &&Held| {
            let begins = held.keys.start == tile.start || held.whole && held.keys.start < tile.start;
            begins && tile.end <= held.keys.end && held.class.as_ref() == segment.class
        };
        let held = self.held.iter().flatten().find(inside)?;
        Some(held.first + tile.start - held.keys.start)
    }

    /// What there is to hold for the tile: all keys of its class if they are few, else the tile, in a slot that this
    /// segment has no use for. What is held there, or anywhere of the same keys or of another class, goes through `evict`
    /// first: no key is ever held twice, and gradients are lost nowhere.
    pub fn make_room(
        &mut self,
        place: &Place,
        segment: &Segment,
        tile: &Range<usize>,
        mut evict: impl FnMut(&Held),
    ) -> Held {
        let keys = segment.class.map_or(0..place.prefix_keys(), |class| class.keys());
        let whole = self.whole && keys.len() <= HELD;
        let keys = if whole { keys } else { tile.clone() };
        for slot in &mut self.held {
            let goes = |held: &Held| match (&held.class, segment.class) {
                // The prefix and a class have no key in common.
                (None, Some(_)) | (Some(_), None) => false,
                (of, class) => of.as_ref() != class || held.overlaps(&keys),
            };
            if let Some(held) = slot.take_if(|held| whole || held.whole || goes(held)) {
                evict(&held);
            }
        }
        let slot = if whole { 0 } else { self.free_slot(segment) };
        if let Some(held) = self.held[slot].take() {
            evict(&held);
        }
        let held = Held { class: segment.class.copied(), keys, first: slot * KEY_TILE, whole };
        self.held[slot] = Some(held.clone());
        held
    }

    /// A slot whose keys the segment does not meet; the first one where it meets more tiles than there are slots, so that
    /// what passes through stays in the first-level cache.
    fn free_slot(&self, segment: &Segment) -> usize {
        let slots = slots(self.padded);
        if segment.keys.len().div_ceil(segment.tile) > slots {
            return 0;
        }
        let free = |held: &Option<Held>| match held {
            None => true,
            Some(held) => held.class.as_ref() == segment.class && !held.overlaps(&segment.keys),
        };
        self.held[..slots].iter().position(free).unwrap_or(0)
    }

    /// Packs the rows of `held`, for which [`PackedKeys::make_room`] made room.
    #[inline(always)]
    pub fn pack(&mut self, k: View, v: View, place: &Place, held: &Held) {
        let (count, from, segment) = (held.keys.len(), held.first * self.padded, &held.segment());
        // A tile may begin anywhere in a whole class, else only at the first row.
        let rows = if held.whole { count + ROWS } else { count.next_multiple_of(ROWS) };
        let rows = from..from + rows * self.padded;
        pack_keys(&mut self.keys[rows.clone()], k, place, segment, held.keys.clone());
        pack_keys(&mut self.values[rows], v, place, segment, held.keys.clone());
    }

    /// Keys and values from row `first` on.
    #[inline(always)]
    pub fn rows(&self, first: usize) -> (&[f32], &[f32]) {
        (&self.keys[first * self.padded..], &self.values[first * self.padded..])
    }

    /// All that is held.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().flatten()
    }
}

/// Copies rows `keys` of the segment to `out[..][padded]`; the pad, and the rows behind, are 0.
#[inline(always)]
fn pack_keys(out: &mut [f32], from: View, place: &Place, segment: &Segment, keys: Range<usize>) {
    let (head_dim, padded) = (place.problem.head_dim, padded(place.problem.head_dim));
    let count = keys.len();
    for (row, u) in out.chunks_exact_mut(padded).zip(keys) {
        copy(&mut row[..head_dim], from.row(place.key_row(segment, u), place.column(), head_dim));
        row[head_dim..].fill(0.0);
    }
    out[count * padded..].fill(0.0);
}

/// Copies a row by vectors: a call of memcpy takes longer than so few bytes.
#[inline(always)]
pub fn copy(out: &mut [f32], from: &[f32]) {
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    let (from, from_rest) = from.as_chunks::<LANES>();
    for (out, from) in out.iter_mut().zip(from) {
        *out = *from;
    }
    for (out, from) in out_rest.iter_mut().zip(from_rest) {
        *out = *from;
    }
}

/// Copies the rows of queries `t0 .. t0 + lanes` to `out[width][padded]`, times `factor`; all else is 0.
#[inline(always)]
pub fn pack_queries(
    out: &mut [f32],
    from: View,
    place: &Place,
    class: &Class,
    queries: Range<usize>,
    factor: f32,
) {
    let (head_dim, padded) = (place.problem.head_dim, padded(place.problem.head_dim));
    let count = queries.len();
    for (row, t) in out.chunks_exact_mut(padded).zip(queries) {
        let from = from.row(place.query_row(class, t), place.column(), head_dim);
        for (out, from) in row.iter_mut().zip(from) {
            *out = from * factor;
        }
        row[head_dim..].fill(0.0);
    }
    out[count * padded..].fill(0.0);
}

/// `out[c][l] = rows[l][c] * factor` for the first `head_dim` channels; `rows` is `[width][padded]`.
#[inline(always)]
pub fn transpose(out: &mut [f32], rows: &[f32], width: usize, padded: usize, factor: f32) {
    for (l, row) in rows.chunks_exact(padded).take(width).enumerate() {
        for (out, x) in out.chunks_exact_mut(width).zip(row) {
            out[l] = x * factor;
        }
    }
}

/// Fills `out[keys][width]` with what dropout multiplies the weights by: 0 or the kept scale. An op of its own, to
/// be run with `Simd::vectorize`, so that it is compiled once and not into each of its callers.
pub struct DropoutMultipliers<'a> {
    pub out: &'a mut [f32],
    pub place: &'a Place<'a>,
    pub class: &'a Class,
    pub t0: usize,
    pub segment: &'a Segment<'a>,
    pub keys: Range<usize>,
    pub width: usize,
}

impl WithSimd for DropoutMultipliers<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { out, place, class, t0, segment, keys, width } = self;
        let Some(dropout) = place.problem.dropout else { return };
        let threshold = philox::threshold(dropout.rate);
        let scale = philox::kept_scale(threshold);
        let row_groups = place.problem.keys.div_ceil(philox::GROUP) as u64;
        let first = place.statistic(class, t0) as u64 * row_groups;
        let step = class.query_stride as u64 * row_groups;
        let mut words = [[0; MAX_WIDTH]; 4];
        let mut drawn = None;
        for (row, u) in out.chunks_exact_mut(width).zip(keys) {
            let key = segment.key(u);
            let (group, lane) = ((key / philox::GROUP) as u64, key % philox::GROUP);
            // Eight neighbouring keys share a draw.
            if drawn.replace(group) != Some(group) {
                for l in (0..width).step_by(LANES) {
                    let groups: [u64; LANES] = std::array::from_fn(|n| first + (l + n) as u64 * step + group);
                    let drawn =
                        philox::philox_lanes(philox::group_counters(groups, dropout.stream), dropout.key);
                    for (words, drawn) in words.iter_mut().zip(drawn) {
                        words[l..][..LANES].copy_from_slice(&drawn);
                    }
                }
            }
            let shift = 16 * (lane % 2);
            for (out, word) in row.iter_mut().zip(words[lane / 2]) {
                *out = if (word >> shift) & 0xFFFF >= threshold { scale } else { 0.0 };
            }
        }
    }
}

/// A cache line, so that vectors in the scratch never straddle two.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` with this thread's scratch, at least `len` values whose contents are arbitrary.
pub fn with_scratch<R>(len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|lines| {
        if lines.len() * LANES < len {
            lines.resize(len.div_ceil(LANES), Line([0.0; LANES]));
        }
        body(bytemuck::cast_slice_mut(lines))
    })
}

/// Splits `len` values, rounded up to whole lines, off the front of `rest`.
#[inline(always)]
pub fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (taken, left) = std::mem::take(rest).split_at_mut(len.next_multiple_of(LANES));
    *rest = left;
    &mut taken[..len]
}
