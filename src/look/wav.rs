//! A waveform as a WAV file's bytes, for pages.

use std::io::Cursor;

use realfft::RealFftPlanner;

use crate::{Error, Result};

/// Not every browser plays sounds with fewer samples a second.
const LEAST_RATE: u32 = 8000;

/// The waveform (values in -1..=1; others are clipped) as a WAV file with one channel of 16 bits.
///
/// # Errors
/// If the rate is 0 or the file would be larger than WAV allows.
pub fn wav(wave: &[f32], rate: u32) -> Result<Vec<u8>> {
    let failed = |error: hound::Error| {
        Error::failed(format!("cannot write {} samples at {rate} Hz as WAV: {error}", wave.len()))
    };
    if rate == 0 {
        return Err(Error::failed("a WAV file needs at least one sample a second, the rate is 0"));
    }
    let format = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, format).map_err(failed)?;
    for sample in wave {
        // NaN becomes silence.
        writer.write_sample((sample.clamp(-1.0, 1.0) * 32767.0).round() as i16).map_err(failed)?;
    }
    writer.finalize().map_err(failed)?;
    Ok(bytes.into_inner())
}

/// As [`wav`], with at least 8000 samples a second: slower sounds get samples in between, without any new frequency.
///
/// # Errors
/// As [`wav`].
pub fn playable_wav(wave: &[f32], rate: u32) -> Result<Vec<u8>> {
    match LEAST_RATE.div_ceil(rate.max(1)) as usize {
        times if times > 1 && !wave.is_empty() => wav(&denser(wave, times), rate * times as u32),
        _ => wav(wave, rate),
    }
}

/// `times` as many samples: the same spectrum, followed by zeros.
fn denser(wave: &[f32], times: usize) -> Vec<f32> {
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, back) =
        (planner.plan_fft_forward(wave.len()), planner.plan_fft_inverse(wave.len() * times));
    let (mut samples, mut spectrum) = (wave.to_vec(), forward.make_output_vec());
    let (mut longer, mut out) = (back.make_input_vec(), back.make_output_vec());
    // The buffers come from the transforms themselves, and the wave is real: neither can fail.
    let _ = forward.process(&mut samples, &mut spectrum);
    longer[..spectrum.len()].copy_from_slice(&spectrum);
    if wave.len().is_multiple_of(2) {
        // The highest bin stands for both its halves; among higher ones it is an ordinary bin, and real no more.
        longer[wave.len() / 2] *= 0.5;
    }
    let _ = back.process(&mut longer, &mut out);
    out.iter().map(|sample| sample / wave.len() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wav_reads_back_as_the_same_samples() {
        let wave = [0.0, 0.5, -0.25, 1.0, -1.0, 7.0, f32::NAN];
        let mut read = hound::WavReader::new(Cursor::new(wav(&wave, 4000).unwrap())).unwrap();
        assert_eq!((read.spec().sample_rate, read.spec().channels), (4000, 1));
        let samples: Vec<i16> = read.samples().map(Result::unwrap).collect();
        assert_eq!(samples, [0, 16384, -8192, 32767, -32767, 32767, 0]);
        assert!(wav(&wave, 0).is_err() && playable_wav(&[], 4000).is_ok());
    }

    #[test]
    fn slow_sounds_keep_their_samples_and_get_others_between() {
        for length in [40, 41] {
            let tone = |n: f32| (std::f32::consts::TAU * 3.0 * n / length as f32).sin() * 0.7;
            let wave: Vec<f32> = (0..length).map(|n| tone(n as f32)).collect();
            let dense = denser(&wave, 2);
            assert_eq!(dense.len(), 2 * length);
            for (n, sample) in dense.iter().enumerate() {
                assert!((sample - tone(n as f32 / 2.0)).abs() < 1e-5, "{length}, {n}");
            }
        }
        let read = hound::WavReader::new(Cursor::new(playable_wav(&[0.1; 30], 3000).unwrap())).unwrap();
        assert_eq!((read.spec().sample_rate, read.len()), (9000, 90));
    }
}
