//! Lists with pages: repositories and tags (distribution-spec, "Listing Tags").

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::refusal::Refusal;

/// The parameters of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// The most items.
    count: Option<usize>,
    /// The item before the first one.
    after: Option<String>,
}

/// Returns the decoded value of a parameter: the first, if there are several.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut parameters = query.unwrap_or_default().split('&');
    let value = parameters.find_map(|one| {
        let (key, value) = one.split_once('=').unwrap_or((one, ""));
        (key == name).then_some(value)
    })?;
    let value = value.replace('+', " ");
    Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
}

impl Page {
    /// Reads the parameters `n` and `last`.
    ///
    /// # Errors
    /// The answer to a number that is none.
    pub(super) fn of(query: Option<&str>) -> Result<Self, Refusal> {
        let count = match parameter(query, "n") {
            None => None,
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(text.parse().unwrap_or(usize::MAX))
            }
            Some(_) => return Err(Refusal::PAGE_INVALID),
        };
        Ok(Self {
            count,
            after: parameter(query, "last"),
        })
    }

    /// Returns the items of the page, and the value of the header `Link` if more items follow. `path` is
    /// the path of the list.
    pub(super) fn of_list<'a>(
        &self,
        items: impl Iterator<Item = &'a str>,
        path: &str,
    ) -> (Vec<&'a str>, Option<String>) {
        let after = self.after.as_deref();
        let mut items = items.filter(|item| after.is_none_or(|after| *item > after));
        let Some(count) = self.count else {
            return (items.collect(), None);
        };
        let page: Vec<&str> = items.by_ref().take(count).collect();
        let link = match (items.next(), page.last()) {
            (Some(_), Some(last)) => {
                let last = utf8_percent_encode(last, NON_ALPHANUMERIC);
                Some(format!("<{path}?n={count}&last={last}>; rel=\"next\""))
            }
            _ => None,
        };
        (page, link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let all = ["1", "2", "a.b", "z"];
        let page = |query: &str| {
            let page = Page::of(Some(query)).unwrap();
            let (items, link) = page.of_list(all.into_iter(), "/v2/a/tags/list");
            (items.join(" "), link.unwrap_or_default())
        };
        let none = String::new;
        assert_eq!(page(""), ("1 2 a.b z".to_owned(), none()));
        let first = "</v2/a/tags/list?n=3&last=a%2Eb>; rel=\"next\"";
        assert_eq!(page("n=3"), ("1 2 a.b".to_owned(), first.to_owned()));
        assert_eq!(page("n=3&last=a%2Eb"), ("z".to_owned(), none()));
        assert_eq!(page("n=4"), ("1 2 a.b z".to_owned(), none()));
        assert_eq!(page("n=0"), (none(), none()));
        assert_eq!(page("last=2"), ("a.b z".to_owned(), none()));
        assert_eq!(
            page("n=99999999999999999999"),
            ("1 2 a.b z".to_owned(), none())
        );
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        for query in ["n=", "n=-1", "n=x", "n=1.5", "n=%31x", "n"] {
            assert_eq!(Page::of(Some(query)), Err(Refusal::PAGE_INVALID), "{query}");
        }
        assert_eq!(Page::of(None), Ok(Page::default()));
    }
}
