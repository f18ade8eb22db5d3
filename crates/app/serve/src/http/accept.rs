//! The types that a client accepts, by its headers `Accept` (RFC 9110, 12.5.1).

use hyper::{
    HeaderMap,
    header::{ACCEPT, USER_AGENT},
};
use imgconv_manifest::media_type::DOCKER_SCHEMA1_SIGNED;

use crate::stock::Accepts;

/// The accepted types.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The ranges of types in lower case, and whether the client takes or refuses them. `None` if the
    /// client says nothing, and so accepts everything.
    ranges: Option<Vec<(String, bool)>>,
}

impl Accepted {
    /// Reads the headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if !headers.contains_key(ACCEPT) && knows_schema1_alone(headers) {
            let ranges = vec![(DOCKER_SCHEMA1_SIGNED.to_owned(), true)];
            return Self {
                ranges: Some(ranges),
            };
        }
        let mut ranges = Vec::new();
        let values = headers.get_all(ACCEPT).iter();
        for item in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
        {
            let mut parts = item.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default().to_ascii_lowercase();
            let refused = parts.any(|part| {
                let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
                weight.is_some_and(|weight| weight.trim().parse() == Ok(0.0_f32))
            });
            if !range.is_empty() {
                ranges.push((range, !refused));
            }
        }
        Self {
            ranges: Some(ranges).filter(|ranges| !ranges.is_empty()),
        }
    }
}

impl Accepts for Accepted {
    fn accepts(&self, kind: &str) -> bool {
        let Some(ranges) = &self.ranges else {
            return true;
        };
        let group = kind.split('/').next().unwrap_or_default();
        let of_group = format!("{group}/*");
        // The most specific range decides.
        let decided = [kind, &of_group, "*/*"].into_iter().find_map(|wanted| {
            let mut same = ranges
                .iter()
                .filter(|(range, _)| range == wanted)
                .peekable();
            same.peek()?;
            Some(same.any(|(_, takes)| *takes))
        });
        decided.unwrap_or(false)
    }
}

/// Says whether the client is a docker before 1.10, which sends no `Accept` and reads manifests of schema
/// 1 alone. Such a client says `docker/1.9.1 go/…`.
fn knows_schema1_alone(headers: &HeaderMap) -> bool {
    let agent = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let minor = agent
        .and_then(|agent| agent.strip_prefix("docker/1."))
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    minor.is_some_and(|minor| minor.len() == 1)
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
    fn the_most_specific_range_decides() {
        for (value, expected) in [
            ("*/*;q=0", [false, false]),
            ("*/*;q=0, a/b", [true, false]),
            ("*/*, a/b;q=0.0", [false, true]),
            ("a/*;q=0, */*", [false, true]),
            ("A/*", [true, false]),
            ("a/b;q=0, a/b;q=1", [true, false]),
        ] {
            let accepted = of(&[value]);
            let found = ["a/b", "c/d"].map(|kind| accepted.accepts(kind));
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn docker_before_1_10_takes_signed_schema_1_alone() {
        const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
        let accepts = |agent: &'static str, accept: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.append(USER_AGENT, HeaderValue::from_static(agent));
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            let accepted = Accepted::of(&headers);
            [
                accepted.accepts("application/vnd.docker.distribution.manifest.v1+prettyjws"),
                accepted.accepts(OCI),
            ]
        };
        for agent in [
            "docker/1.6.0 go/go1.4.2 git-commit/4749651 kernel/3.16 os/linux arch/amd64",
            "docker/1.9.1",
            "docker/1.8",
        ] {
            assert_eq!(accepts(agent, &[]), [true, false], "{agent}");
            assert_eq!(accepts(agent, &[OCI]), [false, true], "{agent}");
        }
        for agent in [
            "docker/1.10.0 go/go1.5.3",
            "docker/17.03",
            "docker/1.",
            "curl/7",
        ] {
            assert_eq!(accepts(agent, &[]), [true, true], "{agent}");
        }
    }

    #[test]
    fn a_client_that_says_nothing_accepts_everything() {
        for values in [&[][..], &[""], &["*/*"], &["a/b", "*/*;q=0.1"], &["g/*"]] {
            assert!(of(values).accepts("g/h"), "{values:?}");
        }
    }
}
