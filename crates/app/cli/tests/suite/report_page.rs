//! The page of a migration's report: `migrate --report-html` and `imgconv report`.

use std::fs;

use crate::sandbox::{LABELS, Sandbox};

/// A folder with two ACIs, and a third that ends early.
fn store() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["one", "two"] {
        let file = format!("old/{name}.aci");
        sandbox.aci(
            &file,
            &format!("example.com/{name}"),
            LABELS,
            "file a \"1\"",
        );
    }
    sandbox.aci(
        "old/<b>.aci",
        "example.org/cut",
        LABELS,
        "file a noise=9000",
    );
    let cut = sandbox.path("old/<b>.aci");
    let bytes = fs::read(&cut).unwrap();
    fs::write(cut, &bytes[..bytes.len() - 4000]).unwrap();
    sandbox
}

#[test]
fn both_commands_write_the_same_page() {
    let sandbox = store();
    let args = [
        "migrate",
        "tree:old",
        "oci:out",
        "--report",
        "r.json",
        "--report-html",
        "r.html",
    ];
    let output = sandbox.run(&args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let page = fs::read_to_string(sandbox.path("r.html")).unwrap();
    assert!(
        page.contains("<title>Migration: 2 done, 1 failed</title>"),
        "{page}"
    );
    assert!(
        page.contains("&lt;b&gt;.aci") && !page.contains("<b>.aci"),
        "{page}"
    );
    sandbox.ok(&["report", "r.json", "again.html"]);
    assert_eq!(
        fs::read_to_string(sandbox.path("again.html")).unwrap(),
        page
    );

    let joined = sandbox.run(&["migrate", "merge-reports", "r.json", "--json"]);
    fs::write(sandbox.path("joined.json"), joined.stdout).unwrap();
    sandbox.ok(&["report", "joined.json", "joined.html"]);
    assert_eq!(
        fs::read_to_string(sandbox.path("joined.html")).unwrap(),
        page
    );
}

#[test]
fn acis_count_as_files_and_a_dry_run_has_a_page_too() {
    let sandbox = store();
    let args = [
        "--only",
        "example.com/*",
        "--report",
        "r.json",
        "--report-html",
        "r.html",
    ];
    sandbox.ok(&[
        &["migrate", "tree:old", "aci:acis/", "--dry-run"],
        &args[..],
    ]
    .concat());
    let page = fs::read_to_string(sandbox.path("r.html")).unwrap();
    assert!(
        page.contains("<title>Migration: 2 planned</title>"),
        "{page}"
    );
    sandbox.ok(&[&["migrate", "tree:old", "aci:acis/"], &args[..]].concat());
    let size = fs::metadata(sandbox.path("acis/example.com-one-1.0-linux-amd64.aci"));
    let size = size.unwrap().len();
    let page = fs::read_to_string(sandbox.path("r.html")).unwrap();
    assert!(
        page.contains(&format!("data-v=\"{size}\"")),
        "{size}: {page}"
    );
    let archives = [
        "migrate",
        "tree:old",
        "docker-archive:archives/",
        "--json",
        "--only",
        "*",
    ];
    let output = sandbox.run(&archives);
    let report = String::from_utf8(output.stdout).unwrap();
    let first = fs::read_dir(sandbox.path("archives")).unwrap().flatten();
    let mut archives = first.filter(|file| file.file_type().unwrap().is_file());
    let size = archives.next().unwrap().metadata().unwrap().len();
    assert!(
        report.contains(&format!("\"file_bytes\": {size}")),
        "{report}"
    );
    let size = fs::metadata(sandbox.path("acis/example.com-one-1.0-linux-amd64.aci"));
    let size = size.unwrap().len();
    let again = sandbox.ok(&[&["migrate", "tree:old", "aci:acis/", "--json"], &args[..]].concat());
    assert!(
        again.contains(&format!("\"file_bytes\": {size}")),
        "{again}"
    );
}

#[test]
fn a_page_that_can_t_be_made_is_an_error_that_names_the_file() {
    let sandbox = store();
    let args = ["migrate", "tree:old", "oci:out", "--only", "example.com/*"];
    for page in [".", "-", "none/r.html"] {
        let exit = if page == "-" { 2 } else { 1 };
        sandbox.fails(
            &[&args[..], &["--report-html", page]].concat(),
            exit,
            &["--report-html"],
        );
    }
    sandbox.ok(&[&args[..], &["--report", "r.json"]].concat());
    sandbox.fails(&["report", "r.json", "."], 1, &["FILE.html"]);
    sandbox.fails(&["report", "none.json", "r.html"], 1, &["none.json"]);
    let text = fs::read_to_string(sandbox.path("r.json")).unwrap();
    fs::write(
        sandbox.path("next.json"),
        text.replace("\"version\":1", "\"version\":2"),
    )
    .unwrap();
    sandbox.fails(
        &["report", "next.json", "r.html"],
        1,
        &[
            "error[unsupported]",
            "next.json",
            "version 2",
            "reads version 1",
        ],
    );
    sandbox.fails(
        &["migrate", "merge-reports", "next.json"],
        1,
        &["error[unsupported]", "version 2"],
    );
    fs::write(sandbox.path("cut.json"), &text[..text.len() / 2]).unwrap();
    sandbox.fails(
        &["report", "cut.json", "r.html"],
        1,
        &["error[bad-json]", "cut.json"],
    );
}
