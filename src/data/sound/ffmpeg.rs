//! The program `ffmpeg`: found, asked what a file holds, and run as a decoder whose output is read as it comes.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use super::Format;
use super::probe::Probe;
use crate::{Error, Result};

/// Names the program where it is not in the PATH.
pub const VARIABLE: &str = "EVOKE_FFMPEG";
/// Frames are taken this much later than their time, so that times rounded to milliseconds in a file (Matroska) do not
/// show the frame before.
const ROUNDED: f64 = 0.001;
/// A gap or overlap of this length in the sound's times is filled or cut; a shorter one is a file's rounding.
const GAP: f64 = 0.005;

/// A program that runs.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    program: PathBuf,
    version: String,
}

impl Ffmpeg {
    /// The program of [`VARIABLE`], or the first `ffmpeg` in the PATH.
    ///
    /// # Errors
    /// If there is none or it does not run; the error says what to install.
    pub fn find() -> Result<Ffmpeg> {
        let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
        let program = PathBuf::from(named.clone().unwrap_or_else(|| "ffmpeg".into()));
        let wrong = |what: String| {
            let place = named.as_ref().map_or(String::new(), |_| format!("{VARIABLE}: "));
            Error::failed(format!(
                "{place}{}: {what}; install ffmpeg (Debian: apt install ffmpeg; macOS: brew install ffmpeg), or set \
                 {VARIABLE} to the program",
                program.display()
            ))
        };
        let output = Command::new(&program)
            .arg("-version")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| wrong(format!("cannot run: {error}")))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().next().unwrap_or_default();
        let version = line.strip_prefix("ffmpeg version ").and_then(|rest| rest.split(' ').next());
        match version {
            Some(version) if output.status.success() => {
                Ok(Ffmpeg { program: program.clone(), version: version.into() })
            }
            _ => Err(wrong("is not ffmpeg".into())),
        }
    }

    /// As `ffmpeg -version` gives it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command of the program that asks nothing.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-hide_banner", "-nostdin"]).stdin(Stdio::null());
        command
    }

    /// What a file holds.
    ///
    /// # Errors
    /// Why it cannot be read, in ffmpeg's words.
    pub fn probe(&self, path: &Path) -> std::result::Result<Probe, String> {
        let output = self.command().arg("-i").arg(file(path)).output();
        let output = output.map_err(|error| format!("ffmpeg cannot run: {error}"))?;
        Probe::parse(&String::from_utf8_lossy(&output.stderr))
    }

    /// Decodes the first picture stream: RGB bytes, `[frames, height, width, 3]`. Frame `n` is what is seen at
    /// `n / rate` seconds after the file's start, scaled and cropped in the middle to the format's size.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn frames(&self, path: &Path, probe: &Probe, format: &Format) -> std::io::Result<Decoder> {
        let (numerator, denominator) = format.frame_rate;
        let (height, width) = cover(format.height, format.width, probe.aspect);
        // `start_time` repeats the first frame where the picture begins late. Times begin at 0 again in the end, so that
        // no later stage fills what is before the file's start.
        let filter = format!(
            "setpts=PTS-({}+{ROUNDED})/TB,fps=fps={numerator}/{denominator}:start_time=0:round=up,\
             scale={width}:{height},crop={}:{},setpts=PTS-STARTPTS",
            probe.start, format.width, format.height
        );
        let output = ["-f", "rawvideo", "-pix_fmt", "rgb24"];
        self.decode(path, &[&["-map", "0:V:0", "-vf", &filter][..], &output].concat())
    }

    /// Decodes the first sound stream: f32, one channel, at the format's rate. Sample `n` is what is heard
    /// `n / rate` seconds after the file's start: a late start and gaps are filled with silence, overlaps cut.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn sound(&self, path: &Path, probe: &Probe, rate: u32) -> std::io::Result<Decoder> {
        // The channels' weights add up to at most 1, as in a WAV file that is read here: without it equal channels would be
        // 3 dB louder, and clip.
        let filter = format!(
            "asetpts=round(PTS-({})/TB),\
             aresample={rate}:async=1:min_hard_comp={GAP}:first_pts=0:rematrix_maxval=1,asetpts=N/SR/TB",
            probe.start
        );
        let output = ["-f", "f32le", "-ac", "1"];
        self.decode(path, &[&["-map", "0:a:0", "-af", &filter][..], &output].concat())
    }

    fn decode(&self, path: &Path, options: &[&str]) -> std::io::Result<Decoder> {
        let mut command = self.command();
        // Times as they are in the file, so that both streams count from the same instant.
        command.args(["-v", "error", "-copyts", "-i"]).arg(file(path)).args(options).arg("pipe:1");
        Decoder::start(command)
    }
}

/// A path as ffmpeg's file protocol, so that no name is taken for an option or an address.
pub fn file(path: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(path);
    name
}

/// The smallest size of the given aspect (width over height) that covers `height` x `width`.
fn cover(height: usize, width: usize, aspect: f64) -> (usize, usize) {
    let (tall, wide) = (height as f64, width as f64);
    match wide / tall > aspect {
        true => (((wide / aspect).round() as usize).max(height), width),
        false => (height, ((tall * aspect).round() as usize).max(width)),
    }
}

/// A decoder at work. Dropping it ends it.
pub struct Decoder {
    child: Child,
    output: BufReader<ChildStdout>,
    complaints: Option<JoinHandle<Complaints>>,
}

/// What a decoder wrote to stderr.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Complaints {
    pub lines: usize,
    pub first: String,
}

impl Decoder {
    fn start(mut command: Command) -> std::io::Result<Decoder> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let missing = || std::io::Error::other("no pipe");
        let output = BufReader::with_capacity(1 << 18, child.stdout.take().ok_or_else(missing)?);
        let stderr = child.stderr.take().ok_or_else(missing)?;
        // Read all the time, so that a file with many errors does not stop at a full pipe.
        let complaints = std::thread::spawn(move || {
            let mut complaints = Complaints::default();
            for line in BufReader::new(stderr).split(b'\n').map_while(std::io::Result::ok) {
                if complaints.lines == 0 {
                    complaints.first = without_place(String::from_utf8_lossy(&line).trim());
                }
                complaints.lines += 1;
            }
            complaints
        });
        Ok(Decoder { child, output, complaints: Some(complaints) })
    }

    /// Fills `into` as far as the output goes; the number of bytes that there were.
    ///
    /// # Errors
    /// If the pipe breaks.
    pub fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.output.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Waits for the end and says what it complained about.
    pub fn finish(mut self) -> Complaints {
        let status = self.child.wait();
        let mut complaints = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if complaints.lines == 0 && !status.is_ok_and(|status| status.success()) {
            complaints = Complaints { lines: 1, first: "ffmpeg ended with an error".into() };
        }
        complaints
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `[h264 @ 0x5581]` before a message differs from run to run.
fn without_place(line: &str) -> String {
    let rest = line.strip_prefix('[').and_then(|inner| inner.split_once("] "));
    match rest {
        Some((place, message)) if place.contains(" @ ") => {
            format!("{}: {}", place.split(" @ ").next().unwrap_or_default(), without_place(message))
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_covered_without_distortion() {
        assert_eq!(cover(96, 168, 16.0 / 9.0), (96, 171));
        assert_eq!(cover(96, 168, 4.0 / 3.0), (126, 168));
        assert_eq!(cover(64, 64, 9.0 / 16.0), (114, 64));
        assert_eq!(cover(96, 128, 4.0 / 3.0), (96, 128));
    }

    #[test]
    fn complaints_are_the_same_in_every_run() {
        assert_eq!(without_place("[h264 @ 0x55] [x @ 0x1] bad"), "h264: x: bad");
        assert_eq!(without_place("plain [x @ 0x1] bad"), "plain [x @ 0x1] bad");
        assert_eq!(without_place("[no place] bad"), "[no place] bad");
    }
}
