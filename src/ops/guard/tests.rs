use super::*;
use crate::device::{Device, Memory, Sizes, StepState};
use crate::graph::plan::{Program, Region};

const DEVICES: &[Device] = &[
    Device::Cpu,
    #[cfg(feature = "emulator")]
    Device::Emulated,
];

/// What a step leaves: the guard's words, and the norm with its factor.
type Left = (Words, Vec<u32>);

/// The words of `memory`, a copy.
fn words_of(memory: &Memory) -> Words {
    bytemuck::pod_read_unaligned(memory.region(Region::Guard).bytes())
}

/// Steps of two passes each, whose losses and norms are given.
fn run(device: Device, deviations: f32, steps: &[([f32; 2], f32)]) -> Vec<Left> {
    let mut graph = Graph::storing(device.storage());
    let terms = [graph.input("loss", &[2], DType::F32), graph.input("other", &[1], DType::F32)];
    tally(&mut graph, &terms);
    let pass = Program::new(graph, Region::Work);
    let mut graph = Graph::storing(device.storage());
    let norm = graph.input("norm", &[2], DType::F32);
    judge(&mut graph, norm);
    let end = Program::new(graph, Region::Work);
    let mut memory = Memory::new(device, Sizes::default()).unwrap();
    memory.reserve(&pass).unwrap();
    memory.reserve(&end).unwrap();
    let mut words = Words::default();
    LossGuard::new(deviations).to_words(&mut words);
    memory.set_guard(&words);
    let mut left = Vec::new();
    for &(shares, length) in steps {
        for share in shares {
            memory.write(&pass, terms[0], &[share, f32::NAN]);
            memory.write(&pass, terms[1], &[0.25f32]);
            device.run(&pass, &mut memory, &StepState::default()).unwrap();
        }
        memory.write(&end, norm, &[length, 0.5]);
        device.run(&end, &mut memory, &StepState { step: 77, ..StepState::default() }).unwrap();
        let found = memory.read(&end, norm).iter().map(|v| v.to_bits()).collect();
        left.push((words_of(&memory), found));
        #[cfg(feature = "emulator")]
        if device == Device::Emulated {
            let state: &[u32] = bytemuck::cast_slice(memory.region(Region::State).bytes());
            let (words, updated) = (words_of(&memory), words_of(&memory).verdict == 0);
            let number = words.updates + u64::from(!updated);
            assert_eq!([state[4], state[5]], [number as u32, 0], "the step's number");
        }
    }
    left
}

/// A noisy fall with spikes, a new level, and what is not finite among the losses and norms.
fn story() -> Vec<([f32; 2], f32)> {
    (0..220u32)
        .map(|step| {
            let noise = (step * 7919 % 101) as f32 / 500.0;
            let loss = match step {
                20 | 100 => f32::NAN,
                60 | 90 => 40.0,
                120 => f32::INFINITY,
                150..=190 => 30.0 + noise,
                _ => 2.0 + 3.0 * (-(step as f32) / 40.0).exp() + noise,
            };
            ([loss / 3.0, loss / 1.5], if step % 50 == 33 { f32::INFINITY } else { 1.5 })
        })
        .collect()
}

#[test]
fn every_device_judges_as_the_host_does() {
    for (&device, deviations) in DEVICES.iter().flat_map(|d| [(d, 0.0), (d, 6.0)]) {
        let mut host = LossGuard::new(deviations);
        let (mut updates, mut seen) = (0, [0; 4]);
        for (step, (([a, b], norm), left)) in
            story().into_iter().zip(run(device, deviations, &story())).enumerate()
        {
            let loss = (a + 0.25) + (b + 0.25);
            let wanted = match host.observe(loss) {
                Host::NotFinite => Verdict::LossNotFinite,
                Host::Spike { .. } => Verdict::Spike,
                Host::Normal if !norm.is_finite() => Verdict::NormNotFinite,
                Host::Normal => Verdict::Updated,
            };
            updates += u64::from(wanted == Verdict::Updated);
            seen[wanted as usize] += 1;
            let mut words = Words { updates, verdict: wanted as u32, norm, loss, ..Words::default() };
            host.to_words(&mut words);
            // As bytes: a NaN is to be the same NaN.
            assert_eq!(bytemuck::bytes_of(&left.0), bytemuck::bytes_of(&words), "{device:?}, step {step}");
            let factor = if wanted == Verdict::Updated { 0.5f32 } else { 0.0 };
            assert_eq!(left.1, [norm.to_bits(), factor.to_bits()], "{device:?}, step {step}");
        }
        assert!(seen[0] > 150 && seen[2] == 3 && seen[3] >= 3, "{seen:?}");
        assert_eq!(seen[1] > 10, deviations > 0.0, "{seen:?}");
    }
}

#[test]
fn a_guard_comes_back_from_its_words() {
    let mut guard = LossGuard::new(4.0);
    for loss in [3.0, 2.5, 2.75] {
        guard.observe(loss);
    }
    let mut words = Words { updates: 9, ..Words::default() };
    guard.to_words(&mut words);
    assert_eq!((LossGuard::from_words(&words), words.updates), (guard, 9));
    assert_eq!(Verdict::of(3), Some(Verdict::NormNotFinite));
    assert_eq!(Verdict::of(4), None);
}
