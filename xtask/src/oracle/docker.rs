//! Checks of Docker archives: imgconv reads archives of other tools, and other tools read archives
//! of imgconv.

use std::path::PathBuf;

use super::checks::{Oracle, contains, same_tree};
use super::engine::Engine;
use super::from_aci::extracted;
use super::inputs;
use crate::process::Result;

/// The groups of this file; all use the engine.
pub(super) const GROUPS: [&str; 3] = ["docker-read", "docker-write", "docker-aci"];

/// The output of a container of an image of [`layers`].
pub(super) const LAYERS_PRINT: &str = "layers speak\n";

/// The images of the layout that every group here starts from: the name, and the tree it unpacks to.
pub(super) const IMAGES: [(&str, &str); 2] = [
    ("example.com/layers/first:1", "docker-base-first/rootfs"),
    ("example.com/layers/second:1", "docker-base-second/rootfs"),
];

/// Two images of one layout by umoci. The second has a layer more: a changed, a removed and a
/// replaced file.
const LAYERS: &str = r#"
umoci init --layout docker-base
umoci new --image docker-base:new
umoci config --image docker-base:new --os linux --architecture amd64 --author 'The imgconv authors' \
    --config.entrypoint /bin/busybox --config.cmd echo --config.cmd 'layers speak' \
    --config.env PATH=/bin --config.env 'GREETING=a=b c' --config.workingdir /tmp \
    --config.exposedports 8080/tcp --config.volume /var/lib/empty --config.label com.example.a=b
umoci unpack --image docker-base:new docker-base-work
cp -a docker-base-plain/rootfs/. docker-base-work/rootfs/
umoci repack --refresh-bundle --image docker-base:example.com/layers/first:1 docker-base-work
cd docker-base-work/rootfs
printf changed > etc/empty
rm -r home
rm etc/dangling && mkdir -m 0700 etc/dangling && printf x > etc/dangling/x
cd ../..
umoci repack --image docker-base:example.com/layers/second:1 docker-base-work
umoci rm --image docker-base:new
umoci unpack --image docker-base:example.com/layers/first:1 docker-base-first
umoci unpack --image docker-base:example.com/layers/second:1 docker-base-second
"#;

/// The programs that a comparison of a layout's file tree needs.
const TREES: [&str; 4] = ["root", "umoci", "skopeo", "jq"];

/// Runs every check of docker archives. Returns the engine if it runs and the images were made.
pub(super) fn run<'e>(oracle: &mut Oracle, engine: Option<&'e Engine>) -> Option<&'e Engine> {
    let wanted = GROUPS.iter().any(|group| oracle.wants(group));
    let engine = engine.filter(|_| wanted)?;
    let needs = ["root", "actool", "busybox", "setcap", "setfattr", "umoci"];
    if !oracle.check("docker: the images are made", &needs, layers) {
        return None;
    }
    if oracle.wants("docker-read") {
        read(oracle, engine);
    }
    if oracle.wants("docker-write") {
        write(oracle, engine);
    }
    Some(engine)
}

/// Makes the layout `docker-base`, and the trees of its images, unless they are there.
pub(super) fn layers(oracle: &Oracle) -> Result {
    if oracle.path(IMAGES[1].1).exists() {
        return Ok(());
    }
    let input = inputs::busybox(oracle)?;
    extracted(oracle, &input.aci, "docker-base-plain")?;
    oracle.shell(LAYERS).map(drop)
}

/// A podman or buildah with a store of its own, for a shell.
fn with_store(oracle: &Oracle, program: &str) -> String {
    let at = |part: &str| oracle.path(&format!("store-{program}/{part}"));
    let (root, run) = (at("root"), at("run"));
    let scratch = match program {
        "podman" => format!("--tmpdir '{}'", at("tmp").display()),
        _ => String::new(),
    };
    format!(
        "{program} --root '{}' --runroot '{}' {scratch} --storage-driver vfs",
        root.display(),
        run.display()
    )
}

/// An archive that another tool wrote.
struct Archive {
    file: &'static str,
    /// Of each image, in the order of the archive: its name (none if it has none), the ID that the
    /// tool reports, the tree.
    images: Vec<(Option<String>, String, &'static str)>,
}

/// Writes an archive by another tool.
type Write<'a> = Box<dyn Fn(&Oracle) -> Result<Archive> + 'a>;

fn read(oracle: &mut Oracle, engine: &Engine) {
    let docker = |file: &'static str, named: bool, count: usize| -> Write<'_> {
        Box::new(move |oracle| by_docker(oracle, engine, file, named, count))
    };
    let writers: Vec<(&str, &str, Write<'_>)> = vec![
        ("skopeo", "skopeo", Box::new(by_skopeo)),
        ("podman save", "podman", Box::new(|o| by_podman(o, 1))),
        ("podman save -m", "podman", Box::new(|o| by_podman(o, 2))),
        ("buildah push", "buildah", Box::new(by_buildah)),
        ("docker save", "docker", docker("read-docker.tar", true, 1)),
        (
            "docker save of two",
            "docker",
            docker("read-docker-2.tar", true, 2),
        ),
        (
            "docker save by ID",
            "docker",
            docker("read-docker-id.tar", false, 1),
        ),
        (
            "docker save of two by ID",
            "docker",
            docker("read-docker-ids.tar", false, 2),
        ),
    ];
    for (title, program, write) in writers {
        let mut archive = None;
        let needs = ["root", "umoci", "skopeo", "jq", program];
        let name = |what: &str| format!("docker-read: {title}: {what}");
        let made = oracle.check(&name("the archive is made"), &needs, |oracle| {
            archive = Some(write(oracle)?);
            Ok(())
        });
        if let (true, Some(archive)) = (made, archive) {
            read_one(oracle, title, &archive);
        }
    }
}

fn read_one(oracle: &mut Oracle, title: &str, archive: &Archive) {
    let name = |what: &str| format!("docker-read: {title}: {what}");
    let file = archive.file;
    oracle.check(&name("imgconv ls"), &[], |oracle| {
        let listed = oracle.imgconv(&["ls", file])?;
        if listed.lines().count() != archive.images.len() {
            return Err(format!(
                "expected {} images:\n{listed}",
                archive.images.len()
            ));
        }
        for ((name, _, _), line) in archive.images.iter().zip(listed.lines()) {
            let start = format!("{} ", name.as_deref().unwrap_or("-"));
            match line.starts_with(&start) && line.contains(" docker-archive ") {
                true => {}
                false => return Err(format!("`{start}` is missing in:\n{listed}")),
            }
        }
        Ok(())
    });
    oracle.check(&name("imgconv verify"), &[], |oracle| {
        let said = oracle.imgconv(&["verify", file])?;
        contains(
            &said,
            &format!("{} checked, nothing wrong", archive.images.len()),
        )
    });
    let layout = format!("{file}-oci");
    let converted = oracle.check(
        &name("imgconv docker-to-oci keeps the image ID"),
        &["jq"],
        |oracle| {
            oracle.imgconv(&["docker-to-oci", file, &layout])?;
            let ids = configs(oracle, &layout)?;
            let expected: Vec<&str> = archive
                .images
                .iter()
                .map(|(_, id, _)| id.as_str())
                .collect();
            match ids == expected {
                true => Ok(()),
                false => Err(format!("the IDs are {ids:?}, expected {expected:?}")),
            }
        },
    );
    if converted {
        let title = name("umoci unpack equals the tree");
        oracle.check(&title, &TREES, |oracle| {
            for (position, (_, _, tree)) in archive.images.iter().enumerate() {
                let bundle = unpacked(oracle, &layout, position)?;
                same_tree(&oracle.path(tree), &bundle)?;
            }
            Ok(())
        });
    }
}

/// The config digests of a layout's images, in order.
pub(super) fn configs(oracle: &Oracle, layout: &str) -> Result<Vec<String>> {
    let script = format!(
        "for m in $(jq -r '.manifests[].digest' {layout}/index.json | cut -d: -f2); do\n\
         jq -r .config.digest {layout}/blobs/sha256/$m\ndone"
    );
    Ok(oracle.shell(&script)?.lines().map(str::to_owned).collect())
}

/// Unpacks one image of a layout by umoci, named or not, and returns its tree.
pub(super) fn unpacked(oracle: &Oracle, layout: &str, position: usize) -> Result<PathBuf> {
    let bundle = format!("{layout}-bundle-{position}");
    oracle.shell(&format!(
        "cp -a {layout} {layout}-{position}\n\
         jq '.manifests = [.manifests[{position}] | .annotations = \
         {{\"org.opencontainers.image.ref.name\": \"this\"}}]' \
         {layout}/index.json > {layout}-{position}/index.json\n\
         umoci unpack --image {layout}-{position}:this {bundle}"
    ))?;
    Ok(oracle.path(&bundle).join("rootfs"))
}

fn by_skopeo(oracle: &Oracle) -> Result<Archive> {
    let (name, tree) = IMAGES[1];
    let (from, to) = (
        format!("oci:docker-base:{name}"),
        format!("docker-archive:read-skopeo.tar:{name}"),
    );
    oracle.peer("skopeo", &["--insecure-policy", "copy", &from, &to])?;
    let id = oracle
        .shell("skopeo inspect --raw docker-archive:read-skopeo.tar | jq -r .config.digest")?;
    Ok(Archive {
        file: "read-skopeo.tar",
        images: vec![(Some(name.to_owned()), id.trim().to_owned(), tree)],
    })
}

fn by_podman(oracle: &Oracle, count: usize) -> Result<Archive> {
    let podman = with_store(oracle, "podman");
    let file = ["read-podman.tar", "read-podman-m.tar"][count - 1];
    let mut images = Vec::new();
    for (name, tree) in &IMAGES[..count] {
        let id = oracle.shell(&format!(
            "id=$({podman} pull -q oci:docker-base:{name})\n\
             {podman} tag $id {name}\n\
             {podman} image inspect --format '{{{{.Id}}}}' {name}"
        ))?;
        images.push((
            Some((*name).to_owned()),
            format!("sha256:{}", id.trim()),
            *tree,
        ));
    }
    let names = names(count);
    let flag = if count > 1 { "-m" } else { "" };
    oracle.shell(&format!("{podman} save -q {flag} -o {file} {names}"))?;
    Ok(Archive { file, images })
}

fn by_buildah(oracle: &Oracle) -> Result<Archive> {
    let buildah = with_store(oracle, "buildah");
    let (name, tree) = IMAGES[1];
    let id = oracle.shell(&format!(
        "id=$({buildah} pull -q oci:docker-base:{name})\n\
         {buildah} push -q $id docker-archive:read-buildah.tar:{name} >&2\n\
         {buildah} images -q --no-trunc"
    ))?;
    Ok(Archive {
        file: "read-buildah.tar",
        images: vec![(Some(name.to_owned()), id.trim().to_owned(), tree)],
    })
}

/// `docker save` of the first images, by their names or by their IDs.
fn by_docker(
    oracle: &Oracle,
    engine: &Engine,
    file: &'static str,
    named: bool,
    count: usize,
) -> Result<Archive> {
    let mut images = Vec::new();
    for (name, tree) in &IMAGES[..count] {
        let id = loaded(oracle, engine, name)?;
        images.push((named.then(|| (*name).to_owned()), id, *tree));
    }
    let mut arguments = vec!["save", "-o", file];
    for (name, id, _) in &images {
        arguments.push(name.as_deref().unwrap_or(id));
    }
    engine.docker(oracle, &arguments)?;
    Ok(Archive {
        file,
        images: sorted_as_saved(oracle, file, images)?,
    })
}

/// The engine writes its images in no fixed order: that of the archive is found by other means.
fn sorted_as_saved<T>(
    oracle: &Oracle,
    file: &str,
    images: Vec<(T, String, &'static str)>,
) -> Result<Vec<(T, String, &'static str)>> {
    let listed = oracle.shell(&format!(
        "tar -xOf {file} manifest.json | jq -r '.[].Config'"
    ))?;
    let mut images = images;
    images.sort_by_key(|(_, id, _)| {
        let hex = id.trim_start_matches("sha256:");
        listed.lines().position(|line| line.contains(hex))
    });
    Ok(images)
}

/// Brings an image of the layout into the engine without our help, and returns its ID.
pub(super) fn loaded(oracle: &Oracle, engine: &Engine, name: &str) -> Result<String> {
    let file = format!("load-{}.tar", name.replace(['/', ':'], "-"));
    if !oracle.path(&file).exists() {
        let (from, to) = (
            format!("oci:docker-base:{name}"),
            format!("docker-archive:{file}:{name}"),
        );
        oracle.peer("skopeo", &["--insecure-policy", "copy", &from, &to])?;
    }
    engine.docker(oracle, &["load", "-i", &file])?;
    id_of(oracle, engine, name)
}

/// The ID of an image in the engine.
fn id_of(oracle: &Oracle, engine: &Engine, name: &str) -> Result<String> {
    let arguments = ["image", "inspect", "--format", "{{.Id}}", name];
    Ok(engine.docker(oracle, &arguments)?.trim().to_owned())
}

fn names(count: usize) -> String {
    let names: Vec<&str> = IMAGES[..count].iter().map(|(name, _)| *name).collect();
    names.join(" ")
}

/// An archive that was written here.
struct Written {
    title: &'static str,
    file: &'static str,
    /// The name, what it prints, the tree.
    images: Vec<(String, &'static str, &'static str)>,
}

/// Writes an archive by our program.
type Ours<'a> = Box<dyn Fn(&Oracle) -> Result + 'a>;

fn write(oracle: &mut Oracle, engine: &Engine) {
    let image = |position: usize| {
        let (name, tree) = IMAGES[position];
        (name.to_owned(), LAYERS_PRINT, tree)
    };
    let of = |title, file, images| Written {
        title,
        file,
        images,
    };
    let aci = (
        "example.com/oracle/busybox:1.0".to_owned(),
        "busybox speaks\n",
        "docker-base-plain/rootfs",
    );
    let second = IMAGES[1].0;
    let written: Vec<(Written, Ours<'_>)> = vec![
        (
            of("from ACI", "write-aci.tar", vec![aci]),
            Box::new(|oracle| {
                let aci = inputs::busybox(oracle)?.aci;
                let aci = aci.to_string_lossy().into_owned();
                oracle
                    .imgconv(&["aci-to-docker", &aci, "write-aci.tar"])
                    .map(drop)
            }),
        ),
        (
            of(
                "from OCI, two images",
                "write-oci.tar",
                vec![image(0), image(1)],
            ),
            Box::new(|oracle| {
                oracle
                    .imgconv(&["oci-to-docker", "docker-base", "write-oci.tar"])
                    .map(drop)
            }),
        ),
        (
            of("squashed", "write-squashed.tar", vec![image(0), image(1)]),
            Box::new(|oracle| {
                let to = "docker-archive:write-squashed.tar";
                oracle
                    .imgconv(&["convert", "--squash", "docker-base", to])
                    .map(drop)
            }),
        ),
        (
            of("from schema 1", "write-v2s1.tar", vec![image(1)]),
            Box::new(move |oracle| {
                let from = format!("oci:docker-base:{second}");
                let to = format!("docker-archive:write-v2s1.tar:{second}");
                oracle.imgconv(&["convert", &from, "docker-v2s1+dir:write-v2s1"])?;
                oracle
                    .imgconv(&["convert", "dir:write-v2s1", &to])
                    .map(drop)
            }),
        ),
        (
            of("from before 1.10", "write-v1.tar", vec![image(1)]),
            Box::new(move |oracle| {
                loaded(oracle, engine, second)?;
                engine.docker(oracle, &["save", "-o", "v1-save.tar", second])?;
                // Archives of docker before 1.10 have the same files as today's, except these
                // files.
                oracle.shell(
                    "mkdir v1-save && tar -xf v1-save.tar -C v1-save\n\
                     rm v1-save/*.json\n\
                     test -f v1-save/repositories\n\
                     tar -cf v1.tar -C v1-save .",
                )?;
                contains(&oracle.imgconv(&["ls", "v1.tar"])?, " docker-v1 ")?;
                oracle.imgconv(&["verify", "v1.tar"])?;
                oracle
                    .imgconv(&["convert", "v1.tar", "docker-archive:write-v1.tar"])
                    .map(drop)
            }),
        ),
    ];
    for (archive, make) in written {
        let title = format!("docker-write: {}: imgconv writes it", archive.title);
        if oracle.check(&title, &["root", "tar"], |oracle| make(oracle)) {
            taken(oracle, engine, &archive);
        }
    }
}

/// Other tools load the archive and see the same images in it.
fn taken(oracle: &mut Oracle, engine: &Engine, archive: &Written) {
    let name = |what: &str| format!("docker-write: {}: {what}", archive.title);
    let file = archive.file;
    let mut ids = Vec::new();
    oracle.check(&name("docker load and run"), &["jq", "tar"], |oracle| {
        ids = oracle
            .shell(&format!(
                "tar -xOf {file} manifest.json | jq -r '.[].Config' | sed 's/.json$//'"
            ))?
            .lines()
            .map(|line| format!("sha256:{line}"))
            .collect();
        engine.docker(oracle, &["load", "-i", file])?;
        for ((name, prints, _), id) in archive.images.iter().zip(&ids) {
            equal("the ID", &id_of(oracle, engine, name)?, id)?;
            let run = ["run", "--rm", "--network", "none", name];
            equal(
                "what it printed",
                engine.docker(oracle, &run)?.as_str(),
                prints,
            )?;
        }
        equal("the number of images", &ids.len(), &archive.images.len())
    });
    oracle.check(&name("podman load"), &["podman", "root"], |oracle| {
        let podman = with_store(oracle, "podman");
        oracle.shell(&format!("{podman} load -q -i {file}"))?;
        for ((name, _, _), id) in archive.images.iter().zip(&ids) {
            let found = oracle.shell(&format!(
                "{podman} image inspect --format '{{{{.Id}}}}' {name}"
            ))?;
            equal("the ID", &format!("sha256:{}", found.trim()), id)?;
        }
        Ok(())
    });
    oracle.check(
        &name("skopeo copy and umoci unpack give the tree"),
        &TREES,
        |oracle| {
            for (position, (name, _, tree)) in archive.images.iter().enumerate() {
                let layout = format!("{file}-skopeo-{position}");
                let (from, to) = (
                    format!("docker-archive:{file}:{name}"),
                    format!("oci:{layout}:x"),
                );
                oracle.peer("skopeo", &["--insecure-policy", "copy", &from, &to])?;
                same_tree(&oracle.path(tree), &unpacked(oracle, &layout, 0)?)?;
            }
            Ok(())
        },
    );
    oracle.check(&name("ctr image import"), &["ctr", "root"], |oracle| {
        let address = engine.containerd.to_string_lossy().into_owned();
        let namespace = file.trim_end_matches(".tar");
        let place = ["--address", &address, "--namespace", namespace];
        let import = ["images", "import", "--no-unpack", file];
        oracle.peer("ctr", &[&place[..], &import].concat())?;
        let list = oracle.peer("ctr", &[&place[..], &["images", "list", "-q"]].concat())?;
        for (name, _, _) in &archive.images {
            contains(&list, name)?;
        }
        Ok(())
    });
}

/// Fails unless a value equals the expected value.
pub(super) fn equal<T: PartialEq + std::fmt::Debug + ?Sized>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what} is {found:?}, expected {expected:?}")),
    }
}
