//! Options and commands of docker, skopeo and crane, each with the equivalent of imgconv. A user of those
//! programs who types such a word has made no typing error, so the most similar word of imgconv would
//! be the wrong advice.

use clap::{
    Error,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Options of other programs, each group with its advice.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &["--config"],
        "`--json` prints the config, `--raw` the stored document",
    ),
    (
        &["--all", "-a", "--multi-arch", "--all-tags"],
        "everything in the source is converted, unless a REF, a tag or `--platform` selects a part",
    ),
    (
        &[
            "--os",
            "--arch",
            "--variant",
            "--override-os",
            "--override-arch",
            "--override-variant",
        ],
        "`--platform OS/ARCH[/VARIANT]` selects a platform",
    ),
    (
        &[
            "--src-creds",
            "--dest-creds",
            "--src-username",
            "--src-password",
            "--dest-username",
            "--dest-password",
            "--username",
            "--password",
            "-u",
            "-p",
        ],
        "`--creds HOST=USER:PASSWORD` sets credentials for a host; `--authfile FILE` and `docker login` keep \
         them from other users",
    ),
    (
        &[
            "--src-registry-token",
            "--dest-registry-token",
            "--registry-token",
        ],
        "credentials are read from the files of `docker login` and `podman login`, or `--authfile`",
    ),
    (
        &[
            "--src-tls-verify",
            "--dest-tls-verify",
            "--insecure",
            "--insecure-registry",
            "-k",
        ],
        "`--tls-verify=false` accepts any certificate, `--plain-http HOST` speaks plain http with a host",
    ),
    (
        &[
            "--src-cert-dir",
            "--dest-cert-dir",
            "--cacert",
            "--capath",
            "--cert",
            "--tlscacert",
            "--tlscert",
            "--tlskey",
        ],
        "`--cert-dir DIR` names certificates; `SSL_CERT_FILE` and the `certs.d` directories of docker and podman are read too",
    ),
    (
        &["--src-authfile", "--dest-authfile"],
        "`--authfile FILE` is for the source and the destination",
    ),
    (
        &["--src-no-creds", "--dest-no-creds", "--no-creds"],
        "`--authfile FILE` with a file that contains `{}` sends no credentials",
    ),
    (
        &[
            "--insecure-policy",
            "--policy",
            "--registries.d",
            "--registries-conf",
        ],
        "imgconv reads no such file; leave the option out",
    ),
    (
        &["--proxy"],
        "the environment variables `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` set proxies",
    ),
    (
        &["--dest-compress-format", "--compression-format"],
        "`--compression HOW` sets the compression",
    ),
    (
        &["--dest-compress-level", "--compression-level"],
        "`--level N` sets the level",
    ),
    (
        &[
            "--dest-compress",
            "--dest-decompress",
            "--compress",
            "--dest-oci-accept-uncompressed-layers",
        ],
        "`--compression gzip` compresses, `--compression none` does not",
    ),
    (
        &["--additional-tag"],
        "`imgconv layout tag` adds a name to an image of a layout; for other places convert the image \
         again, which copies only blobs that are missing",
    ),
    (
        &["--tag", "-t"],
        "`--name REFERENCE` or a REF in the destination names the result",
    ),
    (
        &["--remove-signatures", "--sign-by", "--sign-by-sigstore"],
        "signatures are copied if their subject keeps its digest; other programs make new signatures",
    ),
    (
        &["--digestfile", "--iidfile"],
        "`--json` prints the digests, `--report FILE` writes them",
    ),
    (
        &["--retry-times", "--retry", "--retry-delay"],
        "`--limit retries=N` sets the number of attempts",
    ),
    (&["--debug", "-D", "--log-level"], "`-v` prints more"),
    (
        &["--output", "-o"],
        "the destination is the last argument, `-` for standard output",
    ),
    (
        &["--input", "-i"],
        "the source is the first argument, `-` for standard input",
    ),
    (
        &["--src", "--dest", "--scoped", "-s", "-d"],
        "`imgconv migrate SRC DST` copies every image of a place",
    ),
    (
        &["--no-tags", "-n", "--no-trunc", "--digests"],
        "leave the option out: imgconv always does this",
    ),
    (
        &["--filter"],
        "`--json` prints one document, which `jq` can filter",
    ),
];

/// Commands of other programs, each group with its advice.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["copy", "cp", "pull", "push", "save", "load", "import"],
        "`imgconv convert SRC DST` copies images, as in `imgconv convert docker://HOST/REPO:TAG oci:DIR`",
    ),
    (
        &[
            "images",
            "image",
            "list",
            "list-tags",
            "catalog",
            "search",
            "tag-list",
        ],
        "`imgconv ls LOCATOR` lists every image of a place",
    ),
    (
        &["export", "extract", "unpack-image", "mount"],
        "`imgconv unpack SRC DIR` writes the root file system",
    ),
    (
        &["sync", "mirror"],
        "`imgconv migrate SRC DST` copies every image of a place",
    ),
    (
        &["manifest", "config", "show", "history"],
        "`imgconv inspect SRC` prints it, with `--json` or `--raw` for programs",
    ),
    (
        &["delete", "rmi", "rm", "prune"],
        "`imgconv layout rm` and `imgconv layout gc` remove images from a layout; imgconv removes nothing \
         from stores and registries",
    ),
    (
        &["validate", "check", "fsck"],
        "`imgconv verify LOCATOR` reads everything and names every problem",
    ),
    (
        &["login", "logout"],
        "`docker login` or `podman login` writes the credentials that imgconv reads",
    ),
    (
        &["flatten", "rebase"],
        "`imgconv squash SRC DST` merges layers",
    ),
    (
        &["tag"],
        "`imgconv layout tag` adds a name to an image of a layout",
    ),
];

/// Replaces the parser's suggestion by advice, if the word is an option or a command of another program.
pub(crate) fn advise(mut error: Error) -> Error {
    let advice = match error.kind() {
        ErrorKind::UnknownArgument => word(&error, ContextKind::InvalidArg).and_then(|word| {
            let command = word_of_usage(&error);
            option(&word, command.as_deref())
        }),
        ErrorKind::InvalidSubcommand => {
            word(&error, ContextKind::InvalidSubcommand).and_then(|word| find(COMMANDS, &word))
        }
        _ => None,
    };
    if let Some(advice) = advice {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        // The usage in the error contains the most similar word, too.
        error.remove(ContextKind::Usage);
        let advice = vec![StyledStr::from(advice)];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(advice));
    }
    error
}

fn option(word: &str, command: Option<&str>) -> Option<&'static str> {
    let name = word.split('=').next().unwrap_or(word);
    if !matches!(name, "--format" | "-f" | "--template") {
        return find(OPTIONS, name);
    }
    // In `docker inspect` and `skopeo inspect` the value is a template of the output, in `skopeo copy` a
    // format.
    Some(match command {
        Some("inspect" | "ls" | "verify" | "diff" | "formats") | None => {
            "imgconv has no templates: `--json` prints one document, for example for \
             `jq -r '.images[0].platform'`"
        }
        _ => "the locator contains the format, as in `docker-v2s2+docker://…` or `oci:DIR`",
    })
}

fn find(table: &[(&[&str], &'static str)], word: &str) -> Option<&'static str> {
    let row = table.iter().find(|(words, _)| words.contains(&word))?;
    Some(row.1)
}

fn word(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(word) => Some(word.clone()),
        _ => None,
    }
}

/// Finds the name of the command in the usage of an error, `Usage: imgconv COMMAND …`.
fn word_of_usage(error: &Error) -> Option<String> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else {
        return None;
    };
    let usage = usage.to_string();
    let mut words = usage.split_whitespace();
    words.find(|word| *word == "imgconv")?;
    words.next().map(str::to_owned)
}
