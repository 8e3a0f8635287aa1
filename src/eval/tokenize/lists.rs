//! The closed lists of the tokenizer: abbreviations, contractions, words with an apostrophe, replaced symbols.

/// Keep their full stop in any case. Single letters do too, without being listed.
pub const ABBREVIATIONS: &str = "\
al cf co ct dr ft ga jr ky lt md mo mr ms mt ph rd rt sq sr st va vs vt wm \
adj adm adv ala apr aug ave bhd cie col cos cpl dak dec det drs ens esq est etc ext feb fla fri gen gov hon inc \
ind jan jos jul jun kan ltd maj mar mfg mme mon mrs mtg neb nev oct nov pfc plc pte pty pvt rep rev sen sep seq \
sfc sgt spc ste sys tel thu tue wed wis wyo \
alex ariz assn asst atty bldg blvd brig bros capt cmdr colo conn corp dept elec govs insp intl invt kans mich \
minn mlle mont msgr natl okla penn ppte ppty pres prof ptes ptys reps sens sept supt tenn tues univ wisc \
assoc attys calif comdr lieut pptes pptys profs supts thurs treas messrs bancorp";

/// Keep their full stop when they begin with a capital (`Wash.` is a state, `wash.` ends a sentence).
pub const CAPITAL_ABBREVIATIONS: &str = "az la pa ark del ill ore tex mass miss wash";

/// Keep their full stop before a number (`no. 5`).
pub const NUMBER_ABBREVIATIONS: &str = "ca no op pp art fig figs nos prop";

/// Words that begin a sentence, so that a single letter before them ends one.
pub const SENTENCE_BEGINNINGS: &str = "\
a about according additionally after an as at but earlier he her here however if in it last many more mr. ms. now \
once one other our she since so some such that the their then there these they this we what when while yet you";

/// Written as one word, counted as two: the first part's length says where it splits.
pub const SPLIT_WORDS: [(&str, usize); 9] = [
    ("cannot", 3),
    ("gonna", 3),
    ("gotta", 3),
    ("lemme", 3),
    ("gimme", 3),
    ("wanna", 3),
    ("more'n", 4),
    ("'tis", 2),
    ("'twas", 2),
];

/// Words that keep an apostrophe which would otherwise be a quotation mark.
pub const APOSTROPHE_WORDS: [&str; 13] = [
    "'em",
    "'til",
    "'cause",
    "'n'",
    "'n",
    "ol'",
    "li'l",
    "ma'am",
    "c'mon",
    "d'ye",
    "y'",
    "somethin'",
    "dunkin'",
];

/// Entities of HTML, and the word each stands for.
pub const ENTITIES: [(&str, Option<&str>); 9] = [
    ("&amp;", Some("&")),
    ("&lt;", Some("<")),
    ("&gt;", Some(">")),
    ("&quot;", None),
    ("&apos;", None),
    ("&nbsp;", None),
    ("&mdash;", None),
    ("&ndash;", None),
    ("&hellip;", None),
];

/// Brackets and the names the treebank gives them, lower-cased.
pub const BRACKETS: [(&str, &str); 6] =
    [("(", "-lrb-"), (")", "-rrb-"), ("[", "-lsb-"), ("]", "-rsb-"), ("{", "-lcb-"), ("}", "-rcb-")];

/// What a symbol that stands alone becomes: `None` to stay itself, `Some(None)` to count for nothing.
pub fn replacement(symbol: char) -> Option<Option<&'static str>> {
    Some(match symbol {
        '¢' => Some("cents"),
        '£' => Some("#"),
        '€' | '¤' | '₠' | '\u{80}' => Some("$"),
        '¼' => Some("1/4"),
        '½' => Some("1/2"),
        '¾' => Some("3/4"),
        '⅓' => Some("1/3"),
        '⅔' => Some("2/3"),
        '"' | '“' | '”' | '‘' | '’' | '‛' | '‹' | '›' | '«' | '»' | '\u{91}'..='\u{94}' => {
            None
        }
        '…' | '–' | '—' | '―' | '\u{96}' | '\u{97}' => None,
        _ => return None,
    })
}

/// True if `word` stands in a space-separated list.
pub fn listed(list: &str, word: &str) -> bool {
    list.split(' ').any(|entry| entry == word)
}
