//! Steps that are queued end as steps that are waited for, bit for bit: the device's guard skips what the host's skips, and
//! counts the updates as it does.
#![cfg(feature = "emulator")]

use evoke::config::{Captioner as Shape, Optimizer};
use evoke::data::vocabulary::START;
use evoke::device::{Device, StepState};
use evoke::graph::plan::Region;
use evoke::models::captioner::{Captioner, Ends, Purpose, Session, Step};
use evoke::models::engine::{Pass, Planned};
use evoke::ops::cases::random;
use evoke::ops::guard::Verdict;
use evoke::train::guard::{self, LossGuard};

const ENDS: Ends = Ends { height: 16, width: 16, vocabulary: 29 };
const BATCH: usize = 2;
const STEPS: u64 = 7;
/// Passes of a step; the second one of every third step is longer.
const PASSES: u64 = 2;
const LENGTHS: [usize; 2] = [5, 8];
/// Steps whose loss, and whose gradient alone, is made not finite.
const BAD_LOSS: u64 = 4;
const BAD_NORM: u64 = 6;

fn session(device: Device) -> Session {
    let shape = Shape {
        width: 32,
        heads: 1,
        encoder_layers: 1,
        decoder_layers: 1,
        feed_forward: 48,
        patch: 8,
        max_words: 9,
        ..Shape::default()
    };
    let optimizer = Optimizer { average: 0.5, ..Optimizer::default() };
    let mut session = Session::new(Captioner::new(&shape, ENDS).unwrap(), device, Some(&optimizer)).unwrap();
    session.initialise(3);
    session
}

/// What a run of steps leaves.
#[derive(Debug, PartialEq)]
struct Ran {
    /// Loss, norm and verdict of each step, as bits; the norm where the loss was accepted.
    steps: Vec<(u32, Option<u32>, Verdict)>,
    buffers: Vec<Vec<u32>>,
    updates: u64,
}

fn words(step: u64, pass: u64) -> usize {
    LENGTHS[usize::from(step.is_multiple_of(3) && pass == 1)]
}

fn planned(session: &mut Session, step: u64, pass: u64) -> std::sync::Arc<Planned<Step>> {
    let purpose = Purpose { train: true, both_ways: false, label_smoothing: 0.1 };
    session.step(BATCH, words(step, pass), purpose).unwrap()
}

fn write(session: &mut Session, planned: &Planned<Step>, step: u64, pass: u64) {
    let (seed, words) = (step * PASSES + pass, words(step, pass));
    let targets: Vec<u32> = random::tokens(seed, BATCH * words, 24).iter().map(|t| t + 5).collect();
    let mut shown = vec![START; BATCH * words];
    for row in 0..BATCH {
        shown[row * words + 1..(row + 1) * words]
            .copy_from_slice(&targets[row * words..(row + 1) * words - 1]);
    }
    let scale = match (step, pass) {
        (BAD_LOSS, 1) => f32::NAN,
        // The gradient overflows; the loss is large and finite.
        (BAD_NORM, 1) => 1e36,
        _ => 1.0 / (2 * BATCH * words) as f32,
    };
    let (program, ends) = (&planned.program, planned.ends);
    let pixels = random::bytes(seed, BATCH * ENDS.height * ENDS.width * 3);
    session.memory.write(program, ends.pixels, &pixels);
    session.memory.write(program, ends.words, &shown);
    session.memory.write(program, ends.targets, &targets);
    session.memory.write(program, ends.scale, &[scale]);
}

fn state(step: u64, pass: u64, updates: u64) -> StepState {
    StepState { seed: 9, pass: step * PASSES + pass, step: updates + 1, learning_rate: 1e-3 * step as f32 }
}

fn left(session: &Session, steps: Vec<(u32, Option<u32>, Verdict)>, updates: u64) -> Ran {
    let regions =
        [Region::Weights, Region::Gradients, Region::FirstMoment, Region::SecondMoment, Region::Average];
    let bits = |region| session.memory.flat(region).iter().map(|v| v.to_bits()).collect();
    Ran { steps, buffers: regions.map(bits).into(), updates }
}

/// The loop of training where the host waits.
fn waited(device: Device, schedule: u64) -> Ran {
    let mut session = session(device);
    session.memory.schedule = schedule;
    let (mut guard, mut updates, mut steps) = (LossGuard::new(3.0), 0, Vec::new());
    for step in 1..=STEPS {
        let mut loss = 0.0;
        let mut last = StepState::default();
        for pass in 0..PASSES {
            let planned = planned(&mut session, step, pass);
            write(&mut session, &planned, step, pass);
            last = state(step, pass, updates);
            session.run(&planned.program, &last).unwrap();
            let pass = Pass { program: planned.program.clone(), losses: vec![planned.ends.loss.sums] };
            loss += pass.loss(&session.memory);
        }
        if guard.observe(loss) != guard::Verdict::Normal {
            session.clear_gradient();
            steps.push((loss.to_bits(), None, Verdict::LossNotFinite));
            continue;
        }
        let norm = session.update(&last).unwrap();
        updates += u64::from(norm.is_finite());
        let verdict = if norm.is_finite() { Verdict::Updated } else { Verdict::NormNotFinite };
        steps.push((loss.to_bits(), Some(norm.to_bits()), verdict));
    }
    left(&session, steps, updates)
}

/// The loop of training where steps are queued: each is read when the next one was given away.
fn queued(device: Device, schedule: u64) -> Ran {
    let mut session = session(device);
    session.memory.schedule = schedule;
    session.set_guard(&LossGuard::new(3.0), 0).unwrap();
    let mut found = Vec::new();
    for step in 1..=STEPS {
        let plans: Vec<_> = (0..PASSES).map(|pass| planned(&mut session, step, pass)).collect();
        session.begin_step().unwrap();
        for (pass, planned) in plans.iter().enumerate() {
            // What the host believes of the step's number is wrong on purpose: the device counts.
            session.memory.begin_pass(pass, &state(step, pass as u64, 1000)).unwrap();
            write(&mut session, planned, step, pass as u64);
        }
        let passes: Vec<_> = plans.iter().map(|planned| planned.program.clone()).collect();
        session.queue(&passes).unwrap();
        if step > 1 {
            found.push(session.memory.collect().unwrap());
        }
    }
    found.push(session.memory.collect().unwrap());
    let updates = found.last().unwrap().updates;
    let steps = found
        .iter()
        .map(|words| {
            let verdict = Verdict::of(words.verdict).unwrap();
            let norm = (verdict != Verdict::LossNotFinite).then_some(words.norm.to_bits());
            (words.loss.to_bits(), norm, verdict)
        })
        .collect();
    left(&session, steps, updates)
}

#[test]
fn queued_steps_end_as_those_that_are_waited_for() {
    let wanted = waited(Device::Emulated, 1);
    let verdicts: Vec<Verdict> = wanted.steps.iter().map(|(_, _, verdict)| *verdict).collect();
    assert_eq!(verdicts[BAD_LOSS as usize - 1], Verdict::LossNotFinite);
    assert_eq!(verdicts[BAD_NORM as usize - 1], Verdict::NormNotFinite);
    assert_eq!((wanted.updates, verdicts.len() as u64), (STEPS - 2, STEPS));
    // Under another schedule, which must change nothing either.
    let found = queued(Device::Emulated, 55);
    assert_eq!((&found.steps, found.updates), (&wanted.steps, wanted.updates));
    assert!(found.buffers == wanted.buffers, "weights, gradients or moments differ");
}
