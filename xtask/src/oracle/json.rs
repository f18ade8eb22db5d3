//! Checks of the JSON and of the page of a report: a validator and a browser that no one here wrote.

use super::checks::Oracle;
use crate::process::{installed, root};

/// Makes a document of each kind in the work folder, from the one ACI of the test data.
const DOCUMENTS: &str = r#"
i="$0"; mkdir -p json/in; cp "$1" json/in/hello.aci; cd json
"$i" aci-to-oci in/hello.aci oci:out --json > result.json
"$i" convert oci:out docker-archive:out.tar --dry-run --json > plan.json
"$i" ls out --json > ls.json
"$i" inspect out --json > inspect.json
"$i" verify out --json > verify.json
"$i" diff out in/hello.aci --json > diff.json || true
"$i" migrate tree:in oci:all --report migration.json --report-html page.html || true
"$i" migrate merge-reports migration.json --json > merge-reports.json || true
"$i" inspect oci:none --json 2> error.json || true
"$i" formats --json > formats.json
"#;

/// The documents, each with its schema.
const SCHEMAS: &[(&str, &str)] = &[
    ("result", "result"),
    ("plan", "result"),
    ("ls", "ls"),
    ("inspect", "inspect"),
    ("verify", "verify"),
    ("diff", "diff"),
    ("migration", "migration"),
    ("merge-reports", "merge-reports"),
    ("error", "error"),
    ("formats", "formats"),
];

/// Prints the page after its script has run. The browser connects to nothing.
const BROWSE: &str = "chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync \
    --user-data-dir=\"$PWD/json/browser\" --dump-dom \"file://$PWD/json/page.html\" 2>json/browser.log";

/// Runs every check of JSON and of the page.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("json") {
        return;
    }
    let made = oracle.check("json: documents of every kind", &[], |oracle| {
        let aci = root().join("testdata/hello.aci");
        let (program, aci) = (oracle.program.to_string_lossy(), aci.to_string_lossy());
        oracle
            .peer("sh", &["-euc", DOCUMENTS, &program, &aci])
            .map(drop)
    });
    if !made {
        return;
    }
    oracle.check(
        "json: another validator accepts each by its schema, and not by another",
        &["jsonschema"],
        |oracle| {
            let schema = |name: &str| root().join(format!("docs/schema/{name}.json"));
            let validate = |document: &str, schema: &str| {
                let schema = schema.to_owned();
                oracle.peer(
                    "jsonschema",
                    &["-i", &format!("json/{document}.json"), &schema],
                )
            };
            for (document, name) in SCHEMAS {
                validate(document, &schema(name).to_string_lossy())?;
            }
            match validate("ls", &schema("verify").to_string_lossy()) {
                Ok(_) => Err("the schema of `verify` accepts the document of `ls`".to_owned()),
                Err(_) => Ok(()),
            }
        },
    );
    // A browser takes longer to install than all other peers: the check is for those who have one.
    if !installed("chromium") {
        oracle.skipped += 1;
        println!("skip  json: a browser runs the script of the page (chromium is not installed)");
        return;
    }
    oracle.check(
        "json: a browser runs the script of the page",
        &[],
        |oracle| {
            let page = oracle.shell(BROWSE)?;
            let shown = [
                "class=\"js ready\"",
                "aria-label=\"Search names",
                "1–1 of 1</span>",
            ];
            match shown.iter().find(|part| !page.contains(**part)) {
                Some(part) => Err(format!(
                    "`{part}` is missing in json/page.html as the browser shows it"
                )),
                None => Ok(()),
            }
        },
    );
}
