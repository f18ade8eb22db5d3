//! Options whose value is one of a few words.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// A value of an option: the word, its help, and its meaning.
pub(super) type Choice<T> = (&'static str, &'static str, T);

/// Parses one of a few words.
pub(super) fn choice<T>(choices: &'static [Choice<T>]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let words = choices
        .iter()
        .map(|(word, help, _)| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(words).map(|word| {
        let found = choices.iter().find(|(other, ..)| *other == word);
        found.expect("the parser accepts no other words").2
    })
}
