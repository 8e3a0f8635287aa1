use evoke::config;
use evoke::device::{Device, StepState};
use evoke::models::captioner::*;
fn main() {
    let c = config::Captioner { encoder_dropout: 0.0, decoder_dropout: 0.0, ..Default::default() };
    let m = Captioner::new(&c, Ends { height: 224, width: 224, vocabulary: 10000 }).unwrap();
    println!("{} parameters", m.parameters.count());
    let mut s = Session::new(m, Device::Cpu, Some(&config::Optimizer::default()));
    s.initialise(1);
    let st = s.step(16, 20, Purpose { train: true, both_ways: false, label_smoothing: 0.1 }).unwrap();
    println!("arena {} MB {:?} {} nodes", st.program.arena >> 20, st.program.usage, st.program.nodes.len());
    let px: Vec<u8> = (0..16 * 224 * 224 * 3).map(|i| (i * 7919 % 251) as u8).collect();
    let w: Vec<u32> = (0..320).map(|i| 5 + i * 31 % 9000).collect();
    s.memory.write(&st.program, st.ends.pixels, &px);
    s.memory.write(&st.program, st.ends.words, &w);
    s.memory.write(&st.program, st.ends.targets, &w);
    s.memory.write(&st.program, st.ends.scale, &[1.0 / 320f32]);
    let steps: u64 = std::env::args().nth(1).map_or(10, |v| v.parse().unwrap());
    let mut times = vec![];
    for i in 1..=steps {
        let t = std::time::Instant::now();
        let state = StepState { seed: 1, pass: i, step: i, learning_rate: 3e-4 };
        s.run(&st.program, &state);
        let loss = s.memory.view::<f32>(&st.program, st.ends.loss.sums)[0];
        let norm = s.update(&state);
        times.push(t.elapsed().as_secs_f64() * 1e3);
        println!("{i} loss {loss:.4} norm {norm:.4} {:.1} ms", times.last().unwrap());
    }
    if std::env::var("OPS").is_ok() {
        let mut by: std::collections::BTreeMap<&str, (f64, f64)> = Default::default();
        for _ in 0..5 {
            for (name, secs, flops) in evoke::device::cpu::run_timed(
                &st.program,
                &mut s.memory,
                &StepState { seed: 1, pass: 1, step: 1, learning_rate: 0.0 },
            ) {
                let e = by.entry(name).or_default();
                e.0 += secs / 5.0;
                e.1 += flops / 5.0;
            }
        }
        for (k, v) in by {
            println!("{k:22} {:8.2} ms {:8.1} GF/s", v.0 * 1e3, v.1 / v.0 / 1e9);
        }
    }
}
