//! Rows of logits that lie further apart than they are long.

use half::bf16;

use super::cross_entropy;
use crate::data::vocabulary::PAD;
use crate::device::{Device, Memory, Sizes, StepState};
use crate::graph::plan::{Program, Region};
use crate::graph::{DType, Graph};
use crate::ops::cases::random;
use crate::ops::linear;

const ROWS: usize = 4;
const INNER: usize = 8;

#[test]
fn what_lies_between_rows_is_neither_read_nor_written() {
    // By a warp and by a block; a multiple of a wide load and none.
    for words in [5, 40, 1031, 1032] {
        let mut graph = Graph::storing(DType::BF16);
        let x = graph.input_activation("x", &[ROWS, INNER]);
        let table = graph.weight("table", &[words, INNER], 0);
        let targets = graph.input("targets", &[ROWS], DType::U32);
        let scale = graph.input("scale", &[1], DType::F32);
        let logits = linear::logits(&mut graph, x, table).unwrap();
        let loss = cross_entropy(&mut graph, logits, targets, scale, 0.1, true).unwrap();
        graph.keep(logits);
        graph.differentiate().unwrap();
        let program = Program::new(graph, Region::Work);
        let trained = (words * INNER).next_multiple_of(16);
        let sizes = Sizes { trained, constant: 0, training: true, average: false };
        let mut memory = Memory::new(Device::Emulated, sizes).unwrap();
        memory.reserve(&program).unwrap();
        memory.poison(Region::Work);
        memory.clear(Region::Gradients);
        memory.write(&program, x, &random::normal(1, ROWS * INNER, 1.0));
        memory.write(&program, table, &random::normal(2, words * INNER, 1.0));
        memory.write(&program, targets, &[1, PAD, words as u32 - 1, 2]);
        memory.write(&program, scale, &[0.25f32]);
        Device::Emulated.run(&program, &mut memory, &StepState::default()).unwrap();

        assert!(memory.read(&program, loss.sums)[0].is_finite(), "{words} words");
        assert!(memory.flat(Region::Gradients).iter().all(|v| v.is_finite()), "{words} words");
        let place = program.place(logits);
        assert!(place.row_stride > words, "{words} words: rows one after another prove nothing");
        let arena: &[u16] = bytemuck::cast_slice(memory.region(Region::Work).bytes());
        let rows = arena[place.offset / 2..].chunks(place.row_stride).take(ROWS);
        for (number, row) in rows.enumerate() {
            let (row, between) = row.split_at(words);
            assert!(between.iter().all(|bits| bf16::from_bits(*bits).is_nan()), "{words} words: written");
            let gradient = |bits: &u16| bf16::from_bits(*bits).is_finite() && (number != 1 || *bits == 0);
            assert!(row.iter().all(gradient), "{words} words, row {number}");
        }
    }
}
