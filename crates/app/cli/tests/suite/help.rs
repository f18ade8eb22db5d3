//! The help pages, the topics and the man pages: their length, and that every option is in them.

use std::fs;

use crate::sandbox::Sandbox;

/// Every command, as the words that call it.
const COMMANDS: &[&str] = &[
    "convert",
    "aci-to-oci",
    "oci-to-aci",
    "docker-to-oci",
    "docker-to-aci",
    "oci-to-docker",
    "aci-to-docker",
    "squash",
    "recompress",
    "inspect",
    "ls",
    "verify",
    "diff",
    "unpack",
    "tags export",
    "tags resolve",
    "tags list",
    "tags validate",
    "tags fetch",
    "layout rm",
    "layout tag",
    "layout gc",
    "publish",
    "migrate",
    "migrate merge-reports",
    "serve",
    "formats",
    "completions",
    "man",
    "help",
];

fn page(sandbox: &Sandbox, command: &str, option: &str) -> String {
    let words: Vec<&str> = command.split(' ').chain([option]).collect();
    sandbox.ok(&words)
}

#[test]
fn help_pages_are_short() {
    let sandbox = Sandbox::new();
    for command in COMMANDS {
        let lines = |option| page(&sandbox, command, option).lines().count();
        let (summary, full) = (lines("-h"), lines("--help"));
        assert!(
            summary <= 50 || *command == "migrate",
            "{command} -h: {summary}"
        );
        assert!(summary <= 70, "{command} -h: {summary}");
        assert!(full <= 120, "{command} --help: {full}");
        let by_help = format!("help {command}");
        let words: Vec<&str> = by_help.split(' ').collect();
        assert_eq!(sandbox.ok(&words), page(&sandbox, command, "--help"));
    }
}

#[test]
fn the_topics_exist_and_describe_the_shared_options() {
    let sandbox = Sandbox::new();
    for (topic, parts) in [
        (
            "locators",
            &["docker-archive:PATH[:REF]", "--src-format", "--namespace"][..],
        ),
        ("conversion", &["--compression", "zstd:chunked", "--deps"]),
        ("network", &["--tls-verify", "--authfile", "--mirror"]),
        ("trust", &["--keyring", "--insecure-image"]),
        ("common", &["--json", "--limit"]),
        (
            "limits",
            &[
                "layer_bytes            64 GiB  Uncompressed bytes",
                "retries  ",
            ],
        ),
        ("environment", &["NO_PROXY", "SOURCE_DATE_EPOCH"]),
        ("files", &["auth.json"]),
        ("exit-codes", &["130"]),
        (
            "reference",
            &["## imgconv convert", "--keyring", "SSL_CERT_DIR"],
        ),
    ] {
        let page = sandbox.ok(&["help", topic]);
        for part in parts {
            assert!(page.contains(part), "{topic}: {part}");
        }
        let all = sandbox.ok(&["--help"]);
        assert!(all.contains(&format!("\n  {topic} ")), "{topic}: {all}");
    }
    sandbox.fails(&["help", "nowhere"], 2, &["`nowhere`", "locators"]);
    let lines = sandbox.ok(&["help", "reference"]).lines().count();
    assert!(lines < 1500, "{lines}");
}

#[test]
fn access_options_are_where_they_matter() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &["dir etc"]);
    fs::write(sandbox.path("auth.json"), "{}").unwrap();
    let access = [
        "--tls-verify=false",
        "--plain-http",
        "registry.example",
        "--authfile",
        "auth.json",
        "--insecure-image",
    ];
    for command in [
        &["convert", "oci:in", "oci:out"][..],
        &["squash", "oci:in", "oci:squashed"],
        &["ls", "oci:in"],
        &["inspect", "oci:in"],
        &["verify", "oci:in"],
        &["diff", "oci:in", "oci:in"],
        &["unpack", "oci:in", "root"],
        &["migrate", "oci:in", "oci:all"],
    ] {
        sandbox.ok(&[command, &access].concat());
    }
    // The options may stand before the command, too.
    sandbox.ok(&[&access[..], &["ls", "oci:in"]].concat());
    for command in [
        &["completions", "bash"][..],
        &["man", "pages"],
        &["formats"],
        &["layout", "gc", "in"],
        &["tags", "list", "tags.json"],
    ] {
        for option in [
            "--tls-verify=false",
            "--authfile=auth.json",
            "--insecure-image",
        ] {
            let text = ["unexpected argument"];
            sandbox.fails(&[command, &[option]].concat(), 2, &text);
            sandbox.fails(&[&[option], command].concat(), 2, &text);
        }
        let page = sandbox.ok(&[&command[..command.len() - 1], &["--help"]].concat());
        assert!(!page.contains("imgconv help network"), "{page}");
    }
}

#[test]
fn man_pages_have_all_sections() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["man", "man"]);
    for command in COMMANDS {
        let name = format!("man/imgconv-{}.1", command.replace(' ', "-"));
        let page = fs::read_to_string(sandbox.path(&name)).unwrap();
        for section in [
            "OPTIONS",
            "EXAMPLES",
            "EXIT STATUS",
            "ENVIRONMENT",
            "FILES",
            "SEE ALSO",
        ] {
            let heading = format!(".SH \"{section}\"\n");
            let plain = format!(".SH {section}\n");
            let count = page.matches(&heading).count() + page.matches(&plain).count();
            assert_eq!(count, 1, "{name}: {section}");
        }
        assert!(page.is_ascii(), "{name}");
    }
}
