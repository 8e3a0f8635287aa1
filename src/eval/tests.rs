//! Figures that can be worked out by hand, and properties that hold for any captions.

use proptest::prelude::*;

use super::*;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn picture(candidate: &str, references: &[&str]) -> Tokens {
    Tokens { candidate: words(candidate), references: references.iter().map(|r| words(r)).collect() }
}

fn assert_near(actual: f64, expected: f64, tolerance: f64) {
    let error = (actual - expected).abs();
    // True only if the error is a number: NaN fails.
    assert!(error <= tolerance, "{actual} is not within {tolerance} of {expected}");
}

#[test]
fn bleu_clips_counts_and_punishes_short_captions() {
    // Papineni's example: seven times "the" against a reference that has it twice.
    let the = picture("the the the the the the the", &["the cat is on the mat", "there is a cat on the mat"]);
    assert_near(bleu(&[the])[0], 2.0 / 7.0, 1e-9);
    // Half as long as the reference, every word right: exp(1 - 2).
    assert_near(bleu(&[picture("a b", &["a b c d"])])[0], (-1.0f64).exp(), 1e-8);
}

#[test]
fn bleu_takes_the_shorter_of_two_equally_close_references() {
    // Lengths 2 and 4 are both 1 from 3; with 2 there is no brevity penalty.
    assert_near(bleu(&[picture("a b c", &["a b c d", "a b"])])[0], 1.0, 1e-8);
}

#[test]
fn rouge_l_takes_the_best_precision_and_recall_from_different_references() {
    // Precision 1 from the first reference (4 of 4), recall 1 from the second (1 of 1).
    assert_near(rouge_l(&[picture("a b c d", &["a b c d e f g h", "a"])]), 1.0, 1e-12);
    assert_near(rouge_l(&[picture("a b", &["c d"])]), 0.0, 0.0);
}

#[test]
fn cider_d_is_zero_for_one_picture_and_ten_for_words_no_other_picture_has() {
    let pictures = [picture("a b c d e", &["a b c d e"]), picture("f g h i j", &["f g h i j"])];
    assert_near(cider_d(&pictures), 10.0, 1e-12);
    assert_near(cider_d(&pictures[..1]), 0.0, 0.0);
}

#[test]
fn a_constant_caption_is_shown_by_the_collapse_figures() {
    let pictures: Vec<_> =
        (0..10).map(|i| picture("a man on a wave", &[&format!("a man number{i} on thing{i}")])).collect();
    let scores = score_tokens(&pictures);
    assert_near(scores.distinct_share, 0.1, 1e-12);
    assert_near(scores.reference_distinct_share, 1.0, 0.0);
    assert_near(scores.cider_d - scores.cider_d_dealt, 0.0, 1e-12);
}

#[test]
fn no_pictures_and_no_references_are_no_panic() {
    assert_eq!(score_tokens(&[]).bleu, [0.0; 4]);
    let scores = score(&[Pair { candidate: "a dog", references: vec![] }]);
    assert_near(scores.rouge_l, 0.0, 0.0);
    assert_near(scores.cider_d, 0.0, 0.0);
}

#[test]
fn json_bears_the_documented_names() {
    let scores = score(&[Pair { candidate: "A dog.", references: vec!["a dog"] }]);
    let json = serde_json::to_value(scores).expect("scores serialise");
    let names =
        "BLEU-1 BLEU-2 BLEU-3 BLEU-4 ROUGE-L CIDEr-D distinct_share reference_distinct_share CIDEr-D-dealt";
    for name in names.split(' ') {
        assert!(json[name].is_f64(), "{name} is missing from {json}");
    }
    assert_eq!(json.as_object().map(|fields| fields.len()), Some(9));
}

fn sentence() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(
        prop::sample::select(vec!["a", "man", "dog", "on", "the", "wave", "red", "two"]),
        0..12,
    )
    .prop_map(|words| words.into_iter().map(str::to_owned).collect())
}

fn pictures() -> impl Strategy<Value = Vec<Tokens>> {
    let one = (sentence(), prop::collection::vec(sentence(), 1..5));
    prop::collection::vec(one.prop_map(|(candidate, references)| Tokens { candidate, references }), 1..12)
}

proptest! {
    #[test]
    fn a_reference_as_candidate_is_as_good_as_can_be(mut pictures in pictures()) {
        for picture in &mut pictures {
            picture.candidate = picture.references[0].clone();
        }
        let own = score_tokens(&pictures);
        prop_assert!((own.rouge_l - 1.0).abs() <= 1e-12, "ROUGE-L {}", own.rouge_l);
        // With one reference each nothing scores higher than the reference itself.
        for picture in &mut pictures {
            picture.references.truncate(1);
        }
        let best = cider_d(&pictures);
        prop_assert!((0.0..=10.0 + 1e-9).contains(&best), "CIDEr-D {best}");
        for picture in &mut pictures {
            picture.candidate.pop();
        }
        let shorter = cider_d(&pictures);
        prop_assert!(shorter <= best + 1e-9, "{shorter} > {best}");
    }

    #[test]
    fn the_order_of_pictures_and_references_is_of_no_account(pictures in pictures(), turn in 0usize..12) {
        let mut turned = pictures.clone();
        let by = turn % turned.len();
        turned.rotate_left(by);
        turned.reverse();
        for picture in &mut turned {
            picture.references.reverse();
        }
        for (a, b) in bleu(&pictures).into_iter().zip(bleu(&turned)) {
            prop_assert!((a - b).abs() <= 1e-12);
        }
        prop_assert!((rouge_l(&pictures) - rouge_l(&turned)).abs() <= 1e-12);
        prop_assert!((cider_d(&pictures) - cider_d(&turned)).abs() <= 1e-9);
    }

    #[test]
    fn any_text_is_split_into_clean_words(text in any::<String>()) {
        for word in tokenize(&text) {
            prop_assert!(!word.is_empty() && !word.contains(char::is_whitespace), "{word:?}");
            prop_assert_eq!(&word, &word.to_lowercase());
        }
    }
}
