//! Runs a search over the model: encodes the pictures once, then extends all hypotheses word by word.

use super::beam::Search;
use super::{Caption, Method, log_softmax};
use crate::Result;
use crate::data::vocabulary::{END, PAD, START, Vocabulary};
use crate::device::StepState;
use crate::models::captioner::Session;

/// Pictures decoded side by side: enough rows to fill the cores, little memory.
const PICTURES: usize = 32;

/// Captions for `pixels` (pictures, height, width, 3).
///
/// # Errors
/// If the pixels are not whole pictures of the model's size.
pub fn caption(session: &mut Session, pixels: &[u8], method: Method) -> Result<Vec<Caption>> {
    let ends = session.model.ends;
    let picture = ends.height * ends.width * crate::ops::patches::CHANNELS;
    if picture == 0 || !pixels.len().is_multiple_of(picture) {
        return Err(crate::Error::failed(format!(
            "{} bytes are not whole pictures of {picture}",
            pixels.len()
        )));
    }
    let mut captions = Vec::new();
    for (chunk, pixels) in pixels.chunks(PICTURES * picture).enumerate() {
        // All chunks have the same shape, so that one plan serves: the last one repeats its first picture.
        let count = pixels.len() / picture;
        let batch = if chunk == 0 { count } else { PICTURES };
        let mut padded = pixels.to_vec();
        for _ in count..batch {
            padded.extend_from_slice(&pixels[..picture]);
        }
        let mut found = decode(session, &padded, batch, method, (chunk * PICTURES) as u32)?;
        found.truncate(count);
        captions.extend(found);
    }
    Ok(captions)
}

/// Captions as text.
///
/// # Errors
/// As [`caption`].
pub fn describe(
    session: &mut Session,
    vocabulary: &Vocabulary,
    pixels: &[u8],
    method: Method,
) -> Result<Vec<String>> {
    Ok(caption(session, pixels, method)?.iter().map(|c| vocabulary.decode(&c.tokens)).collect())
}

/// How one picture's caption is being found.
enum Finder {
    Beam(Search),
    Sample { tokens: Vec<u32>, log_probability: f32, done: bool },
}

impl Finder {
    /// The last word of each open hypothesis.
    fn last_words(&self) -> Vec<u32> {
        match self {
            Finder::Beam(search) => {
                search.open().iter().map(|h| h.tokens.last().copied().unwrap_or(START)).collect()
            }
            Finder::Sample { done: true, .. } => Vec::new(),
            Finder::Sample { tokens, .. } => vec![tokens.last().copied().unwrap_or(START)],
        }
    }
}

fn decode(
    session: &mut Session,
    pixels: &[u8],
    batch: usize,
    method: Method,
    first_picture: u32,
) -> Result<Vec<Caption>> {
    let (most, vocabulary) = (session.model.config.max_words, session.model.ends.vocabulary);
    let (beams, mut finders): (usize, Vec<Finder>) = match method {
        Method::Beam { width, alpha } => {
            (width, (0..batch).map(|_| Finder::Beam(Search::new(width, alpha, most))).collect())
        }
        Method::Sample(_) => {
            let open = || Finder::Sample { tokens: Vec::new(), log_probability: 0.0, done: false };
            (1, (0..batch).map(|_| open()).collect())
        }
    };
    let encoder = session.encoder(batch)?;
    let extender = session.extender(batch, beams)?;
    let state = StepState::default();
    session.memory.write(&encoder.program, encoder.ends.0, pixels);
    session.run(&encoder.program, &state)?;
    let ends = &extender.ends;
    session.memory.copy((&encoder.program, encoder.ends.1), (&extender.program, ends.memory));

    let mut slots = vec![0u32; batch * beams * most];
    for position in 0..most {
        let mut words = vec![PAD; batch * beams];
        for (finder, words) in finders.iter().zip(words.chunks_exact_mut(beams)) {
            for (word, last) in words.iter_mut().zip(finder.last_words()) {
                *word = last;
            }
        }
        session.memory.write(&extender.program, ends.words, &words);
        session.memory.write(&extender.program, ends.position, &[position as u32]);
        session.memory.write(&extender.program, ends.slots, &slots);
        session.run(&extender.program, &state)?;
        let logits = session.memory.read(&extender.program, ends.logits);
        session.memory.check()?;

        let old_slots = slots.clone();
        let mut open = false;
        for (picture, finder) in finders.iter_mut().enumerate() {
            let first_row = picture * beams;
            let row = |i: usize| log_softmax(&logits[(first_row + i) * vocabulary..][..vocabulary]);
            let parents = match finder {
                Finder::Beam(search) if search.is_done() => continue,
                Finder::Beam(search) => {
                    let rows: Vec<Vec<f32>> = (0..search.open().len()).map(row).collect();
                    search.advance(&rows)
                }
                Finder::Sample { done: true, .. } => continue,
                Finder::Sample { tokens, log_probability, done } => {
                    let Method::Sample(sampling) = method else { unreachable!("made above from the method") };
                    let row = row(0);
                    let token = sampling.draw(&row, first_picture + picture as u32, position as u32);
                    *log_probability += row[token as usize];
                    if token == END {
                        *done = true;
                        Vec::new()
                    } else {
                        tokens.push(token);
                        *done = tokens.len() >= most;
                        vec![0]
                    }
                }
            };
            open |= !finder.last_words().is_empty();
            // Hypothesis i goes on from `parent`: its earlier words lie where the parent's do, the newest in its row.
            for (i, parent) in parents.into_iter().enumerate() {
                let (to, from) = ((first_row + i) * most, (first_row + parent) * most);
                slots[to..to + position].copy_from_slice(&old_slots[from..from + position]);
                slots[to + position] = (first_row + parent) as u32;
            }
        }
        if !open {
            break;
        }
    }
    Ok(finders
        .into_iter()
        .map(|finder| match finder {
            Finder::Beam(search) => search.best(),
            Finder::Sample { tokens, log_probability, .. } => Caption { tokens, log_probability },
        })
        .collect())
}
