//! Images of a running engine through the library: read like the file of `docker save`, loaded, and
//! whole stores moved.

use std::{fs, path::Path};

use imgconv::{Locator, MigrateOptions, Options};
use imgconv_model::{Code, Env, Error, Platform};
use imgconv_testkit::{ImageRecipe, docker, engine::FakeEngine, recipe, snapshot};

fn image(name: &str, tag: &str, files: &[&str]) -> ImageRecipe {
    let mut image = ImageRecipe::default();
    image.head.name = name.into();
    image.head.version = tag.into();
    image.head.os = "linux".into();
    image.head.arch = "amd64".into();
    let layer = |file: &&str| recipe::parse(&format!("file {file}"), "test").unwrap();
    image.layers = files.iter().map(layer).collect();
    image
}

fn images() -> Vec<ImageRecipe> {
    vec![
        image("example.com/a", "1", &["base", "one"]),
        image("example.com/b", "2", &["base", "two"]),
        image("", "", &["base", "three"]),
    ]
}

fn env(folder: &Path, engine: &FakeEngine) -> Env {
    let mut env = Env::new(folder, Platform::new("linux", "amd64"));
    env.places.docker_host = Some(engine.host());
    env
}

fn convert(from: &str, to: &str, env: &Env) -> Result<imgconv::Outcome, Error> {
    let from = Locator::source(from)?;
    imgconv::convert(
        &[from],
        &Locator::destination(to)?,
        &Options::default(),
        env,
    )
}

// robustness Q01: the archive of a socket is the archive of a file.
#[test]
fn q01_an_engine_is_read_like_the_file_that_it_saves() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("{}/{name}", folder.path().display());
    let engine = FakeEngine::start(&folder.path().join("sock"), &images()).unwrap();
    let env = env(folder.path(), &engine);
    fs::write(at("one.tar"), docker::archive(&images()[..1]).unwrap()).unwrap();
    fs::write(at("two.tar"), docker::archive(&images()[..2]).unwrap()).unwrap();
    convert(
        &format!("docker-archive:{}", at("one.tar")),
        &at("file"),
        &env,
    )
    .unwrap();
    let outcome = convert("docker-daemon:example.com/a:1", &at("socket"), &env).unwrap();
    assert_eq!(outcome.images[0].source, "docker-daemon:example.com/a:1");
    // The trees are written one after the other, so their times differ.
    let tree = |name: &str| -> Vec<String> {
        let lines = snapshot(Path::new(&at(name))).unwrap();
        let timeless = |line: &String| {
            let words = line.split(' ').filter(|word| !word.starts_with('@'));
            words.collect::<Vec<_>>().join(" ")
        };
        lines.iter().map(timeless).collect()
    };
    assert_eq!(tree("file"), tree("socket"));
    let outcome = convert("docker-daemon:", &at("all"), &env).unwrap();
    let sources: Vec<&str> = outcome.images.iter().map(|image| &*image.source).collect();
    let id = engine.images()[2].id.clone();
    let nameless = format!("docker-daemon:{}", id.trim_start_matches("sha256:"));
    assert_eq!(
        sources,
        [
            "docker-daemon:example.com/a:1",
            "docker-daemon:example.com/b:2",
            &*nameless
        ]
    );
    // What a message names can be read again.
    convert(&nameless, &at("nameless"), &env).unwrap();
}

// robustness Q13: a name with the destination, or the names of the source.
#[test]
fn q13_images_are_loaded_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let engine = FakeEngine::start(&folder.path().join("sock"), &[]).unwrap();
    let env = env(folder.path(), &engine);
    let archive = folder.path().join("in.tar");
    fs::write(&archive, docker::archive(&images()[..1]).unwrap()).unwrap();
    let source = archive.to_str().unwrap();
    let outcome = convert(source, "docker-daemon:busybox:9", &env).unwrap();
    assert_eq!(outcome.images[0].destination, "docker-daemon:busybox:9");
    convert(source, "docker-daemon:", &env).unwrap();
    let loaded = engine.images();
    assert_eq!(loaded.len(), 1, "one image by two names");
    assert_eq!(loaded[0].names, ["busybox:9", "example.com/a:1"]);
    let error = convert(source, "docker-daemon:@sha256:00", &env).unwrap_err();
    assert!(
        matches!(error.code(), Code::BadDigest | Code::Usage),
        "{error}"
    );
}

// robustness Q16: whole stores out of an engine and into one.
#[test]
fn q16_a_store_goes_into_an_engine_and_out_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let old = FakeEngine::start(&at("old"), &images()).unwrap();
    let new = FakeEngine::start(&at("new"), &[]).unwrap();
    let migrate = |from: &str, to: &str, env: &Env| {
        let (from, to) = (
            Locator::source(from).unwrap(),
            Locator::destination(to).unwrap(),
        );
        imgconv::migrate(&from, &to, &MigrateOptions::default(), env).unwrap()
    };
    let layout = format!("oci:{}", at("layout").display());
    let done = migrate("docker-daemon:", &layout, &env(folder.path(), &old));
    assert_eq!(done.images.len(), 3, "{done:?}");
    let done = migrate(&layout, "docker-daemon:", &env(folder.path(), &new));
    assert!(done.stopped.is_none(), "{done:?}");
    let ids = |engine: &FakeEngine| {
        let images = engine.images().into_iter();
        let mut all: Vec<_> = images.map(|image| (image.names, image.layers)).collect();
        all.sort();
        all
    };
    assert_eq!(ids(&old), ids(&new));
}
