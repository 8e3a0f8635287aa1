//! Rules for what is not a word: tags, entities, addresses, emoticons, runs of marks.

use super::chars::{begins, count, is_alnum, is_at, is_space};
use super::lists;
use super::rules::Match;

/// `<b>`, `</b>`, `<a href="x">`, `<!-- remark -->`.
pub fn tag(text: &[char]) -> Option<Match> {
    if text.first() != Some(&'<') {
        return None;
    }
    let close = count(text, |c| c != '>');
    if close == text.len() {
        return None;
    }
    let inside: String = text[1..close].iter().collect();
    if inside.starts_with('!') || inside.starts_with('?') {
        return Some((close + 1).into());
    }
    let name = inside.strip_prefix('/').unwrap_or(&inside);
    let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | ' ' | '/'));
    let quoted = name.contains("=\"") && name.ends_with('"') || name.contains("='") && name.ends_with('\'');
    (name.starts_with(|c: char| c.is_ascii_alphabetic()) && (plain || quoted)).then(|| (close + 1).into())
}

/// `&amp;`, `&#39;`, `&eacute;`.
pub fn entity(text: &[char]) -> Option<Match> {
    if text.first() != Some(&'&') {
        return None;
    }
    let end = 1 + count(&text[1..], |c| c.is_ascii_alphanumeric() || c == '#');
    if text.get(end) != Some(&';') {
        return None;
    }
    let name: String = text[1..end].iter().collect();
    let known = lists::ENTITIES.iter().any(|(entity, _)| entity[1..entity.len() - 1] == name)
        || name.strip_prefix('#').is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
        || ["acute", "grave", "uml", "circ"]
            .iter()
            .any(|accent| name.len() == accent.len() + 1 && name.ends_with(accent));
    known.then(|| (end + 1).into())
}

/// `AT&T`, `R&B`: capitals only.
pub fn joined_capitals(text: &[char]) -> Option<Match> {
    let capital = |c: char| c.is_ascii_uppercase();
    let mut end = count(text, capital);
    if end == 0 {
        return None;
    }
    let first = end;
    loop {
        let mark = if begins(&text[end..], "&amp;") {
            5
        } else {
            usize::from(is_at(text, end, |c| matches!(c, '&' | '+')))
        };
        let next = if mark > 0 { count(&text[end + mark..], capital) } else { 0 };
        if next == 0 {
            break;
        }
        end += mark + next;
    }
    (end > first).then(|| end.into())
}

/// Web and mail addresses.
pub fn address(text: &[char]) -> Option<Match> {
    let run = count(text, |c| !is_space(c) && !matches!(c, '<' | '>' | '|' | '(' | ')' | '{' | '}' | '"'));
    let chunk = &text[..run];
    if begins(chunk, "http://") || begins(chunk, "https://") {
        let end =
            run - chunk.iter().rev().take_while(|c| matches!(c, '.' | ',' | '?' | '!' | ';' | ':')).count();
        return (end > 8).then(|| end.into());
    }
    let local = count(chunk, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-' | '&' | '%'));
    if local > 0 && is_alnum(chunk[0]) && chunk.get(local) == Some(&'@') {
        let mut end = local
            + 1
            + count(&chunk[local + 1..], |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        while matches!(chunk[end - 1], '.' | '-' | '_') {
            end -= 1;
        }
        return (end > local + 1).then(|| end.into());
    }
    let host = count(chunk, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    let written: String = chunk[..host].iter().collect::<String>().to_ascii_lowercase();
    let end = [".com", ".net", ".org", ".edu"]
        .iter()
        .filter_map(|top| written.rfind(top).map(|at| at + 4))
        .max()?;
    if is_at(chunk, end, is_alnum) || end < 5 || written[..end].contains("..") {
        return None;
    }
    let path = if chunk.get(end) == Some(&'/') {
        let path = count(&chunk[end..], |c| {
            is_alnum(c) || matches!(c, '/' | '.' | '-' | '_' | '~' | '=' | '?' | '&' | '%')
        });
        path - chunk[end..end + path].iter().rev().take_while(|c| matches!(c, '.' | '?' | '/' | '-')).count()
    } else {
        0
    };
    Some((end + path).into())
}

/// `@name`, `#topic`.
pub fn handle(text: &[char]) -> Option<Match> {
    if !matches!(text.first(), Some('@' | '#')) {
        return None;
    }
    let name = |c: char| c.is_ascii_alphabetic() || (c == '_' && text[0] == '@');
    let more = |c: char| name(c) || (c.is_ascii_digit() && text[0] == '@');
    is_at(text, 1, name).then(|| (1 + count(&text[1..], more)).into())
}

/// `:-)`, `=D`, `^_^`, where no letter follows.
pub fn emoticon(text: &[char]) -> Option<Match> {
    let mut at = usize::from(matches!(text.first(), Some('<' | '>')));
    let eyes = is_at(text, at, |c| matches!(c, ':' | ';' | '='));
    if eyes {
        at += 1;
        let nose = usize::from(is_at(text, at, |c| matches!(c, '-' | 'o' | '*' | '\'')));
        for nose in [nose, 0] {
            let mouth = |c: char| {
                matches!(c, '(' | ')' | 'D' | 'P' | 'd' | 'p' | 'O' | '\\' | '{' | '@' | '|' | '[' | ']')
            };
            if is_at(text, at + nose, mouth) && !is_at(text, at + nose + 1, |c| c.is_ascii_alphabetic()) {
                return Some((at + nose + 1).into());
            }
        }
    }
    let cheek = |c: char| matches!(c, '-' | '^' | 'x' | '=' | '~' | '<' | '>' | '\'');
    if is_at(text, 0, cheek) && is_at(text, 1, |c| c == '_') && is_at(text, 2, cheek) {
        return Some(3.into());
    }
    if text.first() == Some(&'(') && is_at(text, 1, cheek) {
        let middle = usize::from(is_at(text, 2, |c| matches!(c, '_' | '.')));
        if is_at(text, 2 + middle, cheek) && is_at(text, 3 + middle, |c| c == ')') {
            return Some((4 + middle).into());
        }
    }
    None
}

/// Runs of one mark that are one token: `!!`, `...`, `--`, `***`, `__`; a currency's letters: `US$`.
pub fn run(text: &[char]) -> Option<Match> {
    let first = *text.first()?;
    let same = count(text, |c| c == first);
    match first {
        '!' | '?' => Some(count(text, |c| matches!(c, '!' | '?')).into()),
        '-' | '*' | '_' | '#' | '@' => Some(same.into()),
        '.' if same > 2 => Some(same.into()),
        '<' | '>' | '\'' | '’' | '`' if same > 1 => Some(2.into()),
        'A'..='Z' => {
            let letters = count(text, |c| c.is_ascii_uppercase());
            (letters <= 2 && text.get(letters) == Some(&'$')).then(|| (letters + 1).into())
        }
        _ => None,
    }
}
