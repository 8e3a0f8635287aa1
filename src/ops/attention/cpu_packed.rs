//! Keys and values that stay packed from one block of queries to the next: a whole short class, or a ring of tiles.

use super::cpu_block::{HELD, KEY_TILE, MOST_SLOTS, Place, Segment, slots};
use super::cpu_rows::pack_keys;
use super::cpu_tile::ROWS;
use super::pattern::Class;
use crate::device::cpu::View;
use std::ops::Range;

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
