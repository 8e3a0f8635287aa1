//! The counts against a mask looked at pair by pair, and the calibration against made-up machines.

use super::*;
use crate::profile::attention::setting::FeedForward;

fn setting(heads: usize, batch: usize) -> Setting {
    Setting {
        patterns: Vec::new(),
        lengths: Vec::new(),
        batch,
        heads,
        head_size: 8,
        passes: Vec::new(),
        device: Device::Cpu,
        seconds: 1.0,
        seed: 1,
        feed_forward: FeedForward { model: String::new(), width: 8, inside: 32 },
    }
}

#[test]
fn visible_pairs_and_operations_are_those_of_the_mask() {
    for text in
        ["full", "causal", "band:3,1", "dilated:4:3", "strided:sqrt", "fixed:sqrt:2", "2*causal band:2"]
    {
        let s = setting(3, 2);
        let length = 50;
        let patterns = s.at(text, length).unwrap();
        let by_hand: u64 = (0..6)
            .map(|n| {
                let pattern = patterns[if patterns.len() == 1 { 0 } else { n % 3 }];
                let of_query =
                    |i| (0..length).filter(|&j| pattern.visible(length, length, i, j)).count() as u64;
                (0..length).map(of_query).sum::<u64>()
            })
            .sum();
        let forward = cost(&s, &patterns, length, Pass::Forward, 2);
        assert_eq!((forward.visible, forward.flops), (by_hand, 4.0 * 8.0 * by_hand as f64), "{text}");
        assert_eq!(cost(&s, &patterns, length, Pass::Backward, 2).flops, 2.5 * forward.flops);
        assert!(forward.work.pairs >= by_hand, "{text}");
        // q, k, v and out of 2 x 50 rows of 24 channels, and the log-sum-exps.
        assert_eq!(forward.bytes, 4.0 * 100.0 * (4.0 * 24.0 + 3.0));
        let last: u64 = (0..6)
            .map(|n| {
                let pattern = patterns[if patterns.len() == 1 { 0 } else { n % 3 }];
                (0..length).filter(|&j| pattern.visible(length, length, length - 1, j)).count() as u64
            })
            .sum();
        assert_eq!(cost(&s, &patterns, length, Pass::Decode, 2).visible, last, "{text}");
    }
}

#[test]
fn calibration_finds_the_machine_that_made_the_times() {
    let machine = [2e-11, 3e-10, 0.0, 5e-9, 2e-5];
    let s = setting(4, 1);
    let mut points = Vec::new();
    for text in ["full", "causal", "band:16", "strided:8", "fixed:sqrt:4"] {
        for length in [256, 512] {
            let counts = cost(&s, &s.at(text, length).unwrap(), length, Pass::Forward, 2).counts;
            points.push((counts, seconds(&machine, &counts)));
        }
    }
    let found = calibrated(&points);
    assert!(found.iter().all(|&c| c >= 0.0), "{found:?}");
    for text in ["full", "band:16", "strided:sqrt"] {
        let counts = cost(&s, &s.at(text, 4096).unwrap(), 4096, Pass::Forward, 2).counts;
        let share = seconds(&found, &counts) / seconds(&machine, &counts);
        assert!((share - 1.0).abs() < 0.05, "{text}: {share}, {found:?}");
    }
}

#[test]
fn a_thread_with_the_heavier_heads_decides_the_backward_pass() {
    let work = |pairs| Work { pairs, ..Work::default() };
    assert_eq!(imbalance(&[work(10)], 4, 2), 1.0);
    assert_eq!(imbalance(&[work(30), work(10)], 2, 2), 1.5);
    // Three heads on two threads are cut into tiles of keys instead.
    assert_eq!(imbalance(&[work(30)], 3, 2), 1.0);
}

#[test]
fn the_memory_of_a_cache_is_that_of_its_graph() {
    use super::super::runs::Traced;
    let s = setting(2, 3);
    for text in ["causal", "band:16", "band:5+prefix:3"] {
        let patterns = s.at(text, 64).unwrap();
        let traced = Traced::decoding(&s, &patterns, 64).unwrap().program.arena;
        let planned = planned(&s, &patterns, 64, Pass::Decode).unwrap();
        // The graph's tensors begin on cache lines, and it holds the count too.
        assert!(planned <= traced && traced <= planned + 5 * 64, "{text}: {planned}, {traced}");
    }
}
