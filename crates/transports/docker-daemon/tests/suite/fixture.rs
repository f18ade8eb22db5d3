//! An engine at a socket of a temporary directory.

use imgconv_model::{Bundle, Env, Error, Platform, Result, Transport as _};
use imgconv_testkit::{
    ImageRecipe,
    engine::FakeEngine,
    recipe,
    server::{Reply, Request},
};
use imgconv_transport_docker_daemon::DOCKER_DAEMON;
use tempfile::TempDir;

/// An engine, and the environment whose `docker_host` is its address.
pub(crate) struct Place {
    pub(crate) engine: FakeEngine,
    pub(crate) env: Env,
    _directory: TempDir,
}

pub(crate) fn recipe(name: &str, tag: &str, files: &[&str]) -> ImageRecipe {
    let mut image = ImageRecipe::default();
    image.head.name = name.into();
    image.head.version = tag.into();
    image.head.os = "linux".into();
    image.head.arch = "amd64".into();
    let layer = |file: &&str| recipe::parse(&format!("file {file}"), "test").unwrap();
    image.layers = files.iter().map(layer).collect();
    image
}

/// Two images with a common layer, the first with two names, and one without a name.
pub(crate) fn three() -> Vec<ImageRecipe> {
    vec![
        recipe("a", "1", &["base", "one"]),
        recipe("example.com/a", "2", &["base", "one"]),
        recipe("b", "", &["base", "two"]),
        recipe("", "", &["three"]),
    ]
}

pub(crate) fn place(recipes: &[ImageRecipe]) -> Place {
    with(recipes, |_| None)
}

pub(crate) fn with(
    recipes: &[ImageRecipe],
    other: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> Place {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("sock");
    let engine = FakeEngine::start_with(&socket, recipes, other).unwrap();
    let mut env = env(&directory);
    env.places.docker_host = Some(engine.host());
    Place {
        engine,
        env,
        _directory: directory,
    }
}

pub(crate) fn env(directory: &TempDir) -> Env {
    let temporary = directory.path().join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    Env::new(temporary, Platform::new("linux", "amd64"))
}

impl Place {
    pub(crate) fn open(&self, name: &str) -> Result<Box<dyn Bundle>> {
        DOCKER_DAEMON.open(name, &self.env)
    }

    /// Opens an image and lists its entries.
    pub(crate) fn fails(&self, name: &str) -> Error {
        let opened = self.open(name).and_then(|bundle| bundle.roots());
        let error = opened.unwrap_err();
        // Nothing stays in the temporary directory.
        let left = std::fs::read_dir(&self.env.tmpdir).unwrap().count();
        assert_eq!(left, 0, "{error}");
        error
    }
}
