//! What the cases cannot say: the codes' own values, and the order of losses.

use super::*;
use crate::device::Device;
use crate::graph::{DType, Graph};
use crate::ops::cases::check::check;
use crate::ops::cross_entropy::cross_entropy;

fn cases_agree(device: Device) {
    for case in cases::cases().iter().filter(|case| case.reference.is_some()) {
        let outcome = check(case, device, 1).unwrap();
        println!("{:.1e} {}", outcome.error, outcome.name);
        assert!(outcome.ok, "{outcome:?}");
    }
}

#[test]
fn cases_agree_with_double_precision_on_the_cpu() {
    cases_agree(Device::Cpu);
}

#[cfg(feature = "emulator")]
#[test]
fn cases_agree_with_double_precision_in_the_emulator() {
    cases_agree(Device::Emulated);
}

#[test]
fn codes_have_their_values() {
    let values = Codes::MuLaw.values();
    assert_eq!((values[0], values[128]), (-1.0, 0.0));
    assert!((values[255] - (256f64.powf(127.0 / 128.0) - 1.0) / 255.0).abs() < 1e-12);
    assert!((1..=127).all(|i| values[128 + i] == -values[128 - i]), "mu-law is odd");
    assert!(values.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(Codes::Linear.values()[192], 0.5);
}

#[test]
fn a_waveform_of_logits_that_a_loss_has_overwritten_is_refused() {
    let mut graph = Graph::new();
    let logits = graph.input_activation("logits", &[4, CODES]);
    graph.require_gradient(logits);
    let targets = graph.input("targets", &[4], DType::U32);
    let scale = graph.input("scale", &[1], DType::F32);
    cross_entropy(&mut graph, logits, targets, scale, 0.0, true).unwrap();
    let error = expected_waveform(&mut graph, logits, Codes::MuLaw, true).unwrap_err().to_string();
    assert!(error.contains("trace the waveform before it"), "{error}");
}
