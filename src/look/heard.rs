//! A page where one sees a clip's frames and hears the truth and the model next to each other. It opens without a
//! network: pictures and sounds are data URIs, one short inline script keeps the frames in time with the sound.

use std::fmt::Write;

use super::canvas::png;
use super::html::{base64, data_uri, escape};
use super::spectrogram::spectrograms;
use super::wav::playable_wav;
use crate::{Error, Result};

/// A clip as it was and as a model made it sound.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub key: String,
    /// `[frames, height, width, 3]`; empty for a sound without pictures.
    pub frames: Vec<u8>,
    /// Frames, and pixels of their height and width.
    pub shape: (usize, usize, usize),
    /// Frames a second.
    pub frame_rate: f64,
    /// Samples a second.
    pub rate: u32,
    /// The clip's own sound.
    pub truth: Vec<f32>,
    /// What the model made; empty where there is none.
    pub model: Vec<f32>,
    /// Seconds of the strikes, where they are known: ticks above the spectrograms.
    pub strikes: Vec<f64>,
    /// What is to be said of it, such as its onset F1; may be empty.
    pub note: String,
}

/// The longest side of the film on the page, in pixels.
const FILM: usize = 256;
/// The most frames of the strip, and the longest side of each.
const STRIP: usize = 16;
const STRIP_SIDE: usize = 64;

/// The page.
///
/// # Errors
/// If a clip's frames do not fit their shape, or its truth has no samples.
pub fn page(title: &str, summary: &[(String, String)], clips: &[Heard]) -> Result<String> {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{}{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
        include_str!("html.css"),
        include_str!("heard.css")
    );
    if !summary.is_empty() {
        page.push_str("<dl class=\"summary\">\n");
        for (name, value) in summary {
            let (name, value) = (escape(name), escape(value));
            let _ = writeln!(page, "<div class=\"card\"><dt>{name}</dt><dd>{value}</dd></div>");
        }
        page.push_str("</dl>\n<p></p>\n");
    }
    for clip in clips {
        one(&mut page, clip)?;
    }
    let _ = write!(
        page,
        "<footer>Made by evoke {}</footer>\n</main>\n<script>\n{}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        include_str!("heard.js")
    );
    Ok(page)
}

fn one(page: &mut String, clip: &Heard) -> Result<()> {
    let key = escape(&clip.key);
    let note = if clip.note.is_empty() {
        String::new()
    } else {
        format!(" <span class=\"count\">{}</span>", escape(&clip.note))
    };
    let _ = writeln!(page, "<article class=\"card heard\"><h2>{key}{note}</h2>\n<div class=\"stage\">");
    let (frames, height, width) = clip.shape;
    if clip.frames.len() != frames * height * width * 3 {
        return Err(Error::failed(format!(
            "clip {}: {frames} frames of {width}x{height} need {} bytes, {} came",
            clip.key,
            frames * height * width * 3,
            clip.frames.len()
        )));
    }
    if !clip.frames.is_empty() {
        film(page, clip)?;
    }
    page.push_str("<div class=\"sounds\">");
    let mut sounds = vec![("Truth", clip.truth.as_slice())];
    if !clip.model.is_empty() {
        sounds.push(("Model", clip.model.as_slice()));
    }
    for (name, wave) in &sounds {
        let _ = write!(
            page,
            "<label>{name}<audio controls src=\"data:audio/wav;base64,{}\"></audio></label>",
            base64(&playable_wav(wave, clip.rate)?)
        );
    }
    page.push_str("</div></div>\n");
    if !clip.frames.is_empty() {
        strip(page, clip)?;
    }
    let picture = spectrograms(&sounds, f64::from(clip.rate), &clip.strikes)?.png()?;
    let ticks = if clip.strikes.is_empty() { "" } else { " Ticks mark the strikes." };
    let _ = writeln!(
        page,
        "<figure><img class=\"wide\" src=\"{}\" alt=\"spectrograms of {key}\">\
         <figcaption>Lighter is louder.{ticks}</figcaption></figure></article>",
        data_uri(&picture)
    );
    Ok(())
}

/// All frames as one picture, row by row, of which the page shows one cell at a time.
fn film(page: &mut String, clip: &Heard) -> Result<()> {
    let (frames, height, width) = clip.shape;
    let columns = (1..=frames).find(|columns| columns * columns >= frames).unwrap_or(1);
    let rows = frames.div_ceil(columns);
    let sprite = grid(clip, &(0..frames).collect::<Vec<_>>(), columns);
    let scale = FILM as f64 / height.max(width) as f64;
    let (shown_w, shown_h) = ((width as f64 * scale).round(), (height as f64 * scale).round());
    let _ = writeln!(
        page,
        "<div class=\"film\" style=\"width:{shown_w}px;height:{shown_h}px\"><img style=\"width:{}px;height:{}px\" \
         data-frames=\"{frames}\" data-columns=\"{columns}\" data-rows=\"{rows}\" data-rate=\"{}\" src=\"{}\" \
         alt=\"the frames of {}\"></div>",
        shown_w * columns as f64,
        shown_h * rows as f64,
        clip.frame_rate,
        data_uri(&png(&sprite, rows * height, columns * width)?),
        escape(&clip.key)
    );
    Ok(())
}

/// Some frames in a row, evenly spread over the clip.
fn strip(page: &mut String, clip: &Heard) -> Result<()> {
    let (frames, height, width) = clip.shape;
    let count = frames.min(STRIP);
    let which: Vec<usize> = (0..count).map(|i| i * frames / count).collect();
    let (picture, shown) = apart(&grid(clip, &which, count), height, width);
    let scale = STRIP_SIDE as f64 / height.max(width) as f64;
    let _ = writeln!(
        page,
        "<figure class=\"strip\"><img src=\"{}\" style=\"width:{}px;max-width:100%\" alt=\"{count} frames\"></figure>",
        data_uri(&png(&picture, height, shown)?),
        (shown as f64 * scale).round()
    );
    Ok(())
}

/// A row of frames with a white line after each but the last, and the width of it all.
fn apart(row: &[u8], height: usize, width: usize) -> (Vec<u8>, usize) {
    let mut pixels = Vec::with_capacity(row.len() * 2);
    for line in row.chunks_exact(row.len() / height) {
        for (i, frame) in line.chunks_exact(width * 3).enumerate() {
            pixels.extend_from_slice(if i > 0 { &[255; 3] } else { &[] });
            pixels.extend_from_slice(frame);
        }
    }
    let shown = pixels.len() / (height * 3);
    (pixels, shown)
}

/// Pixels of a picture with these frames in rows of `columns`.
fn grid(clip: &Heard, which: &[usize], columns: usize) -> Vec<u8> {
    let (_, height, width) = clip.shape;
    let (line, rows) = (width * 3, which.len().div_ceil(columns));
    let mut pixels = vec![0; rows * height * columns * line];
    for (cell, frame) in which.iter().enumerate() {
        let (row, column) = (cell / columns, cell % columns);
        for y in 0..height {
            let from = (frame * height + y) * line;
            let to = ((row * height + y) * columns + column) * line;
            pixels[to..to + line].copy_from_slice(&clip.frames[from..from + line]);
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(frames: usize) -> Heard {
        Heard {
            key: "val-<7>".into(),
            frames: (0..frames * 12 * 3).map(|i| i as u8).collect(),
            shape: (frames, 3, 4),
            frame_rate: 12.5,
            rate: 4000,
            truth: vec![0.1; 400],
            model: vec![0.2; 400],
            strikes: vec![0.05],
            note: "F1 & more".into(),
        }
    }

    #[test]
    fn a_page_holds_frames_both_sounds_and_their_spectrograms_and_loads_nothing() {
        let page = page("Foley", &[("F1".into(), "0.9".into())], &[clip(10), clip(1)]).unwrap();
        assert_eq!(page.matches("data:audio/wav;base64,UklGR").count(), 4);
        // Film, strip and spectrograms of each.
        assert_eq!(page.matches("data:image/png;base64,iVBOR").count(), 6);
        assert!(
            page.contains("val-&lt;7&gt;") && page.contains("F1 &amp; more") && !page.contains("val-<7>")
        );
        assert!(page.contains("data-frames=\"10\" data-columns=\"4\" data-rows=\"3\" data-rate=\"12.5\""));
        for outside in ["http:", "https:", "@import", "url(", "fetch", "src=\"/"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("src=\"").count(), page.matches("src=\"data:").count());
        for tag in ["div", "article", "figure", "label", "audio", "h2", "span", "script", "style"] {
            let opened =
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert!(opened > 0 && opened == page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn sounds_without_pictures_or_without_a_model_have_a_page_too() {
        let bare = Heard { frames: Vec::new(), shape: (0, 0, 0), model: Vec::new(), ..clip(1) };
        let page = page("Foley", &[], &[bare]).unwrap();
        assert_eq!((page.matches("<audio").count(), page.matches("class=\"film\"").count()), (1, 0));
    }

    #[test]
    fn frames_that_do_not_fit_are_an_error_that_names_the_clip() {
        let error = page("", &[], &[Heard { shape: (3, 3, 4), ..clip(2) }]).unwrap_err();
        assert!(error.to_string().contains("val-<7>: 3 frames of 4x3 need 108 bytes, 72 came"), "{error}");
        assert!(page("", &[], &[Heard { truth: Vec::new(), model: Vec::new(), ..clip(2) }]).is_err());
    }

    #[test]
    fn the_grid_puts_frames_side_by_side() {
        let clip = clip(3);
        let pixels = grid(&clip, &[2, 0], 2);
        assert_eq!(pixels[..12], clip.frames[72..84]);
        assert_eq!(pixels[12..24], clip.frames[..12]);
        assert_eq!(pixels[24..36], clip.frames[84..96]);
        let (lines, width) = apart(&pixels, 3, 4);
        assert_eq!((width, lines.len()), (9, 3 * 9 * 3));
        assert_eq!(
            (&lines[..12], &lines[12..15], &lines[15..27]),
            (&pixels[..12], &[255; 3][..], &pixels[12..24])
        );
    }
}
