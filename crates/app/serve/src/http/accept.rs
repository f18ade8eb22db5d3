//! The types that a client accepts, by its headers `Accept` (RFC 9110, 12.5.1).

use hyper::{HeaderMap, header::ACCEPT};

use crate::stock::Accepts;

/// The accepted types, in lower case.
#[derive(Debug)]
pub(super) struct Accepted {
    /// `None` if the client accepts everything.
    kinds: Option<Vec<String>>,
}

impl Accepted {
    /// Reads the headers. A client that says nothing accepts everything.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut kinds = Vec::new();
        let mut any = false;
        let values = headers.get_all(ACCEPT).iter();
        for item in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
        {
            let mut parts = item.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let refused = parts.any(|part| {
                let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
                weight.is_some_and(|weight| weight.trim().parse() == Ok(0.0_f32))
            });
            if kind.is_empty() || refused {
                continue;
            }
            any |= kind == "*/*" || kind == "application/*";
            kinds.push(kind);
        }
        Self {
            kinds: Some(kinds).filter(|kinds| !any && !kinds.is_empty()),
        }
    }
}

impl Accepts for Accepted {
    fn accepts(&self, kind: &str) -> bool {
        let kinds = self.kinds.as_ref();
        kinds.is_none_or(|kinds| kinds.iter().any(|accepted| accepted == kind))
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn of(values: &[&'static str]) -> Accepted {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, HeaderValue::from_static(value));
        }
        Accepted::of(&headers)
    }

    #[test]
    fn headers_are_joined_and_weights_of_zero_refuse() {
        let accepted = of(&["a/b, C/D;q=0.5", "e/f;q=0"]);
        let of_kinds = ["a/b", "c/d", "e/f", "g/h"].map(|kind| accepted.accepts(kind));
        assert_eq!(of_kinds, [true, true, false, false]);
    }

    #[test]
    fn a_client_that_says_nothing_accepts_everything() {
        for values in [
            &[][..],
            &[""],
            &["*/*"],
            &["a/b", "*/*;q=0.1"],
            &["application/*"],
        ] {
            assert!(of(values).accepts("g/h"), "{values:?}");
        }
    }
}
