//! Any picture file to RGB bytes of one size, or a reason why not. Never a crash, whatever the file holds.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use serde::{Deserialize, Serialize};
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::hash_hex;

/// The most pixels a picture may have: 8192 x 8192, 192 MiB as RGB. More is refused before anything is allocated.
pub const MAX_PIXELS: u64 = 1 << 26;
/// The most bytes a picture's file may have.
pub const MAX_FILE_BYTES: u64 = 1 << 28;
/// What a decoder of the `image` crate may allocate: 16-bit RGBA of [`MAX_PIXELS`].
const MAX_ALLOCATION: u64 = MAX_PIXELS * 8;
/// How training and captioning turn a stored byte into the model's input; its hash stands in shards and checkpoints.
pub const NORMALISATION: &str = "pixel / 127.5 - 1";
/// The resampling filter: cubic convolution with a = -1/2, widened when shrinking (Pillow's BICUBIC).
pub const FILTER: &str = "bicubic";

/// A picture that could not be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct Skipped {
    pub reason: String,
}

impl Skipped {
    pub fn new(reason: impl Into<String>) -> Skipped {
        Skipped { reason: reason.into() }
    }
}

/// How a picture of another shape is made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Scale until it covers the target, cut what stands over on both sides
    #[default]
    Crop,
    /// Scale height and width apart
    Stretch,
    /// Scale until it fits inside, fill the rest with black on both sides
    Pad,
}

/// Everything that is done to a picture before training sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    pub fit: Fit,
    pub filter: String,
    pub normalisation: String,
    pub normalisation_hash: String,
}

impl Preprocessing {
    /// Pictures of `height` x `width` pixels.
    pub fn new(height: usize, width: usize, fit: Fit) -> Preprocessing {
        Preprocessing {
            height,
            width,
            fit,
            filter: FILTER.into(),
            normalisation: NORMALISATION.into(),
            normalisation_hash: hash_hex(NORMALISATION.as_bytes()),
        }
    }

    /// Bytes of a picture: `height * width * 3`.
    pub fn bytes(&self) -> usize {
        self.height * self.width * 3
    }
}

/// Reads a picture file: u8 `[height, width, 3]`, RGB.
///
/// # Errors
/// If the file cannot be read, is no picture, is broken or truncated, or is too large.
pub fn load(path: &Path, to: &Preprocessing) -> Result<Vec<u8>, Skipped> {
    let bytes = read(path)?;
    let picture = decode(&bytes)?;
    resize(&picture, to)
}

/// Decodes a picture's bytes, whatever their format: upright, transparency on white, 8 bits, the first frame.
///
/// # Errors
/// See [`load`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, Skipped> {
    // The decoders return errors; a panic inside one would be its bug, and must not end a run of hours.
    std::panic::catch_unwind(|| decode_unguarded(bytes))
        .unwrap_or_else(|_| Err(Skipped::new("broken: the decoder panicked on it")))
}

/// Fits a picture to the preprocessing's size: u8 `[height, width, 3]`.
///
/// # Errors
/// If the picture or the target has no pixels.
pub fn resize(picture: &RgbImage, to: &Preprocessing) -> Result<Vec<u8>, Skipped> {
    let (source_width, source_height) = (f64::from(picture.width()), f64::from(picture.height()));
    let (height, width) = (to.height as f64, to.width as f64);
    // The part of the source that is used, and the size it gets; both stand in the middle.
    let (mut used, mut size) = ((source_width, source_height), (to.width, to.height));
    match to.fit {
        Fit::Stretch => {}
        Fit::Crop => {
            let scale = (source_width / width).min(source_height / height);
            used = (width * scale, height * scale);
        }
        Fit::Pad => {
            let scale = (width / source_width).min(height / source_height);
            let side = |length: f64, limit: usize| ((length * scale).round() as usize).clamp(1, limit);
            size = (side(source_width, to.width), side(source_height, to.height));
        }
    }
    let (left, top) = ((source_width - used.0) / 2.0, (source_height - used.1) / 2.0);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
        .crop(left, top, used.0, used.1)
        .use_alpha(false);
    let fail = |error: &dyn std::fmt::Display| Skipped::new(format!("cannot be resized: {error}"));
    let source = ImageRef::new(picture.width(), picture.height(), picture.as_raw(), PixelType::U8x3)
        .map_err(|error| fail(&error))?;
    let mut pixels = vec![0; size.0 * size.1 * 3];
    let mut target = Image::from_slice_u8(size.0 as u32, size.1 as u32, &mut pixels, PixelType::U8x3)
        .map_err(|error| fail(&error))?;
    thread_local! {
        // A resizer keeps its buffers from picture to picture.
        static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
    }
    RESIZER
        .with_borrow_mut(|resizer| resizer.resize(&source, &mut target, &options))
        .map_err(|error| fail(&error))?;
    if size == (to.width, to.height) {
        return Ok(pixels);
    }
    let mut padded = vec![0; to.bytes()];
    let (left, top) = ((to.width - size.0) / 2, (to.height - size.1) / 2);
    for (row, line) in pixels.chunks_exact(size.0 * 3).enumerate() {
        let begin = ((top + row) * to.width + left) * 3;
        padded[begin..begin + line.len()].copy_from_slice(line);
    }
    Ok(padded)
}

/// The file's bytes; refuses what is no regular file (a pipe would wait for ever) and what is too large.
fn read(path: &Path) -> Result<Vec<u8>, Skipped> {
    let cannot = |error: std::io::Error| Skipped::new(format!("cannot read: {error}"));
    let kind = std::fs::metadata(path).map_err(cannot)?;
    if !kind.is_file() {
        return Err(Skipped::new(if kind.is_dir() { "is a folder" } else { "is not a regular file" }));
    }
    if kind.len() > MAX_FILE_BYTES {
        return Err(Skipped::new(format!("too large: {} bytes, the limit is {MAX_FILE_BYTES}", kind.len())));
    }
    let mut bytes = Vec::with_capacity(kind.len() as usize + 1);
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(cannot)?;
    Ok(bytes)
}

fn decode_unguarded(bytes: &[u8]) -> Result<RgbImage, Skipped> {
    if bytes.is_empty() {
        return Err(Skipped::new("is an empty file"));
    }
    // By content: many collections hold PNG files that are called .jpg.
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg(bytes),
        Ok(format) => other(bytes, format),
        Err(_) => Err(Skipped::new("is no picture of a known format")),
    }
}

/// JPEG, to RGB whatever it is stored as. Four-channel files are taken as Adobe writes them (inverted), as all
/// common programs do.
fn jpeg(bytes: &[u8]) -> Result<RgbImage, Skipped> {
    let options = |strict| {
        DecoderOptions::default()
            .jpeg_set_out_colorspace(ColorSpace::RGB)
            .set_strict_mode(strict)
            .set_max_width(usize::from(u16::MAX))
            .set_max_height(usize::from(u16::MAX))
    };
    let broken = |error: &dyn std::fmt::Debug| Skipped::new(one_line(&format!("broken JPEG: {error:?}")));
    if !has_end(bytes) {
        return Err(Skipped::new("broken JPEG: it is truncated"));
    }
    // Strict: damage is an error instead of a picture that goes on in grey.
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options(true));
    if decoder.decode_headers().is_err() {
        // Strict mode also refuses stray bytes between headers, which cameras write and which harm nothing.
        decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options(false));
        decoder.decode_headers().map_err(|error| broken(&error))?;
        decoder.set_options(options(true));
    }
    let (width, height) = decoder.dimensions().ok_or_else(|| Skipped::new("broken JPEG: it has no size"))?;
    check_size(width as u64, height as u64)?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let mut pixels = vec![0; width * height * 3];
    decoder.decode_into(&mut pixels).map_err(|error| broken(&error))?;
    let picture = RgbImage::from_raw(width as u32, height as u32, pixels)
        .ok_or_else(|| Skipped::new("broken JPEG: its size is wrong"))?;
    Ok(upright(picture, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Whether a JPEG's end marker follows its first scan. The decoder misses a cut within the last row of blocks.
fn has_end(bytes: &[u8]) -> bool {
    // Segments before the scan are jumped over: a thumbnail inside one has an end marker of its own.
    let mut at = 2;
    while let Some(&[first, marker]) = bytes.get(at..at + 2).and_then(|pair| pair.first_chunk()) {
        at += match (first, marker) {
            (0xff, 0xda) => break,
            (0xff, 0x02..=0xcf | 0xd8..=0xfe) => {
                let length =
                    bytes.get(at + 2..at + 4).map_or(0, |l| usize::from(l[0]) << 8 | usize::from(l[1]));
                2 + length
            }
            // Fill bytes, markers without content, stray bytes.
            _ => 1,
        };
    }
    bytes.get(at..).is_some_and(|rest| rest.windows(2).rev().any(|pair| pair == [0xff, 0xd9]))
}

/// Every other format.
fn other(bytes: &[u8], format: ImageFormat) -> Result<RgbImage, Skipped> {
    let broken = |error: image::ImageError| Skipped::new(one_line(&format!("broken {format:?}: {error}")));
    // A WebP file says its own length; its last part may be the EXIF block that says which way is up.
    if format == ImageFormat::WebP
        && let Some(length) = bytes.get(4..8).and_then(|length| length.try_into().ok())
        && bytes.len() < u32::from_le_bytes(length) as usize + 8
    {
        return Err(Skipped::new("broken WebP: it is truncated"));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOCATION);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_size(u64::from(width), u64::from(height))?;
    // A damaged EXIF block is no reason to lose the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let picture = if picture.color().has_alpha() { on_white(&picture) } else { picture.into_rgb8() };
    Ok(upright(picture, orientation))
}

/// Composites on white, which is what a page behind a picture mostly is.
fn on_white(picture: &DynamicImage) -> RgbImage {
    let picture = picture.to_rgba8();
    let mut opaque = RgbImage::new(picture.width(), picture.height());
    for (to, from) in opaque.pixels_mut().zip(picture.pixels()) {
        let [red, green, blue, alpha] = from.0.map(u32::from);
        let over = |channel: u32| ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        to.0 = [over(red), over(green), over(blue)];
    }
    opaque
}

fn upright(picture: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return picture;
    }
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(orientation);
    picture.into_rgb8()
}

fn check_size(width: u64, height: u64) -> Result<(), Skipped> {
    match width.checked_mul(height) {
        Some(0) => Err(Skipped::new("has no pixels")),
        Some(pixels) if pixels <= MAX_PIXELS => Ok(()),
        _ => Err(Skipped::new(format!("too large: {width} x {height} pixels, the limit is {MAX_PIXELS}"))),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
