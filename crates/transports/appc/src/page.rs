//! The contents of a discovery page: its `ac-discovery*` meta tags, by the tokenizer of the HTML
//! standard.
//!
//! Tags are read anywhere in the page, as by appc's own client; but not in comments, and not where
//! a browser would see text (`script`, `title`, `noscript` and such).

use html5gum::{DefaultEmitter, Token, Tokenizer};

/// The kind of a meta tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Templates of images.
    Image,
    /// URLs of public keys.
    PublicKeys,
    /// Templates of image tags files.
    ImageTags,
}

impl Kind {
    /// The meta tag's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Image => "ac-discovery",
            Self::PublicKeys => "ac-discovery-pubkeys",
            Self::ImageTags => "ac-discovery-imagetags",
        }
    }
}

/// One meta tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) kind: Kind,
    prefix: String,
    /// The URL, or a template of one.
    pub(crate) template: String,
}

impl Meta {
    /// Says whether the tag applies to an image's name: its prefix is the name or a parent of the
    /// name, by whole path components (appc/spec issue 592).
    pub(crate) fn is_for(&self, name: &str) -> bool {
        let prefix = self.prefix.trim_end_matches('/');
        let rest = name.strip_prefix(prefix);
        !prefix.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Reads the meta tags of a page, in the order of the page.
pub(crate) fn read(page: &[u8]) -> Vec<Meta> {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let mut found = Vec::new();
    for token in Tokenizer::new_with_emitter(page, emitter) {
        let Ok(Token::StartTag(tag)) = token else {
            continue;
        };
        if &**tag.name != b"meta" {
            continue;
        }
        let attribute = |name: &[u8]| {
            let value = tag.attributes.get(name)?;
            std::str::from_utf8(value).ok()
        };
        let (Some(name), Some(content)) = (attribute(b"name"), attribute(b"content")) else {
            continue;
        };
        let kinds = [Kind::Image, Kind::PublicKeys, Kind::ImageTags];
        let kind = kinds.into_iter().find(|kind| kind.name() == name);
        let parts = content.trim().split_once(|c: char| c.is_ascii_whitespace());
        if let (Some(kind), Some((prefix, template))) = (kind, parts) {
            found.push(Meta {
                kind,
                prefix: prefix.to_owned(),
                template: template.trim().to_owned(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(page: &str) -> Vec<String> {
        read(page.as_bytes())
            .into_iter()
            .map(|meta| meta.template)
            .collect()
    }

    #[test]
    fn j1a_j1b_prefixes_are_whole_path_components() {
        let is_for = |prefix: &str, name: &str| {
            let page = format!("<meta name=ac-discovery content=\"{prefix} https://x/{{ext}}\">");
            read(page.as_bytes()).iter().any(|meta| meta.is_for(name))
        };
        for (prefix, name) in [
            ("example.com", "example.com"),
            ("example.com", "example.com/etcd"),
            ("example.com/", "example.com/etcd"),
            ("example.com/etcd", "example.com/etcd"),
        ] {
            assert!(is_for(prefix, name), "{prefix} {name}");
        }
        for (prefix, name) in [
            ("example.com/etcd", "example.com/etcdxxxx"),
            ("example.com/etcd/x", "example.com/etcd"),
            ("Example.com", "example.com/etcd"),
            ("example.co", "example.com/etcd"),
            ("/", "example.com/etcd"),
            ("", "example.com/etcd"),
        ] {
            assert!(!is_for(prefix, name), "{prefix} {name}");
        }
    }

    #[test]
    fn j3b_html_as_it_is_found() {
        let page = "<!DOCTYPE html><html><body><p>unclosed\n\
            <META NAME='ac-discovery' CONTENT='a https://x/1?a=b&amp;c={ext}'>\n\
            <meta content=\"a  https://x/2 \" name=ac-discovery />\n\
            <meta name=ac-discovery name=other content=\"a https://x/3\" content='a https://y/'>\n\
            <meta name=\"ac-discovery-pubkeys\" content=\"a\thttps://x/4\"><meta name=ac-discovery";
        assert_eq!(
            templates(page),
            [
                "https://x/1?a=b&c={ext}",
                "https://x/2",
                "https://x/3",
                "https://x/4"
            ]
        );
    }

    #[test]
    fn j3c_what_is_text_for_a_browser_is_no_tag() {
        let tag = "<meta name=ac-discovery content='a https://x/'>";
        for hidden in [
            format!("<!-- {tag} -->"),
            format!("<script>{tag}</script>"),
            format!("<style>{tag}</style>"),
            format!("<title>{tag}</title>"),
            format!("<textarea>{tag}</textarea>"),
            format!("<noscript>{tag}</noscript>"),
        ] {
            assert_eq!(templates(&hidden), [""; 0], "{hidden}");
            assert_eq!(
                templates(&format!("{hidden}{tag}")),
                ["https://x/"],
                "{hidden}"
            );
        }
        let wide: Vec<u8> = tag.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read(&wide), []);
        for incomplete in [
            "<meta name=ac-discovery>",
            "<meta name=ac-discovery content=a>",
        ] {
            assert_eq!(templates(incomplete), [""; 0]);
        }
    }
}
