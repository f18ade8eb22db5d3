//! Every target takes its seeds, simple changes of them, and the inputs of `testdata/fuzz` that once failed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::fs;
use std::path::Path;

use imgconv_fuzz::{TARGETS, run, target};

#[test]
fn every_target_takes_what_once_failed() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/fuzz");
    for target in TARGETS {
        let Ok(folder) = fs::read_dir(all.join(target.name)) else {
            continue;
        };
        for file in folder {
            run(target, &fs::read(file.unwrap().path()).unwrap(), false);
        }
    }
}

/// Gives a target its seeds, and simple changes of them.
fn takes_seeds(name: &str) {
    let target = target(name).unwrap();
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{name} has no seeds");
    run(target, b"", false);
    for seed in seeds.iter().take(6) {
        run(target, seed, false);
        for part in 1..4 {
            let at = seed.len() * part / 4;
            run(target, &seed[..at], false);
            let mut changed = seed.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            run(target, &changed, false);
        }
    }
}

/// Makes a test of each target, and one that no target is forgotten.
macro_rules! seeds {
    ($($test:ident $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                takes_seeds($name);
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

seeds! {
    seeds_of_stream "stream",
    seeds_of_tar "tar",
    seeds_of_layer "layer",
    seeds_of_chunked "chunked",
    seeds_of_tar_split "tar-split",
    seeds_of_reversal "reversal",
    seeds_of_reversal_archive "reversal-archive",
    seeds_of_bolt "bolt",
    seeds_of_json "json",
    seeds_of_names "names",
    seeds_of_tags "tags",
    seeds_of_discovery "discovery",
    seeds_of_openpgp "openpgp",
    seeds_of_jws "jws",
    seeds_of_registries_conf "registries-conf",
    seeds_of_documents "documents",
    seeds_of_aci "aci",
    seeds_of_rootfs "rootfs",
    seeds_of_oci "oci",
    seeds_of_oci_archive "oci-archive",
    seeds_of_docker_archive "docker-archive",
    seeds_of_file "file",
    seeds_of_dir "dir",
    seeds_of_registry_storage "registry-storage",
    seeds_of_rkt "rkt",
    seeds_of_docker_root "docker-root",
    seeds_of_containers_storage "containers-storage",
    seeds_of_containerd "containerd",
    seeds_of_registry "registry",
    seeds_of_http_answer "http-answer",
    seeds_of_http_request "http-request",
    seeds_of_journal "journal",
}
