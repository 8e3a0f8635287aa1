//! What the model looked at while it wrote a caption.

use super::Caption;
use crate::Result;
use crate::data::Vocabulary;
use crate::data::vocabulary::START;
use crate::device::StepState;
use crate::look::Canvas;
use crate::look::attention::attention_picture;
use crate::models::captioner::Session;

/// Draws the last decoder layer's attention for each word of `caption` over its picture (height, width, 3).
///
/// # Errors
/// If the caption is empty or the pixels are not one picture.
pub fn attention(
    session: &mut Session,
    vocabulary: &Vocabulary,
    pixels: &[u8],
    caption: &Caption,
) -> Result<Canvas> {
    let tokens = &caption.tokens;
    // Word t is chosen at the place of the word before it: the start token for the first.
    let mut words = vec![START];
    words.extend(tokens.iter().take(tokens.len().saturating_sub(1)));
    let looker = session.looker(1, words.len())?;
    let ends = looker.ends;
    session.memory.write(&looker.program, ends.pixels, pixels);
    session.memory.write(&looker.program, ends.words, &words);
    session.run(&looker.program, &StepState::default())?;
    let labels: Vec<String> = tokens.iter().map(|&t| vocabulary.token(t).to_string()).collect();
    let picture = session.model.ends;
    let (rows, columns) = session.model.grid();
    let weights = session.memory.read(&looker.program, ends.weights);
    session.memory.check()?;
    attention_picture(
        pixels,
        picture.height,
        picture.width,
        &labels,
        &weights,
        session.model.config.heads,
        rows,
        columns,
    )
}
