//! `evoke sound`: a silent video's sound from a trained run, as WAV or under the video.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::Output;
use crate::data::codes;
use crate::data::sound::ffmpeg::{Ffmpeg, file};
use crate::data::sound::{Format, wav::Wav};
use crate::decode::sampling::Sampling;
use crate::decode::{Request, Slide, Tick, sound};
use crate::device::Device;
use crate::error::At;
use crate::look::wav::wav;
use crate::train::foley::load;
use crate::{Error, Result};

/// Make the sound of silent videos with a trained run
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the run
    run: PathBuf,
    /// Videos that `ffmpeg` can read; none for a run that was trained on sound alone
    videos: Vec<PathBuf>,
    /// The file to write: .wav, or .mp4 and the like for the video with its sound; for several sounds a folder
    #[arg(short, long, value_name = "OUT")]
    out: Option<PathBuf>,
    /// Length; that of the longest video, or of a clip in training where there is none
    #[arg(long)]
    seconds: Option<f64>,
    /// Sounds of each video, drawn with different numbers
    #[arg(long, default_value_t = 1, value_name = "N")]
    variations: usize,
    /// Below 1: surer sounds; above 1: wilder ones [default: 1]
    #[arg(long)]
    temperature: Option<f32>,
    /// Draw from the most probable samples that together hold this probability [default: 1]
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Of the draws [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// A WAV file at the run's rate that every sound begins with
    #[arg(long, value_name = "FILE.wav")]
    prompt: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// No progress
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    sounds: Vec<PathBuf>,
    /// Of each sound.
    seconds: f64,
    samples: usize,
    sample_rate: u32,
    /// Of all sounds together.
    samples_per_second: f64,
    /// Seconds of one sound made in a second; 1 is real time.
    real_time_factor: f64,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        self.check()?;
        self.check_out()?;
        let device = Device::parse(&self.device)?;
        let mut trained = load::load(&self.run, device, &mut |line| out.note(line))?;
        let format = trained.identity.sound.clone();
        if format.pictures() && self.videos.is_empty() {
            return Err(Error::usage("the run was trained on video: give a video to make the sound of"));
        }
        if !format.pictures() && !self.videos.is_empty() {
            return Err(Error::usage("the run was trained on sound alone: leave the video out"));
        }
        if trained.session.model.groups() {
            self.check_groups(out)?;
        }
        let films = self.films(&format)?;
        let seconds = self.seconds.or_else(|| films.iter().map(|film| film.seconds).reduce(f64::max));
        let seconds = seconds.unwrap_or(format.seconds());
        let samples = (seconds * f64::from(format.sample_rate)).round() as usize;
        if samples == 0 {
            return Err(Error::usage(format!("{seconds} seconds are less than one sample")));
        }
        let shown = Slide::new(&trained.session.model, samples).frames();
        let clips = self.videos.len().max(1) * self.variations;
        let mut frames = Vec::new();
        for film in &films {
            for _ in 0..self.variations {
                frames.extend_from_slice(&film.filled(shown * film.frame));
            }
        }
        let prompt = match &self.prompt {
            Some(path) => repeated(&read_prompt(path, &format)?, clips),
            None => Vec::new(),
        };
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(1.0),
            top_k: 0,
            top_p: self.top_p.unwrap_or(1.0),
            seed: self.seed.unwrap_or(1),
        };
        let request = Request { clips, frames: &frames, samples, prompt: &prompt, sampling };
        let bar = bar(samples, self.quiet);
        let made = sound(&mut trained.session, &request, &mut |tick| {
            tell(&bar, tick, clips, format.sample_rate);
        })?;
        bar.finish_and_clear();
        let mut sounds = Vec::new();
        for (number, codes_of) in made.codes.iter().enumerate() {
            let wave: Vec<f32> =
                codes_of.iter().map(|&code| codes::decode(format.encoding, code as u16)).collect();
            let path = self.place(number)?;
            let video = self.videos.get(number / self.variations);
            write(&path, &wav(&wave, format.sample_rate)?, video)?;
            sounds.push(path);
        }
        let report = Report {
            sounds,
            seconds,
            samples,
            sample_rate: format.sample_rate,
            samples_per_second: made.samples_per_second,
            real_time_factor: made.samples_per_second / clips as f64 / f64::from(format.sample_rate),
        };
        out.result(&report, |report| {
            let names: Vec<String> = report.sounds.iter().map(|path| path.display().to_string()).collect();
            format!(
                "{}\n{:.2} s each, {:.0} samples/s in all, {:.3} x real time",
                names.join("\n"),
                report.seconds,
                report.samples_per_second,
                report.real_time_factor
            )
        })
    }

    fn check(&self) -> Result<()> {
        let wrong = |line: String| Err(Error::usage(line));
        // Written so that NaN is refused.
        if let Some(temperature) = self.temperature.filter(|t| !(*t > 0.0 && t.is_finite())) {
            return wrong(format!("--temperature {temperature}: must be above 0"));
        }
        if let Some(top_p) = self.top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return wrong(format!("--top-p {top_p}: must be above 0 and at most 1"));
        }
        if self.variations == 0 {
            return wrong("--variations 0: at least one sound is to be made".into());
        }
        match self.seconds {
            Some(seconds) if !(seconds > 0.0 && seconds <= 86_400.0) => {
                wrong(format!("--seconds {seconds}: must be above 0 and at most a day"))
            }
            _ => Ok(()),
        }
    }

    /// Groups of samples are made and not drawn.
    fn check_groups(&self, out: &Output) -> Result<()> {
        if self.variations > 1 {
            return Err(Error::usage(format!(
                "--variations {}: the run's model.head = \"groups\" draws nothing, so all would be the same",
                self.variations
            )));
        }
        let given = [
            ("--temperature", self.temperature.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        let given: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if !given.is_empty() {
            out.note(draws_nothing(&given.join(", ")));
        }
        Ok(())
    }

    /// Refuses what could not be written before the minutes that its sound takes.
    fn check_out(&self) -> Result<()> {
        let Some(path) = self.out.as_ref().filter(|_| !self.several()) else { return Ok(()) };
        folder_of(path, "--out")?;
        if !is_wav(path) && self.videos.is_empty() {
            return Err(only_wav(path));
        }
        Ok(())
    }

    /// Whether there will be more than one sound.
    fn several(&self) -> bool {
        self.videos.len() > 1 || self.variations > 1
    }

    fn films(&self, format: &Format) -> Result<Vec<Film>> {
        if self.videos.is_empty() {
            return Ok(Vec::new());
        }
        let ffmpeg = Ffmpeg::find()?;
        self.videos.iter().map(|path| Film::read(&ffmpeg, path, format, self.seconds)).collect()
    }

    /// Where sound `number` goes.
    fn place(&self, number: usize) -> Result<PathBuf> {
        if !self.several() {
            return Ok(self.out.clone().unwrap_or_else(|| "sound.wav".into()));
        }
        let folder = self.out.clone().unwrap_or_else(|| ".".into());
        std::fs::create_dir_all(&folder).at("create the folder", &folder)?;
        let (video, variation) = (number / self.variations, number % self.variations);
        let stem = self.videos.get(video).and_then(|path| path.file_stem());
        let stem = stem.map_or("sound".into(), |stem| stem.to_string_lossy().into_owned());
        Ok(folder.join(match self.variations {
            1 => format!("{}-{stem}.wav", video + 1),
            _ => format!("{}-{stem}-{}.wav", video + 1, variation + 1),
        }))
    }
}

/// What these options change of a run that makes groups.
pub(super) fn draws_nothing(options: &str) -> String {
    format!(
        "{options}: without effect, since the run's model.head = \"groups\" makes waveforms and draws nothing"
    )
}

/// What the model sees of a video.
struct Film {
    frames: Vec<u8>,
    /// Bytes of one frame.
    frame: usize,
    seconds: f64,
}

impl Film {
    /// Reads the frames of up to `most` seconds.
    fn read(ffmpeg: &Ffmpeg, path: &Path, format: &Format, most: Option<f64>) -> Result<Film> {
        let failed = |what: String| Error::failed(format!("{}: {what}; give a video", path.display()));
        if !path.exists() {
            return Err(Error::failed(format!("{}: no such file", path.display())));
        }
        let probe = ffmpeg.probe(path).map_err(failed)?;
        if !probe.picture {
            return Err(failed("has no picture".into()));
        }
        let frame = format.height * format.width * 3;
        let rate = f64::from(format.frame_rate.0) / f64::from(format.frame_rate.1);
        let mut decoder = ffmpeg.frames(path, &probe, format).at("decode", path)?;
        let (mut frames, mut next) = (Vec::new(), vec![0; frame]);
        while most.is_none_or(|most| (frames.len() / frame) as f64 / rate < most)
            && decoder.read(&mut next).at("decode", path)? == frame
        {
            frames.extend_from_slice(&next);
        }
        if frames.is_empty() {
            return Err(failed("holds no frame that can be decoded".into()));
        }
        let seconds = (frames.len() / frame) as f64 / rate;
        Ok(Film { frames, frame, seconds })
    }

    /// Exactly `bytes` of frames: the last one stays where there are too few.
    fn filled(&self, bytes: usize) -> Vec<u8> {
        let mut frames = self.frames[..bytes.min(self.frames.len())].to_vec();
        while frames.len() < bytes {
            frames.extend_from_within(frames.len() - self.frame..);
        }
        frames
    }
}

/// A bar of the samples of each sound.
pub(super) fn bar(samples: usize, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
    let bar = ProgressBar::with_draw_target(Some(samples as u64), target);
    let style = ProgressStyle::with_template("sound {bar:30} {pos}/{len} samples, {msg}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Shows how far `clips` sounds are.
pub(super) fn tell(bar: &ProgressBar, tick: Tick, clips: usize, sample_rate: u32) {
    bar.set_position(tick.done as u64);
    let factor = tick.samples_per_second / clips as f64 / f64::from(sample_rate);
    bar.set_message(format!("{:.0} samples/s, {factor:.3} x real time", tick.samples_per_second));
}

/// Refuses a file in a folder that is not there, before the work that would fill it.
pub(super) fn folder_of(path: &Path, option: &str) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => Err(Error::failed(format!(
            "{option} {}: there is no folder {}; make it first",
            path.display(),
            folder.display()
        ))),
        None => Ok(()),
    }
}

/// Without an ending, too.
fn is_wav(path: &Path) -> bool {
    path.extension().is_none_or(|ending| ending.eq_ignore_ascii_case("wav"))
}

fn only_wav(path: &Path) -> Error {
    Error::usage(format!("--out {}: without a video only .wav can be written", path.display()))
}

fn repeated(codes: &[u32], clips: usize) -> Vec<u32> {
    codes.iter().copied().cycle().take(codes.len() * clips).collect()
}

/// The prompt as codes.
fn read_prompt(path: &Path, format: &Format) -> Result<Vec<u32>> {
    let failed = |what: String| Error::failed(format!("{}: {what}", path.display()));
    let mut file = Wav::open(path).map_err(&failed)?;
    if file.rate() != format.sample_rate {
        return Err(failed(format!(
            "has {} samples a second and the run {}; convert it: ffmpeg -i IN -ar {} OUT.wav",
            file.rate(),
            format.sample_rate,
            format.sample_rate
        )));
    }
    let mut samples = Vec::new();
    crate::data::sound::cutter::Samples::read(&mut file, &mut samples, usize::MAX >> 1).map_err(&failed)?;
    Ok(samples.iter().map(|&sample| u32::from(codes::encode(format.encoding, sample))).collect())
}

/// Writes a sound, or the video with it.
fn write(path: &Path, wav: &[u8], video: Option<&PathBuf>) -> Result<()> {
    if is_wav(path) {
        return std::fs::write(path, wav).at("write", path);
    }
    let Some(video) = video else { return Err(only_wav(path)) };
    let aside = path.with_extension("evoke-sound.wav");
    std::fs::write(&aside, wav).at("write", &aside)?;
    let mut command = Ffmpeg::find()?.command();
    command.args(["-v", "error", "-y", "-i"]).arg(file(video)).arg("-i").arg(file(&aside));
    command
        .args(["-map", "0:V:0", "-map", "1:a:0", "-c:v", "copy", "-c:a", "aac", "-shortest"])
        .arg(file(path));
    let ran = command.output().at("run ffmpeg for", path)?;
    if ran.status.success() {
        // It was only on its way into the film.
        let _ = std::fs::remove_file(&aside);
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let why = said.lines().next_back().unwrap_or("ffmpeg failed");
    // The sound took minutes: it stays.
    Err(Error::failed(format!(
        "{}: cannot be written: {why}; its sound is in {}",
        path.display(),
        aside.display()
    )))
}
