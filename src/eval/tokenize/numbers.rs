//! Rules for numbers: groups, signs, fractions.

use super::chars::{count, is_at, is_digit, is_hyphen};
use super::rules::Match;

/// `12`, `1,000.50`, `10:30`, `.5`: digits, or groups of them behind `.`, `,` or `:`.
fn plain_number(text: &[char]) -> Option<usize> {
    let mut end = count(text, is_digit);
    while is_at(text, end, |c| matches!(c, '.' | ',' | ':')) && is_at(text, end + 1, is_digit) {
        end += 1 + count(&text[end + 1..], is_digit);
    }
    (end > 0).then_some(end)
}

/// A number with its sign, a fraction (`1/2`, `1-1/2`), a date.
pub fn number(text: &[char]) -> Option<Match> {
    let sign = usize::from(is_at(text, 0, |c| matches!(c, '+' | '-')));
    let plain = sign + plain_number(&text[sign..])?;
    let mut best = plain;
    let whole = count(text, is_digit);
    if whole > 0 && is_at(text, whole, is_hyphen) {
        best = best.max(fraction(&text[whole + 1..]).map_or(0, |length| whole + 1 + length));
    }
    Some(best.max(fraction(text).unwrap_or(0)).into())
}

fn fraction(text: &[char]) -> Option<usize> {
    let above = count(text, is_digit);
    let below = if text.get(above) == Some(&'/') { count(&text[above + 1..], is_digit) } else { 0 };
    ((1..=4).contains(&above) && (1..=4).contains(&below)).then_some(above + 1 + below)
}
