//! The page for people.

use crate::support::{Stores, image};

#[test]
fn the_page_lists_what_is_served_and_has_no_script() {
    let server = Stores::new()
        .layout("out", &[image("example.com/team/app", "1")])
        .aci("app.aci", &image("example.com/made", "2"))
        .serve();
    let page = server.get("/");
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let text = page.text();
    let digest = server
        .get("/v2/team/app/manifests/1")
        .header("docker-content-digest")
        .to_owned();
    for part in [
        "docker pull x/team/app:1",
        &digest,
        "docker pull x/made:2",
        "made when it is asked for",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(
        !text.to_lowercase().contains("<script") && !text.contains("style="),
        "{text}"
    );
    assert_eq!(
        server.get("/style.css").header("content-type"),
        "text/css; charset=utf-8"
    );
}

/// Demands that a page has no error that a reader of HTML finds, and that its elements are closed in order.
fn validate(text: &str) {
    let mut open: Vec<String> = Vec::new();
    let of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for token in html5gum::Tokenizer::new(text) {
        match token.unwrap() {
            html5gum::Token::Error(error) => panic!("{error:?}:\n{text}"),
            html5gum::Token::StartTag(tag) => {
                let name = of(&tag.name);
                let block = ["p", "ul", "h1", "h2", "table", "div", "main"].contains(&&*name);
                let inline = open
                    .iter()
                    .any(|open| ["p", "h1", "h2", "code"].contains(&&**open));
                assert!(!block || !inline, "<{name}> in {open:?}:\n{text}");
                if !["meta", "link", "br"].contains(&&*name) {
                    open.push(name);
                }
            }
            html5gum::Token::EndTag(tag) => {
                let name = of(&tag.name);
                assert_eq!(open.pop().as_ref(), Some(&name), "{text}");
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?}:\n{text}");
}

#[test]
fn the_page_is_valid_html() {
    let many: Vec<_> = (0..30)
        .map(|i| image("example.com/team/many", &format!("1.{i}")))
        .collect();
    let server = Stores::new()
        .layout("out", &many)
        .layout("list", &crate::support::two_platforms("example.com/list"))
        .aci("app.aci", &image("example.com/made", "2"))
        .serve();
    for path in ["/", "/?last=list", "/?last=zzz", "/?last=%3Cp%3E"] {
        validate(&server.get(path).text());
    }
}

// V12
#[test]
fn v12_neither_a_host_nor_a_parameter_gets_onto_the_page_unescaped() {
    let server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve();
    let hostile = "x\"><script>alert(1)</script>";
    let text =
        format!("GET /?last={hostile} HTTP/1.1\r\nhost: {hostile}\r\nconnection: close\r\n\r\n");
    let reply = server.raw(text.as_bytes());
    assert!(!reply.text().contains("<script"), "{}", reply.text());
    let reply = server.get("/?last=%22%3E%3Cscript%3E");
    assert!(!reply.text().contains("<script"));
}
