//! Checks of the exact way back: ACIs by `actool` and GNU tar, through a layout, an archive and a registry, and
//! `gpg` on the signature of the restored ACI.

use std::{collections::BTreeSet, fs, path::Path};

use super::checks::{Oracle, contains};
use super::docker::equal;
use super::docker_reversal::old_archive;
use super::inputs::{self, Input};
use super::registry_server::Registry;
use crate::process::{Result, installed};

/// The group of this file.
const GROUP: &str = "reversal";

/// Makes a key and signs the files, each in `FILE.asc`.
const SIGN: &str = r#"
mkdir -p -m 700 gnupg-reversal
say="gpg --homedir gnupg-reversal --batch --quiet --pinentry-mode loopback --passphrase ''"
eval "$say --quick-generate-key 'Reversal <reversal@localhost>' ed25519 sign never" 2> /dev/null || true
eval "$say --armor --yes --output $1.asc --detach-sign $1"
"#;

/// The image ID of a file: the SHA-512 of its tar.
fn image_id(oracle: &Oracle, file: &str) -> Result<String> {
    oracle.shell(&format!(
        "case $(head -c 2 {file} | od -An -tx1 | tr -d ' ') in 1f8b) zcat {file};; *) cat {file};; esac | sha512sum"
    ))
}

/// Runs every check of the exact way back.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants(GROUP) {
        return;
    }
    let tools = ["root", "actool", "busybox", "setcap", "setfattr", "gpg"];
    type Make = fn(&Oracle) -> Result<Input>;
    let makers: [(&str, Make); 2] = [("actool", inputs::busybox), ("GNU tar", inputs::gnu_tar)];
    for (i, (by, make)) in makers.into_iter().enumerate() {
        let (file, out) = (format!("reversal-{i}.aci"), format!("reversal-{i}"));
        let made = oracle.check(
            &format!("{GROUP}: an ACI by {by}, signed"),
            &tools,
            |oracle| {
                let input = make(oracle)?;
                // A signature is of the file as it is, so the file is not compressed.
                let aci = input.aci.display();
                oracle.shell(&format!("zcat -f {aci} > {file}"))?;
                let arguments = ["-euc", SIGN, "sh", &*file];
                oracle.peer("sh", &arguments)?;
                oracle
                    .imgconv(&["aci-to-oci", "--reversible", &*file, &*out])
                    .map(drop)
            },
        );
        if !made {
            continue;
        }
        oracle.check(
            &format!("{GROUP}: back from a layout and an archive, {by}"),
            &["gpg"],
            |oracle| {
                let archive = format!("oci-archive:{out}.tar");
                oracle.imgconv(&["convert", &out, &archive])?;
                let places = [format!("oci:{out}"), archive];
                places.iter().enumerate().try_for_each(|(j, place)| {
                    back(oracle, place, &file, &format!("back-{i}-{j}.aci"))
                })
            },
        );
        type Start = fn(&Oracle, &str) -> Result<Registry>;
        let registries: [(&[&str], Start, &str); 3] = [
            (
                &["docker-registry", "gpg"],
                Registry::start,
                "docker-registry",
            ),
            (
                &["newer", "gpg"],
                Registry::start_newer,
                "docker-registry of the newer root",
            ),
            (
                &["newer", "go", "gpg"],
                Registry::start_with_referrers,
                "a registry with the API for referrers",
            ),
        ];
        for (k, (needs, start, title)) in registries.into_iter().enumerate() {
            oracle.check(
                &format!("{GROUP}: back from {title}, {by}"),
                needs,
                |oracle| {
                    let folder = format!("registry-{k}-{out}");
                    let registry = start(oracle, &folder)?;
                    let place = format!("docker://{}", registry.image("team/app"));
                    // The registry makes the type in the descriptor of the record anew, so nothing is lost.
                    oracle.imgconv(&["convert", &out, &place, "--strict"])?;
                    back(oracle, &place, &file, &format!("pulled-{k}-{i}.aci"))?;
                    match k {
                        0 | 1 => {
                            // The registry keeps the record in an index under a tag.
                            let stored = format!("registry-storage:{folder}/data:team/app:t");
                            back(oracle, &stored, &file, &format!("stored-{k}-{i}.aci"))
                        }
                        _ => {
                            let log = fs::read_to_string(oracle.path(&format!("{folder}/log")));
                            contains(
                                &log.map_err(|e| e.to_string())?,
                                "GET /v2/team/app/referrers/sha256:",
                            )
                        }
                    }
                },
            );
        }
        oracle.check(&format!("{GROUP}: skopeo copies the image, {by}"), &["skopeo"], |oracle| {
            let arguments = ["--insecure-policy", "copy", "-q"];
            let source = oracle.shell(&format!(
                "jq -r '.manifests[] | select(.artifactType == null) | .annotations[\"org.opencontainers.image.ref.name\"]' {out}/index.json"
            ))?;
            let from = format!("oci:{out}:{}", source.trim());
            let to = format!("dir:copied-{i}");
            oracle.peer("skopeo", &[&arguments[..], &[&from, &to]].concat()).map(drop)
        });
    }
    by_docker2aci(oracle);
    many_acis(oracle);
}

/// The random ACIs that have to come back.
const RANDOM: usize = 500;
/// Makes ACIs in the forms of GNU tar.
const ACIS: &str = include_str!("acis.py");

/// Many ACIs at once: random ones, and those of every form of GNU tar, signed; through every kind of place.
fn many_acis(oracle: &mut Oracle) {
    let mut ids = BTreeSet::new();
    let title =
        format!("{GROUP}: ACIs of every form of GNU tar, and {RANDOM} random ones, in one layout");
    let made = oracle.check(&title, &["tar", "python3", "gpg"], |oracle| {
        ids = make_acis(oracle)?;
        // The exit code tells of the random files that are no ACIs.
        let program = oracle.program.display();
        oracle
            .shell(&format!(
                "'{program}' migrate tree:many oci:many-layout --reversible > many.log 2>&1 || true"
            ))
            .map(drop)
    });
    if !made {
        return;
    }
    type Put = fn(&Oracle) -> Result<(String, Option<Registry>)>;
    let places: [(&[&str], Put, &str); 5] = [
        (
            &["gpg"],
            |_| Ok(("oci:many-layout".to_owned(), None)),
            "a layout",
        ),
        (
            &["gpg"],
            |oracle| {
                let archive = "oci-archive:many.tar";
                oracle.imgconv(&["convert", "many-layout", archive])?;
                Ok((archive.to_owned(), None))
            },
            "an archive",
        ),
        (
            &["docker-registry", "gpg"],
            |oracle| in_registry(oracle, Registry::start(oracle, "many-registry")?),
            "docker-registry",
        ),
        (
            &["newer", "gpg"],
            |oracle| in_registry(oracle, Registry::start_newer(oracle, "many-newer")?),
            "docker-registry of the newer root",
        ),
        (
            &["newer", "go", "gpg"],
            |oracle| {
                in_registry(
                    oracle,
                    Registry::start_with_referrers(oracle, "many-referrers")?,
                )
            },
            "a registry with the API for referrers",
        ),
    ];
    for (i, (needs, put, title)) in places.into_iter().enumerate() {
        oracle.check(
            &format!("{GROUP}: all of them back from {title}"),
            needs,
            |oracle| {
                let (place, _registry) = put(oracle)?;
                let back = format!("many-back-{i}");
                let destination = format!("aci:{back}/");
                oracle.imgconv(&[
                    "migrate",
                    &*place,
                    &*destination,
                    "--exact",
                    "--compression",
                    "none",
                ])?;
                all_back(oracle, &back, &ids)
            },
        );
    }
}

/// Writes the ACIs to the folder `many`; returns the image IDs of those that have to come back. Of the random files,
/// some are no ACIs: as many are made that [`RANDOM`] are.
fn make_acis(oracle: &Oracle) -> Result<BTreeSet<String>> {
    fs::write(oracle.path("acis.py"), ACIS).map_err(|e| e.to_string())?;
    oracle.shell("python3 acis.py many; for aci in many/*.aci; do gpg --homedir gnupg-reversal --batch --quiet \
        --pinentry-mode loopback --passphrase '' --armor --output $aci.asc --detach-sign $aci; done")?;
    let ids = ids_in(&oracle.path("many"))?;
    let labels = r#"{"name":"version","value":"1.0"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}"#;
    for seed in 2000..2000 + 7 * RANDOM as u64 / 5 {
        let manifest = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/r{seed}","labels":[{labels}]}}"#
        );
        let tar = imgconv_testkit::random::aci(seed, &manifest);
        fs::write(oracle.path(&format!("many/r{seed}.aci")), &tar).map_err(|e| e.to_string())?;
    }
    Ok(ids)
}

/// Migrates the layout of all ACIs to a registry.
fn in_registry(oracle: &Oracle, registry: Registry) -> Result<(String, Option<Registry>)> {
    let place = format!("docker://127.0.0.1:{}", registry.port);
    oracle.imgconv(&["migrate", "oci:many-layout", &format!("{place}/many")])?;
    Ok((place, Some(registry)))
}

/// Demands that a folder has ACIs with these image IDs, each with its signature, and [`RANDOM`] random ones.
fn all_back(oracle: &Oracle, back: &str, ids: &BTreeSet<String>) -> Result {
    let found = ids_in(&oracle.path(back))?;
    let missing: Vec<&String> = ids.difference(&found).collect();
    equal("ACIs that did not come back", &missing.len(), &0)?;
    let count = ids_in(&oracle.path("many"))?.intersection(&found).count();
    if count < ids.len() + RANDOM {
        let log = oracle.shell("tail many.log")?;
        return Err(format!("only {count} ACIs came back: {log}"));
    }
    let good = oracle.shell(&format!(
        "for asc in {back}/*.asc; do gpg --homedir gnupg-reversal --batch --verify $asc ${{asc%.asc}} 2>/dev/null && echo good; done | wc -l"
    ))?;
    equal("good signatures", good.trim(), &*ids.len().to_string())
}

/// The image IDs of the ACIs in a folder, which are not compressed.
fn ids_in(folder: &Path) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "aci") {
            let tar = fs::read(&path).map_err(|e| e.to_string())?;
            ids.insert(imgconv_testkit::sha512_hex(&tar));
        }
    }
    Ok(ids)
}

/// Restores the ACIs that docker2aci makes of an archive: one of all layers, or one of each layer, with a path
/// whitelist and the lower layer as its dependency. The checks in CI have no docker2aci.
fn by_docker2aci(oracle: &mut Oracle) {
    let title = format!("{GROUP}: ACIs by docker2aci");
    if !installed("docker2aci") {
        oracle.skipped += 1;
        println!("skip  {title} (docker2aci is missing)");
        return;
    }
    for (option, count) in [("", 1), ("-nosquash", 3)] {
        let title = format!("{title} {option}");
        oracle.check(title.trim_end(), &[], |oracle| {
            let folder = format!("docker2aci{option}");
            let archive = old_archive(oracle, &format!("for-{folder}"), "gnu")?;
            let made = format!(
                "mkdir {folder} && cd {folder} && docker2aci {option} ../{archive} >&2 && ls"
            );
            let files = oracle.shell(&made)?;
            equal("the number of ACIs", &count, &files.lines().count())?;
            for (i, file) in files.lines().enumerate() {
                let aci = format!("{folder}/{file}");
                let kept = format!("{folder}-{i}");
                let arguments = ["aci-to-oci", "--reversible", "--deps", &*folder];
                oracle.imgconv(&[&arguments[..], &[&*aci, &*kept]].concat())?;
                let back = format!("{folder}-{i}.aci");
                let told = oracle.imgconv(&["oci-to-aci", &*kept, &*back, "--exact"])?;
                contains(&told, "exact")?;
                equal(
                    "the image ID",
                    &*image_id(oracle, &aci)?,
                    &*image_id(oracle, &back)?,
                )?;
                oracle.imgconv(&["verify", &*kept])?;
            }
            Ok(())
        });
    }
}

/// Restores an ACI, compares it, and verifies its signature.
fn back(oracle: &Oracle, place: &str, file: &str, to: &str) -> Result {
    let destination = format!("aci:{to}");
    let arguments = ["convert", place, &*destination, "--exact"];
    contains(&oracle.imgconv(&arguments)?, "exact")?;
    let ids = [file, to].map(|file| image_id(oracle, file));
    let [before, after] = ids;
    equal("the image ID", &*before?, &*after?)?;
    oracle.shell(&format!("cmp {file} {to}"))?;
    let verify = format!("gpg --homedir gnupg-reversal --batch --verify {to}.asc {to} 2>&1");
    contains(&oracle.shell(&verify)?, "Good signature")
}
