//! The programs in `examples/` do what their comments say.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use imgconv_testkit::{ImageRecipe, build};

#[path = "../../examples/convert_aci.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod convert_aci;
#[path = "../../examples/list_layout.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod list_layout;
#[path = "../../examples/migrate.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod migrate;
#[path = "../../examples/squash.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod squash;

/// Reads a recipe of `testdata/images`.
fn recipe(name: &str) -> ImageRecipe {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/images");
    ImageRecipe::load(&images.join(name)).unwrap()
}

/// Makes the path of a file of a folder, as text.
fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn an_aci_is_converted_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (aci, layout) = (path(folder.path(), "app.aci"), path(folder.path(), "out"));
    fs::write(&aci, build::aci_bytes(&recipe("minimal")).unwrap()).unwrap();
    let outcome = convert_aci::to_layout(&aci, &layout).unwrap();
    let digest = outcome.images[0].digest.as_deref().unwrap();
    let listed = list_layout::images(&layout).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].digest.as_deref(), Some(digest));
    let line = list_layout::line(&listed[0]);
    assert!(
        line.contains("linux/amd64") && line.contains(digest),
        "{line}"
    );
}

#[test]
fn layers_are_squashed_and_progress_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let [source, layout] = ["in", "out"].map(|name| path(folder.path(), name));
    let recipe = recipe("whiteouts");
    assert!(recipe.layers.len() > 1);
    build::layout(&[recipe], Path::new(&source)).unwrap();
    let counter = Arc::new(squash::Counter::default());
    let progress = Arc::clone(&counter);
    let outcome = squash::squash(&source, &layout, progress).unwrap();
    assert_eq!(outcome.images[0].layers.len(), 1);
    assert_eq!(outcome.images[0].layers[0].step, "squash");
    assert!(counter.bytes.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_store_is_migrated_with_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let [source, layout, report] =
        ["in", "out", "report.json"].map(|name| path(folder.path(), name));
    build::layout(&[recipe("base"), recipe("minimal")], Path::new(&source)).unwrap();
    let migration = migrate::to_layout(&source, &layout).unwrap();
    migrate::write_report(&migration, &report).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["totals"]["done"], 2);
    assert_eq!(report["totals"]["failed"], 0);
}
