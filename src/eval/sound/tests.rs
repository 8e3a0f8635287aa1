//! The measures on the moving world's own clips, whose strikes are known exactly.

use super::*;
use crate::data::motion::{Clip, MotionOptions, World};
use crate::data::scenes::{Level, Split};

const RATES: [u32; 2] = [4000, 16_000];

fn clips(level: Level, sample_rate: u32) -> Vec<Clip> {
    let options =
        MotionOptions { level, sample_rate, side: 8, frame_rate: (1, 1), shapes: 3, ..Default::default() };
    let world = World::new(options, 21).unwrap();
    (0..60).map(|index| world.clip(Split::Val, index)).collect()
}

fn times(clip: &Clip) -> Vec<f64> {
    clip.strikes.iter().map(|strike| strike.seconds).collect()
}

/// The detector on these sounds against the strikes of these clips.
fn matches<'a>(sounds: impl Iterator<Item = &'a [f32]>, clips: &[Clip], rate: u32) -> Matches {
    let mut all = Matches::default();
    for (sound, clip) in sounds.zip(clips) {
        all += match_times(&onsets(sound, f64::from(rate)), &times(clip), TOLERANCE);
    }
    all
}

#[test]
fn the_strikes_of_a_clip_are_heard_where_they_are() {
    for level in [Level::Small, Level::Rich] {
        for rate in RATES {
            let clips = clips(level, rate);
            let found = matches(clips.iter().map(|clip| clip.wave.as_slice()), &clips, rate);
            println!("{level:?} {rate}: {found:?} F1 {:.3}", found.f1());
            assert!(found.f1() >= 0.9, "{level:?} {rate}: {found:?}");
            let strict = clips.iter().fold(Matches::default(), |mut all, clip| {
                all += match_times(&onsets(&clip.wave, f64::from(rate)), &times(clip), 0.012);
                all
            });
            assert!(strict.f1() >= 0.85, "within 12 ms: {strict:?}");
        }
    }
}

#[test]
fn another_clips_strikes_and_silence_score_low() {
    let clips = clips(Level::Small, 4000);
    let silent = vec![0.0; clips[0].wave.len()];
    let none = matches(clips.iter().map(|_| silent.as_slice()), &clips, 4000);
    assert_eq!((none.found, none.f1()), (0, 0.0));
    // Chance: 2.5 strikes a second, each with a tenth of a second to be met by luck.
    let dealt = matches(clips.iter().cycle().skip(1).map(|clip| clip.wave.as_slice()), &clips, 4000);
    println!("dealt: {dealt:?} F1 {:.3}", dealt.f1());
    assert!(dealt.f1() < 0.35, "{dealt:?}");
}

/// What a model that samples codes makes: mu-law's steps, and hiss 40 dB below full scale.
#[test]
fn coding_and_hiss_do_not_hide_strikes() {
    let clips = clips(Level::Small, 4000);
    let mut state = 1u32;
    let hissing: Vec<Vec<f32>> = clips
        .iter()
        .map(|clip| {
            let noise = |sample: &f32| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                sample + 0.0173 * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
            };
            clip.wave.iter().map(noise).collect()
        })
        .collect();
    let found = matches(hissing.iter().map(Vec::as_slice), &clips, 4000);
    println!("hiss: {found:?} F1 {:.3}", found.f1());
    assert!(found.f1() >= 0.85, "{found:?}");
    let hiss: Vec<f32> =
        hissing[0].iter().zip(&clips[0].wave).map(|(with, without)| with - without).collect();
    assert_eq!(onsets(&hiss, 4000.0).len(), 0);
}

#[test]
fn strikes_sound_at_their_pitch() {
    for rate in RATES {
        let mut all = Pitches::default();
        let mut dealt = Pitches::default();
        let clips = clips(Level::Rich, rate);
        for clip in &clips {
            let strikes: Vec<_> = clip.strikes.iter().map(|strike| (strike.seconds, strike.hertz)).collect();
            let found = onsets(&clip.wave, f64::from(rate));
            all += pitches(&clip.wave, f64::from(rate), &found, &strikes, TOLERANCE);
            // A semitone beside is wrong.
            let beside: Vec<_> = strikes.iter().map(|&(seconds, hertz)| (seconds, hertz * 1.06)).collect();
            dealt += pitches(&clip.wave, f64::from(rate), &found, &beside, TOLERANCE);
        }
        println!("{rate}: {all:?} {:.3}, beside {:.3}", all.share(), dealt.share());
        assert!(all.share() >= 0.9 && dealt.share() < 0.05, "{all:?} {dealt:?}");
    }
    assert_eq!(strike_pitch(&[0.0; 4000], 4000.0, 0.5), None);
    assert_eq!(strike_pitch(&[], 4000.0, 0.5), None);
}

#[test]
fn matching_is_one_to_one() {
    let all = |found: &[f64], truth: &[f64]| match_times(found, truth, 0.05);
    assert_eq!(all(&[1.0, 1.01, 1.02], &[1.0]), Matches { hits: 1, found: 3, truth: 1 });
    assert_eq!(all(&[0.96, 1.04], &[1.0, 1.08]).hits, 2);
    // Taking the nearest first would leave one alone.
    assert_eq!(all(&[1.0, 1.045], &[0.96, 1.005]).hits, 2);
    assert_eq!(all(&[1.0], &[1.0501]).hits, 0);
    assert_eq!((all(&[], &[]).f1(), all(&[], &[1.0]).f1(), all(&[1.0], &[]).f1()), (1.0, 0.0, 0.0));
}

#[test]
fn onsets_of_odd_signals() {
    assert!(onsets(&[], 4000.0).is_empty() && onsets(&[0.5], 4000.0).len() <= 1);
    // A steady tone begins once.
    let tone: Vec<f32> = (0..8000).map(|n| 0.4 * (n as f32 * 0.6).sin()).collect();
    assert_eq!(onsets(&tone, 4000.0).len(), 1);
    assert!(onsets(&tone, 4000.0)[0] < 0.015);
    assert!(onsets(&[f32::NAN; 100], 4000.0).is_empty());
}

#[test]
fn the_distance_is_zero_for_equal_sounds_and_grows_with_the_difference() {
    let clip = &clips(Level::Small, 4000)[0];
    let scaled = |by: f32| -> Vec<f32> { clip.wave.iter().map(|sample| sample * by).collect() };
    assert_eq!(spectral_distance(&clip.wave, &clip.wave), 0.0);
    let (near, far) =
        (spectral_distance(&clip.wave, &scaled(0.9)), spectral_distance(&clip.wave, &scaled(0.1)));
    assert!(near > 0.01 && far > 3.0 * near, "{near} {far}");
    let silent = vec![0.0; clip.wave.len()];
    assert_eq!(spectral_distance(&silent, &silent), 0.0);
    assert!(spectral_distance(&silent, &clip.wave).is_finite());
    assert_eq!(spectral_distance(&[], &[]), 0.0);
}

/// Against the formula written out with plain sums of sines, on a signal of one window.
#[test]
fn the_distance_is_the_formula() {
    let y: Vec<f32> = (0..50).map(|n| (n as f32 * 0.7).sin() * 0.5).collect();
    let x: Vec<f32> = (0..50).map(|n| (n as f32 * 1.3).cos() * 0.3).collect();
    let mut whole = 0.0;
    for (size, hop, window) in distance::RESOLUTIONS {
        let magnitudes = |signal: &[f32], start: usize| -> Vec<f64> {
            let one = |k: usize| {
                let (mut re, mut im) = (0.0, 0.0);
                for n in 0..window.min(signal.len().saturating_sub(start)) {
                    let turns = std::f64::consts::TAU * n as f64;
                    let weighted = f64::from(signal[start + n]) * (0.5 - 0.5 * (turns / window as f64).cos());
                    re += weighted * (turns * k as f64 / size as f64).cos();
                    im -= weighted * (turns * k as f64 / size as f64).sin();
                }
                (re * re + im * im).max(1e-7).sqrt()
            };
            (0..=size / 2).map(one).collect()
        };
        let (y, x) = (magnitudes(&y, 0), magnitudes(&x, 0));
        assert_eq!(50usize.div_ceil(hop), 1);
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let gap = norm(&mut y.iter().zip(&x).map(|(y, x)| y - x));
        whole += gap / norm(&mut y.iter().copied());
        whole += y.iter().zip(&x).map(|(y, x)| (y.ln() - x.ln()).abs()).sum::<f64>() / y.len() as f64;
    }
    let measured = spectral_distance(&y, &x);
    assert!((measured / (whole / 3.0) - 1.0).abs() < 1e-4, "{measured} {}", whole / 3.0);
}

#[test]
fn the_truth_is_judged_right_and_another_clip_wrong() {
    let options = MotionOptions { sample_rate: 4000, side: 8, frame_rate: (1, 1), ..Default::default() };
    let world = World::new(options, 4).unwrap();
    let (mut right, mut wrong) = (Judge::default(), Judge::default());
    for i in 0..20 {
        let (clip, other) = (world.clip(Split::Val, i), world.clip(Split::Val, i + 100));
        let strike = |strike: &crate::data::motion::Strike| crate::data::sound::Strike {
            seconds: strike.seconds as f32,
            hertz: strike.hertz as f32,
            loudness: strike.loudness as f32,
        };
        let strikes: Vec<_> = clip.strikes.iter().map(strike).collect();
        right.hear(&clip.wave, &clip.wave, 4000.0, &strikes);
        wrong.hear(&clip.wave, &other.wave, 4000.0, &strikes);
    }
    let (right, wrong) = (right.verdict(), wrong.verdict());
    assert!(
        right.onset_f1 > 0.95 && right.pitch_right > 0.9 && right.spectral_distance.mean == 0.0,
        "{right:?}"
    );
    assert!(
        wrong.onset_f1 < 0.4 && wrong.pitch_right < 0.4 && wrong.spectral_distance.mean > 1.0,
        "{wrong:?}"
    );
    assert_eq!((right.clips, Judge::default().verdict().clips), (20, 0));
    assert!(right.knows_strikes());
    // A film: what sounds when is not known, so a share of it would mean nothing.
    let mut film = Judge::default();
    let wave = world.clip(Split::Val, 0).wave;
    film.hear(&wave, &wave, 4000.0, &[]);
    let film = film.verdict();
    assert!(!film.knows_strikes() && film.spectral_distance.mean == 0.0, "{film:?}");
    let told = serde_json::to_value(film).unwrap();
    assert!(told["onset_f1"].is_null() && told["pitch_right"].is_null(), "{told}");
}
