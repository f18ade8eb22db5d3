//! The choice of images of a store, and their names at the destination.
//!
//! Rules match the name as text: the full reference where there is one, else the image's name in
//! the store. They use nothing else of the image.

use imgconv_model::{Code, Error, Result, quote};
use regex::Regex;

/// The user's rules for names.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    only: Vec<Regex>,
    exclude: Vec<Regex>,
    rename: Vec<(Regex, String)>,
}

impl Rules {
    /// Reads rules. In a glob `*` is any text, `?` any character; it has to fit a whole name. A
    /// renaming is `REGEX=REPLACEMENT`, cut at the last `=`; `$1` is the first group.
    ///
    /// # Errors
    /// [`Code::Usage`] with the malformed rule.
    pub fn read(only: &[String], exclude: &[String], rename: &[String]) -> Result<Self> {
        let globs = |texts: &[String]| -> Result<Vec<Regex>> {
            texts.iter().map(|text| glob(text)).collect()
        };
        let renaming = |text: &String| {
            let (regex, replacement) = text.rsplit_once('=').ok_or_else(|| {
                let message = format!("{} is no renaming", quote(text));
                Error::new(Code::Usage, message).hint("write it as `REGEX=REPLACEMENT`")
            })?;
            Ok((compile(regex, text)?, replacement.to_owned()))
        };
        Ok(Self {
            only: globs(only)?,
            exclude: globs(exclude)?,
            rename: rename.iter().map(renaming).collect::<Result<_>>()?,
        })
    }

    /// Says whether an image with all these names in the store is wanted.
    pub(crate) fn wants(&self, names: &[String]) -> bool {
        let fits = |rule: &Regex| names.iter().any(|name| rule.is_match(name));
        (self.only.is_empty() || self.only.iter().any(fits)) && !self.excludes(names)
    }

    /// Says whether a rule leaves out an image with any of these names.
    pub(crate) fn excludes(&self, names: &[String]) -> bool {
        let mut names = names.iter();
        names.any(|name| self.exclude.iter().any(|rule| rule.is_match(name)))
    }

    /// Returns the new name of an image: every rule is applied to the result of the one before.
    /// `None` if no rule fits.
    pub(crate) fn renamed(&self, name: &str) -> Option<String> {
        let mut new = None;
        for (regex, replacement) in &self.rename {
            let text = new.as_deref().unwrap_or(name);
            if regex.is_match(text) {
                new = Some(regex.replace(text, replacement).into_owned());
            }
        }
        new
    }
}

fn compile(regex: &str, rule: &str) -> Result<Regex> {
    Regex::new(regex).map_err(|error| {
        let message = format!("{} is no regular expression: {error}", quote(regex));
        Error::new(Code::Usage, message).at(quote(rule))
    })
}

fn glob(text: &str) -> Result<Regex> {
    let mut regex = String::from("^(?s:");
    for c in text.chars() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(")$");
    compile(&regex, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(only: &[&str], exclude: &[&str], rename: &[&str]) -> Rules {
        let own = |texts: &[&str]| -> Vec<String> { texts.iter().map(|t| t.to_string()).collect() };
        Rules::read(&own(only), &own(exclude), &own(rename)).unwrap()
    }

    fn wants(rules: &Rules, name: &str) -> bool {
        rules.wants(&[name.to_owned()])
    }

    #[test]
    fn a_glob_fits_a_whole_name() {
        let rules = rules(&["docker.io/library/*", "*:1.?"], &["*/busybox:*"], &[]);
        assert!(wants(&rules, "docker.io/library/alpine:3"));
        assert!(!wants(&rules, "docker.io/library/busybox:3"));
        assert!(wants(&rules, "example.com/a/b:1.2"));
        assert!(!wants(&rules, "example.com/a/b:1.23"));
        assert!(!wants(&rules, "x.docker.io/library/alpine:3"));
    }

    #[test]
    fn what_a_glob_does_not_know_stands_for_itself() {
        let rules = rules(&["a.b+(c)[d]{e}^$|\\"], &[], &[]);
        assert!(wants(&rules, "a.b+(c)[d]{e}^$|\\"));
        assert!(!wants(&rules, "aXb+(c)[d]{e}^$|\\"));
    }

    #[test]
    fn renamings_are_applied_one_after_another() {
        let rules = rules(&[], &[], &["^old/(.*)$=new/$1", "^new/x=y"]);
        assert_eq!(rules.renamed("old/a:1").as_deref(), Some("new/a:1"));
        assert_eq!(rules.renamed("old/x:1").as_deref(), Some("y:1"));
        assert_eq!(rules.renamed("other:1"), None);
    }

    #[test]
    fn what_is_no_rule_is_named() {
        let read = |rename: &str| Rules::read(&[], &[], &[rename.to_owned()]).unwrap_err();
        assert_eq!(read("nothing").code(), Code::Usage);
        assert!(read("(=x").to_string().contains("\"(=x\""));
    }
}
