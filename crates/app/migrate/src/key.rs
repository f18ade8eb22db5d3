//! The text by which a journal recognises a job: it changes whenever the output of the job would.
//!
//! The text is written out field by field and has a version. Structures are taken apart without `..`,
//! so that a new option can't be forgotten, and renaming a field in the code changes no key.

use imgconv_convert::options::{Foreign, Missing, Options, RefName};
use imgconv_model::{Env, FormatId};
use imgconv_pipeline::{Options as LayerOptions, Squash};

/// The version of the text: it changes when the output for the same input and options does.
pub(super) const REVISION: &str = concat!("imgconv ", env!("CARGO_PKG_VERSION"), " key 3");

/// Writes out everything that decides the output, apart from the images themselves: one
/// `name=value` a line.
pub(super) fn conversion(format: Option<FormatId>, options: &Options, env: &Env) -> String {
    let Options {
        pair,
        platforms,
        layers,
        no_squash,
        name,
        host,
        image_tags,
        ref_name,
        deps,
        change,
        reversible,
        exact,
        record,
        signs_anew,
        // Neither option changes the output, only whether there is any.
        strict: _,
        dry_run: _,
        missing,
        foreign,
        preserve_digests,
        sign_key,
        // Links and copies hold the same bytes.
        sharing: _,
        config: _,     // only of `convert`
        more_names: _, // only of `convert`
    } = options;
    let LayerOptions {
        compression,
        toc,
        level,
        force,
        clamp_mtime,
        squash,
    } = layers;
    let pair = pair.map(|(from, to)| format!("{} {}", from.as_str(), to.as_str()));
    let platforms: Vec<String> = platforms
        .iter()
        .map(|platform| format!("{platform}{}", if platform.exact { " exactly" } else { "" }))
        .collect();
    let ref_name = match ref_name {
        RefName::Full => "full",
        RefName::Tag => "tag",
    };
    let deps: Vec<String> = deps.iter().map(|place| quoted(place)).collect();
    let missing = match missing {
        Missing::Drop => "drop",
        Missing::Keep => "keep",
        Missing::Fail => "fail",
    };
    let foreign = match foreign {
        Foreign::Keep => "keep",
        Foreign::Fail => "fail",
        Foreign::Drop => "drop",
        Foreign::Fetch => "fetch",
    };
    let sign_key = sign_key.as_ref();
    let sign_key = sign_key.map(|path| quoted(&path.to_string_lossy()));
    let lines = [
        ("format", optional(format)),
        ("pair", optional(pair)),
        ("platforms", platforms.join(" ")),
        ("compression", optional(*compression)),
        ("table-of-contents", toc.to_string()),
        ("level", level.to_string()),
        ("force", force.to_string()),
        ("clamp-mtime", optional(*clamp_mtime)),
        ("squash", squash.map_or_else(none, squash_text)),
        ("no-squash", no_squash.to_string()),
        ("name", optional(name.as_deref().map(quoted))),
        ("host", optional(host.as_deref().map(quoted))),
        ("image-tags", image_tags.to_string()),
        ("ref-name", ref_name.to_owned()),
        ("deps", deps.join(" ")),
        ("change", change.to_string()),
        ("missing", missing.to_owned()),
        ("foreign", foreign.to_owned()),
        ("preserve-digests", preserve_digests.to_string()),
        ("sign-key", optional(sign_key)),
        ("reversible", reversible.to_string()),
        ("exact", exact.to_string()),
        ("record", optional(record.as_deref().map(quoted))),
        ("signs-anew", signs_anew.to_string()),
        ("epoch", optional(env.epoch)),
        ("host-platform", env.host.to_string()),
    ];
    lines
        .map(|(name, value)| format!("{name}={value}"))
        .join("\n")
}

fn none() -> String {
    "-".to_owned()
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(none, |value| value.to_string())
}

/// A text as a JSON string: a line break in it can't look like another field.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn squash_text(squash: Squash) -> String {
    match squash {
        Squash::All => "all".to_owned(),
        Squash::Last(layers) => format!("last {layers}"),
        Squash::KeepBase(layers) => format!("keep-base {layers}"),
        Squash::AtMost(layers) => format!("at-most {layers}"),
    }
}

#[cfg(test)]
mod tests {
    use imgconv_model::Platform;

    use super::*;

    #[test]
    fn the_text_of_the_default_options_stays() {
        let env = Env::new("/tmp", Platform::new("linux", "amd64"));
        let text = conversion(None, &Options::default(), &env);
        assert_eq!(
            text,
            "format=-\npair=-\nplatforms=\ncompression=-\ntable-of-contents=false\nlevel=default\n\
             force=false\nclamp-mtime=-\nsquash=-\nno-squash=false\nname=-\nhost=-\n\
             image-tags=false\nref-name=full\ndeps=\nchange=false\nmissing=drop\nforeign=keep\n\
             preserve-digests=false\nsign-key=-\nreversible=false\nexact=false\nrecord=-\nsigns-anew=false\nepoch=-\nhost-platform=linux/amd64"
        );
    }

    #[test]
    fn what_only_decides_whether_something_is_written_is_no_part_of_the_text() {
        let env = Env::new("/tmp", Platform::new("linux", "amd64"));
        let strict = Options {
            strict: true,
            dry_run: true,
            ..Options::default()
        };
        let named = Options {
            name: Some("a\nhost=b".to_owned()),
            ..Options::default()
        };
        let text = |options: &Options| conversion(None, options, &env);
        assert_eq!(text(&strict), text(&Options::default()));
        assert!(text(&named).contains("name=\"a\\nhost=b\"\nhost=-"));
    }
}
