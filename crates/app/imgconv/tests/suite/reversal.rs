//! Five hundred random ACIs become OCI and the same ACIs again.

use std::fs;

use imgconv::{Locator, Options, convert};
use imgconv_model::{Compression, Env, Platform};
use imgconv_testkit::random;

/// H9d.
#[test]
fn random_acis_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"}"#;
    let mut env = Env::new(folder.path(), Platform::new("linux", "amd64"));
    env.jobs = 1;
    let mut there = Options {
        reversible: true,
        ..Options::default()
    };
    there.layers.compression = Some(Compression::None);
    let mut back = Options {
        exact: true,
        ..Options::default()
    };
    back.layers.compression = Some(Compression::None);
    let (mut count, mut refused) = (0, 0);
    for seed in 0.. {
        let tar = random::aci(seed, manifest);
        let (aci, layout, again) = (path("a.aci"), path(&format!("{seed}")), path("b.aci"));
        fs::write(&aci, &tar).unwrap();
        let source = Locator::source(&format!("aci:{aci}")).unwrap();
        let archive = count % 50 == 49;
        let place = match archive {
            true => format!("oci-archive:{layout}.tar"),
            false => format!("oci:{layout}"),
        };
        let destination = Locator::destination(&place).unwrap();
        if convert(&[source], &destination, &there, &env).is_err() {
            refused += 1;
            continue;
        }
        let source = Locator::source(&place).unwrap();
        let destination = Locator::destination(&format!("aci:{again}")).unwrap();
        let outcome = convert(&[source], &destination, &back, &env);
        let outcome = outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(outcome.images[0].exact, "seed {seed}");
        assert!(fs::read(&again).unwrap() == tar, "seed {seed}: other bytes");
        fs::remove_file(&again).unwrap();
        match archive {
            true => fs::remove_file(format!("{layout}.tar")).unwrap(),
            false => fs::remove_dir_all(&layout).unwrap(),
        }
        count += 1;
        if count == 500 {
            break;
        }
    }
    assert!(refused < 1000, "{refused} were refused");
}
