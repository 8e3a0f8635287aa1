//! Tests of streaming on the CPU: it makes what the training program makes of the whole sequence. And what a step is made
//! of where kernels run.

use super::tests::{ends, engine, small};
use super::{Ends, Foley, Next, START, Whole, earlier};
use crate::Result;
use crate::config::foley::{Head, Preset, Table, Tokens};
use crate::config::{self, NormOrder};
use crate::device::StepState;
use crate::device::gpu::{Backend, Kernels, Launcher, Param, Product, Span};
use crate::graph::plan::{Program, Region};
use crate::graph::{DType, Graph};
use crate::models::engine::{Engine, Planned};
use crate::ops::cases::random;

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0f32, |largest, v| largest.max(v.abs()))
}

/// Runs step `t`, whose codes are written, and compares what it makes for each clip, rows of `width`, with the whole
/// sequence's (clips, steps, width).
fn step_agrees(
    engine: &mut Engine,
    next: &Planned<Next>,
    (t, width): (usize, usize),
    expected: &[f32],
    config: &config::Foley,
) {
    let Next { position, count, moment, made, .. } = next.ends;
    engine.memory.write(&next.program, position, &[t as u32]);
    engine.memory.write(&next.program, count, &[t as u32 + 1]);
    engine.memory.write(&next.program, moment, &[t as u32]);
    engine.run(&next.program, &StepState::default()).unwrap();
    let found = engine.memory.read(&next.program, made);
    let (size, clips) = (largest(expected), found.len() / width);
    for (clip, whole) in expected.chunks_exact(expected.len() / clips).enumerate() {
        for (found, expected) in found[clip * width..].iter().zip(&whole[t * width..][..width]) {
            let error = (found - expected).abs();
            assert!(error <= 1e-5 * size, "step {t} of clip {clip}: {found} {expected} {config:?}");
        }
    }
}

/// Streams `samples` given codes and compares every row of logits with the whole sequence's.
fn agrees(config: &config::Foley, ends: Ends, samples: usize) {
    let model = Foley::new(config, ends).unwrap();
    let mut engine = engine(&model, None);
    let (batch, classes) = (2, ends.classes);
    let state = StepState::default();
    let sound = random::tokens(3, batch * samples, classes as u32);
    let code = |clip: usize, t: usize| if t == 0 { START } else { sound[clip * samples + t - 1] };
    let pixels = random::bytes(4, batch * ends.frames * ends.height * ends.width * 3);

    let mut graph = engine.graph();
    let whole = model.predict(&mut graph, batch, samples).unwrap();
    let whole = engine.planned(graph, whole, Region::Work).unwrap();
    let mut graph = engine.graph();
    let encoder = model.encode(&mut graph, batch).unwrap();
    let encoder = engine.planned(graph, encoder, Region::Work).unwrap();
    let mut graph = engine.graph();
    let next = model.extend(&mut graph, batch, samples).unwrap();
    let next = engine.planned(graph, next, Region::Decode).unwrap();

    let Whole { frames, codes, earlier: before, made: logits } = whole.ends;
    let inputs: Vec<u32> =
        (0..batch).flat_map(|clip| (0..samples).map(move |t| (clip, t))).map(|(c, t)| code(c, t)).collect();
    engine.memory.write(&whole.program, codes, &inputs);
    let before_each = earlier(&inputs, samples, config.lags);
    if let Some(before) = before {
        engine.memory.write(&whole.program, before, &before_each);
    }
    if let Some(frames) = frames {
        engine.memory.write(&whole.program, frames, &pixels);
    }
    engine.run(&whole.program, &state).unwrap();
    let expected = engine.memory.read(&whole.program, logits).into_owned();

    engine.memory.poison(Region::Decode);
    let more = config.lags - 1;
    let Next { codes, earlier, memory, .. } = next.ends;
    if let (Some((frames, seen)), Some(memory)) = (encoder.ends, memory) {
        engine.memory.write(&encoder.program, frames, &pixels);
        engine.run(&encoder.program, &state).unwrap();
        engine.memory.copy((&encoder.program, seen), (&next.program, memory));
    }
    for t in 0..samples {
        let last: Vec<u32> = (0..batch).map(|clip| code(clip, t)).collect();
        engine.memory.write(&next.program, codes, &last);
        if let Some(earlier) = earlier {
            let of = |clip: usize| &before_each[(clip * samples + t) * more..][..more];
            let rows: Vec<u32> = (0..batch).flat_map(|clip| of(clip).to_vec()).collect();
            engine.memory.write(&next.program, earlier, &rows);
        }
        step_agrees(&mut engine, &next, (t, classes), &expected, config);
    }
}

#[test]
fn streaming_gives_the_logits_of_the_whole_sequence() {
    // Sequences several times as long as the rings, and as the positions' period.
    let long = Ends { samples: 150, frames: 9, ..ends() };
    let patterns = |texts: &[&str]| config::Foley {
        patterns: texts.iter().map(|text| text.to_string()).collect(),
        ..small()
    };
    agrees(&small(), long, 150);
    agrees(&config::Foley { lags: 5, ..small() }, long, 150);
    agrees(&patterns(&["band:3 dilated:5:4", "causal"]), long, 150);
    agrees(&patterns(&["strided:8", "fixed:16:3"]), long, 150);
    agrees(&patterns(&["strided-local:8 strided-column:8", "fixed-local:16 fixed-summary:16:2"]), long, 150);
    agrees(&patterns(&["band:7+prefix:1 band:2", "dilated:3:7+prefix:1"]), long, 150);
    let full = config::Foley { cross_window: vec![], cross_every: 2, tokens: Tokens::Frame, ..small() };
    agrees(&config::Foley { norm: NormOrder::Post, preset: Preset::Longformer, ..full }, long, 150);
    let blind = Ends { frames: 0, height: 0, width: 0, frame_rate: (0, 1), ..long };
    agrees(&small(), blind, 150);
}

/// The same of groups: each from the groups before it.
fn groups_agree(config: &config::Foley, ends: Ends) {
    let model = Foley::new(config, ends).unwrap();
    let mut engine = engine(&model, None);
    let (batch, samples, group) = (2, ends.samples, config.group);
    let state = StepState::default();
    let sound = random::tokens(3, batch * samples, 256);
    let pixels = random::bytes(4, batch * ends.frames * ends.height * ends.width * 3);
    let mut graph = engine.graph();
    let whole = model.predict(&mut graph, batch, samples).unwrap();
    let whole = engine.planned(graph, whole, Region::Work).unwrap();
    engine.memory.write(&whole.program, whole.ends.codes, &sound);
    if let Some(frames) = whole.ends.frames {
        engine.memory.write(&whole.program, frames, &pixels);
    }
    engine.run(&whole.program, &state).unwrap();
    let expected = engine.memory.read(&whole.program, whole.ends.made).into_owned();
    assert!(largest(&expected) > 0.01, "waves of {} tell nothing", largest(&expected));

    let mut graph = engine.graph();
    let encoder = model.encode(&mut graph, batch).unwrap();
    let encoder = engine.planned(graph, encoder, Region::Work).unwrap();
    let mut graph = engine.graph();
    let next = model.extend(&mut graph, batch, samples / group).unwrap();
    let next = engine.planned(graph, next, Region::Decode).unwrap();
    engine.memory.poison(Region::Decode);
    if let (Some((frames, seen)), Some(memory)) = (encoder.ends, next.ends.memory) {
        engine.memory.write(&encoder.program, frames, &pixels);
        engine.run(&encoder.program, &state).unwrap();
        engine.memory.copy((&encoder.program, seen), (&next.program, memory));
    }
    for t in 0..samples / group {
        let of = |clip: usize| match t {
            0 => vec![START; group],
            _ => sound[clip * samples + (t - 1) * group..][..group].to_vec(),
        };
        let last: Vec<u32> = (0..batch).flat_map(of).collect();
        engine.memory.write(&next.program, next.ends.codes, &last);
        step_agrees(&mut engine, &next, (t, group), &expected, config);
    }
}

#[test]
fn streaming_groups_gives_the_waves_of_the_whole_sequence() {
    // Rings shorter than the 30 groups, all groups, and frames that a group lies within or that lie within a group.
    let long = Ends { samples: 150, frames: 9, ..ends() };
    let groups = |group, window| config::Foley { head: Head::Groups, group, window, ..small() };
    groups_agree(&groups(5, 6), long);
    groups_agree(&config::Foley { preset: Preset::Dense, cross_window: vec![], ..groups(5, 6) }, long);
    groups_agree(&config::Foley { norm: NormOrder::Post, tokens: Tokens::Frame, ..groups(50, 2) }, long);
    groups_agree(&config::Foley { sample_positions: Table::Learned, ..groups(3, 9) }, long);
    let blind = Ends { frames: 0, height: 0, width: 0, frame_rate: (0, 1), ..long };
    groups_agree(&groups(10, 4), blind);
}

/// Counts launches; a product of the library is none of ours.
#[derive(Default)]
struct Counted {
    kernels: Vec<String>,
    products: usize,
}

impl Backend for Counted {
    fn launch(&mut self, kernel: &str, _: [u32; 3], _: &[Param]) -> Result<()> {
        self.kernels.push(kernel.into());
        Ok(())
    }

    fn product(&mut self, _: &Product) -> Result<()> {
        self.products += 1;
        Ok(())
    }

    fn fuses(&mut self, _: &Product, _: &Product, _: &mut Kernels) -> Result<bool> {
        Ok(true)
    }

    fn zero(&mut self, _: &Span) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_layer_of_a_step_is_eight_launches_on_a_gpu_and_five_where_it_sees_no_frames() {
    let launches = |config: &config::Foley, batch: usize| {
        let model = Foley::new(config, ends()).unwrap();
        let mut graph = Graph::storing(DType::BF16);
        model.extend(&mut graph, batch, 40).unwrap();
        let program = Program::new(graph, Region::Decode);
        let mut counted = Counted::default();
        for node in &program.nodes {
            let mut launcher = Launcher::new(&program, node, DType::BF16, &mut counted);
            node.op.cuda(&mut launcher).unwrap();
        }
        (counted.kernels.len(), counted.products)
    };
    // Heads as wide as kernels take them; the embedding and the logits stand around the layers.
    let config = config::Foley { width: 64, period: 128, decoder_layers: 4, cross_every: 2, ..small() };
    for norm in [NormOrder::Pre, NormOrder::Post] {
        let config = config::Foley { norm, ..config.clone() };
        assert_eq!(launches(&config, 1), (2 * 8 + 2 * 5 + 2, 0));
        assert_eq!(launches(&config, 64), (2 * 8 + 2 * 5 + 2, 0));
    }
    assert!(launches(&config, 65).1 > 0, "many rows are the library's");
}

#[test]
fn the_rings_of_bands_do_not_grow_with_the_sound() {
    let model = Foley::new(&small(), ends()).unwrap();
    assert_eq!(model.ring_bytes(1, 48, 4), model.ring_bytes(1, 1_000_000, 4));
    let dense = config::Foley { preset: Preset::Dense, ..small() };
    let model = Foley::new(&dense, ends()).unwrap();
    assert_eq!(model.ring_bytes(1, 96, 4), 2 * model.ring_bytes(1, 48, 4));
}
