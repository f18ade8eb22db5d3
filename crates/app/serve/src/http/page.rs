//! The page for people: what is served, and how it is pulled. No script; nothing of a store or of a
//! request is on it without being escaped.

use std::fmt::Write as _;

use hyper::{
    HeaderMap, Response,
    header::{CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue},
};
use imgconv_model::html;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{body::Body, lists::parameter, server::Server};
use crate::stock::{Repository, Stock};

/// Repositories of one page.
const REPOSITORIES: usize = 200;
/// Tags of a repository that are shown.
const TAGS: usize = 20;

const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.4rem; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 0.25rem; overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding: 0; }
li { padding: 0.25rem 0; }
code { font-family: ui-monospace, monospace; font-size: 0.9rem; overflow-wrap: anywhere; }
.note { display: block; font-size: 0.85rem; opacity: 0.75; overflow-wrap: anywhere; }
";

/// The style of the page, at a path of its own.
pub(super) fn style() -> Response<Body> {
    answer("text/css; charset=utf-8", STYLE.to_owned())
}

/// The page.
pub(super) fn page(server: &Server, query: Option<&str>, headers: &HeaderMap) -> Response<Body> {
    let stock = &server.stock;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host
        .filter(|host| is_authority(host))
        .unwrap_or("HOST:PORT");
    let after = parameter(query, "last");
    let mut names = stock
        .names()
        .filter(|name| after.as_deref().is_none_or(|after| *name > after));
    let mut list = String::new();
    let mut last = None;
    for name in names.by_ref().take(REPOSITORIES) {
        if let Some(repository) = stock.find(name, None) {
            section(&mut list, stock, repository, host);
        }
        last = Some(name);
    }
    if let (Some(_), Some(last)) = (names.next(), last) {
        let last = utf8_percent_encode(last, NON_ALPHANUMERIC);
        let _ = writeln!(
            list,
            "<p><a href=\"/?last={last}\">more repositories</a></p>"
        );
    }
    if list.is_empty() {
        list.push_str("<p>There is no repository.</p>\n");
    }
    let text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Images of {host}</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n\
         <body>\n<h1>Images of {host}</h1>\n\
         <p>A read-only registry. Clients of registries pull from it as from any other, for example:</p>\n\
         <p><code>skopeo copy {option}docker://{host}/NAME:TAG oci:copy</code></p>\n\
         {list}</body>\n</html>\n",
        host = html(host),
        option = match server.scheme {
            "https" => "",
            _ => "--src-tls-verify=false ",
        }
    );
    answer("text/html; charset=utf-8", text)
}

/// A repository with its tags.
fn section(list: &mut String, stock: &Stock, repository: &Repository, host: &str) {
    let name = repository.name();
    let (host, shown) = (html(host), html(name));
    let _ = writeln!(list, "<h2>{shown}</h2>\n<ul>");
    let mut tags = repository.tags();
    for tag in tags.by_ref().take(TAGS) {
        let tag_shown = html(tag);
        let _ = write!(
            list,
            "<li><code>docker pull {host}/{shown}:{tag_shown}</code>"
        );
        let note = match stock.usual(repository, tag) {
            Some(found) => match repository.size(&found) {
                Some(size) => format!("{}, {}", found.digest, human(size)),
                None => found.digest.to_string(),
            },
            None => "made when it is asked for".to_owned(),
        };
        let _ = writeln!(list, " <span class=\"note\">{}</span></li>", html(&note));
    }
    let more = tags.count();
    if more > 0 {
        let _ = writeln!(list, "<li class=\"note\">and {more} more tags</li>");
    }
    list.push_str("</ul>\n");
}

pub(super) fn answer(kind: &'static str, text: String) -> Response<Body> {
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(Body::whole(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, length);
    let policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// Says whether a text is a host, perhaps with a port.
pub(super) fn is_authority(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(fits)
}

/// A size in units of 1000 bytes.
fn human(size: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let unit = units.into_iter().find(|(unit, _)| size >= *unit);
    match unit {
        None => format!("{size} B"),
        Some((unit, name)) => format!("{}.{} {name}", size / unit, size % unit / (unit / 10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_hosts_are_checked() {
        assert_eq!(html("<a b='\"&"), "&lt;a b=&#39;&quot;&amp;");
        for host in ["localhost:5000", "[::1]:5000", "a-b.example"] {
            assert!(is_authority(host), "{host}");
        }
        for host in ["", "a b", "a<b", "a/b", "a\"b", "é"] {
            assert!(!is_authority(host), "{host}");
        }
    }

    #[test]
    fn sizes_have_one_decimal() {
        let sizes = [0, 999, 1_000, 1_950, 12_345_678, 3_000_000_000].map(human);
        assert_eq!(
            sizes,
            ["0 B", "999 B", "1.0 kB", "1.9 kB", "12.3 MB", "3.0 GB"]
        );
    }
}
