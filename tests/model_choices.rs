//! Every choice of the model: its whole gradient against differences of its loss, and cached decoding against the
//! training form of the same caption.

use evoke::config::{Activation, Captioner as Shape, NormOrder, Positions, Stem};
use evoke::device::{Device, StepState};
use evoke::graph::plan::Region;
use evoke::models::captioner::{Captioner, Ends, Purpose, Session, Step};
use evoke::ops::cases::random;

const ENDS: Ends = Ends { height: 16, width: 24, vocabulary: 29 };
const BATCH: usize = 3;
const WORDS: usize = 7;

fn small() -> Shape {
    Shape {
        width: 24,
        heads: 3,
        encoder_layers: 2,
        decoder_layers: 2,
        feed_forward: 40,
        patch: 8,
        max_words: 9,
        ..Shape::default()
    }
}

/// Each choice once, on top of the defaults.
fn choices() -> Vec<(&'static str, Shape)> {
    vec![
        ("defaults", small()),
        ("post-norm", Shape { norm: NormOrder::Post, ..small() }),
        ("convolution", Shape { stem: Stem::Convolution, ..small() }),
        ("sinusoid-1d", Shape { positions: Positions::Sinusoid1d, ..small() }),
        (
            "learned positions",
            Shape { positions: Positions::Learned, word_positions: Positions::Learned, ..small() },
        ),
        ("relu", Shape { activation: Activation::Relu, ..small() }),
        ("untied embeddings", Shape { tie_embeddings: false, ..small() }),
        ("no dropout", Shape { encoder_dropout: 0.0, decoder_dropout: 0.0, ..small() }),
        (
            "post-norm, no dropout",
            Shape { norm: NormOrder::Post, encoder_dropout: 0.0, decoder_dropout: 0.0, ..small() },
        ),
    ]
}

struct Inputs {
    pixels: Vec<u8>,
    words: Vec<u32>,
    targets: Vec<u32>,
}

fn inputs() -> Inputs {
    let mut targets: Vec<u32> =
        random::tokens(5, BATCH * WORDS, ENDS.vocabulary as u32 - 5).iter().map(|t| t + 5).collect();
    // The second caption is shorter: its end is padding.
    targets[2 * WORDS - 2..2 * WORDS].fill(evoke::data::vocabulary::PAD);
    let mut words = vec![evoke::data::vocabulary::START; BATCH * WORDS];
    for row in 0..BATCH {
        words[row * WORDS + 1..(row + 1) * WORDS]
            .copy_from_slice(&targets[row * WORDS..(row + 1) * WORDS - 1]);
    }
    Inputs { pixels: random::bytes(4, BATCH * ENDS.height * ENDS.width * 3), words, targets }
}

const STATE: StepState = StepState { seed: 9, pass: 1, step: 1, learning_rate: 0.0 };

fn loss(session: &mut Session, inputs: &Inputs, purpose: Purpose) -> (f64, Vec<f32>) {
    let step = session.step(BATCH, WORDS, purpose).unwrap();
    let Step { pixels, words, targets, scale, loss } = step.ends;
    session.memory.write(&step.program, pixels, &inputs.pixels);
    session.memory.write(&step.program, words, &inputs.words);
    session.memory.write(&step.program, targets, &inputs.targets);
    session.memory.write(&step.program, scale, &[1.0f32]);
    session.run(&step.program, &STATE).unwrap();
    let sums = f64::from(session.memory.read(&step.program, loss.sums)[0]);
    (sums, session.memory.read(&step.program, loss.nats).to_vec())
}

/// Along its own direction the gradient's length must be the slope of the loss: a contribution that is lost, doubled
/// or added to the wrong place shows here, whichever parameter it belongs to.
#[test]
fn the_whole_gradient_is_the_slope_of_the_loss() {
    for both_ways in [false, true] {
        for (name, shape) in choices() {
            let model = Captioner::new(&shape, ENDS).unwrap();
            let mut session = Session::new(model, Device::Cpu, Some(&Default::default())).unwrap();
            session.initialise(3);
            let purpose = Purpose { train: true, both_ways, label_smoothing: 0.1 };
            loss(&mut session, &inputs(), purpose);
            let gradient = session.memory.flat(Region::Gradients).to_vec();
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let start = session.memory.flat(Region::Weights).to_vec();
            let mut at = |by: f64| {
                let mut moved = start.clone();
                for (w, g) in moved.iter_mut().zip(&gradient) {
                    *w += (by * f64::from(*g) / norm) as f32;
                }
                session.memory.set_flat(Region::Weights, 0, &moved);
                loss(&mut session, &inputs(), purpose).0
            };
            let step = 2e-3;
            let slope = (at(step) - at(-step)) / (2.0 * step);
            let error = (slope / norm - 1.0).abs();
            assert!(error <= 0.01, "{name}, both ways {both_ways}: slope {slope}, gradient {norm}");
        }
    }
}

/// Each parameter gets a gradient: none is cut off from the loss.
#[test]
fn every_parameter_learns() {
    for (name, shape) in choices() {
        let model = Captioner::new(&shape, ENDS).unwrap();
        let mut session = Session::new(model, Device::Cpu, Some(&Default::default())).unwrap();
        session.initialise(3);
        loss(&mut session, &inputs(), Purpose { train: true, both_ways: false, label_smoothing: 0.1 });
        let gradient = session.memory.flat(Region::Gradients);
        for spec in session.model.parameters.specs().iter().filter(|s| s.is_trained()) {
            let own = &gradient[spec.offset..spec.offset + spec.len()];
            assert!(own.iter().all(|g| g.is_finite()), "{name}: {}", spec.name);
            assert!(own.iter().any(|g| *g != 0.0), "{name}: {} has no gradient", spec.name);
        }
    }
}

/// Word by word with cached keys and values, the model gives what it gives when it reads the caption at once.
#[test]
fn cached_decoding_agrees_with_training() {
    for (name, shape) in choices() {
        let mut session = Session::new(Captioner::new(&shape, ENDS).unwrap(), Device::Cpu, None).unwrap();
        session.initialise(3);
        let inputs = inputs();
        let purpose = Purpose { train: false, both_ways: false, label_smoothing: 0.0 };
        let (_, nats) = loss(&mut session, &inputs, purpose);
        let encoder = session.encoder(BATCH).unwrap();
        let extender = session.extender(BATCH, 1).unwrap();
        session.memory.write(&encoder.program, encoder.ends.0, &inputs.pixels);
        session.run(&encoder.program, &STATE).unwrap();
        let ends = extender.ends.clone();
        session.memory.copy((&encoder.program, encoder.ends.1), (&extender.program, ends.memory));
        let slots: Vec<u32> = (0..BATCH).flat_map(|row| vec![row as u32; shape.max_words]).collect();
        session.memory.write(&extender.program, ends.slots, &slots);
        for position in 0..WORDS {
            let words: Vec<u32> = (0..BATCH).map(|row| inputs.words[row * WORDS + position]).collect();
            session.memory.write(&extender.program, ends.words, &words);
            session.memory.write(&extender.program, ends.position, &[position as u32]);
            session.run(&extender.program, &STATE).unwrap();
            let logits = session.memory.read(&extender.program, ends.logits);
            for row in 0..BATCH {
                let target = inputs.targets[row * WORDS + position] as usize;
                if target == 0 {
                    continue;
                }
                let logits = &logits[row * ENDS.vocabulary..][..ENDS.vocabulary];
                let sum: f64 = logits.iter().map(|v| f64::from(*v).exp()).sum();
                let cached = sum.ln() - f64::from(logits[target]);
                let error = (cached - f64::from(nats[row * WORDS + position])).abs();
                assert!(error <= 1e-4, "{name}: word {position} of caption {row} is off by {error}");
            }
        }
    }
}
