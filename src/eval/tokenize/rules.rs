//! The rules that propose tokens, in order, and those for words: each says how far it matches from a position, and how much of that is the token.

use super::chars::{begins, count, is_alnum, is_apostrophe, is_at, is_digit, is_hyphen, is_letter, is_space};
use super::lists;
use super::marks::{address, emoticon, entity, handle, joined_capitals, run, tag};
use super::numbers::number;

/// A proposal: `matched` characters decide which rule wins, `length` of them become the token.
/// They differ where a rule looks ahead: `do` in `don't` wins with the five characters it saw.
#[derive(Clone, Copy)]
pub struct Match {
    pub matched: usize,
    pub length: usize,
}

impl From<usize> for Match {
    fn from(length: usize) -> Self {
        Match { matched: length, length }
    }
}

/// A rule sees the text from its position on.
type Rule = fn(&[char]) -> Option<Match>;

/// In order of preference among equally long matches.
const RULES: [Rule; 20] = [
    tag,
    entity,
    split_word,
    before_not,
    before_clitic,
    not,
    clitic,
    apostrophe_inside,
    stopped_before_mark,
    apostrophe_word,
    abbreviation,
    acronym,
    word,
    number,
    slashed,
    joined_capitals,
    address,
    handle,
    emoticon,
    run,
];

/// No token is longer, in characters: so time stays linear in the length of any text.
const LONGEST: usize = 1000;

/// The length of the token that begins at `at`; 0 where nothing but the single character does.
pub fn longest(text: &[char], at: usize) -> usize {
    let rest = &text[at..text.len().min(at + LONGEST)];
    let mut best = Match { matched: 0, length: 0 };
    for found in RULES.iter().filter_map(|rule| rule(rest)) {
        if found.matched > best.matched {
            best = found;
        }
    }
    best.length
}

/// `can|not`, `gon|na`, `'t|is`.
fn split_word(text: &[char]) -> Option<Match> {
    let (word, length) = lists::SPLIT_WORDS.iter().find(|(word, _)| begins(text, word))?;
    // `gonna's` is a noun with an ending, and stays whole.
    if clitic(&text[word.len()..]).is_some() {
        return None;
    }
    Some(Match { matched: word.chars().count(), length: *length })
}

/// The word before `n't`.
fn before_not(text: &[char]) -> Option<Match> {
    let letters = count(text, is_letter);
    let base = letters.checked_sub(1).filter(|&base| base > 0)?;
    begins(&text[base..], "n't").then_some(Match { matched: base + 3, length: base })
}

/// The word before `'s`, `'ll` and their like: it wins over a longer reading of the same letters.
fn before_clitic(text: &[char]) -> Option<Match> {
    let base = count(text, is_letter);
    let ending = if base > 0 { clitic(&text[base..])?.matched } else { return None };
    Some(Match { matched: base + ending, length: base })
}

/// Names with an apostrophe: `O'Brien`, `N'Dour`, `Hawai'i`.
fn apostrophe_inside(text: &[char]) -> Option<Match> {
    let base = count(text, |c| c.is_ascii_alphabetic());
    if base == 0 || !is_at(text, base, |c| is_apostrophe(c) || c == '`') {
        return None;
    }
    let after = count(&text[base + 1..], is_letter);
    let initial =
        base == 1 && after >= 2 && matches!(text[0], 'A'..='H' | 'J'..='X' | 'Z' | 'd' | 'l' | 'n' | 'o');
    let vowel = |c: char| matches!(c.to_ascii_lowercase(), 'a' | 'e' | 'i' | 'o' | 'u');
    let vowels = base >= 2
        && (vowel(text[base - 1]) || matches!(text[base - 1], 'y' | 'Y'))
        && is_at(text, base + 1, |c| c.is_ascii_uppercase() || vowel(c));
    (initial || vowels).then(|| (base + 1 + after).into())
}

/// A word keeps its full stop where a comma, colon or semicolon follows at once: it must be an abbreviation.
fn stopped_before_mark(text: &[char]) -> Option<Match> {
    let end = word(text)?.length;
    let has_letter = text[..end].iter().any(|&c| is_letter(c));
    (has_letter && text.get(end) == Some(&'.') && is_at(text, end + 1, |c| matches!(c, ',' | ':' | ';')))
        .then_some(Match { matched: end + 2, length: end + 1 })
}

/// `n't` itself, with letters that follow (`n'ts`).
fn not(text: &[char]) -> Option<Match> {
    begins(text, "n't").then(|| (3 + count(&text[3..], is_letter)).into())
}

/// `'s`, `'ll`, `'ve`, ... where no letter follows.
fn clitic(text: &[char]) -> Option<Match> {
    let ending = ["'s", "'m", "'d", "'ll", "'re", "'ve"]
        .into_iter()
        .find(|ending| begins(text, ending) && !is_at(text, ending.len(), is_letter))?;
    Some(ending.len().into())
}

/// `'em`, `ma'am`; decades and years without their century: `'80s`, `'81`.
fn apostrophe_word(text: &[char]) -> Option<Match> {
    if text.first().is_some_and(|&c| is_apostrophe(c)) && count(&text[1..], is_digit) == 2 {
        let decade = text[1] > '1' && text[2] == '0' && begins(&text[3..], "s");
        if decade || !is_at(text, 3, |c| !is_space(c)) {
            return Some((3 + usize::from(decade)).into());
        }
    }
    let whole = |word: &&&str| {
        begins(text, word) && !(**word == "'n" && is_at(text, 2, |c| is_letter(c) || c == '.'))
    };
    let listed = lists::APOSTROPHE_WORDS.iter().filter(whole).map(|word| word.len());
    // `l'` and its like stand before a vowel in French names.
    let elided =
        (text.len() > 1 && matches!(text[0], 'l' | 'L' | 'd' | 'D' | 'j' | 'J') && is_apostrophe(text[1]))
            .then_some(2);
    listed.chain(elided).max().map(Match::from)
}

/// A listed abbreviation with its full stop.
fn abbreviation(text: &[char]) -> Option<Match> {
    let letters = count(text, |c| c.is_ascii_alphabetic());
    if letters == 0 || text.get(letters) != Some(&'.') {
        return None;
    }
    let written: String = text[..letters].iter().collect();
    let word = written.to_ascii_lowercase();
    if letters == 1 {
        return (!begins_sentence(&text[2..])).then(|| 2.into());
    }
    if lists::listed(lists::ABBREVIATIONS, &word)
        || (written != word && lists::listed(lists::CAPITAL_ABBREVIATIONS, &word))
    {
        return Some((letters + 1).into());
    }
    let after = &text[letters + 1..];
    let spaces = count(after, is_space);
    (lists::listed(lists::NUMBER_ABBREVIATIONS, &word) && is_at(after, spaces, is_digit))
        .then_some(Match { matched: letters + 2 + spaces, length: letters + 1 })
}

/// True behind `plan B.` where the next word begins a sentence, so that the stop is no part of the letter.
fn begins_sentence(text: &[char]) -> bool {
    let spaces = count(text, is_space);
    let length = count(&text[spaces..], |c| !is_space(c));
    let next: String = text[spaces..spaces + length].iter().collect::<String>().to_ascii_lowercase();
    spaces > 0 && lists::listed(lists::SENTENCE_BEGINNINGS, &next)
}

/// `u.s.`, `a.m.`, `Ph.D.`
fn acronym(text: &[char]) -> Option<Match> {
    if let Some(fixed) = ["ph.d.", "ed.d.", "non-u.s"].into_iter().find(|fixed| begins(text, fixed)) {
        return Some(fixed.len().into());
    }
    let mut end = 0;
    while is_at(text, end, |c| c.is_ascii_alphabetic()) && text.get(end + 1) == Some(&'.') {
        end += 2;
    }
    let joined = hyphenated(&text[end..]);
    (end >= 4 || end == 2 && joined > 0).then(|| (end + joined).into())
}

/// A part of a word: letters and digits, or a name like `o'brien`.
fn part(text: &[char]) -> usize {
    let named = matches!(text.first(), Some('d' | 'D' | 'o' | 'O' | 'l' | 'L'))
        && is_at(text, 1, is_apostrophe)
        && is_at(text, 2, |c| c.is_ascii_alphanumeric())
        && is_at(text, 3, |c| c.is_ascii_alphanumeric());
    let start = if named { 2 } else { 0 };
    start + count(&text[start..], is_alnum)
}

/// Any number of `-part`.
fn hyphenated(text: &[char]) -> usize {
    let mut end = 0;
    while is_at(text, end, is_hyphen) {
        let next = part(&text[end + 1..]);
        if next == 0 {
            break;
        }
        end += 1 + next;
    }
    end
}

/// A word: parts joined by hyphens, `3d`, `end.start`, `1,000-foot`, `non-u.s.`
fn word(text: &[char]) -> Option<Match> {
    let first = *text.first()?;
    if !is_alnum(first) {
        return None;
    }
    let whole = part(text);
    let mut end = whole;
    if is_letter(first) && whole == count(text, is_alnum) {
        // A missing space after a full stop: `end.start` is one word.
        while is_at(text, end, |c| matches!(c, '.' | '!' | '?')) && is_at(text, end + 1, is_letter) {
            end += 1 + count(&text[end + 1..], is_alnum);
        }
    }
    // Before a hyphen, anything of letters, digits, stops and commas joins: `1.5-inch`, `a,little-league`.
    let run = count(text, |c| is_alnum(c) || matches!(c, '.' | ','));
    let tail = hyphenated(&text[run..]);
    let dotted_before = tail > 0 && run > whole;
    if tail > 0 {
        end = end.max(run + tail);
    } else if end == whole {
        end += hyphenated(&text[whole..]);
    }
    // `anti-U.S.`: the acronym behind a hyphen keeps its stops.
    if !dotted_before && end >= 2 && is_at(text, end - 2, is_hyphen) && text.get(end) == Some(&'.') {
        let mut stop = end - 1;
        while is_at(text, stop, |c| c.is_ascii_alphabetic()) && text.get(stop + 1) == Some(&'.') {
            stop += 2;
        }
        if stop >= end + 3 {
            end = stop + hyphenated(&text[stop..]);
        }
    }
    Some(end.into())
}

/// `and/or`, `black-and-white/grey`: up to three alternatives, each with up to two hyphens.
fn slashed(text: &[char]) -> Option<Match> {
    let alternative = |text: &[char]| {
        let mut end = count(text, |c| c.is_ascii_alphanumeric());
        for _ in 0..2 {
            let next = if end > 0 && text.get(end) == Some(&'-') {
                count(&text[end + 1..], |c| c.is_ascii_alphabetic())
            } else {
                0
            };
            if next == 0 {
                break;
            }
            end += 1 + next;
        }
        end
    };
    let mut end = alternative(text);
    let mut slashes = 0;
    while end > 0 && slashes < 2 && text.get(end) == Some(&'/') {
        let next = alternative(&text[end + 1..]);
        if next == 0 {
            break;
        }
        end += 1 + next;
        slashes += 1;
    }
    (slashes > 0).then(|| end.into())
}
