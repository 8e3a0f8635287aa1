//! The counts against tiles that are looked at pair by pair.

use super::*;
use crate::ops::attention::pattern::ALL;

const SMALL: Tiling =
    Tiling { queries: 8, keys: 4, query_step: 4, key_step: 2, held: 0, kept: 0, group: 1, narrow: (8, 4) };

/// Every tile that holds a visible pair of its class, by asking the definition about each pair.
fn by_hand(pattern: Pattern, length: usize, tiling: Tiling) -> Work {
    let mut work = Work::default();
    for term in 0..pattern.terms() {
        for number in 0..pattern.classes(term, length) {
            let class = pattern.class(term, number, length, length, length);
            for t0 in (0..class.queries).step_by(tiling.queries) {
                let lanes: Vec<usize> = (t0..class.queries.min(t0 + tiling.queries)).collect();
                let sees = |t: usize, u: usize| class.seen(t).contains(&u);
                let some: Vec<usize> = class.keys().filter(|&u| lanes.iter().any(|&t| sees(t, u))).collect();
                work.blocks += 1;
                work.query_rows += lanes.len() as u64;
                work.key_rows += some.len() as u64;
                let width = lanes.len().next_multiple_of(tiling.query_step) as u64;
                let mut pairs = 0;
                for tile in some.chunks(tiling.keys) {
                    let all = lanes.len() == tiling.queries
                        && tile.len() == tiling.keys
                        && tile.iter().all(|&u| lanes.iter().all(|&t| sees(t, u)));
                    if all {
                        work.full_tiles += 1
                    } else {
                        work.partial_tiles += 1
                    }
                    pairs += tile.len().next_multiple_of(tiling.key_step) as u64 * width;
                }
                work.pairs += pairs;
                work.longest_block = work.longest_block.max(pairs);
            }
        }
    }
    work
}

#[test]
fn counts_agree_with_the_tiles_looked_at_one_by_one() {
    for pattern in [
        Pattern::full(),
        Pattern::causal(),
        Pattern::banded(5, 0),
        Pattern::banded(13, 2),
        Pattern::banded(ALL, 3),
        Pattern::dilated(6, 1, 3),
        Pattern::strided(4),
        Pattern::strided_column(8),
        Pattern::fixed(16, 12, 4),
        Pattern::fixed_summary(8, 6, 2),
        Pattern::fixed_local(16),
    ] {
        for length in [1, 7, 8, 33, 96] {
            assert_eq!(count(pattern, length, SMALL), by_hand(pattern, length, SMALL), "{pattern}, {length}");
        }
    }
}

#[test]
fn every_tile_of_a_full_square_is_full_and_half_of_a_look_ahead_masks() {
    let full = count(Pattern::full(), 64, SMALL);
    assert_eq!((full.full_tiles, full.partial_tiles, full.pairs), (8 * 16, 0, 64 * 64));
    let causal = count(Pattern::causal(), 64, SMALL);
    // Block n of 8 queries sees 2 n tiles of 4 keys whole and the two of its own diagonal in part.
    assert_eq!((causal.full_tiles, causal.partial_tiles), (2 * 28, 16));
    assert_eq!(causal.empty_tiles(64, SMALL), 8 * 16 - 2 * 28 - 16);
}

#[test]
fn a_short_class_is_brought_near_once() {
    let held = Tiling { held: 16, ..SMALL };
    assert_eq!(count(Pattern::full(), 16, held).key_rows, 16);
    assert_eq!(count(Pattern::full(), 24, held).key_rows, 3 * 24);
    assert_eq!(count(Pattern::full().with_prefix(2), 16, held).key_rows, 2 * 16);
}

#[test]
fn the_tiles_of_a_window_are_brought_near_once() {
    let kept = Tiling { kept: 3, ..SMALL };
    let band = |left| count(Pattern::banded(left, 0), 64, kept).key_rows;
    // Blocks of 8 queries and 4 keys before: 3 tiles, of which 1 is the block's before.
    assert_eq!((band(4), band(8)), (64, 64 + 8 + 6 * 8));
    // A block that begins within a tile of the block before's shares none with it.
    assert_eq!(band(0), 64);
    let full = count(Pattern::full(), 64, kept).key_rows;
    assert_eq!(full, 8 * 64);
    // Two blocks together: once for both; under a look-ahead mask the second brings the rest, until few tiles stay near.
    let pairs = Tiling { group: 2, ..kept };
    assert_eq!(count(Pattern::full(), 64, pairs).key_rows, 4 * 64);
    assert_eq!(count(Pattern::causal(), 64, pairs).key_rows, 8 + 8 + 32 + 48 + 64);
}
