//! Every case of `testdata/corpus` against the built program, under plain `cargo test`.
//!
//! Golden files are never written here; `cargo xtask corpus bless` shows and writes them.

use std::path::Path;

use imgconv_testkit::corpus::{self, Verdict};

#[test]
fn corpus() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata");
    let program = Path::new(env!("CARGO_BIN_EXE_imgconv"));
    let cases = corpus::cases(&testdata).unwrap();
    assert!(!cases.is_empty(), "the corpus has no cases");
    let digests = corpus::digests(&testdata).unwrap();
    for id in digests.keys() {
        assert!(
            cases.iter().any(|case| case.id == *id),
            "digests.toml names `{id}`, no such case"
        );
    }
    let mut failed = Vec::new();
    for case in &cases {
        if let Verdict::Failed(text) = corpus::check(case, &testdata, program, &digests) {
            failed.push(format!("{}\n{text}", case.id));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} failed\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}
