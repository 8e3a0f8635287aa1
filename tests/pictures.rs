//! Odd pictures: each format and quirk decodes to the right colours, or is refused with a reason. Never a crash.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use evoke::data::picture::{self, Fit, MAX_PIXELS, Preprocessing};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const GREY: [u8; 3] = [128, 128, 128];
const WHITE: [u8; 3] = [255, 255, 255];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures").join(name)
}

/// The colours in the middle of the quadrants: top left, top right, bottom left, bottom right.
fn quadrants(picture: &RgbImage) -> [[u8; 3]; 4] {
    let (w, h) = (picture.width(), picture.height());
    [(w / 4, h / 4), (3 * w / 4, h / 4), (w / 4, 3 * h / 4), (3 * w / 4, 3 * h / 4)]
        .map(|(x, y)| picture.get_pixel(x, y).0)
}

fn assert_close(got: [[u8; 3]; 4], expected: [[u8; 3]; 4], tolerance: u8, what: &str) {
    let off = got.as_flattened().iter().zip(expected.as_flattened()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(off.unwrap() <= tolerance, "{what}: {got:?}, expected {expected:?}");
}

fn painted(width: u32, height: u32, colours: [[u8; 3]; 4]) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb(colours[usize::from(y >= height / 2) * 2 + usize::from(x >= width / 2)])
    })
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn every_fixture_has_its_colours() {
    for entry in std::fs::read_dir(fixture("")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".py") {
            continue;
        }
        let picture =
            picture::decode(&std::fs::read(&path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let third = if name.contains("transparent") { WHITE } else { BLUE };
        assert_close(quadrants(&picture), [RED, GREEN, third, GREY], 6, &name);
    }
}

#[test]
fn every_depth_and_channel_count_becomes_rgb() {
    let colours = [[10, 10, 10], [80, 80, 80], [160, 160, 160], [250, 250, 250]];
    let grey = DynamicImage::ImageRgb8(painted(8, 8, colours));
    let coloured = DynamicImage::ImageRgb8(painted(8, 8, [RED, GREEN, BLUE, GREY]));
    for (name, picture, format, expected) in [
        ("grey", grey.to_luma8().into(), ImageFormat::Png, colours),
        ("grey + alpha", grey.to_luma_alpha8().into(), ImageFormat::Png, colours),
        ("grey 16", grey.to_luma16().into(), ImageFormat::Png, colours),
        ("grey + alpha 16", grey.to_luma_alpha16().into(), ImageFormat::Png, colours),
        ("RGB 16", coloured.to_rgb16().into(), ImageFormat::Png, [RED, GREEN, BLUE, GREY]),
        ("RGBA 16", coloured.to_rgba16().into(), ImageFormat::Png, [RED, GREEN, BLUE, GREY]),
        ("RGB 16 TIFF", coloured.to_rgb16().into(), ImageFormat::Tiff, [RED, GREEN, BLUE, GREY]),
        ("BMP", coloured.clone(), ImageFormat::Bmp, [RED, GREEN, BLUE, GREY]),
        ("PPM", coloured.clone(), ImageFormat::Pnm, [RED, GREEN, BLUE, GREY]),
        ("PGM", grey.to_luma8().into(), ImageFormat::Pnm, colours),
    ] {
        let picture: DynamicImage = picture;
        let decoded = picture::decode(&encoded(&picture, format)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_close(quadrants(&decoded), expected, 0, name);
    }
    let jpeg = encoded(&grey.to_luma8().into(), ImageFormat::Jpeg);
    assert_close(quadrants(&picture::decode(&jpeg).unwrap()), colours, 4, "grey JPEG");
}

#[test]
fn transparency_lies_on_white() {
    let half = image::RgbaImage::from_pixel(4, 4, image::Rgba([0, 0, 0, 128]));
    let decoded = picture::decode(&encoded(&half.into(), ImageFormat::Png)).unwrap();
    assert!(decoded.pixels().all(|pixel| pixel.0 == [127, 127, 127]));
    let clear = image::RgbaImage::from_pixel(4, 4, image::Rgba([9, 9, 9, 0]));
    assert!(
        picture::decode(&encoded(&clear.into(), ImageFormat::Png)).unwrap().pixels().all(|p| p.0 == WHITE)
    );
}

/// An EXIF block whose only entry is the orientation, as an APP1 segment.
fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    tiff.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let mut segment = vec![0xff, 0xe1];
    segment.extend((tiff.len() as u16 + 2).to_be_bytes());
    segment.extend(tiff);
    segment
}

#[test]
fn exif_turns_and_mirrors_all_eight_ways() {
    let jpeg = encoded(&painted(32, 16, [RED, GREEN, BLUE, WHITE]).into(), ImageFormat::Jpeg);
    let shown = [
        [RED, GREEN, BLUE, WHITE],
        [GREEN, RED, WHITE, BLUE],
        [WHITE, BLUE, GREEN, RED],
        [BLUE, WHITE, RED, GREEN],
        [RED, BLUE, GREEN, WHITE],
        [BLUE, RED, WHITE, GREEN],
        [WHITE, GREEN, BLUE, RED],
        [GREEN, WHITE, RED, BLUE],
    ];
    for (orientation, expected) in (1..).zip(shown) {
        let turned = [&jpeg[..2], &exif(orientation), &jpeg[2..]].concat();
        let picture = picture::decode(&turned).unwrap();
        let size = if orientation < 5 { (32, 16) } else { (16, 32) };
        assert_eq!(picture.dimensions(), size, "orientation {orientation}");
        assert_close(quadrants(&picture), expected, 40, &format!("orientation {orientation}"));
    }
    for wrong in [0, 9, 255] {
        let turned = [&jpeg[..2], &exif(wrong), &jpeg[2..]].concat();
        assert_eq!(picture::decode(&turned).unwrap().dimensions(), (32, 16));
    }
}

#[test]
fn stray_bytes_between_headers_are_no_reason_to_lose_a_picture() {
    let jpeg = std::fs::read(fixture("baseline.jpg")).unwrap();
    let stray = [&jpeg[..20], &[0, 1, 2], &jpeg[20..]].concat();
    assert_eq!(jpeg[20..22], [0xff, 0xdb], "the fixture's first segment ends at byte 20");
    assert_eq!(picture::decode(&stray).unwrap(), picture::decode(&jpeg).unwrap());
}

#[test]
fn every_truncation_is_refused_or_lost_nothing() {
    for entry in std::fs::read_dir(fixture("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "py") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let whole = picture::decode(&bytes).unwrap();
        let cuts =
            (0..bytes.len()).filter(|&cut| picture::decode(&bytes[..cut]).is_ok_and(|cut| cut != whole));
        let cuts: Vec<usize> = cuts.collect();
        assert!(cuts.is_empty(), "{}: a part of it passes when cut at {cuts:?}", path.display());
        // Not half of it: an animation may have its whole first frame there.
        assert!(picture::decode(&bytes[..bytes.len() / 8]).is_err(), "{}", path.display());
    }
}

#[test]
fn damaged_bytes_never_crash() {
    let mut state = 1u64;
    for entry in std::fs::read_dir(fixture("")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for _ in 0..200 {
            let mut damaged = bytes.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (state >> 33) as usize % damaged.len();
                damaged[at] = (state >> 20) as u8;
            }
            if let Ok(picture) = picture::decode(&damaged) {
                assert!(u64::from(picture.width()) * u64::from(picture.height()) <= MAX_PIXELS);
            }
        }
    }
}

#[test]
fn what_is_no_picture_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name)
    };
    let to = Preprocessing::new(8, 8, Fit::Crop);
    let reason = |path: &Path| picture::load(path, &to).unwrap_err().reason;
    assert!(reason(&folder.path().join("missing.jpg")).contains("cannot read"));
    assert!(reason(folder.path()).contains("folder"));
    assert!(reason(&write("zero.png", b"")).contains("empty"));
    assert!(reason(&write("text.jpg", b"hello, I am text")).contains("no picture"));
    assert!(reason(&write("signature.jpg", b"\xff\xd8\xff\xe0")).contains("broken"));
}

#[test]
fn the_content_decides_not_the_extension() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("really-a.jpg");
    let png = encoded(&painted(8, 8, [RED, GREEN, BLUE, GREY]).into(), ImageFormat::Png);
    std::fs::write(&path, png).unwrap();
    let pixels = picture::load(&path, &Preprocessing::new(8, 8, Fit::Crop)).unwrap();
    assert_eq!(pixels, painted(8, 8, [RED, GREEN, BLUE, GREY]).into_raw());
}

/// The headers of pictures of 20,000 x 20,000 pixels in a few bytes.
pub fn giants() -> Vec<(&'static str, Vec<u8>)> {
    let mut png = encoded(&painted(8, 8, [RED; 4]).into(), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let mut jpeg = std::fs::read(fixture("baseline.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
    let mut bmp = encoded(&painted(8, 8, [RED; 4]).into(), ImageFormat::Bmp);
    bmp[18..26].copy_from_slice(&[0x20, 0x4e, 0, 0, 0x20, 0x4e, 0, 0]);
    let mut gif = std::fs::read(fixture("animated.gif")).unwrap();
    gif[6..10].copy_from_slice(&[0x20, 0x4e, 0x20, 0x4e]);
    vec![("png", png), ("jpg", jpeg), ("bmp", bmp), ("gif", gif), ("ppm", b"P6 20000 20000 255\n\0".to_vec())]
}

/// PNG's checksum (polynomial 0xedb88320).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn giants_are_refused_by_their_size() {
    for (name, bytes) in giants() {
        let reason = picture::decode(&bytes).unwrap_err().reason;
        assert!(reason.contains("too large: 20000 x 20000"), "{name}: {reason}");
    }
}

#[test]
fn one_pixel_fills_the_picture() {
    for fit in [Fit::Crop, Fit::Stretch, Fit::Pad] {
        let one = RgbImage::from_pixel(1, 1, Rgb(GREEN));
        let pixels = picture::resize(&one, &Preprocessing::new(6, 6, fit)).unwrap();
        assert!(pixels.chunks(3).all(|pixel| pixel == GREEN), "{fit:?}");
    }
}

#[test]
fn the_fits_keep_what_they_say() {
    // Three bands of 16 columns: red, green, blue.
    let wide = RgbImage::from_fn(48, 16, |x, _| Rgb([RED, GREEN, BLUE][x as usize / 16]));
    let at = |pixels: &[u8], x: usize, y: usize| -> [u8; 3] {
        pixels[(y * 16 + x) * 3..][..3].try_into().unwrap()
    };
    let crop = picture::resize(&wide, &Preprocessing::new(16, 16, Fit::Crop)).unwrap();
    assert!((0..16).all(|x| at(&crop, x, 8) == GREEN), "the middle third");
    let stretch = picture::resize(&wide, &Preprocessing::new(16, 16, Fit::Stretch)).unwrap();
    assert_eq!([at(&stretch, 1, 0), at(&stretch, 8, 8), at(&stretch, 14, 15)], [RED, GREEN, BLUE]);
    let pad = picture::resize(&wide, &Preprocessing::new(16, 16, Fit::Pad)).unwrap();
    assert_eq!([at(&pad, 1, 8), at(&pad, 8, 8), at(&pad, 14, 8)], [RED, GREEN, BLUE]);
    assert_eq!([at(&pad, 8, 4), at(&pad, 8, 11)], [[0; 3]; 2], "a third of 16 rows is 5: 5 above, 6 below");
    // Height and width are not exchanged.
    let tall = picture::resize(&wide, &Preprocessing::new(32, 16, Fit::Crop)).unwrap();
    assert_eq!(tall.len(), 32 * 16 * 3);
    assert!(tall.chunks(3).all(|pixel| pixel == GREEN));
}

/// Shrinking averages (antialiasing): a fine checkerboard becomes grey, not black or white.
#[test]
fn shrinking_without_antialiasing_made_moire() {
    let board = RgbImage::from_fn(256, 256, |x, y| Rgb([255 * ((x + y) % 2) as u8; 3]));
    let pixels = picture::resize(&board, &Preprocessing::new(32, 32, Fit::Crop)).unwrap();
    assert!(pixels.iter().all(|value| value.abs_diff(128) <= 3));
}
