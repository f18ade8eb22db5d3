//! Checks of compressed layers: independent programs read every profile of every codec, and one,
//! two and eight threads write the same bytes.

use std::fs;

use imgconv_testkit::{build, recipe};

use super::checks::{Oracle, contains};
use super::docker::equal;
use super::layers::image;
use crate::process::Result;

/// The profiles: the codec, and the level if it is not the codec's own.
const PROFILES: [(&str, &str); 13] = [
    ("none", ""),
    ("gzip", ""),
    ("gzip", "fast"),
    ("gzip", "1"),
    ("gzip", "6"),
    ("gzip", "12"),
    ("zstd", ""),
    ("zstd", "fast"),
    ("zstd", "1"),
    ("zstd", "3"),
    ("zstd", "9"),
    ("zstd", "19"),
    ("zstd:chunked", ""),
];

/// A reader: the program, the codecs that it reads, what it sees, and a script that prints the
/// SHA-256 of that for the layer `$BLOB` of the image `$REF` in the layout `$OCI`.
type Reader = (&'static str, &'static [&'static str], Sees, &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    /// The tar.
    Tar,
    /// The contents of all files, one after another.
    Contents,
}

const GZIP: &[&str] = &["gzip"];
const ZSTD: &[&str] = &["zstd"];
const ALL: &[&str] = &["none", "gzip", "zstd"];

const READERS: [Reader; 8] = [
    ("gzip", GZIP, Sees::Tar, "gzip -dc < $BLOB | sha256sum"),
    ("pigz", GZIP, Sees::Tar, "pigz -dc < $BLOB | sha256sum"),
    ("zstd", ZSTD, Sees::Tar, "zstd -dcq < $BLOB | sha256sum"),
    ("tar", ALL, Sees::Contents, "tar -xOf $BLOB | sha256sum"),
    (
        "bsdtar",
        ALL,
        Sees::Contents,
        "bsdtar -xOf $BLOB | sha256sum",
    ),
    // No zstd before Python 3.14.
    (
        "python3",
        &["none", "gzip"],
        Sees::Contents,
        r#"python3 -c '
import hashlib, sys, tarfile
seen = hashlib.sha256()
with tarfile.open(sys.argv[1]) as layer:
    for member in layer:
        if member.isreg():
            seen.update(layer.extractfile(member).read())
print(seen.hexdigest())' $BLOB"#,
    ),
    // Go's gzip and zstd as containers-image uses them.
    (
        "skopeo",
        ALL,
        Sees::Tar,
        "skopeo --insecure-policy copy -q --dest-decompress oci:$OCI:$REF dir:$OUT\n\
         sha256sum < $OUT/$(jq -r '.layers[0].digest' $OUT/manifest.json | cut -d: -f2)",
    ),
    // umoci reads zstd since 0.5.0.
    (
        "umoci",
        &["none", "gzip"],
        Sees::Contents,
        "umoci unpack --image $OCI:$REF $OUT > /dev/null\n\
         (cd $OUT/rootfs && LC_ALL=C ls | xargs cat) | sha256sum",
    ),
];

pub(super) const REFERENCE: &str = "example.com/codecs:1";

/// Runs every check of the codecs; says whether the layer of these checks was made.
pub(super) fn run(oracle: &mut Oracle) -> bool {
    if !oracle.wants("codecs") {
        return false;
    }
    if !oracle.check(
        "codecs: the layer is made",
        &["tar", "sha256sum", "jq"],
        make,
    ) {
        return false;
    }
    for (codec, level) in PROFILES {
        one(oracle, codec, level);
    }
    true
}

/// Makes the layout `codecs` of one plain layer: text, zeros, bytes that do not compress, and many
/// small files; more than one block of every encoder.
fn make(oracle: &Oracle) -> Result {
    let mut lines = vec![
        "file a-text".to_owned(),
        "file b-noise noise=1500000".into(),
        "file c-zeros zeros=1500000".into(),
    ];
    lines.extend((0..400).map(|i| format!("file small-{i:03} \"{i}\"")));
    let mut items = recipe::parse(&lines.join("\n"), "codecs").map_err(|e| e.to_string())?;
    let text: String = (0..400_000u64)
        .map(|i| format!("{}\n", i * 7919 % 1_000_003))
        .collect();
    items[0].entry.size = text.len() as u64;
    items[0].body = text.into_bytes();
    let tar = build::tar_bytes(&items).map_err(|e| e.to_string())?;
    fs::write(oracle.path("codecs.tar"), tar).map_err(|e| e.to_string())?;
    let mut image = image("codecs");
    image.layers = vec![items];
    build::layout(&[image], &oracle.path("codecs")).map_err(|e| e.to_string())
}

fn one(oracle: &mut Oracle, codec: &str, level: &str) {
    let name = format!("{codec} {level}");
    let name = name.trim_end();
    let layout = format!("codecs-{codec}-{level}").replace(':', "-");
    let plain = codec.split(':').next().unwrap_or_default();
    let title = format!("codecs: {name}: the same bytes from 1, 2 and 8 threads");
    let made = oracle.check(&title, &["diff"], |oracle| {
        let mut options = vec!["recompress", "--quiet", "--force", "--compression", codec];
        if !level.is_empty() {
            options.extend(["--level", level]);
        }
        for jobs in ["1", "2", "8"] {
            let to = format!("{layout}-{jobs}");
            oracle.imgconv(&[&options[..], &["--jobs", jobs, "codecs", &to]].concat())?;
            oracle.peer("diff", &["-r", &format!("{layout}-1"), &to])?;
        }
        let json = oracle.imgconv(&["inspect", "--json", &format!("{layout}-1")])?;
        contains(&json, &format!("\"{plain}\""))
    });
    if !made {
        return;
    }
    for (reader, codecs, sees, script) in READERS {
        if !codecs.contains(&plain) {
            continue;
        }
        let title = format!("codecs: {name}: {reader} reads it");
        oracle.check(&title, &[reader, "jq", "sha256sum"], |oracle| {
            let expected = oracle.shell(match sees {
                Sees::Tar => "sha256sum < codecs.tar",
                Sees::Contents => "tar -xOf codecs.tar | sha256sum",
            })?;
            let found = oracle.shell(&format!(
                "OCI={layout}-1 REF={REFERENCE} OUT={layout}-{reader}\n\
                 blob() {{ echo $OCI/blobs/sha256/$(echo $1 | cut -d: -f2); }}\n\
                 MANIFEST=$(blob $(jq -r '.manifests[0].digest' $OCI/index.json))\n\
                 BLOB=$(blob $(jq -r '.layers[0].digest' $MANIFEST))\n{script}"
            ))?;
            let digest = |text: &str| {
                text.split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            };
            equal("what it sees", &digest(&found), &digest(&expected))
        });
    }
}
