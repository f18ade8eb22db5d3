//! Checks of layers with a table of contents: a Python program fetches every file by the table
//! alone, and eStargz layers, whose tar has two more files, are read as plain layers.

use std::fs;

use super::checks::Oracle;
use super::codecs::REFERENCE;
use super::docker::equal;
use crate::process::Result;

/// Fetches every file and chunk by the table and compares their digests.
const FETCH: &str = include_str!("fetch.py");

/// How the layer of the layout `$OCI` is found.
const LAYER: &str = "blob() { echo $OCI/blobs/sha256/$(echo $1 | cut -d: -f2); }
MANIFEST=$(blob $(jq -r '.manifests[0].digest' $OCI/index.json))
BLOB=$(blob $(jq -r '.layers[0].digest' $MANIFEST))
DIFF_ID=$(jq -r '.rootfs.diff_ids[0]' $(blob $(jq -r .config.digest $MANIFEST)))
";

/// Readers of eStargz: the program, and a script that fails if it sees other contents than those of
/// `codecs.tar` and the two files.
const READERS: [(&str, &str); 6] = [
    (
        "gzip",
        "[ sha256:$(gzip -dc < $BLOB | sha256sum | cut -d' ' -f1) = $DIFF_ID ]",
    ),
    (
        "pigz",
        "[ sha256:$(pigz -dc < $BLOB | sha256sum | cut -d' ' -f1) = $DIFF_ID ]",
    ),
    (
        "tar",
        "tar --exclude .no.prefetch.landmark --exclude stargz.index.json -xOf $BLOB | cmp - plain",
    ),
    (
        "bsdtar",
        "bsdtar --exclude .no.prefetch.landmark --exclude stargz.index.json -xOf $BLOB | cmp - plain",
    ),
    (
        "skopeo",
        "skopeo --insecure-policy copy -q --dest-decompress oci:$OCI:$REF dir:$OUT
[ $(jq -r '.layers[0].digest' $OUT/manifest.json) = $DIFF_ID ]",
    ),
    (
        "umoci",
        "umoci unpack --image $OCI:$REF $OUT > /dev/null
[ -e $OUT/rootfs/.no.prefetch.landmark ] && rm $OUT/rootfs/stargz.index.json
(cd $OUT/rootfs && LC_ALL=C ls | xargs cat) | cmp - plain",
    ),
];

/// Runs the checks; the layout `codecs` is there.
pub(super) fn run(oracle: &mut Oracle) {
    for (codec, needs) in [
        ("zstd:chunked", &["python3", "zstd", "jq"][..]),
        ("estargz", &["python3", "jq"]),
    ] {
        let layout = format!("chunked-{}", codec.replace(':', "-"));
        let title = format!("codecs: {codec}: the same bytes from 1 and 8 threads");
        let made = oracle.check(&title, &["diff"], |oracle| make(oracle, codec, &layout));
        if made {
            let title = format!("codecs: {codec}: every file is fetched by the table alone");
            oracle.check(&title, needs, |oracle| fetch(oracle, &layout));
        }
    }
    for (reader, script) in READERS {
        let title = format!("codecs: estargz: {reader} reads it");
        oracle.check(&title, &[reader, "jq", "tar"], |oracle| {
            oracle
                .shell(&format!(
                    "set -e; OCI=chunked-estargz REF={REFERENCE} OUT=estargz-{reader}\n\
                     tar -xOf codecs.tar > plain\n{LAYER}{script}"
                ))
                .map(drop)
        });
    }
}

fn make(oracle: &Oracle, codec: &str, layout: &str) -> Result {
    for (jobs, to) in [("1", layout.to_owned()), ("8", format!("{layout}-8"))] {
        let how = ["recompress", "--quiet", "--compression", codec];
        oracle.imgconv(&[&how[..], &["--jobs", jobs, "codecs", &to]].concat())?;
    }
    oracle.peer("diff", &["-r", layout, &format!("{layout}-8")])?;
    Ok(())
}

fn fetch(oracle: &Oracle, layout: &str) -> Result {
    fs::write(oracle.path("fetch.py"), FETCH).map_err(|e| e.to_string())?;
    let found = oracle.shell(&format!(
        "set -e; OCI={layout}\n{LAYER}\
         python3 fetch.py $BLOB \"$(jq -c '.layers[0].annotations' $MANIFEST)\" codecs.tar"
    ))?;
    equal("files that were fetched", found.trim(), "403")
}
