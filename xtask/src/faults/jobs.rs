//! The jobs that faults are injected into: one command each, its inputs, and what may be there after
//! a fault.

use std::fs;
use std::path::Path;

use imgconv_testkit::{ImageRecipe, build, docker, sha256_hex, stores};

use crate::process::Result;

/// What may be at the destination after a fault, beside the old and the new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// Nothing.
    Nothing,
    /// New files that nothing refers to, beside everything old (robustness W5).
    Unreferenced,
    /// Some of several files, each of them old or new as a whole (robustness W5).
    Some,
}

/// The server that a job speaks to, in this process; `{host}` in its words is the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    None,
    /// A registry.
    Registry,
    /// A registry that says it has stored a blob, and has not.
    Lying,
    /// The job itself is a server: it is asked to end as soon as it listens, and says what it can't
    /// make.
    Own,
}

/// A command and what is known about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// The kind and the state of the destination, for `--kind`.
    pub(super) name: &'static str,
    /// Commands that prepare the destination.
    pub(super) before: &'static [&'static [&'static str]],
    /// The command.
    pub(super) words: &'static [&'static str],
    /// Places that `verify` accepts whenever they are there.
    pub(super) verified: &'static [&'static str],
    /// What may be there after an error.
    pub(super) after_error: Between,
    /// What may be there after a kill.
    pub(super) after_kill: Between,
    /// True if the command refuses a destination that is complete.
    pub(super) once: bool,
    /// A file that tells of the run itself: it is compared only after a success.
    pub(super) report: Option<&'static str>,
    /// The file that is standard output, of which an error may leave a part.
    pub(super) stdout: Option<&'static str>,
    pub(super) server: Server,
    /// The exit code without a fault.
    pub(super) code: i32,
}

const fn job(
    name: &'static str,
    before: &'static [&'static [&'static str]],
    words: &'static [&'static str],
    verified: &'static [&'static str],
) -> Job {
    Job {
        name,
        before,
        words,
        verified,
        after_error: Between::Nothing,
        after_kill: Between::Nothing,
        once: false,
        report: None,
        stdout: None,
        server: Server::None,
        code: 0,
    }
}

impl Job {
    /// Blobs may be there without an entry of the index.
    const fn growing(self) -> Self {
        Self {
            after_error: Between::Unreferenced,
            after_kill: Between::Unreferenced,
            ..self
        }
    }

    /// A kill leaves some of several files; after an error, the old ones are back.
    const fn several(self) -> Self {
        Self {
            after_kill: Between::Some,
            ..self
        }
    }

    /// Files become visible one by one.
    const fn piecemeal(self) -> Self {
        Self {
            after_error: Between::Some,
            after_kill: Between::Some,
            ..self
        }
    }

    const fn once(self) -> Self {
        Self { once: true, ..self }
    }

    const fn report(self, file: &'static str) -> Self {
        Self {
            report: Some(file),
            ..self
        }
    }

    const fn stdout(self, file: &'static str) -> Self {
        Self {
            stdout: Some(file),
            ..self
        }
    }

    const fn with(self, server: Server) -> Self {
        Self { server, ..self }.piecemeal()
    }
}

const SERVE: &[&str] = &[
    "serve",
    "saved.tar",
    "--cache",
    "cache",
    "--warm",
    "--listen",
    "127.0.0.1:0",
];

/// All jobs.
pub(super) static JOBS: &[Job] = &[
    job(
        "oci new",
        &[],
        &["convert", "oci:two", "oci:out"],
        &["oci:out"],
    ),
    job(
        "oci large",
        &[],
        &["convert", "oci:large", "oci:out", "--compression", "gzip"],
        &["oci:out"],
    ),
    job(
        "oci growing",
        &[&["convert", "oci:one", "oci:out"]],
        &["convert", "oci:two", "oci:out", "--compression", "zstd"],
        &["oci:out"],
    )
    .growing(),
    job(
        "oci pool new",
        &[],
        &[
            "convert",
            "oci:two",
            "oci:out",
            "--blob-pool",
            "pool",
            "--compression",
            "zstd",
        ],
        &["oci:out"],
    )
    .growing(),
    job(
        "oci pool existing",
        &[
            &["convert", "oci:two", "oci:other", "--blob-pool", "pool"],
            &["convert", "oci:one", "oci:out"],
        ],
        &["convert", "oci:two", "oci:out", "--blob-pool", "pool"],
        &["oci:out", "oci:other"],
    )
    .growing(),
    job(
        "oci-archive new",
        &[],
        &["convert", "oci:two", "oci-archive:out.tar"],
        &["oci-archive:out.tar"],
    )
    .once(),
    job(
        "oci-archive existing",
        &[&["convert", "oci:one", "oci-archive:out.tar"]],
        &["convert", "oci:two", "oci-archive:out.tar", "--overwrite"],
        &["oci-archive:out.tar"],
    ),
    job(
        "oci-archive to standard output",
        &[],
        &["convert", "oci:two", "oci-archive:-"],
        &[],
    )
    .stdout("out.tar"),
    job(
        "docker-archive new",
        &[],
        &["convert", "oci:two", "docker-archive:out.tar"],
        &["docker-archive:out.tar"],
    )
    .once(),
    job(
        "docker-archive existing",
        &[&["convert", "oci:one", "docker-archive:out.tar"]],
        &[
            "convert",
            "oci:two",
            "docker-archive:out.tar",
            "--overwrite",
        ],
        &["docker-archive:out.tar"],
    ),
    job(
        "docker-archive to standard output",
        &[],
        &["convert", "saved.tar", "docker-archive:-"],
        &[],
    )
    .stdout("out.tar"),
    job(
        "docker-archive to oci",
        &[],
        &["docker-to-oci", "saved.tar", "out"],
        &["oci:out"],
    ),
    job(
        "aci new",
        &[],
        &["convert", "oci:one", "aci:out.aci"],
        &["out.aci"],
    )
    .once(),
    job(
        "aci existing",
        &[&["convert", "oci:two:2.0", "aci:out.aci"]],
        &["convert", "oci:one", "aci:out.aci", "--overwrite"],
        &["out.aci"],
    ),
    job(
        "aci to standard output",
        &[],
        &["convert", "oci:one", "aci:-"],
        &[],
    )
    .stdout("out.aci"),
    job(
        "aci folder new",
        &[],
        &["convert", "oci:two", "aci:out/"],
        &["aci-tree:out"],
    )
    .several(),
    job(
        "aci folder existing",
        &[&["convert", "oci:two", "aci:out/", "--compression", "gzip"]],
        &[
            "convert",
            "oci:two",
            "aci:out/",
            "--compression",
            "none",
            "--overwrite",
        ],
        &["aci-tree:out"],
    )
    .several(),
    job(
        "aci folder with image tags",
        &[&["convert", "oci:one", "aci:out/", "--image-tags"]],
        &[
            "convert",
            "oci:two",
            "aci:out/",
            "--image-tags",
            "--overwrite",
        ],
        &["aci-tree:out"],
    )
    .several(),
    job(
        "aci to oci",
        &[],
        &["aci-to-oci", "app.aci", "out"],
        &["oci:out"],
    ),
    job(
        "aci to oci and back, there",
        &[],
        &["aci-to-oci", "--reversible", "app.aci", "out"],
        &["oci:out"],
    ),
    job(
        "aci to oci and back, back",
        &[&["aci-to-oci", "--reversible", "app.aci", "there"]],
        &["oci-to-aci", "there", "out.aci", "--exact"],
        &["out.aci"],
    )
    .once(),
    job(
        "aci to docker-archive",
        &[],
        &["aci-to-docker", "app.aci", "out.tar"],
        &["docker-archive:out.tar"],
    )
    .once(),
    job(
        "dir new",
        &[],
        &["convert", "oci:one", "dir:out"],
        &["dir:out"],
    )
    .once(),
    job(
        "dir existing",
        &[],
        &["convert", "oci:one", "dir:empty"],
        &[],
    )
    .once(),
    job(
        "rootfs new",
        &[],
        &["convert", "oci:one", "rootfs:out.tar"],
        &[],
    )
    .once(),
    job(
        "rootfs existing",
        &[&["convert", "oci:two:2.0", "rootfs:out.tar"]],
        &["convert", "oci:one", "rootfs:out.tar", "--overwrite"],
        &[],
    ),
    job(
        "registry new",
        &[],
        &["convert", "oci:two", "docker://{host}/team/app"],
        &[],
    )
    .with(Server::Registry),
    job(
        "registry existing",
        &[&["convert", "oci:one", "docker://{host}/team/app"]],
        &[
            "convert",
            "oci:two",
            "docker://{host}/team/app",
            "--compression",
            "gzip",
        ],
        &[],
    )
    .with(Server::Registry),
    Job {
        code: 1,
        ..job(
            "registry that lies",
            &[],
            &["convert", "oci:two", "docker://{host}/team/app"],
            &[],
        )
        .with(Server::Lying)
    },
    job(
        "from a registry",
        &[&["convert", "oci:two", "docker://{host}/team/app"]],
        &[
            "convert",
            "docker://{host}/team/app:1.0",
            "oci:out",
            "--name",
            "example.com/app:1.0",
        ],
        &["oci:out"],
    )
    .with(Server::Registry),
    job("serve", &[], SERVE, &[]).with(Server::Own),
    job(
        "squash",
        &[],
        &["squash", "oci:two", "oci:out"],
        &["oci:out"],
    ),
    job(
        "squash existing",
        &[&["convert", "oci:two", "oci:out"]],
        &["squash", "oci:two", "oci:out"],
        &["oci:out"],
    )
    .growing(),
    job(
        "recompress",
        &[],
        &[
            "recompress",
            "oci:two",
            "oci:out",
            "--compression",
            "zstd:chunked",
        ],
        &["oci:out"],
    ),
    job("unpack new", &[], &["unpack", "oci:one", "out"], &[]).once(),
    job("unpack existing", &[], &["unpack", "oci:one", "empty"], &[]).once(),
    job(
        "migrate to a layout, new",
        &[],
        &[
            "migrate",
            "store",
            "oci:out",
            "--report",
            "report.json",
            "--report-html",
            "report.html",
        ],
        &["oci:out"],
    )
    .piecemeal()
    .report("report"),
    job(
        "migrate to a layout, existing",
        &[&["convert", "oci:one", "oci:out"]],
        &["migrate", "store", "oci:out", "--compression", "zstd"],
        &["oci:out"],
    )
    .piecemeal(),
    job(
        "migrate to layouts",
        &[],
        &["migrate", "store", "oci:out", "--split", "repo"],
        &["tree:out"],
    )
    .piecemeal(),
    job(
        "migrate to a site",
        &[],
        &[
            "migrate",
            "store",
            "aci:out",
            "--site",
            "--host",
            "example.com",
            "--image-tags",
        ],
        &["aci-tree:out"],
    )
    .piecemeal(),
    job(
        "migrate to archives",
        &[],
        &["migrate", "store", "docker-archive:out/"],
        &["tree:out"],
    )
    .piecemeal(),
    job(
        "migrate to a registry",
        &[],
        &[
            "migrate",
            "store",
            "docker://{host}/old",
            "--journal",
            "journal",
        ],
        &[],
    )
    .with(Server::Registry),
    job(
        "publish new",
        &[],
        &[
            "publish",
            "oci:two",
            "out",
            "--host",
            "example.com",
            "--image-tags",
        ],
        &["aci-tree:out"],
    )
    .piecemeal(),
    job(
        "publish existing",
        &[&[
            "publish",
            "oci:one",
            "out",
            "--host",
            "example.com",
            "--image-tags",
        ]],
        &[
            "publish",
            "oci:two",
            "out",
            "--host",
            "example.com",
            "--image-tags",
        ],
        &["aci-tree:out"],
    )
    .piecemeal(),
    job(
        "layout tag",
        &[&["convert", "oci:two", "oci:out"]],
        &["layout", "tag", "out", "example.com/app:1.0", "stable"],
        &["oci:out"],
    ),
    job(
        "layout rm",
        &[&["convert", "oci:two", "oci:out"]],
        &["layout", "rm", "out", "example.com/app:1.0"],
        &["oci:out"],
    )
    .once(),
    job(
        "layout gc",
        &[
            &["convert", "oci:two", "oci:out"],
            &["layout", "rm", "out", "example.com/app:1.0"],
        ],
        &["layout", "gc", "out", "--min-age", "0s"],
        &["oci:out"],
    )
    .piecemeal(),
    job(
        "report page",
        &[&["migrate", "store", "oci:out", "--report", "report.json"]],
        &["report", "report.json", "report.html"],
        &[],
    ),
    job(
        "report page existing",
        &[
            &["migrate", "store", "oci:out", "--report", "report.json"],
            &["report", "report.json", "report.html"],
            &["migrate", "store", "oci:out", "--report", "report.json"],
        ],
        &["report", "report.json", "report.html"],
        &[],
    ),
];

/// Writes the inputs of all jobs to a folder.
pub(super) fn inputs(folder: &Path) -> Result {
    let text = |e: imgconv_testkit::Failure| e.to_string();
    let images = ImageRecipe::samples(false);
    build::layout(&images, &folder.join("two")).map_err(text)?;
    build::layout(&images[..1], &folder.join("one")).map_err(text)?;
    // More than a buffer, and nothing that compresses well.
    let noise: String = (0..40_000)
        .map(|i| sha256_hex(i.to_string().as_bytes()))
        .collect();
    let file = format!("dir etc\nfile etc/large \"{noise}\"");
    let large = ImageRecipe::of("example.com/large", "1.0", &[&file]);
    build::layout(&[large], &folder.join("large")).map_err(text)?;
    let aci = build::aci_bytes(&ImageRecipe::samples(true)[0]).map_err(text)?;
    let saved = docker::archive(&images).map_err(text)?;
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).map_err(|e| format!("{name}: {e}"))
    };
    write("app.aci", &aci)?;
    write("saved.tar", &saved)?;
    stores::registry_v2(&folder.join("two"), &folder.join("store")).map_err(text)?;
    for name in ["tmp", "home", "empty"] {
        fs::create_dir(folder.join(name)).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}
