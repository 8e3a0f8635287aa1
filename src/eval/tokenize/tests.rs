//! Facts about the Stanford tokenizer (CoreNLP 3.4.1, as COCO's evaluation calls it), one a line.

use super::tokenize;

/// Each case is a caption and the words that the Stanford tokenizer leaves of it.
fn check(cases: &[(&str, &str)]) {
    for (caption, expected) in cases {
        assert_eq!(tokenize(caption).join(" "), *expected, "caption {caption:?}");
    }
}

#[test]
fn plain_captions_lose_case_and_punctuation() {
    check(&[
        ("A man riding a wave on top of a surfboard.", "a man riding a wave on top of a surfboard"),
        ("A man riding a wave , on top; of: a surfboard!", "a man riding a wave on top of a surfboard"),
        ("two   spaces\ttab\nline  trailing ", "two spaces tab line trailing"),
        ("\"double\" 'single' ``treebank'' ‘curly’ “curly”", "double single treebank curly curly"),
        ("", ""),
        (" ... -- ?", ""),
        ("wow!! what?! why????", "wow !! what ?! why ????"),
    ]);
}

#[test]
fn contractions_are_two_words() {
    check(&[
        ("don't DON'T can't cannot won't ain't", "do n't do n't ca n't can not wo n't ai n't"),
        (
            "it's he'll we've they're I'm she'd shouldn't've",
            "it 's he 'll we 've they 're i 'm she 'd should n't 've",
        ),
        ("gonna gotta wanna gimme lemme gonna's", "gon na got ta wan na gim me lem me gonna 's"),
        ("'tis 'twas more'n", "'t is 't was more 'n"),
        ("the dogs' bowl, people's dogs", "the dogs bowl people 's dogs"),
        ("don’t it’s don`t it`s", "do n't it 's do n`t it s"),
        ("don'ts it'so", "do n'ts it so"),
    ]);
}

#[test]
fn some_apostrophes_are_part_of_a_word() {
    check(&[
        ("O'Brien o'clock d'artagnan l'amour j'adore", "o'brien o'clock d'artagnan l'amour j' adore"),
        ("ma'am c'mon 'em 'cause rock 'n' roll y'all", "ma'am c'mon 'em 'cause rock 'n' roll y' all"),
        ("Hawai'i N'Dour jack-o'lantern jack-o'-lantern", "hawai'i n'dour jack-o'lantern jack-o lantern"),
        ("'80s '81 '81. '00s 80's 1980's", "'80s '81 81 00s 80 's 1980 's"),
        ("the'dog dogs'bowl 6' 6'2\" tall", "the dog dogs bowl 6 6 2 tall"),
    ]);
}

#[test]
fn hyphens_and_slashes_join_and_dashes_part() {
    check(&[
        ("black-and-white T-shirt 10-year-old x-ray", "black-and-white t-shirt 10-year-old x-ray"),
        ("dog - cat -- bird --- cow — pig – hen a--b a—b", "dog cat bird cow pig hen a b a b"),
        ("-dog- --dog-- -----", "dog dog -----"),
        ("and/or w/o w/ a/b/c/d black-white/grey", "and/or w/o w / a/b/c / d black-white/grey"),
        (
            "1.5-inch 1,000-foot a,little-league end.12-inch end.12",
            "1.5-inch 1,000-foot a,little-league end.12-inch end .12",
        ),
        ("snake_case _a a_", "snake_case _ a a _"),
    ]);
}

#[test]
fn numbers_money_and_times() {
    check(&[
        ("1,000 3.5 1,000.50 10:30 .5 -5 +5 1-1 1+1", "1,000 3.5 1,000.50 10:30 .5 -5 +5 1-1 1 +1"),
        ("1/2 1-1/2 3 1/2 ½ 3½ ⅔ 24/7 9/11/2001", "1/2 1-1/2 3 1/2 1/2 3 1/2 2/3 24/7 9/11/2001"),
        ("$5 $3.50 £5 €5 5¢ 50% #1 US$5", "$ 5 $ 3.50 # 5 $ 5 5 cents 50 % # 1 us$ 5"),
        ("5pm 5 p.m. 10:30am 3rd 3D 10x10 5p.m.", "5pm 5 p.m. 10:30 am 3rd 3d 10x10 5p m."),
    ]);
}

#[test]
fn abbreviations_keep_their_full_stop() {
    check(&[
        ("U.S. U.S on the U.S.", "u.s. u.s on the u.s."),
        ("St. Mr. Dr. etc. vs. Ave. Blvd. e.g. i.e. a.m.", "st. mr. dr. etc. vs. ave. blvd. e.g. i.e. a.m."),
        ("by the street. two lbs. six in. ok.", "by the street two lbs six in ok"),
        ("Wash. wash. Mass. mass.", "wash. wash mass. mass"),
        ("no. 5 no. five fig. 2", "no. 5 no five fig. 2"),
        ("plan b. plan b. The dog", "plan b. plan b the dog"),
        ("a suitcase., a case. , a case", "a suitcase. a case a case"),
        ("Ph.D. anti-U.S. U.S.-based non-U.S", "ph.d. anti-u.s. u.s.-based non-u.s"),
        ("hello...there end.Start a.b", "hello there end.start a.b"),
    ]);
}

#[test]
fn brackets_are_words_and_stay() {
    check(&[
        ("A man (left) [x] {y}", "a man -lrb- left -rrb- -lsb- x -rsb- -lcb- y -rcb-"),
        ("nice :) :-( ;P :] <3 (^_^)", "nice :-rrb- :--lrb- ;p :] < 3 -lrb-^_^-rrb-"),
    ]);
}

#[test]
fn ampersands_addresses_and_tags() {
    check(&[
        ("AT&T R&B m&m a & b &amp; AT&amp;T &lt; &quot;", "at&t r&b m & m a & b & at&t <"),
        (
            "http://www.foo.com/bar, foo.com. me@bar.com @user #topic",
            "http://www.foo.com/bar foo.com me@bar.com @user #topic",
        ),
        ("<b>dog</b> a < b <a href=\"x y\">", "<b> dog </b> a < b <a href=\"x y\">"),
    ]);
}

#[test]
fn other_alphabets_stay_and_emoji_go() {
    check(&[
        ("café naïve Zürich жук 日本 한국", "café naïve zürich жук 日本 한국"),
        ("dog🐶 a 🐶 b ❤️ ★ 5° © a×b", "dog a b ❤ ★ 5 ° © a × b"),
        ("soft\u{ad}hyphen zero\u{200b}width", "softhyphen zero width"),
    ]);
}
