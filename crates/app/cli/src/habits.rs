//! Options and commands of other programs, and what does the same here: habits of those who come from
//! docker, skopeo or crane are no typing errors, so the most similar word is seldom what they mean.

use clap::{
    Error,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Options, and what to say of them.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &["--config"],
        "`--json` prints the config, `--raw` the stored document",
    ),
    (
        &["--all", "-a", "--multi-arch", "--all-tags"],
        "everything that is there is taken, unless a REF, a tag or `--platform` says otherwise",
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
        "`--platform OS/ARCH[/VARIANT]` chooses",
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
        "`--creds HOST=USER:PASSWORD` says who you are on a host, and `--authfile FILE` or `docker login` \
         hide it from others",
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
        "`--tls-verify=false` takes any certificate, `--plain-http HOST` speaks plain http with a host",
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
        "`--cert-dir DIR` names certificates, and so do `SSL_CERT_FILE` and the `certs.d` of docker and podman",
    ),
    (
        &["--src-authfile", "--dest-authfile"],
        "`--authfile FILE` is for both sides",
    ),
    (
        &["--src-no-creds", "--dest-no-creds", "--no-creds"],
        "`--authfile FILE` with a file of `{}` sends none",
    ),
    (
        &[
            "--insecure-policy",
            "--policy",
            "--registries.d",
            "--registries-conf",
        ],
        "such files are not read: leave the option out",
    ),
    (
        &["--proxy"],
        "`HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name proxies",
    ),
    (
        &["--dest-compress-format", "--compression-format"],
        "`--compression HOW` says it",
    ),
    (
        &["--dest-compress-level", "--compression-level"],
        "`--level N` says it",
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
        "`imgconv layout tag` gives an image of a layout one more name; elsewhere convert it again, which \
         moves only what is not there",
    ),
    (
        &["--tag", "-t"],
        "`--name REFERENCE` names the result, and so does a REF of the destination",
    ),
    (
        &["--remove-signatures", "--sign-by", "--sign-by-sigstore"],
        "signatures go along as long as what they are about keeps its digest; new ones are made by \
         other programs",
    ),
    (
        &["--digestfile", "--iidfile"],
        "`--json` prints the digests, `--report FILE` writes them",
    ),
    (
        &["--retry-times", "--retry", "--retry-delay"],
        "`--limit retries=N` says how often",
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
        "`imgconv migrate SRC DST` moves everything of a place",
    ),
    (
        &["--no-tags", "-n", "--no-trunc", "--digests"],
        "leave it out: nothing else is done",
    ),
    (
        &["--filter"],
        "`--json` prints one document, which `jq` filters",
    ),
];

/// Commands, and what to say of them.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["copy", "cp", "pull", "push", "save", "load", "import"],
        "`imgconv convert SRC DST` does it, such as `imgconv convert docker://HOST/REPO:TAG oci:DIR`",
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
        "`imgconv migrate SRC DST` moves everything of a place",
    ),
    (
        &["manifest", "config", "show", "history"],
        "`imgconv inspect SRC` shows it, with `--json` or `--raw` for programs",
    ),
    (
        &["delete", "rmi", "rm", "prune"],
        "`imgconv layout rm` and `imgconv layout gc` take images out of a layout; stores and registries \
         are not deleted from",
    ),
    (
        &["validate", "check", "fsck"],
        "`imgconv verify LOCATOR` reads everything and names what is wrong",
    ),
    (
        &["login", "logout"],
        "`docker login` or `podman login` writes the credentials that are used here",
    ),
    (
        &["flatten", "rebase"],
        "`imgconv squash SRC DST` merges layers",
    ),
    (
        &["tag"],
        "`imgconv layout tag` gives an image of a layout one more name",
    ),
];

/// Replaces the most similar word by what does the same, if the word is one of another program.
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
        // The parser's own tip would name the most similar word, too.
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
    // docker and skopeo have it as a template of what is printed; `skopeo copy`, as a format.
    Some(match command {
        Some("inspect" | "ls" | "verify" | "diff" | "formats") | None => {
            "no template is read: `--json` prints one document, for example for \
             `jq -r '.images[0].platform'`"
        }
        _ => "the format is said with the place, such as `docker-v2s2+docker://…` or `oci:DIR`",
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

/// Returns the command from the usage that the error shows: `Usage: imgconv COMMAND …`.
fn word_of_usage(error: &Error) -> Option<String> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else {
        return None;
    };
    let usage = usage.to_string();
    let mut words = usage.split_whitespace();
    words.find(|word| *word == "imgconv")?;
    words.next().map(str::to_owned)
}
