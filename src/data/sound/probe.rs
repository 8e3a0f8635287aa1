//! What a media file holds, read from what `ffmpeg -i FILE` says of it (`ffprobe` is not everywhere where ffmpeg is).

/// What is known of a file before it is decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// When the first of its streams begins, in seconds, as ffmpeg wrote it; every time is counted from here.
    pub start: String,
    /// Its length in seconds, where the file says so.
    pub seconds: Option<f64>,
    pub picture: bool,
    pub sound: bool,
    /// Width over height as it is to be seen: with the shape of its pixels, and turned as the file says.
    pub aspect: f64,
}

impl Probe {
    /// Reads the description.
    ///
    /// # Errors
    /// If there is none: ffmpeg's reason.
    pub fn parse(text: &str) -> std::result::Result<Probe, String> {
        let Some(header) = text.lines().map(str::trim).find_map(|line| line.strip_prefix("Duration: "))
        else {
            return Err(reason(text));
        };
        let field = |name: &str| header.split(", ").find_map(|part| part.strip_prefix(name)).map(str::trim);
        let start = field("start: ").filter(|start| start.parse::<f64>().is_ok()).unwrap_or("0");
        let mut probe = Probe {
            start: start.into(),
            seconds: header.split(',').next().and_then(clock),
            picture: false,
            sound: false,
            aspect: 1.0,
        };
        // Lines of a stream follow its own, until the next.
        let mut first_picture = false;
        for line in text.lines().map(str::trim) {
            if let Some(stream) = line.strip_prefix("Stream #0:") {
                // A cover picture is no film.
                first_picture =
                    !probe.picture && stream.contains(": Video: ") && !stream.contains("(attached pic)");
                if first_picture {
                    probe.picture = true;
                    probe.aspect = aspect(stream).unwrap_or(1.0);
                }
                probe.sound |= stream.contains(": Audio: ");
            } else if let Some((_, turn)) = line.split_once("rotation of ")
                && first_picture
            {
                let degrees: Option<f64> = turn.split(' ').next().and_then(|number| number.parse().ok());
                if degrees.is_some_and(|degrees| ((degrees / 90.0).round() as i64).rem_euclid(2) == 1) {
                    probe.aspect = 1.0 / probe.aspect;
                }
            }
        }
        Ok(probe)
    }
}

/// `00:09:56.47` in seconds.
fn clock(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    for part in text.trim().split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    (seconds > 0.0).then_some(seconds)
}

/// `... 1280x720 [SAR 1:1 DAR 16:9], ...` as width over height.
fn aspect(stream: &str) -> Option<f64> {
    let ratio = |text: &str, sign: char| -> Option<f64> {
        let (a, b) = text.split_once(sign)?;
        let (a, b) = (a.parse::<f64>().ok()?, b.parse::<f64>().ok()?);
        (a > 0.0 && b > 0.0).then_some(a / b)
    };
    let display =
        stream.split_once("DAR ").and_then(|(_, rest)| ratio(rest.split([']', ',', ' ']).next()?, ':'));
    display.or_else(|| stream.split(", ").skip(1).find_map(|part| ratio(part.trim().split(' ').next()?, 'x')))
}

/// Why ffmpeg could not open the file, in its own words.
fn reason(text: &str) -> String {
    let told =
        text.lines().find_map(|line| line.split_once("Error opening input: ")).map(|(_, reason)| reason);
    let older = || text.lines().rev().find_map(|line| line.rsplit_once(": ")).map(|(_, reason)| reason);
    let reason = told.or_else(older).unwrap_or("it says nothing").trim().trim_end_matches('.');
    format!("ffmpeg cannot read it: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_a_turned_one_and_a_song_with_a_cover() {
        let film = "Input #0, mov, from 'a':\n  Metadata:\n    title : Stream #0:7: Audio: no\n  \
            Duration: 00:09:56.47, start: -0.023000, bitrate: 673 kb/s\n  \
            Stream #0:0[0x1](und): Video: h264 (Main) (avc1 / 0x31637661), yuv420p(tv, bt709), 1280x720 [SAR 1:1 DAR 16:9], 24 fps\n";
        let probe = Probe::parse(film).unwrap();
        assert_eq!((probe.start.as_str(), probe.seconds), ("-0.023000", Some(596.47)));
        assert!(probe.picture && !probe.sound && (probe.aspect - 16.0 / 9.0).abs() < 1e-9);

        let turned = film.replace(" [SAR 1:1 DAR 16:9]", "")
            + "    Side data:\n      displaymatrix: rotation of -90.00 degrees\n  \
               Stream #0:1: Audio: aac (LC), 44100 Hz, stereo\n    displaymatrix: rotation of 90.00 degrees\n";
        let probe = Probe::parse(&turned).unwrap();
        assert!(probe.sound && (probe.aspect - 9.0 / 16.0).abs() < 1e-9, "{probe:?}");

        let song = "  Duration: N/A, bitrate: 1 kb/s\n  Stream #0:0: Audio: mp3, 44100 Hz\n  \
                    Stream #0:1: Video: mjpeg, yuvj420p, 10x10, 90k tbr (attached pic)\n";
        let probe = Probe::parse(song).unwrap();
        assert!(probe.sound && !probe.picture && probe.seconds.is_none());
        assert_eq!(probe.start, "0");
    }

    #[test]
    fn a_file_that_cannot_be_read_has_ffmpegs_reason() {
        let new = "[in#0 @ 0x1] Error opening input: Invalid data found when processing input\n\
                   Error opening input file a.mp4.\n";
        assert_eq!(
            Probe::parse(new).unwrap_err(),
            "ffmpeg cannot read it: Invalid data found when processing input"
        );
        let old = "a.mp4: Invalid data found when processing input\n";
        assert_eq!(Probe::parse(old).unwrap_err(), Probe::parse(new).unwrap_err());
    }
}
