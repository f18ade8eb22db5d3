//! What commands print: the table and the templates of `ls`, the lines of results, and collapsed losses.

use std::fs;

use crate::sandbox::{Sandbox, columns};

/// Runs a command that must succeed, and returns both streams.
fn run(sandbox: &Sandbox, args: &[&str]) -> (String, String) {
    let output = sandbox.run(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{args:?}: {err}");
    (out, err)
}

fn two_layouts() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.layout("one", "example.com/team/one", &["file a \"1\""]);
    sandbox.layout("two", "example.com/two", &["file a \"1\""]);
    sandbox
}

#[test]
fn ls_is_a_table_for_people_and_lines_for_programs() {
    let sandbox = two_layouts();
    let (table, _) = run(&sandbox, &["ls", "--format", "table", "one", "two"]);
    let lines: Vec<Vec<&str>> = table.lines().map(columns).collect();
    let head = [
        "NAME", "TAG", "PLATFORM", "FORMAT", "IMAGE ID", "DIGEST", "SIZE",
    ];
    assert_eq!(lines[0], head);
    assert_eq!(
        lines[1][..4],
        ["example.com/team/one", "1.0", "linux/amd64", "oci"]
    );
    assert_eq!(
        lines[2][..4],
        ["example.com/two", "1.0", "linux/amd64", "oci"]
    );
    assert_eq!(
        (lines[1][4].len(), lines[1][5].len()),
        (12, 12),
        "short digests"
    );
    assert!(lines[1][6].ends_with('B'), "{table}");

    let (whole, _) = run(&sandbox, &["ls", "--format", "table", "--no-trunc", "one"]);
    let digest = columns(whole.lines().nth(1).unwrap())[5].to_owned();
    let (plain, _) = run(&sandbox, &["list", "one", "two"]);
    let plain: Vec<Vec<&str>> = plain.lines().map(columns).collect();
    assert_eq!(plain.len(), 2, "no header for programs");
    assert_eq!(
        plain[0][..4],
        ["example.com/team/one:1.0", "linux/amd64", "oci", &digest]
    );
    assert!(plain[0][4].parse::<u64>().is_ok(), "bytes: {plain:?}");
}

#[test]
fn ls_by_a_template() {
    let sandbox = two_layouts();
    let template = "{{.Repository}}\\t{{ .Tag }}|{{.Platform}} {{.File}}";
    let (out, _) = run(&sandbox, &["ls", "--format", template, "tree:."]);
    let place = |name: &str| format!("oci:./{name}");
    let expected = format!(
        "example.com/team/one\t1.0|linux/amd64 {}\nexample.com/two\t1.0|linux/amd64 {}\n",
        place("one"),
        place("two")
    );
    assert_eq!(out, expected);
    for (template, message) in [
        ("{{.Nome}}", "`--format` has no field `.Nome`"),
        ("{{.Name", "has no end"),
        ("json", "neither `table` nor a template"),
    ] {
        let output = sandbox
            .command(&["ls", "--format", template, "one"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn labels_of_acis_have_a_column() {
    let sandbox = Sandbox::new();
    let aci = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../testdata/hello.aci");
    let (table, _) = run(&sandbox, &["ls", "--format", "table", aci]);
    let row = columns(table.lines().nth(1).unwrap());
    assert_eq!(row[..2], ["example.com/hello", "1.0.0"], "{table}");
}

#[test]
fn a_result_is_a_line_of_columns() {
    let sandbox = two_layouts();
    let (out, _) = run(
        &sandbox,
        &["copy", "oci:one", "oci:copy", "--digestfile", "digest"],
    );
    let digest = fs::read_to_string(sandbox.path("digest")).unwrap();
    let line = columns(out.trim_end());
    assert_eq!(line[0], "example.com/team/one:1.0");
    assert_eq!(line[2..], ["linux/amd64", digest.trim_end()]);
    assert!(line[1].starts_with("oci:copy"), "{out}");

    // ACIs and files of `docker save` are known by image IDs.
    let (out, _) = run(&sandbox, &["oci-to-docker", "one", "out.tar"]);
    let (listed, _) = run(&sandbox, &["ls", "--format", "{{.ID}}", "one"]);
    assert_eq!(columns(out.trim_end())[3], listed.trim_end());
    let (out, _) = run(&sandbox, &["oci-to-aci", "one", "out.aci"]);
    assert!(columns(out.trim_end())[3].starts_with("sha512-"), "{out}");
}
