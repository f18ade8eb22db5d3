//! The referrers of an image: by the referrers API, or by the fallback tag in a registry without
//! that API (distribution-spec, "Listing Referrers" and its fallback).

use std::collections::BTreeSet;

use imgconv_http::{Request, Response, Url};
use imgconv_json::{Object, parse};
use imgconv_manifest::descriptor;
use imgconv_model::{Child, Code, Digest, Env, Error, Limits, Result};

use crate::session::{Session, failure};

/// Lists the descriptors of all referrers of a document, in the registry's order.
pub(crate) fn list(session: &Session, subject: &Digest, env: &Env) -> Result<Vec<Child>> {
    if session.lacks_referrers() {
        return fallback(session, subject, env);
    }
    let url = session.url(&format!("referrers/{subject}"));
    let mut found = Vec::new();
    let mut pages = Pages::new(url, env);
    while let Some(url) = pages.next()? {
        let response = session.send(&Request::get(&url), &url)?;
        match response.status() {
            200 => {}
            // A server that forbids the question may know referrers, unless it has them in the fallback tag.
            401 | 403 if found.is_empty() => {
                let refused = failure(response);
                let list = fallback_index(session, subject, env)?;
                read(&list.ok_or(refused)?, &env.limits, &mut found)?;
                return Ok(found);
            }
            // Registries without the API answer with any other client error.
            status @ 400..=499 if found.is_empty() => {
                // A registry with the API never answers with 404 (distribution-spec, "Listing
                // Referrers"), so the others are not asked again for each image.
                if status == 404 {
                    session.note_no_referrers();
                }
                return fallback(session, subject, env);
            }
            _ => return Err(failure(response)),
        }
        pages.follow(session, &response)?;
        let limit = ("manifest", env.limits.manifest);
        read(&response.into_bytes(limit)?, &env.limits, &mut found)?;
    }
    Ok(found)
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
        let links = response.headers("link");
        let next = links.iter().flat_map(|link| link.split(',')).find(|link| {
            let link = link.to_ascii_lowercase();
            link.contains("rel=next") || link.contains("rel=\"next\"")
        });
        let Some(next) = next else {
            return Ok(());
        };
        let reference = next
            .trim()
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'));
        let Some((reference, _)) = reference else {
            let message = format!("the link {} is malformed", imgconv_model::quote(next));
            return Err(Error::new(Code::Net, message));
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

#[cfg(test)]
mod tests {
    use super::*;

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
