//! What forward and backward share: cutting a problem into blocks, packing rows into tiles, dropout, scratch.
//!
//! A block is up to four vectors of queries of one residue class; it meets its keys in tiles of [`KEY_TILE`].
//! Packing makes rows of keys neighbours (in a packed projection they lie a multiple of 2 KiB apart, in few sets of
//! the cache), pads the channels to whole vectors, and gathers dilated keys: 2 loads and stores a vector against 2 to 5
//! products over 64 queries, and in the backward pass twice that for the gradients. So tiles stay packed from one block of
//! queries to the next: all of a short class, and those of a window that the scratch has room for. Scratch is a buffer for
//! each thread, which grows on its first use and never again.

use super::cpu::Problem;
use super::cpu_rows::pack_keys;
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

    /// Calls `query` and `key` with the rows that block `number + 1` will need and block `number` did not, so that they can be
    /// asked for before it begins: a head's rows lie some KiB apart, those of a class further still, and the processor
    /// does not foresee where. Of a short class, which is packed whole, each block of the class before asks for a share.
    #[inline(always)]
    pub fn ahead(
        &self,
        number: usize,
        of_class: usize,
        width: usize,
        query: impl Fn(usize),
        key: impl Fn(usize),
    ) {
        if number + 1 >= of_class * self.classes() {
            return;
        }
        let block = |number: usize| {
            let (class, t0) = (self.class(number / of_class), number % of_class * width);
            (class, t0..class.queries.min(t0 + width))
        };
        let ((class, here), (next, there)) = (block(number), block(number + 1));
        there.clone().for_each(|t| query(self.query_row(&next, t)));
        // The class behind this one, which the next block may not have reached.
        let behind = (number / of_class + 1 < self.classes()).then(|| self.class(number / of_class + 1));
        let (of, keys) = match behind {
            Some(behind) if behind.keys().len() <= HELD => {
                let (all, share) = (behind.keys(), behind.keys().len().div_ceil(of_class));
                let start = all.end.min(all.start + number % of_class * share);
                (behind, start..all.end.min(start + share))
            }
            _ if there.is_empty() => return,
            _ => {
                let mut keys = next.touched(there.start, there.end);
                if next == class && !here.is_empty() {
                    keys.start = keys.start.max(class.touched(here.start, here.end).end);
                }
                (next, keys.start..keys.end.min(keys.start + KEY_TILE))
            }
        };
        keys.for_each(|u| key(self.batch * self.problem.keys + of.key(u)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    /// All that a block needs was asked for by then, or needed before.
    #[test]
    fn rows_are_asked_for_before_their_block() {
        for pattern in [
            Pattern::full(),
            Pattern::causal(),
            Pattern::banded(70, 5),
            Pattern::dilated(300, 0, 7),
            Pattern::strided(16),
            Pattern::fixed(32, 28, 4),
        ] {
            for queries in [1, 63, 500, 900] {
                let (patterns, width) = ([pattern], 32);
                let problem = Problem {
                    batch: 1,
                    heads: 1,
                    head_dim: 16,
                    queries,
                    keys: queries,
                    scale: 1.0,
                    patterns: &patterns,
                    key_lengths: None,
                    dropout: None,
                };
                for term in 0..pattern.terms() {
                    let place = Place::new(&problem, 0, term);
                    let classes = place.classes();
                    let of_class = queries.div_ceil(classes.max(1)).div_ceil(width);
                    let asked = RefCell::new([BTreeSet::new(), BTreeSet::new()]);
                    let mut met = BTreeSet::new();
                    let (mut new, mut foreseen) = (0, 0);
                    for number in 0..of_class * classes {
                        let (class, t0) = (place.class(number / of_class), number % of_class * width);
                        let t1 = class.queries.min(t0 + width);
                        if t0 < t1 {
                            let rows = class.touched(t0, t1).map(|u| class.key(u));
                            for row in rows.filter(|row| number > 0 && !met.contains(row)).collect::<Vec<_>>()
                            {
                                new += 1;
                                foreseen += usize::from(asked.borrow()[1].contains(&row));
                            }
                            met.extend(class.touched(t0, t1).map(|u| class.key(u)));
                            for t in (t0..t1).filter(|_| number > 0) {
                                assert!(
                                    asked.borrow()[0].contains(&class.query(t)),
                                    "{pattern:?}: query {t}"
                                );
                            }
                        }
                        let ask = |which: usize| {
                            let asked = &asked;
                            move |row| {
                                assert!(row < queries, "{pattern:?}: row {row} of {queries}");
                                asked.borrow_mut()[which].insert(row);
                            }
                        };
                        place.ahead(number, of_class, width, ask(0), ask(1));
                    }
                    // At most a tile of a long class's first keys is asked for.
                    assert!(2 * foreseen >= new, "{pattern:?}, term {term}: {foreseen} of {new} new keys");
                }
            }
        }
    }
}
