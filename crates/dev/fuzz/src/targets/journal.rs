//! The journal of a migration.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use imgconv::{Locator, MigrateOptions, migrate, verify};
use imgconv_testkit::sha256_hex;

use crate::cage::{Cage, caged};

/// A migration that goes on from a journal, which may be wrong in any way, gives a sound destination.
pub(super) fn journal(bytes: &[u8]) {
    caged(|cage| {
        let destination = prepare(cage);
        let journal = cage.out().join("journal");
        fs::create_dir_all(&journal).unwrap();
        fs::set_permissions(&journal, fs::Permissions::from_mode(0o700)).unwrap();
        let file = journal.join("journal.jsonl");
        fs::write(&file, repaired(bytes)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let Some(totals) = run(cage, &destination) else {
            return;
        };
        assert_eq!(totals, 1, "an image is not done");
        let written = Locator::source(&destination).unwrap();
        let verdict = verify(&written, &cage.env()).unwrap();
        assert!(!verdict.is_damaged(), "{:?}", verdict.problems);
    });
}

/// Puts an image beside the destination.
fn prepare(cage: &Cage) -> String {
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/hello.aci");
    fs::create_dir(cage.input()).unwrap();
    fs::copy(hello, cage.input().join("hello.aci")).unwrap();
    format!("oci:{}", cage.out().join("layout").display())
}

/// Migrates the image, and returns the number of images that are at the destination.
/// `None` if the migration was refused or stopped.
fn run(cage: &Cage, destination: &str) -> Option<u64> {
    let source = Locator::source(&format!("tree:{}", cage.input().display())).ok()?;
    let destination = Locator::destination(destination).ok()?;
    let options = MigrateOptions {
        journal: Some(cage.out().join("journal")),
        ignore_space: true,
        ..MigrateOptions::default()
    };
    let migration = migrate(&source, &destination, &options, &cage.env()).ok()?;
    let count = migration.totals.done + migration.totals.kept;
    migration.stopped.is_none().then_some(count as u64)
}

/// Makes the checksum of each line right. The directory of the cage, which is another one each time, is `CAGE`.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').take(100) {
        if line.starts_with(b"{") {
            out.extend_from_slice(format!("2:{} ", sha256_hex(line)).as_bytes());
        }
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    caged(|cage| {
        let destination = prepare(cage);
        run(cage, &destination).unwrap();
        let written = fs::read(cage.out().join("journal/journal.jsonl")).unwrap();
        let lines = written.split(|byte| *byte == b'\n');
        let documents: Vec<&[u8]> = lines
            .filter_map(|line| {
                let at = line.iter().position(|byte| *byte == b' ')?;
                Some(&line[at + 1..])
            })
            .collect();
        vec![documents.join(&b'\n')]
    })
}
