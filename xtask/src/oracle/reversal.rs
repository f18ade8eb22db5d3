//! Checks of the exact way back: ACIs by `actool` and GNU tar, through a layout, an archive and a registry, and
//! `gpg` on the signature of the restored ACI.

use std::{collections::BTreeMap, fs};

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
        for (needs, title) in [
            (["docker-registry", "gpg"], "docker-registry"),
            (["newer", "gpg"], "docker-registry of the newer root"),
        ] {
            oracle.check(
                &format!("{GROUP}: back from {title}, {by}"),
                &needs,
                |oracle| {
                    let folder = format!("{}-{out}", needs[0]);
                    let registry = match needs[0] {
                        "newer" => Registry::start_newer(oracle, &folder),
                        _ => Registry::start(oracle, &folder),
                    }?;
                    let place = format!("docker://{}", registry.image("team/app"));
                    // The registry makes the type in the descriptor of the record anew, so nothing is lost.
                    oracle.imgconv(&["convert", &out, &place, "--strict"])?;
                    back(
                        oracle,
                        &place,
                        &file,
                        &format!("pulled-{}-{i}.aci", needs[0]),
                    )?;
                    // The registry keeps the record in an index under a tag.
                    let stored = format!("registry-storage:{folder}/data:team/app:t");
                    back(
                        oracle,
                        &stored,
                        &file,
                        &format!("stored-{}-{i}.aci", needs[0]),
                    )
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
    let title = format!("{GROUP}: {RANDOM} random ACIs at once through docker-registry");
    oracle.check(&title, &["docker-registry"], random_acis);
}

/// The random ACIs that have to come back from one registry.
const RANDOM: usize = 500;

/// Migrates random ACIs to a registry and back. The files that are no ACIs are refused.
fn random_acis(oracle: &Oracle) -> Result {
    let mut before = BTreeMap::new();
    for seed in 2000..2000 + 7 * RANDOM as u64 / 5 {
        let labels = r#"{"name":"version","value":"1.0"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}"#;
        let name = format!("example.com/r{seed}");
        let manifest = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}","labels":[{labels}]}}"#
        );
        let tar = imgconv_testkit::random::aci(seed, &manifest);
        let file = format!("example.com-r{seed}-1.0-linux-amd64.aci");
        let path = oracle.path(&format!("random/{file}"));
        fs::write(path, &tar).map_err(|error| error.to_string())?;
        before.insert(file, imgconv_testkit::sha512_hex(&tar));
    }
    let registry = Registry::start(oracle, "registry-random")?;
    let place = format!("docker://{}", registry.image("all"));
    let place = place.rsplit_once(':').map_or(&*place, |(place, _)| place);
    // The exit code tells of the files that are no ACIs.
    oracle.shell(&format!(
        "'{}' migrate tree:random {place} --reversible > random.log 2>&1 || true",
        oracle.program.display()
    ))?;
    // A registry is read as a whole, whatever the prefix of its repositories.
    let whole = place.trim_end_matches("/all");
    oracle.imgconv(&[
        "migrate",
        whole,
        "aci:random-back/",
        "--exact",
        "--compression",
        "none",
    ])?;
    let mut count = 0;
    for (file, id) in before {
        let path = oracle.path("random-back").join(&file);
        if let Ok(tar) = fs::read(path) {
            equal(&file, &*id, &*imgconv_testkit::sha512_hex(&tar))?;
            count += 1;
        }
    }
    match count >= RANDOM {
        true => Ok(()),
        false => Err(format!(
            "only {count} ACIs came back: {}",
            oracle.shell("tail random.log")?
        )),
    }
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
