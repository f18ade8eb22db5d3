//! The referrers of an image: by the referrers API, or by the fallback tag in a registry without
//! that API (distribution-spec, "Listing Referrers" and its fallback).

use std::collections::BTreeSet;

use imgconv_http::{Request, Response, Url};
use imgconv_json::{Object, parse};
use imgconv_manifest::{descriptor, media_type::OCI_INDEX};
use imgconv_model::{Child, Code, Digest, Env, Error, Limits, Result, quote};

use crate::session::{Session, failure};

/// Lists the descriptors of all referrers of a document, in the registry's order.
pub(crate) fn list(session: &Session, subject: &Digest, env: &Env) -> Result<Vec<Child>> {
    if session.lacks_referrers() {
        return fallback(session, subject, env);
    }
    let url = session.url(&format!("referrers/{subject}"));
    let mut found = Vec::new();
    let mut has_api = false;
    let mut pages = Pages::new(url, env);
    while let Some(url) = pages.next()? {
        let response = session.send(&Request::get(&url), &url)?;
        match response.status() {
            200 if is_index(&response) => {}
            // A server without the API may answer any path with a page (distribution-spec, "Listing Referrers":
            // the type of the list must be that of an index), and 501 says that the server has no such API.
            200 | 501 if !has_api => {
                session.note_no_referrers();
                return fallback(session, subject, env);
            }
            200 => {
                let kind = quote(response.header("content-type").unwrap_or_default());
                let message = format!(
                    "a further page of the list of referrers has the content type {kind}, expected {OCI_INDEX}"
                );
                return Err(Error::new(Code::Net, message).at(response.url().to_string()));
            }
            // A server that forbids the question may know referrers, unless it has them in the fallback tag.
            401 | 403 if !has_api => {
                let refused = failure(response);
                let list = fallback_index(session, subject, env)?;
                read(&list.ok_or(refused)?, &env.limits, &mut found)?;
                return Ok(found);
            }
            // Registries without the API answer with any other client error.
            status @ 400..=499 if !has_api => {
                // A registry with the API never answers with 404 (distribution-spec, "Listing
                // Referrers"), so the others are not asked again for each image.
                if status == 404 {
                    session.note_no_referrers();
                }
                return fallback(session, subject, env);
            }
            _ => return Err(failure(response)),
        }
        has_api = true;
        pages.follow(session, &response)?;
        let limit = ("manifest", env.limits.manifest);
        read(&response.into_bytes(limit)?, &env.limits, &mut found)?;
    }
    Ok(found)
}

/// Says whether an answer has the content type of an index, whatever its parameters are.
fn is_index(response: &Response) -> bool {
    let kind = response.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(OCI_INDEX)
}

/// The most characters of the encoded part of a digest in the fallback tag (distribution-spec,
/// "Referrers Tag Schema").
const TAG_HEX: usize = 64;

/// The fallback tag: the digest with a dash; for a longer digest its start.
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    let hex: String = subject.hex().chars().take(TAG_HEX).collect();
    format!("{}-{hex}", subject.algorithm().as_str())
}

fn fallback(session: &Session, subject: &Digest, env: &Env) -> Result<Vec<Child>> {
    let mut found = Vec::new();
    if let Some(bytes) = fallback_index(session, subject, env)? {
        read(&bytes, &env.limits, &mut found)?;
    }
    Ok(found)
}

/// Reads the index of the fallback tag.
pub(crate) fn fallback_index(
    session: &Session,
    subject: &Digest,
    env: &Env,
) -> Result<Option<Vec<u8>>> {
    let url = session.url(&format!("manifests/{}", fallback_tag(subject)));
    let kinds = imgconv_manifest::KINDS.join(", ");
    let response = session.send(&Request::get(&url).header("accept", kinds), &url)?;
    match response.status() {
        200 => response
            .into_bytes(("manifest", env.limits.manifest))
            .map(Some),
        404 => Ok(None),
        _ => Err(failure(response)),
    }
}

fn read(bytes: &[u8], limits: &Limits, found: &mut Vec<Child>) -> Result<()> {
    let value = parse(bytes, limits, "referrers")?;
    let index = Object::new(&value, "").map_err(|error| error.at("referrers"))?;
    for (i, listed) in index.list("manifests")?.iter().enumerate() {
        let listed = descriptor(listed, format!("manifests[{i}]"), limits);
        found.push(listed.map_err(|error| error.at("referrers"))?.child);
        if found.len() as u64 > limits.graph_nodes {
            let what = "the number of referrers";
            return Err(Limits::exceeded("graph_nodes", limits.graph_nodes, what));
        }
    }
    Ok(())
}

/// The pages of a list, by their `Link` headers (RFC 8288), up to the limit.
pub(crate) struct Pages {
    next: Option<Url>,
    seen: BTreeSet<Url>,
    limit: u64,
}

impl Pages {
    pub(crate) fn new(first: Url, env: &Env) -> Self {
        Self {
            next: Some(first),
            seen: BTreeSet::new(),
            limit: env.limits.tag_pages,
        }
    }

    /// Returns the next page; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Url>> {
        let Some(url) = self.next.take() else {
            return Ok(None);
        };
        if self.seen.len() as u64 >= self.limit || !self.seen.insert(url.clone()) {
            return Err(Limits::exceeded(
                "tag_pages",
                self.limit,
                "the number of pages",
            ));
        }
        Ok(Some(url))
    }

    /// Finds the page after a response. The page is on the same registry.
    pub(crate) fn follow(&mut self, session: &Session, response: &Response) -> Result<()> {
        let mut next = None;
        for header in response.headers("link") {
            let found = next_link(header).map_err(|error| error.at(response.url().to_string()))?;
            next = next.or(found);
        }
        let Some(reference) = next else {
            return Ok(());
        };
        let url = session.follow(response.url(), reference)?;
        if !url.same_origin(response.url()) {
            let message = format!("the registry names {url} as the next page of the list");
            return Err(Error::new(Code::Denied, message));
        }
        self.next = Some(url);
        Ok(())
    }
}

/// Finds the target of the link with the relation `next` in the value of a `Link` header (RFC 8288, section 3).
///
/// # Errors
/// [`Code::Net`] if the value is no list of links: a list must not end where a further page may follow.
fn next_link(header: &str) -> Result<Option<&str>> {
    let malformed = || {
        let message = format!(
            "the header `Link: {}` is malformed, expected `<URL>; rel=\"next\"`",
            quote(header)
        );
        Error::new(Code::Net, message).hint(
            "the rest of the list can't be found; the operator of the registry, or of a proxy before it, can correct \
             the header",
        )
    };
    let mut next = None;
    let mut rest = header;
    loop {
        // A list may have empty elements (RFC 9110, section 5.6.1).
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Ok(next);
        }
        let link = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let (target, parameters) = link.ok_or_else(malformed)?;
        let (relation, left) = relation(parameters).ok_or_else(malformed)?;
        rest = left;
        // No name of a relation has a single quote, but some servers take such quotes for quotation marks.
        let mut names = relation
            .split_whitespace()
            .map(|name| name.trim_matches('\''));
        if names.any(|name| name.eq_ignore_ascii_case("next")) {
            next = next.or(Some(target));
        }
    }
}

/// Reads the parameters after the target of a link. Returns the value of `rel` and the rest of the header, which is
/// empty or starts with a comma; `None` if the parameters are malformed. Of several parameters `rel` the first one
/// counts (RFC 8288, section 3.3).
fn relation(mut rest: &str) -> Option<(String, &str)> {
    const BLANK: [char; 2] = [' ', '\t'];
    let mut relation = None;
    loop {
        rest = rest.trim_start_matches(BLANK);
        if rest.is_empty() || rest.starts_with(',') {
            return Some((relation.unwrap_or_default(), rest));
        }
        rest = rest.strip_prefix(';')?.trim_start_matches(BLANK);
        let (name, after) = rest.split_at(rest.find([';', ',', '=']).unwrap_or(rest.len()));
        let mut value = String::new();
        rest = after;
        if let Some(after) = after.strip_prefix('=') {
            let after = after.trim_start_matches(BLANK);
            (value, rest) = match after.strip_prefix('"') {
                Some(quoted) => unquoted(quoted)?,
                // Servers send media types without quotation marks, though they are no tokens.
                None => {
                    let end = after.find([';', ',', ' ', '\t', '<', '"']);
                    let (token, after) = after.split_at(end.unwrap_or(after.len()));
                    (token.to_owned(), after)
                }
            };
        }
        if name.trim().eq_ignore_ascii_case("rel") {
            relation.get_or_insert(value);
        }
    }
}

/// Reads a quoted string after its first quotation mark (RFC 9110, section 5.6.4). Returns its text and what
/// follows; `None` if the string has no end.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((text, &quoted[at + 1..])),
            '\\' => text.push(characters.next()?.1),
            other => text.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_to_the_next_page_is_found_in_every_spelling() {
        for (header, expected) in [
            ("</p?n=2>; rel=next", Some("/p?n=2")),
            ("</p>;rel=\"next\"", Some("/p")),
            ("</p>; rel = \"next\"", Some("/p")),
            ("</p> ;\tREL=\"NEXT\" ", Some("/p")),
            ("</p>; rel=\"prev next\"", Some("/p")),
            ("</p>; rel='next'", Some("/p")),
            (
                "</p>; title=\"a, \\\"b\\\"; rel=prev\"; rel=next",
                Some("/p"),
            ),
            ("</p>; rel=\"ne\\xt\"; crossorigin", Some("/p")),
            ("</a,b;c?x=1,2>; rel=\"next\"", Some("/a,b;c?x=1,2")),
            (
                "</1>; rel=first, </p>; rel=next, </9>; rel=last",
                Some("/p"),
            ),
            ("</1>; rel=\"first\",,</p>;; rel=next", Some("/p")),
            ("</p>; rel=next; rel=prev", Some("/p")),
            (
                "</s>; type=text/css; rel=preload, </p>; rel=next",
                Some("/p"),
            ),
            ("<>; rel=next", Some("")),
            ("</p>; rel=prev; rel=next", None),
            ("</p>; rel=\"nextish x-next\"", None),
            ("</p>; title=next; xrel=next", None),
            ("</p?rel=next>", None),
            ("</p>", None),
            ("", None),
            (" , ", None),
        ] {
            assert_eq!(next_link(header).unwrap(), expected, "{header}");
        }
        for header in [
            "/p; rel=next",
            "</p; rel=next",
            "</p> rel=next",
            "</p>; rel=\"next",
            "</p>; rel=\"next\\",
            "</p>; rel=\"next\" x",
            "</p>; rel=prev next",
            "</1>; rel=first </p>; rel=\"next\"",
            "rel=next",
        ] {
            let error = next_link(header).unwrap_err();
            assert_eq!(error.code(), Code::Net, "{header}");
            assert!(error.to_string().contains("`Link: "), "{error}");
        }
    }

    // robustness K02
    #[test]
    fn k02_a_tag_has_the_start_of_a_long_digest() {
        let hex = "0123456789abcdef".repeat(4);
        let tag = |text: &str| fallback_tag(&Digest::parse(text).unwrap());
        assert_eq!(tag(&format!("sha256:{hex}")), format!("sha256-{hex}"));
        let long = format!("sha512:{hex}{}", "f".repeat(64));
        assert_eq!(tag(&long), format!("sha512-{hex}"));
    }
}
