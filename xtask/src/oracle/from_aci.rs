//! Checks of ACI -> OCI -> ACI: other tools read the layouts and the ACIs.

use std::path::Path;

use imgconv_testkit::case::digest_of;

use super::checks::{Oracle, contains, same_tree};
use super::engine::Engine;
use super::inputs::{self, Input};
use crate::process::Result;

/// Makes one input.
type Make = fn(&Oracle) -> Result<Input>;

/// The groups that use the engine.
pub(super) const GROUPS: [&str; 3] = ["busybox", "packages", "gnutar"];

/// Runs every check that starts from an ACI.
pub(super) fn run(oracle: &mut Oracle, engine: Option<&Engine>) {
    let makers: [(&str, &[&str], Make); 3] = [
        (
            "busybox",
            &["root", "actool", "busybox", "setcap", "setfattr"],
            inputs::busybox,
        ),
        (
            "packages",
            &["root", "actool", "dpkg", "setcap"],
            inputs::packages,
        ),
        (
            "gnutar",
            &["root", "actool", "tar", "busybox", "setcap", "setfattr"],
            inputs::gnu_tar,
        ),
    ];
    for (name, needs, make) in makers {
        if !oracle.wants(name) {
            continue;
        }
        let mut input = None;
        let made = oracle.check(&format!("{name}: the ACI is made"), needs, |oracle| {
            input = Some(make(oracle)?);
            Ok(())
        });
        if let (true, Some(input)) = (made, input) {
            one(oracle, &input, engine);
        }
    }
    if oracle.wants("dependencies") {
        dependencies(oracle);
    }
    if oracle.wants("platforms") {
        platforms(oracle);
    }
}

fn one(oracle: &mut Oracle, input: &Input, engine: Option<&Engine>) {
    let name = input.name;
    let aci = input.aci.to_string_lossy().into_owned();
    let out = format!("out-{name}");
    let image = format!("{out}:{}", input.reference);
    let oci = format!("oci:{image}");
    let title = |what: &str| format!("{name}: {what}");

    let converted = oracle.check(&title("imgconv aci-to-oci"), &[], |oracle| {
        oracle.imgconv(&["aci-to-oci", &aci, &out]).map(drop)
    });
    if !converted {
        return;
    }
    oracle.check(
        &title("--jobs 1 and --jobs 4 give the same bytes"),
        &[],
        |oracle| {
            let mut digests = Vec::new();
            for jobs in ["1", "4"] {
                let again = format!("{out}-jobs-{jobs}");
                oracle.imgconv(&["aci-to-oci", "--jobs", jobs, &aci, &again])?;
                digests.push(digest_of(&oracle.path(&again)).map_err(|e| e.to_string())?);
            }
            let first = digest_of(&oracle.path(&out)).map_err(|e| e.to_string())?;
            digests.push(first);
            match digests.windows(2).all(|pair| pair[0] == pair[1]) {
                true => Ok(()),
                false => Err(format!("the layouts differ: {digests:?}")),
            }
        },
    );
    oracle.check(
        &title("oci-image-tool validate"),
        &["oci-image-tool"],
        |oracle| {
            let filter = format!("name={}", input.reference);
            let arguments = ["validate", "--type", "image", "--ref", &filter, &out];
            contains(
                &oracle.shell(&format!("oci-image-tool {} 2>&1", quoted(&arguments)))?,
                "succeeded",
            )
        },
    );
    oracle.check(&title("skopeo inspect"), &["skopeo"], |oracle| {
        let text = oracle.peer("skopeo", &["inspect", &oci])?;
        contains(&text, "\"Architecture\": \"amd64\"")?;
        contains(&text, "\"GREETING=a=b c\"")?;
        contains(
            &oracle.peer("skopeo", &["inspect", "--config", &oci])?,
            "\"8080/tcp\"",
        )
    });
    oracle.check(
        &title("umoci unpack equals the ACI's rootfs"),
        &["umoci", "root"],
        |oracle| {
            let expected = extracted(oracle, &input.aci, &format!("plain-{name}"))?;
            let bundle = format!("bundle-{name}");
            oracle.peer("umoci", &["unpack", "--image", &image, &bundle])?;
            same_tree(&expected, &oracle.path(&bundle).join("rootfs"))
        },
    );
    oracle.check(
        &title("imgconv unpack equals the ACI's rootfs"),
        &["root"],
        |oracle| {
            let unpacked = format!("unpacked-{name}");
            oracle.imgconv(&[
                "unpack",
                "--preserve-privileges",
                "--allow-devices",
                &oci,
                &unpacked,
            ])?;
            same_tree(
                &oracle.path(&format!("plain-{name}")).join("rootfs"),
                &oracle.path(&unpacked),
            )
        },
    );
    oracle.check(&title("podman pull"), &["podman", "root"], |oracle| {
        let store = oracle.path(&format!("podman-{name}"));
        let at = |part: &str| store.join(part).to_string_lossy().into_owned();
        let (root, run, scratch) = (at("root"), at("run"), at("tmp"));
        let place = [
            "--root",
            &root,
            "--runroot",
            &run,
            "--tmpdir",
            &scratch,
            "--storage-driver",
            "vfs",
        ];
        let id = oracle.peer("podman", &[&place[..], &["pull", &oci]].concat())?;
        let arguments = [
            "image",
            "inspect",
            "--format",
            "{{.Architecture}} {{.Config.Entrypoint}}",
            id.trim(),
        ];
        contains(
            &oracle.peer("podman", &[&place[..], &arguments].concat())?,
            "amd64 [/bin/",
        )
    });
    if let Some(engine) = engine {
        docker(oracle, input, engine, &oci);
        oracle.check(&title("ctr image import"), &["ctr", "root"], |oracle| {
            let archive = format!("ctr-{name}.tar");
            oracle.shell(&format!("tar -cf {archive} -C {out} ."))?;
            let address = engine.containerd.to_string_lossy().into_owned();
            let place = ["--address", &address, "--namespace", "oracle"];
            oracle.peer(
                "ctr",
                &[&place[..], &["images", "import", "--no-unpack", &archive]].concat(),
            )?;
            let list = oracle.peer("ctr", &[&place[..], &["images", "list", "-q"]].concat())?;
            contains(&list, &input.reference)
        });
    }
    zstd(oracle, input, &aci);
    oracle.check(&title("imgconv verify"), &[], |oracle| {
        oracle.imgconv(&["verify", &out]).map(drop)
    });
    back(oracle, input, &aci, &out);
}

fn docker(oracle: &mut Oracle, input: &Input, engine: &Engine, oci: &str) {
    let name = format!("{}: docker load and run", input.name);
    oracle.check(&name, &["skopeo"], |oracle| {
        let archive = format!("docker-{}.tar", input.name);
        let target = format!("docker-archive:{archive}:{}", input.reference);
        oracle.peer("skopeo", &["--insecure-policy", "copy", oci, &target])?;
        engine.docker(oracle, &["load", "-i", &archive])?;
        let run = ["run", "--rm", "--network", "none", &input.reference];
        let printed = engine.docker(oracle, &run)?;
        match printed == input.prints {
            true => Ok(()),
            false => Err(format!(
                "it printed {printed:?}, expected {:?}",
                input.prints
            )),
        }
    });
}

/// skopeo decompresses into a flat folder; the sum of the result is the diff ID.
fn zstd(oracle: &mut Oracle, input: &Input, aci: &str) {
    let name = format!("{}: skopeo reads zstd layers", input.name);
    oracle.check(&name, &["skopeo"], |oracle| {
        let out = format!("zstd-{}", input.name);
        oracle.imgconv(&["aci-to-oci", "--compression", "zstd", aci, &out])?;
        let source = format!("oci:{out}:{}", input.reference);
        contains(
            &oracle.peer("skopeo", &["inspect", "--raw", &source])?,
            "tar+zstd",
        )?;
        let target = format!("dir:{out}-dir");
        let copy = [
            "--insecure-policy",
            "copy",
            "--dest-decompress",
            &source,
            &target,
        ];
        oracle.peer("skopeo", &copy)?;
        let config = oracle.peer("skopeo", &["inspect", "--config", "--raw", &source])?;
        let sums = oracle.shell(&format!("ls -S {out}-dir/* | head -n 1 | xargs sha256sum"))?;
        let sum = sums.split_whitespace().next().unwrap_or("no layer");
        contains(&config, &format!("sha256:{sum}"))
    });
}

fn back(oracle: &mut Oracle, input: &Input, aci: &str, out: &str) {
    let title = |what: &str| format!("{}: {what}", input.name);
    let folder = format!("back-{}", input.name);
    let file = format!("{folder}/back.aci");
    let done = oracle.check(&title("imgconv oci-to-aci"), &[], |oracle| {
        oracle.imgconv(&["oci-to-aci", out, &folder])?;
        oracle
            .shell(&format!(
                "test $(ls {folder} | wc -l) = 1 && mv {folder}/*.aci {file}"
            ))
            .map(drop)
    });
    if !done {
        return;
    }
    oracle.check(
        &title("actool validate of the way back"),
        &["actool"],
        |oracle| oracle.peer("actool", &["validate", &file]).map(drop),
    );
    oracle.check(
        &title("the way back has the same manifest"),
        &["actool", "jq"],
        |oracle| {
            oracle
                .shell(&format!(
                    "actool cat-manifest {aci} | jq -S . > {folder}/a.json\n\
                 actool cat-manifest {file} | jq -S . > {folder}/b.json\n\
                 diff -u {folder}/a.json {folder}/b.json"
                ))
                .map(drop)
        },
    );
    oracle.check(
        &title("the way back has the same rootfs"),
        &["root", "tar"],
        |oracle| {
            let found = extracted(oracle, &oracle.path(&file), &format!("{folder}/plain"))?;
            same_tree(
                &oracle.path(&format!("plain-{}", input.name)).join("rootfs"),
                &found,
            )
        },
    );
    oracle.check(
        &title("imgconv diff shows nothing"),
        &[],
        |oracle| match oracle.imgconv(&["diff", aci, &file])?.as_str() {
            "" => Ok(()),
            text => Err(text.to_owned()),
        },
    );
}

/// Extracts an ACI by GNU tar and returns its rootfs.
pub(super) fn extracted(oracle: &Oracle, aci: &Path, to: &str) -> Result<std::path::PathBuf> {
    let folder = oracle.path(to);
    let folder = folder.to_string_lossy();
    oracle.shell(&format!(
        "mkdir -p '{folder}'\n\
         tar --xattrs --xattrs-include='*' --numeric-owner --same-owner -xpf '{}' -C '{folder}'",
        aci.display()
    ))?;
    Ok(oracle.path(to).join("rootfs"))
}

fn quoted(arguments: &[&str]) -> String {
    arguments
        .iter()
        .map(|argument| format!(" '{argument}'"))
        .collect()
}

fn dependencies(oracle: &mut Oracle) {
    let needs = ["root", "actool", "umoci", "skopeo", "tar"];
    oracle.check("dependencies: layers below, the app's files win", &needs, |oracle| {
        let base = inputs::small(
            oracle,
            "deps/base",
            "example.com/oracle/base",
            "amd64",
            "",
            "mkdir -p \"$R/etc\" \"$R/usr/share\"\nprintf base > \"$R/etc/name\"\nprintf kept > \"$R/etc/kept\"\nln -s share \"$R/usr/lib\"",
        )?;
        let more = r#", "dependencies": [ { "imageName": "example.com/oracle/base", "labels": [ { "name": "version", "value": "1.0" } ] } ],
  "app": { "exec": ["/bin/app"], "user": "0", "group": "0" }"#;
        let script = "mkdir -p \"$R/etc\" \"$R/bin\"\nprintf app > \"$R/etc/name\"\nprintf x > \"$R/bin/app\"";
        let app = inputs::small(oracle, "app", "example.com/oracle/app", "amd64", more, script)?;
        let folder = oracle.path("deps").to_string_lossy().into_owned();
        let app = app.to_string_lossy().into_owned();
        oracle.imgconv(&["aci-to-oci", "--deps", &folder, &app, "out-deps"])?;
        let image = "oci:out-deps:example.com/oracle/app:1.0";
        let raw = oracle.peer("skopeo", &["inspect", "--raw", image])?;
        let raw: serde_json::Value = serde_json::from_str(&raw).map_err(|e| e.to_string())?;
        if raw["layers"].as_array().map(Vec::len) != Some(2) {
            return Err(format!("expected two layers:\n{raw}"));
        }
        oracle.peer("umoci", &["unpack", "--image", "out-deps:example.com/oracle/app:1.0", "bundle-deps"])?;
        extracted(oracle, &base, "plain-deps")?;
        let expected = extracted(oracle, Path::new(&app), "plain-deps")?;
        same_tree(&expected, &oracle.path("bundle-deps/rootfs"))
    });
}

fn platforms(oracle: &mut Oracle) {
    let made = oracle.check(
        "platforms: two ACIs of one name",
        &["root", "actool", "tar"],
        |oracle| {
            let mut arguments = vec!["aci-to-oci".to_owned()];
            for arch in ["amd64", "aarch64"] {
                let name = "example.com/oracle/both";
                let script = format!("printf {arch} > \"$R/arch\"");
                let app = r#", "app": { "exec": ["/x"], "user": "0", "group": "0" }"#;
                let aci = inputs::small(oracle, &format!("both/{arch}"), name, arch, app, &script)?;
                arguments.push(aci.to_string_lossy().into_owned());
            }
            arguments.push("out-both".into());
            oracle.imgconv(&arguments).map(drop)
        },
    );
    if !made {
        return;
    }
    let image = "oci:out-both:example.com/oracle/both:1.0";
    oracle.check(
        "platforms: skopeo sees an index of both",
        &["skopeo"],
        |oracle| {
            let raw = oracle.peer("skopeo", &["inspect", "--raw", image])?;
            contains(&raw, "application/vnd.oci.image.index.v1+json")?;
            for arch in ["amd64", "arm64"] {
                let text = oracle.peer("skopeo", &["--override-arch", arch, "inspect", image])?;
                contains(&text, &format!("\"Architecture\": \"{arch}\""))?;
            }
            Ok(())
        },
    );
    oracle.check(
        "platforms: skopeo copies each",
        &["skopeo", "umoci", "root"],
        |oracle| {
            for arch in ["amd64", "arm64"] {
                let target = format!("oci:both-{arch}:one");
                let copy = [
                    "--insecure-policy",
                    "--override-arch",
                    arch,
                    "copy",
                    image,
                    &target,
                ];
                oracle.peer("skopeo", &copy)?;
                let bundle = format!("bundle-both-{arch}");
                oracle.peer(
                    "umoci",
                    &["unpack", "--image", &format!("both-{arch}:one"), &bundle],
                )?;
                let word = if arch == "arm64" { "aarch64" } else { arch };
                let text = oracle.shell(&format!("cat {bundle}/rootfs/arch"))?;
                contains(&text, word)?;
            }
            Ok(())
        },
    );
    oracle.check(
        "platforms: oci-image-tool validate",
        &["oci-image-tool"],
        |oracle| {
            contains(
                &oracle.shell("oci-image-tool validate --type image out-both 2>&1")?,
                "succeeded",
            )
        },
    );
}
