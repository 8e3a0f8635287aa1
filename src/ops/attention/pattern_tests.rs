//! The index arithmetic against the definition, for every small size.

use super::*;

/// Patterns of every kind, with and without a prefix.
fn patterns() -> Vec<Pattern> {
    let mut all = vec![Pattern::full(), Pattern::causal()];
    for left in [0, 1, 2, 5, ALL] {
        for right in [0, 1, 3, ALL] {
            all.extend([1, 2, 3, 5, 20].map(|dilation| Pattern::dilated(left, right, dilation)));
        }
    }
    for length in [1, 2, 3, 4, 7] {
        all.extend([
            Pattern::strided_local(length),
            Pattern::strided_column(length),
            Pattern::strided(length),
        ]);
        all.push(Pattern::fixed_local(length));
        for first in 0..length {
            for count in 1..=length - first {
                all.push(Pattern::fixed_summary(length, first, count));
                all.push(Pattern::fixed(length, first, count));
            }
        }
    }
    for (left, right) in [(0, 0), (1, 0), (0, 2), (2, ALL), (ALL, 1), (ALL, ALL)] {
        for tokens in [1, 2, 5, 20] {
            let rates = [(1, 1), (2, 4), (2, 3), (3, 1), (1, 20)].map(|(f, q)| Rate::new(f, q));
            all.extend(rates.map(|rate| Pattern::in_time(left, right, tokens, rate)));
        }
    }
    all.iter().flat_map(|p| [0, 1, 2, 5, 30].map(|prefix| p.with_prefix(prefix))).collect()
}

#[test]
fn ranges_and_intervals_are_the_brute_force_mask() {
    for pattern in patterns() {
        pattern.check().unwrap();
        for queries in 0..=11 {
            for keys in 0..=12 {
                for length in [0, 1, keys / 2, keys] {
                    against_brute_force(pattern, queries, keys, length.min(keys));
                }
            }
        }
    }
}

fn against_brute_force(pattern: Pattern, queries: usize, keys: usize, length: usize) {
    let name = format!("{pattern:?} {queries}x{keys} length {length}");
    let visible = |i, j| j < length && pattern.visible(queries, keys, i, j);
    let mut pairs = 0;
    for i in 0..queries {
        let mut hits = vec![0; keys];
        for range in pattern.ranges(queries, keys, length, i) {
            (0..range.count).for_each(|n| hits[range.start + n * range.stride] += 1);
        }
        for (j, &hit) in hits.iter().enumerate() {
            assert_eq!(hit, visible(i, j) as i32, "{name}: query {i}, key {j}");
            pairs += hit as u64;
        }
    }
    assert_eq!(pattern.visible_pairs(queries, keys, length), pairs, "{name}");

    for term in 0..pattern.terms() {
        let mut met = vec![0; queries];
        for c in 0..pattern.classes(term, queries) {
            let class = pattern.class(term, c, queries, keys, length);
            let seen: Vec<_> = (0..class.queries).map(|t| class.seen(t)).collect();
            (0..class.queries).for_each(|t| met[class.query(t)] += 1);
            for (a, b) in seen.iter().zip(seen.iter().skip(1)) {
                assert!(a.start <= b.start && a.end <= b.end, "{name}: the bounds fall");
            }
            let limits = class.keys();
            for u0 in limits.clone() {
                for u1 in u0 + 1..=limits.end {
                    let found = class.queries_seeing(u0, u1);
                    for (t, seen) in seen.iter().enumerate() {
                        let sees = seen.start.max(u0) < seen.end.min(u1);
                        assert!(!sees || found.contains(&t), "{name}: query {t} misses {u0}..{u1}");
                    }
                }
            }
            for t0 in 0..class.queries {
                for t1 in t0 + 1..=class.queries {
                    let (touched, inner) = (class.touched(t0, t1), class.seen_by_all(t0, t1));
                    for u in limits.clone() {
                        let some = seen[t0..t1].iter().any(|s| s.contains(&u));
                        let every = seen[t0..t1].iter().all(|s| s.contains(&u));
                        assert!(!some || touched.contains(&u), "{name}");
                        assert_eq!(every, inner.contains(&u), "{name}");
                    }
                }
            }
        }
        assert!(met.iter().all(|&n| n == 1), "{name}: each query is in one class");
    }
}

#[test]
fn known_windows() {
    assert_eq!(Pattern::causal().printed(3, 3), "#..\n##.\n###\n");
    assert_eq!(Pattern::causal().printed(2, 4), "###.\n####\n");
    assert_eq!(Pattern::banded(1, 1).printed(4, 4), "##..\n###.\n.###\n..##\n");
    // Longformer, causal, w = 2, d = 2: keys i - 4, i - 2, i.
    assert_eq!(Pattern::dilated(2, 0, 2).printed(6, 6), "#.....\n.#....\n#.#...\n.#.#..\n#.#.#.\n.#.#.#\n");
    // Sparse Transformer, l = 2: {max(0, i-2)..i} and every second key before.
    assert_eq!(Pattern::strided(2).printed(5, 5), "#....\n##...\n###..\n.###.\n#.###\n");
    assert_eq!(Pattern::fixed(2, 1, 1).printed(5, 5), "#....\n##...\n.##..\n.###.\n.#.##\n");
    assert_eq!(Pattern::banded(0, 0).with_prefix(1).printed(3, 3), "#..\n##.\n#.#\n");
}

#[test]
fn samples_see_the_frames_about_them() {
    // Two frames of two tokens, five samples a frame; the frame shown and the one before.
    let pattern = Pattern::in_time(1, 0, 2, Rate::new(2, 10));
    assert_eq!(pattern.printed(6, 4), "##..\n##..\n##..\n##..\n##..\n####\n");
    assert_eq!(Pattern::in_time(0, 0, 2, Rate::new(1, 2)).printed(5, 4), "##..\n##..\n..##\n..##\n....\n");
    assert_eq!(Pattern::in_time(0, 1, 1, Rate::new(3, 2)).printed(3, 5), "##...\n.##..\n...##\n");
    assert_eq!(Rate::new(24_000, 1001 * 44_100), Rate { frames: 80, queries: 147_147 });
    // An hour at 16,000 samples a second.
    let long = Pattern::in_time(1, 0, 196, Rate::new(3, 16_000));
    let seen = long.ranges(3600 * 16_000, 3 * 3600 * 196, usize::MAX, 3600 * 16_000 - 1).next().unwrap();
    assert_eq!(seen, KeyRange { start: (3 * 3600 - 2) * 196, count: 392, stride: 1 });
}

#[test]
fn pairs_of_a_long_band_are_counted_without_its_square() {
    let (n, w) = (1 << 20, 4096u64);
    assert_eq!(Pattern::banded(w as u32, 0).visible_pairs(n, n, n), n as u64 * (w + 1) - w * (w + 1) / 2);
}

#[test]
fn reach_covers_all_that_is_seen() {
    for pattern in patterns() {
        let Some(reach) = pattern.reach() else { continue };
        let prefix = pattern.prefix_keys(40);
        for position in 0..40 {
            for range in pattern.ranges(1, position + 1, position + 1, 0) {
                assert!(range.start < prefix || range.start + reach > position, "{pattern:?}");
            }
        }
    }
}

#[test]
fn impossible_patterns_are_refused() {
    for bad in [
        Pattern::dilated(1, 1, 0),
        Pattern::strided(0),
        Pattern::fixed_local(0),
        Pattern::fixed(4, 3, 2),
        Pattern::fixed_summary(4, 0, 0),
        Pattern::in_time(0, 0, 0, Rate::new(1, 1)),
        Pattern::in_time(0, 0, 1, Rate::new(0, 1)),
        Pattern::in_time(0, 0, 1, Rate::new(1, 0)),
        Pattern::in_time(0, 0, 1, Rate::new(65_537, 65_536)),
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}
