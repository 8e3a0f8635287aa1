//! The rule that chooses blocks; and in the emulator, that both give the same bits.

use super::*;

fn suited(batch: usize, heads: usize, tokens: usize, patterns: &[Pattern]) -> Blocks {
    Blocks::suited(Heads { batch, heads, queries: tokens, keys: tokens }, patterns, 0)
}

#[test]
fn wide_blocks_are_for_many_queries_of_wide_windows() {
    for (pattern, expected) in [
        (Pattern::full(), Blocks::Wide),
        (Pattern::causal(), Blocks::Wide),
        (Pattern::banded(1023, 0), Blocks::Wide),
        (Pattern::banded(255, 0), Blocks::Wide),
        (Pattern::dilated(255, 0, 8), Blocks::Wide),
        (Pattern::banded(127, 0), Blocks::Narrow),
        (Pattern::banded(3, 0), Blocks::Narrow),
        (Pattern::dilated(63, 0, 8), Blocks::Narrow),
        (Pattern::fixed_local(128), Blocks::Narrow),
        // Classes of 16,384 / 256 = 64 queries.
        (Pattern::dilated(255, 0, 256), Blocks::Narrow),
    ] {
        assert_eq!(suited(1, 8, 16_384, &[pattern]), expected, "{pattern}");
    }
}

#[test]
fn wide_blocks_must_fill_the_chip() {
    let full = [Pattern::full()];
    assert_eq!(suited(1, 8, 4096, &full), Blocks::Narrow, "256 blocks");
    assert_eq!(suited(1, 9, 4096, &full), Blocks::Wide, "288 blocks");
    assert_eq!(suited(64, 8, 20, &full), Blocks::Narrow, "blocks would be mostly empty");
}

#[test]
fn one_head_that_asks_for_narrow_blocks_gives_them_to_all() {
    let mixed = [Pattern::causal(), Pattern::causal(), Pattern::banded(15, 0), Pattern::causal()];
    assert_eq!(suited(4, 4, 4096, &mixed), Blocks::Narrow);
    assert_eq!(suited(4, 4, 4096, &[Pattern::causal(); 4]), Blocks::Wide);
}

#[test]
fn the_terms_of_a_strided_pattern_choose_each_for_themselves() {
    let heads = Heads { batch: 1, heads: 8, queries: 65_536, keys: 65_536 };
    let of = |stride, term| Blocks::suited(heads, &[Pattern::strided(stride)], term);
    // Term 0 is a band, term 1 has a class for each residue.
    assert_eq!((of(256, 0), of(256, 1)), (Blocks::Wide, Blocks::Wide));
    assert_eq!((of(32, 0), of(32, 1)), (Blocks::Narrow, Blocks::Wide));
    assert_eq!((of(1024, 0), of(1024, 1)), (Blocks::Wide, Blocks::Narrow));
}

#[cfg(feature = "emulator")]
mod bits {
    use super::super::super::cases::{Setting, in_blocks};
    use super::*;
    use crate::device::Device;
    use crate::graph::DType;
    use crate::ops::attention::pattern::Rate;
    use crate::ops::cases::check::Prepared;

    /// Out and all gradients, which follow from out and the log-sum-exp.
    fn run(setting: &Setting, blocks: Blocks, storage: DType) -> Vec<Vec<u32>> {
        let case = in_blocks("bits", setting.clone(), blocks).stored_as(storage);
        let mut prepared = Prepared::new(&case, Device::Emulated).unwrap();
        prepared.memory.schedule = 5;
        prepared.run().unwrap();
        prepared.results().iter().map(|values| values.iter().map(|v| v.to_bits()).collect()).collect()
    }

    #[test]
    fn narrow_and_wide_blocks_give_the_same_bits() {
        let heads = |batch, heads, queries, keys| Heads { batch, heads, queries, keys };
        let mixed = vec![
            Pattern::banded(70, 0),
            Pattern::dilated(30, 2, 2),
            Pattern::fixed(40, 33, 5),
            Pattern::full().with_prefix(2),
        ];
        let settings = [
            (heads(2, 1, 197, 211), 64, vec![Pattern::full()], Some(vec![211, 65]), 0.2),
            (heads(1, 2, 259, 259), 64, vec![Pattern::causal()], None, 0.0),
            (heads(1, 2, 130, 140), 96, vec![Pattern::banded(50, 3).with_prefix(3)], None, 0.1),
            (heads(1, 1, 131, 131), 128, vec![Pattern::banded(50, 3).with_prefix(3)], None, 0.1),
            (heads(1, 1, 150, 99), 128, vec![Pattern::fixed(40, 33, 5)], Some(vec![80]), 0.1),
            (heads(1, 1, 140, 140), 128, vec![Pattern::strided(11)], None, 0.2),
            (heads(2, 1, 150, 197), 32, vec![Pattern::full()], Some(vec![130, 190]), 0.2),
            (heads(1, 1, 290, 290), 32, vec![Pattern::causal().with_prefix(5)], None, 0.1),
            (heads(1, 1, 290, 290), 64, vec![Pattern::banded(80, 7)], None, 0.1),
            (heads(1, 1, 270, 270), 32, vec![Pattern::strided(7)], None, 0.3),
            (heads(3, 1, 150, 150), 32, vec![Pattern::strided(20)], Some(vec![0, 1, 140]), 0.0),
            (heads(1, 1, 300, 300), 32, vec![Pattern::dilated(60, 0, 3)], None, 0.25),
            (heads(1, 4, 161, 161), 32, mixed, None, 0.1),
            (heads(1, 1, 131, 90), 32, vec![Pattern::in_time(1, 0, 30, Rate::new(3, 131))], None, 0.1),
        ];
        for (number, (heads, head_dim, patterns, lengths, rate)) in settings.into_iter().enumerate() {
            let setting = Setting { heads, head_dim, patterns, lengths, rate };
            let storage = if number % 2 == 0 { DType::BF16 } else { DType::F16 };
            let [narrow, wide] = [Blocks::Narrow, Blocks::Wide].map(|blocks| run(&setting, blocks, storage));
            assert!(narrow.iter().flatten().all(|bits| f32::from_bits(*bits).is_finite()), "{setting:?}");
            assert!(narrow == wide, "{setting:?}");
        }
    }
}
