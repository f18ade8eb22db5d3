//! The steps of a chain: which one is taken, and the calls of the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgconv_testkit::case::digest_of;
use imgconv_testkit::{sha256_hex, write_file};
use serde_json::{Value, json};

use crate::belief::{Entry, Here, Image, Kind, read};
use crate::facts;
use crate::outcome::{Checked, Fault};
use crate::place::{self, Family, list_of, text};
use crate::step::{Change, Squash, Walk};
use crate::{Failure, disk};

/// Where a step goes to.
struct Target {
    kind: Kind,
    /// The place as an argument of the step.
    argument: String,
    /// The place as a source.
    locator: String,
    path: PathBuf,
}

impl Target {
    /// The place after the step, with what is there.
    fn holding(self, entries: Vec<Entry>) -> Here {
        let Self {
            kind,
            locator,
            path,
            ..
        } = self;
        Here {
            kind,
            locator,
            path,
            entries,
        }
    }
}

/// Where a step starts from.
struct Origin {
    source: String,
    /// More arguments, which choose and name.
    more: Vec<String>,
    entries: Vec<Entry>,
}

/// One digest over the names and bytes of a directory, or over the bytes of a file.
fn digest(path: &Path) -> Checked<String> {
    if path.is_dir() {
        return Ok(digest_of(path)?);
    }
    let bytes = fs::read(path).map_err(|error| Failure::io(path, &error))?;
    Ok(sha256_hex(&bytes))
}

impl Walk<'_> {
    /// Takes a step, and everything that is checked besides.
    pub(crate) fn step(&mut self, here: &Here) -> Checked<Here> {
        let kinds = [
            Kind::Layout,
            Kind::Layout,
            Kind::LayoutArchive,
            Kind::DockerArchive,
            Kind::Dir,
            Kind::Registry,
            Kind::Acis,
            Kind::Acis,
        ];
        let next = match self.random.below(100) {
            0..8 => self.migrate(here)?,
            8..13 => self.through_rootfs(here)?,
            _ => {
                let kind = self.random.pick(&kinds);
                self.convert(here, kind)?
            }
        };
        self.call(&["verify", &next.locator])?;
        if self.random.percent(30) {
            self.unpack(&next)?;
        }
        if next.kind == Kind::Layout && self.random.percent(15) {
            self.free_space(&next)?;
        }
        Ok(next)
    }

    fn change(&mut self, here: &Here, to: Kind) -> Change {
        let mut change = Change::default();
        let is_aci = to == Kind::Acis;
        // An ACI that is written anew names every directory and has another image ID: dependencies
        // that are pinned no longer fit (SHORTCOMINGS.md).
        let renders = here
            .entries
            .iter()
            .flat_map(|entry| &entry.images)
            .any(|image| image.rendered.is_some());
        if self.random.percent(30) && !(is_aci && renders) {
            let n = 1 + self.random.below(3);
            let (squash, word) = match self.random.below(4) {
                0 if !is_aci => (Squash::Last(n), "--last"),
                1 if !is_aci => (Squash::KeepBase(n), "--keep-base"),
                2 if !is_aci => (Squash::AtMost(n), "--max-layers"),
                _ => (Squash::All, ""),
            };
            change.squash = Some(squash);
            if !word.is_empty() {
                change.arguments.extend([word.to_owned(), n.to_string()]);
            }
        }
        if to != Kind::DockerArchive && self.random.percent(30) {
            let is_oci = matches!(to, Kind::Layout | Kind::LayoutArchive);
            let how = match self.random.below(10) {
                // Docker's manifests have no type for zstd.
                0..2 if is_oci => "zstd",
                2 if is_oci => "zstd:chunked",
                3 if is_oci => "estargz",
                0..6 => "gzip",
                _ => "none",
            };
            change.compression = Some(how);
            change
                .arguments
                .extend(["--compression".to_owned(), how.to_owned()]);
            if self.random.percent(50) {
                change.arguments.push("--force".to_owned());
            }
            let levels: &[&str] = match how {
                "gzip" => &["1", "9", "fast"],
                "zstd" => &["1", "12", "fast"],
                _ => &[],
            };
            if !levels.is_empty() && self.random.percent(40) {
                let level = self.random.pick(levels);
                change
                    .arguments
                    .extend(["--level".to_owned(), level.to_owned()]);
            }
        }
        if self.random.percent(10) && !(is_aci && renders) {
            let limit = self.random.pick(&[0, 1_000_000_000, 1_500_000_000]);
            change.clamp = Some(limit);
            change
                .arguments
                .extend(["--clamp-mtime".to_owned(), limit.to_string()]);
        }
        let may_reverse = here.kind == Kind::Acis
            && matches!(to, Kind::Layout | Kind::LayoutArchive)
            && change.squash.is_none()
            && change.arguments.is_empty();
        if may_reverse && self.random.percent(50) {
            change.reversible = true;
            change.arguments.push("--reversible".to_owned());
        }
        change
    }

    /// Chooses all of a place, or one image for a place that holds one.
    fn origin(&mut self, here: &Here, kind: Kind) -> Origin {
        let mut source = here.locator.clone();
        let (mut more, mut entries) = (Vec::new(), here.entries.clone());
        let is_single = matches!(kind, Kind::Dir | Kind::Registry);
        let holds_one = matches!(kind, Kind::DockerArchive | Kind::DockerArchives);
        let has_many = |entry: &Entry| entry.images.len() > 1;
        if is_single || (holds_one && entries.iter().any(has_many)) {
            let mut entry = self.random.pick(&entries);
            if entries.len() > 1 || !entry.about.is_empty() {
                // The documents about an image come along with it.
                source = match here.kind {
                    Kind::Registry => source,
                    _ => format!("{source}:{}", entry.name),
                };
            }
            if has_many(&entry) && (holds_one || self.random.percent(50)) {
                let image = self.random.pick(&entry.images);
                more.extend(["--platform".to_owned(), image.platform()]);
                // The records of images that are not chosen are left out with them.
                let others = entry
                    .images
                    .iter()
                    .filter(|other| other.digest != image.digest);
                let others = others.filter_map(|other| other.exact.as_ref());
                let left: Vec<String> = others.map(|exact| exact.record.clone()).collect();
                entry.about.retain(|record| !left.contains(record));
                entry.digest = image.digest.clone();
                entry.inside.clear();
                entry.is_index = false;
                entry.images = vec![image];
            }
            entries = vec![entry];
        }
        let is_unnamed = entries.iter().any(|entry| entry.name.is_empty());
        if kind != Kind::Dir
            && kind != Kind::Registry
            && (is_unnamed || here.kind == Kind::Registry)
        {
            let name = format!("example.com/named{}:1", self.number);
            more.extend(["--name".to_owned(), name.clone()]);
            entries[0].name = name;
        }
        if entries
            .iter()
            .flat_map(|entry| &entry.images)
            .any(|image| image.rendered.is_some())
        {
            more.extend(["--deps".to_owned(), here.locator.clone()]);
        }
        Origin {
            source,
            more,
            entries,
        }
    }

    fn target(&self, kind: Kind, suffix: &str) -> Target {
        let (scheme, end) = match kind {
            Kind::Layout => ("oci", ""),
            Kind::LayoutArchive => ("oci-archive", ".tar"),
            Kind::DockerArchive => ("docker-archive", ".tar"),
            Kind::DockerArchives => ("docker-archive", ""),
            Kind::Dir => ("dir", ""),
            Kind::Registry => ("docker", ""),
            Kind::Acis => ("aci", ""),
        };
        let path = self.folder.join(format!("{}{suffix}{end}", self.number));
        let place = path.display();
        let (argument, locator) = match kind {
            Kind::Registry => {
                let name = format!(
                    "t/app{}:{}",
                    self.number,
                    if suffix.is_empty() { "1" } else { "2" }
                );
                let locator = self.world.registry.locator(&name);
                (locator.clone(), locator)
            }
            Kind::Acis => (format!("{scheme}:{place}/"), format!("aci-tree:{place}")),
            Kind::DockerArchives => (format!("{scheme}:{place}/"), format!("tree:{place}")),
            _ => (format!("{scheme}:{place}"), format!("{scheme}:{place}")),
        };
        Target {
            kind,
            argument,
            locator,
            path,
        }
    }

    fn read(&self, target: &Target) -> Checked<Vec<place::Entry>> {
        if target.kind != Kind::Registry {
            return Ok(read(target.kind, &target.path)?);
        }
        let name = target.locator.rsplit('/').next().unwrap_or_default();
        let tag = format!("t/{name}");
        let repository = tag.split(':').next().unwrap_or_default();
        let mut found = place::registry(&self.world.registry.stored(), repository)?;
        found.retain(|entry| entry.name == tag || entry.name.is_empty());
        Ok(found)
    }

    fn convert(&mut self, here: &Here, kind: Kind) -> Checked<Here> {
        let mut change = self.change(here, kind);
        let origin = self.origin(here, kind);
        change.renamed = origin.more.iter().any(|word| word == "--name");
        let (target, again) = (self.target(kind, ""), self.target(kind, "-again"));
        let (command, mut words) = self.command(here, kind, &change);
        words.extend(change.arguments.iter().cloned());
        words.extend(origin.more.iter().cloned());
        let line = |target: &Target, more: &[&str]| {
            let mut line = vec![
                command.clone(),
                origin.source.clone(),
                target.argument.clone(),
            ];
            line.extend(words.iter().cloned());
            line.extend(more.iter().map(|word| (*word).to_owned()));
            line
        };
        let result = match self.program(&line(&target, &[])) {
            Err(fault) if self.may_refuse(&origin, &change, &fault) => {
                if target.path.exists() {
                    return Err(Fault::new(
                        "left",
                        format!("{} is there", target.path.display()),
                    ));
                }
                return Ok(here.clone());
            }
            result => result?,
        };
        if kind != Kind::Registry && self.random.percent(12) {
            let jobs = self.random.pick(&["1", "4"]);
            self.program(&line(&again, &["--jobs", jobs]))?;
            let (first, second) = (digest(&target.path)?, digest(&again.path)?);
            if first != second {
                return Err(Fault::new("repeat", format!("{first} and {second}")));
            }
            self.count.repeated += 1;
        }
        let found = self.read(&target)?;
        let reports = list_of(&result["images"]);
        let entries = self.compare(&origin.entries, kind, &change, reports, &found)?;
        Ok(target.holding(entries))
    }

    /// The command for a change: each has several names.
    fn command(&mut self, here: &Here, kind: Kind, change: &Change) -> (String, Vec<String>) {
        let is_plain = !change.reversible;
        if change.squash.is_some() {
            return match self.random.percent(50) && is_plain {
                true => ("squash".to_owned(), Vec::new()),
                false => ("convert".to_owned(), vec!["--squash".to_owned()]),
            };
        }
        let family = here.entries[0].images[0].family;
        let pair = match (family, kind) {
            _ if !is_plain || here.kind == Kind::Dir || here.kind == Kind::Registry => None,
            _ if change.compression.is_some() && kind != Kind::Acis => Some("recompress"),
            (Family::Aci, Kind::Layout) => Some("aci-to-oci"),
            (Family::Aci, Kind::DockerArchive) => Some("aci-to-docker"),
            (Family::Oci, Kind::Acis) => Some("oci-to-aci"),
            (Family::Oci, Kind::DockerArchive) => Some("oci-to-docker"),
            (Family::Docker, Kind::Acis) => Some("docker-to-aci"),
            (Family::Docker, Kind::Layout) => Some("docker-to-oci"),
            _ => None,
        };
        match pair {
            Some(pair) if self.random.percent(50) => {
                // The pair commands take the path alone where the scheme is known.
                (pair.to_owned(), Vec::new())
            }
            _ => ("convert".to_owned(), Vec::new()),
        }
    }

    /// Says whether a refusal is right: a table of contents is JSON, which holds no other names than
    /// UTF-8.
    fn may_refuse(&self, origin: &Origin, change: &Change, fault: &Fault) -> bool {
        let has_table = matches!(change.compression, Some("zstd:chunked" | "estargz"));
        let is_text = origin
            .entries
            .iter()
            .flat_map(|entry| &entry.images)
            .all(|image| image.is_text);
        has_table && !is_text && fault.account.contains("table of contents")
    }

    /// Copies the whole store.
    fn migrate(&mut self, here: &Here) -> Checked<Here> {
        let is_narrow = |entry: &Entry| entry.images.len() < 2 && entry.about.is_empty();
        let mut kinds = vec![Kind::Layout, Kind::Layout, Kind::Acis];
        if here.entries.iter().all(is_narrow) {
            kinds.push(Kind::DockerArchives);
        }
        let kind = self.random.pick(&kinds);
        let is_unnamed = here.entries.iter().any(|entry| entry.name.is_empty());
        let renders = here
            .entries
            .iter()
            .flat_map(|entry| &entry.images)
            .any(|image| image.rendered.is_some());
        if is_unnamed || renders || here.kind == Kind::Registry || here.kind == Kind::Dir {
            return self.convert(here, Kind::Layout);
        }
        let target = self.target(kind, "");
        let line = [
            "migrate".to_owned(),
            here.locator.clone(),
            target.argument.clone(),
        ];
        let result = self.program(&line)?;
        let again = self.program(&line)?;
        for image in list_of(&again["images"]) {
            if image["status"] != "kept" && image["status"] != "left-out" {
                let status = text(&image["status"]);
                return Err(Fault::new(
                    "migrate",
                    format!("the second run has {status}"),
                ));
            }
        }
        let outcomes = list_of(&result["images"])
            .into_iter()
            .flat_map(|image| list_of(&image["outcomes"]));
        let mut found = self.read(&target)?;
        // The journal is no image.
        found.retain(|entry| !entry.images.is_empty() || !entry.others.is_empty());
        let change = Change::default();
        let entries = self.compare(&here.entries, kind, &change, outcomes.collect(), &found)?;
        Ok(target.holding(entries))
    }

    /// Goes to a flat tar, which holds the files alone, and back with a config.
    fn through_rootfs(&mut self, here: &Here) -> Checked<Here> {
        let mut origin = self.origin(here, Kind::Dir);
        let entry = &mut origin.entries[0];
        if entry.images.len() > 1 {
            let image = entry.images.swap_remove(0);
            origin
                .more
                .extend(["--platform".to_owned(), image.platform()]);
            entry.images = vec![image];
        }
        let name = entry.name.clone();
        let mut image = entry.images[0].clone();
        let path = self.folder.join(format!("{}-flat.tar", self.number));
        let flat = format!("rootfs:{}", path.display());
        let mut line = vec!["convert".to_owned(), origin.source.clone(), flat.clone()];
        line.extend(origin.more);
        let result = self.program(&line)?;
        let reports = list_of(&result["images"]);
        if image.family != Family::Aci {
            let (mut losses, _) = facts::lost(&image.facts, Family::Rootfs);
            if !name.is_empty() && here.kind != Kind::Dir {
                losses.insert("dropped name".to_owned());
            }
            self.losses(&losses, &reports[0])?;
        }
        let found = place::flat(&path)?;
        if let Some(rendered) = image.rendered.take() {
            image.tree = rendered;
        }
        self.tree(&image, &found)?;
        if image.family == Family::Aci {
            return self.convert(here, Kind::Layout);
        }
        let config = self.folder.join(format!("{}-config.json", self.number));
        write_file(&config, json!(image.config).to_string().as_bytes())?;
        let target = self.target(Kind::Layout, "");
        let name = format!("example.com/flat{}:1", self.number);
        let config = config.to_string_lossy().into_owned();
        let words = [
            "convert",
            &flat,
            &target.argument,
            "--config",
            &config,
            "--name",
            &name,
        ];
        let result = self.program(&words.map(str::to_owned))?;
        let found = self.read(&target)?;
        let reports = list_of(&result["images"]);
        let losses = image
            .facts
            .remove("history")
            .map(|_| "dropped history".to_owned());
        self.losses(&losses.into_iter().collect(), &reports[0])?;
        image
            .facts
            .retain(|key, _| !key.starts_with("annotations."));
        let read = &found[0].images[0];
        let differences = facts::differences(&image.facts, &facts::of(read));
        if !differences.is_empty() {
            return Err(Fault::new("facts", differences.join("\n")));
        }
        self.tree(&image, &read.tree)?;
        let mut now = Image::of(read);
        (now.stargz, now.tree) = (image.stargz, image.tree);
        let entry = Entry {
            name,
            images: vec![now],
            is_index: false,
            digest: found[0].digest.clone(),
            inside: Vec::new(),
            about: Vec::new(),
        };
        let Target {
            kind,
            locator,
            path,
            ..
        } = target;
        Ok(Here {
            kind,
            locator,
            path,
            entries: vec![entry],
        })
    }

    /// Free space is made: every blob that the program wrote is needed, so that nothing changes.
    fn free_space(&mut self, here: &Here) -> Checked {
        let path = here.path.to_string_lossy().into_owned();
        let before = digest(&here.path)?;
        self.call(&["layout", "gc", &path, "--min-age", "0"])?;
        match before == digest(&here.path)? {
            true => Ok(()),
            false => Err(Fault::new("gc", "the layout has changed")),
        }
    }

    /// Unpacks one image, and compares the directory; umoci does the same where it can.
    fn unpack(&mut self, here: &Here) -> Checked {
        let entry = self.random.pick(&here.entries);
        let image = self.random.pick(&entry.images);
        if !self.world.root || here.kind == Kind::Acis || !entry.about.is_empty() {
            return Ok(());
        }
        let source = match (here.kind, here.entries.len()) {
            (Kind::Dir | Kind::Registry, _) | (_, 1) => here.locator.clone(),
            _ => format!("{}:{}", here.locator, entry.name),
        };
        let (target, platform) = (self.folder.join("unpacked"), image.platform());
        let text = target.to_string_lossy().into_owned();
        let flags = ["--preserve-privileges", "--allow-devices"];
        let mut arguments = [&["unpack", &source, &text], &flags[..]].concat();
        if entry.images.len() > 1 {
            arguments.extend(["--platform", &platform]);
        }
        self.call(&arguments)?;
        let found = disk::read(&target)?;
        fs::remove_dir_all(&target).map_err(|error| Failure::io(&target, &error))?;
        self.tree(&image, &found)?;
        let is_single = here.kind == Kind::Layout && entry.images.len() == 1;
        if self.world.umoci && is_single && image.old_codecs && self.random.percent(60) {
            self.umoci(here, &entry, &image)?;
        }
        Ok(())
    }

    /// Compares the tree that umoci unpacks.
    fn umoci(&mut self, here: &Here, entry: &Entry, image: &Image) -> Checked {
        let target = self.folder.join("bundle");
        let source = format!("{}:{}", here.path.display(), entry.name);
        self.done
            .push(format!("$ umoci raw unpack --image {source}"));
        let mut command = Command::new("umoci");
        command
            .args(["raw", "unpack", "--image", &source])
            .arg(&target);
        let output = command
            .output()
            .map_err(|error| Failure::io(Path::new("umoci"), &error))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            // umoci 0.4 does not know the old sparse members of GNU tar, and refuses a parent without an entry of its
            // own where a lower layer has a file.
            if ["unknown typeflag", "not a directory"]
                .iter()
                .any(|it| stderr.contains(it))
            {
                return Ok(());
            }
            return Err(Fault::new("umoci", stderr));
        }
        let mut found = disk::read(&target)?;
        fs::remove_dir_all(&target).map_err(|error| Failure::io(&target, &error))?;
        if image.stargz {
            found.forget_stargz();
        }
        let differences = image.tree.unlike_umoci(&found);
        if !differences.is_empty() {
            return Err(Fault::new("umoci", differences.join("\n")));
        }
        self.count.umoci += 1;
        Ok(())
    }

    /// Runs the program, which must succeed.
    fn call(&mut self, arguments: &[&str]) -> Checked {
        self.run(arguments, &[]).map(drop)
    }

    /// Runs the program; returns its report.
    fn program(&mut self, arguments: &[String]) -> Checked<Value> {
        let report = self.folder.join("report.json");
        let _ = fs::remove_file(&report);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&arguments, &["--report", &report.to_string_lossy()])?;
        let text = imgconv_testkit::read_text(&report)?;
        serde_json::from_str(&text).map_err(|error| Fault::new("report", error.to_string()))
    }

    fn run(&mut self, arguments: &[&str], more: &[&str]) -> Checked {
        self.done.push(format!("$ imgconv {}", arguments.join(" ")));
        let mut command = Command::new(&self.world.program);
        command
            .args(arguments)
            .args(["--quiet", "--progress", "none"])
            .args(more);
        command
            .env("TMPDIR", self.folder)
            .env("NO_COLOR", "1")
            .env_remove("SOURCE_DATE_EPOCH");
        let output = command.output();
        let output = output.map_err(|error| Failure::io(&self.world.program, &error))?;
        if output.status.success() {
            return Ok(());
        }
        let shown = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let class = format!("refused {}", arguments[0]);
        Err(Fault::new(&class, format!("{}: {shown}", output.status)))
    }
}
