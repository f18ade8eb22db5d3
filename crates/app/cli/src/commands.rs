//! The commands: from arguments to a call of the library, and its result to the screen.

use std::{path::Path, process::ExitCode};

use clap::CommandFactory;
use imgconv::{FormatFamily, LayerOptions, Locator, Options, Squash};
use imgconv_model::{Code, Env, Error, FormatId, PlatformSpec, Result};

use crate::{
    args::{
        Args, Command, Compression, Conversion, DestinationPair, Foreign, Merge, Missing, Shared,
        SourcePair, Writing,
    },
    env,
    failure::Status,
    layout, man, render, tags,
};

/// Where `…-to-oci` writes, and in which formats.
const OCI: (&[&str], &[FormatId]) = (&["oci", "oci-archive", "docker"], &[FormatId::OCI]);
/// Where `…-to-docker` writes, and in which formats.
const DOCKER: (&[&str], &[FormatId]) = (
    &["docker-archive", "dir", "docker"],
    &[
        FormatId::DOCKER_ARCHIVE,
        FormatId::DOCKER_V2S2,
        FormatId::DOCKER_V2S1,
    ],
);
/// Where `…-to-aci` writes, and in which formats.
const ACI: (&[&str], &[FormatId]) = (&["aci"], &[FormatId::ACI]);

/// Runs a command.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let shared = args.shared;
    let env = env::make(&shared)?;
    let pair = |of, sources: &[String], destination: Locator, conversion: &Conversion| {
        convert(of, sources, &destination, conversion, &shared, &env)
    };
    match args.command {
        Command::Convert {
            source,
            destination,
            to,
            conversion,
        } => pair(None, &[source], to.locator(&destination)?, &conversion),
        Command::AciToOci {
            sources,
            destination,
            to,
            conversion,
        } => {
            let of = Some((FormatFamily::Aci, FormatFamily::Oci));
            pair(of, &sources, to.locator_of(&destination, OCI)?, &conversion)
        }
        Command::DockerToOci {
            source,
            destination,
            to,
            conversion,
        } => {
            let of = Some((FormatFamily::Docker, FormatFamily::Oci));
            pair(
                of,
                &[source],
                to.locator_of(&destination, OCI)?,
                &conversion,
            )
        }
        Command::OciToDocker {
            source,
            destination,
            to,
            conversion,
        } => {
            let of = Some((FormatFamily::Oci, FormatFamily::Docker));
            pair(
                of,
                &[source],
                to.locator_of(&destination, DOCKER)?,
                &conversion,
            )
        }
        Command::AciToDocker {
            sources,
            destination,
            to,
            conversion,
        } => {
            let of = Some((FormatFamily::Aci, FormatFamily::Docker));
            pair(
                of,
                &sources,
                to.locator_of(&destination, DOCKER)?,
                &conversion,
            )
        }
        Command::DockerToAci {
            source,
            destination,
            to,
            conversion,
        } => {
            let of = Some((FormatFamily::Docker, FormatFamily::Aci));
            pair(of, &[source], acis(&to, &destination)?, &conversion)
        }
        Command::OciToAci {
            source,
            destination,
            to,
            conversion,
        } => {
            let of = Some((FormatFamily::Oci, FormatFamily::Aci));
            pair(of, &[source], acis(&to, &destination)?, &conversion)
        }
        Command::Squash {
            source,
            destination,
            all: _, // what no other option says
            merge,
            to,
            writing,
        } => {
            let mut options = options(&writing)?;
            options.change = true;
            options.layers.squash = Some(merged(merge).unwrap_or(Squash::All));
            let destination = to.locator(&destination)?;
            write(&[source], &destination, &options, &writing, &shared, &env)
        }
        Command::Recompress {
            source,
            destination,
            to,
            writing,
        } => {
            let mut options = options(&writing)?;
            options.change = true;
            let destination = to.locator(&destination)?;
            write(&[source], &destination, &options, &writing, &shared, &env)
        }
        Command::Inspect {
            source,
            from,
            raw,
            platform,
        } => {
            let locator = from.locator(&source)?;
            if raw {
                render::print_bytes(&imgconv::raw(&locator, &env)?)?;
            } else {
                let found = imgconv::inspect(&locator, &platforms(&platform)?, &env)?;
                render::inspections(&found, &shared)?;
                if found.iter().any(|image| image.error.is_some()) {
                    return Ok(env::ended(Status::Failed));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Ls { source, from } => {
            let lines = imgconv::list(&from.locator(&source)?, &env)?;
            render::list(&lines, &shared)?;
            let unreadable = lines.iter().any(|line| line.error.is_some());
            Ok(if unreadable {
                env::ended(Status::Failed)
            } else {
                ExitCode::SUCCESS
            })
        }
        Command::Verify { source, from } => {
            let verdict = imgconv::verify(&from.locator(&source)?, &env)?;
            render::verdict(&verdict, &shared)?;
            Ok(match verdict.problems.is_empty() {
                true => ExitCode::SUCCESS,
                false if verdict.is_damaged() => env::ended(Status::Integrity),
                // The place could not be read; no damage is known.
                false => env::ended(Status::Failed),
            })
        }
        Command::Diff {
            a,
            b,
            from,
            to,
            platform,
            deps,
        } => {
            let (a, b) = (from.locator(&a)?, to.source(&b)?);
            let found = imgconv::diff(&a, &b, &platforms(&platform)?, &deps, &env)?;
            if shared.json {
                render::json(&serde_json::json!({ "differences": found }))?;
            } else {
                let line = |sign: char, what: &str, value: &Option<String>| match value {
                    Some(value) => {
                        format!("{sign} {}: {}\n", render::clean(what), render::clean(value))
                    }
                    None => String::new(),
                };
                let text: String = found
                    .iter()
                    .map(|d| line('-', &d.what, &d.a) + &line('+', &d.what, &d.b))
                    .collect();
                render::print(&text)?;
            }
            Ok(if found.is_empty() {
                ExitCode::SUCCESS
            } else {
                Status::Failed.into()
            })
        }
        Command::Unpack {
            source,
            directory,
            from,
            platform,
            deps,
            preserve_privileges,
            allow_devices,
        } => {
            let options = imgconv::UnpackOptions {
                preserve_privileges,
                allow_devices,
            };
            let directory = match directory.to_str() {
                Some(text) => imgconv::directory(text)?.into(),
                None => directory,
            };
            let locator = from.locator(&source)?;
            let platforms = platforms(&platform)?;
            let (outcome, report) =
                imgconv::unpack(&locator, &directory, &platforms, &deps, &options, &env)?;
            if !shared.quiet {
                for w in &report.warnings {
                    let (at, message) = (render::clean(&w.at), render::clean(&w.message));
                    render::say(&format!("warning[{}]: {at}: {message}", w.code));
                }
            }
            if shared.json {
                render::json(&serde_json::json!({
                    "directory": directory.display().to_string(),
                    "entries": outcome.entries,
                    "bytes": outcome.bytes,
                    "warnings": report.warnings.iter().map(|w| serde_json::json!({
                        "code": w.code, "at": w.at, "message": w.message,
                    })).collect::<Vec<_>>(),
                }))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Tags(command) => tags::run(&command, &shared, &env),
        Command::Layout(command) => layout::run(&command, &shared, &env),
        Command::Publish(publish) => tags::publish(&publish, &shared, &env),
        Command::Migrate(migrate) => crate::migrate::run(&migrate, &shared, &env),
        Command::Formats => {
            formats(&shared)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "imgconv", &mut text);
            render::print_bytes(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { directory } => {
            refuse_stream("man", &directory)?;
            man::write(Args::command(), &directory)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Where ACIs go: everything but a `.aci` file is a directory, made if it is missing.
fn acis(to: &DestinationPair, destination: &str) -> Result<Locator> {
    let mut destination = to.locator_of(destination, ACI)?;
    let file = destination.location.ends_with(".aci") || destination.location == "-";
    if !file && !destination.location.ends_with('/') {
        destination.location.push('/');
    }
    Ok(destination)
}

fn convert(
    pair: Option<(FormatFamily, FormatFamily)>,
    sources: &[String],
    destination: &Locator,
    conversion: &Conversion,
    shared: &Shared,
    env: &Env,
) -> Result<ExitCode> {
    let mut options = conversion_options(conversion)?;
    options.pair = pair;
    let writing = &conversion.writing;
    write(sources, destination, &options, writing, shared, env)
}

/// Writes images, and says what became of them.
fn write(
    sources: &[String],
    destination: &Locator,
    options: &Options,
    writing: &Writing,
    shared: &Shared,
    env: &Env,
) -> Result<ExitCode> {
    if shared.json && destination.location == "-" && !options.dry_run {
        let message = "`--json` and the image can't both go to standard output";
        return Err(Error::new(Code::Usage, message).hint("`--report FILE` writes the same JSON"));
    }
    let sources = writing.from.locators(sources)?;
    let env = &Env {
        keep_files: !writing.overwrite,
        ..env.clone()
    };
    // The file itself went to standard output, so the lines can't.
    let piped = destination.location == "-" && !options.dry_run;
    reported(writing, shared, piped, env, || {
        let outcome = imgconv::convert(&sources, destination, options, env)?;
        if options.change && !shared.quiet {
            render::unchanged(&outcome);
        }
        Ok(outcome)
    })
}

/// Runs what makes images, and tells what it did: on the screen, and in the report.
pub(crate) fn reported(
    writing: &Writing,
    shared: &Shared,
    piped: bool,
    env: &Env,
    run: impl FnOnce() -> Result<imgconv::Outcome>,
) -> Result<ExitCode> {
    let report = writing.report.as_deref();
    let report = report.map(|path| open_report(path, env)).transpose()?;
    let outcome = run()?;
    if let Some(report) = report {
        report.write(render::document(&outcome).as_bytes())?;
    }
    render::outcome(&outcome, piped, shared)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses standard output where a command makes a directory.
pub(crate) fn refuse_stream(command: &str, directory: &Path) -> Result<()> {
    if directory != Path::new("-") {
        return Ok(());
    }
    let message = format!("`{command}` makes a directory, and `-` is standard output");
    Err(Error::new(Code::Usage, message).hint("`./-` is a directory of that name"))
}

/// Opens the file of `--report` before the work.
pub(crate) fn open_report(path: &Path, env: &Env) -> Result<imgconv::WholeFile> {
    if path == Path::new("-") {
        let message = "`--report` writes a file, and `-` is standard output";
        return Err(Error::new(Code::Usage, message).hint("`--json` prints the same there"));
    }
    imgconv::WholeFile::open(path, env).map_err(|error| error.at("`--report`"))
}

/// Which layers the options name, if one of them is given.
fn merged(merge: Merge) -> Option<Squash> {
    let last = merge.last.map(Squash::Last);
    let base = merge.keep_base.map(Squash::KeepBase);
    last.or(base).or(merge.max_layers.map(Squash::AtMost))
}

pub(crate) fn conversion_options(conversion: &Conversion) -> Result<Options> {
    let mut options = options(&conversion.writing)?;
    let all = conversion.squash.then_some(Squash::All);
    options.layers.squash = merged(conversion.merge).or(all);
    options.no_squash = conversion.no_squash;
    Ok(options)
}

fn options(writing: &Writing) -> Result<Options> {
    use imgconv_model::Compression as Model;
    Ok(Options {
        pair: None,
        platforms: platforms(&writing.platform)?,
        layers: LayerOptions {
            compression: match writing.compression {
                Compression::Keep => None,
                Compression::Gzip | Compression::Estargz => Some(Model::Gzip),
                Compression::Zstd | Compression::ZstdChunked => Some(Model::Zstd),
                Compression::None => Some(Model::None),
            },
            toc: matches!(
                writing.compression,
                Compression::Estargz | Compression::ZstdChunked
            ),
            level: writing.level.unwrap_or_default(),
            force: writing.force,
            clamp_mtime: writing.clamp_mtime,
            squash: None,
        },
        no_squash: false,
        change: false,
        name: writing.name.clone(),
        host: None,
        image_tags: writing.image_tags,
        ref_name: writing.ref_name.into(),
        deps: writing.deps.clone(),
        strict: writing.strict,
        dry_run: writing.dry_run,
        missing: match writing.missing {
            Missing::Drop => imgconv::Missing::Drop,
            Missing::Keep => imgconv::Missing::Keep,
            Missing::Fail => imgconv::Missing::Fail,
        },
        foreign: match writing.foreign {
            Foreign::Keep => imgconv::Foreign::Keep,
            Foreign::Fail => imgconv::Foreign::Fail,
            Foreign::Drop => imgconv::Foreign::Drop,
            Foreign::Fetch => imgconv::Foreign::Fetch,
        },
        preserve_digests: writing.preserve_digests,
        sign_key: writing.sign_key.clone(),
        sharing: writing.links.sharing(),
    })
}

fn platforms(texts: &[String]) -> Result<Vec<PlatformSpec>> {
    texts.iter().map(|text| PlatformSpec::parse(text)).collect()
}

impl SourcePair {
    /// Reads the locator of a source.
    pub(crate) fn locator(&self, text: &str) -> Result<Locator> {
        let (format, distribution) = (&self.src_format, &self.src_distribution);
        Locator::source_as(format.as_deref(), distribution.as_deref(), text)
    }

    /// Reads the locators of several sources.
    pub(crate) fn locators(&self, texts: &[String]) -> Result<Vec<Locator>> {
        texts.iter().map(|text| self.locator(text)).collect()
    }
}

impl DestinationPair {
    /// Reads the locator of a destination.
    pub(crate) fn locator(&self, text: &str) -> Result<Locator> {
        let (format, distribution) = self.parts();
        Locator::destination_as(format, distribution, text)
    }

    /// Reads the locator of a destination of one of some kinds, the usual one first, which is
    /// written in one of the formats of the command, whatever the source is.
    fn locator_of(&self, text: &str, (places, formats): (&[&str], &[FormatId])) -> Result<Locator> {
        let (format, distribution) = self.parts();
        let mut locator = Locator::destination_of(format, distribution, text, places)?;
        let possible = locator.transport.place().formats();
        match locator.format {
            Some(asked) if possible.contains(&asked) && !formats.contains(&asked) => {
                let message = format!("this command does not write {asked}");
                let formats: Vec<&str> = formats.iter().map(|id| id.0).collect();
                let hint = format!(
                    "it writes: {}; `convert` writes any format",
                    formats.join(", ")
                );
                Err(Error::new(Code::Usage, message).at(text).hint(hint))
            }
            Some(_) => Ok(locator),
            // Most places hold one format.
            None if possible.len() < 2 => Ok(locator),
            None => {
                locator.format = formats.iter().copied().find(|id| possible.contains(id));
                Ok(locator)
            }
        }
    }

    /// Reads the locator of what was written, to read it.
    fn source(&self, text: &str) -> Result<Locator> {
        let (format, distribution) = self.parts();
        Locator::source_as(format, distribution, text)
    }

    fn parts(&self) -> (Option<&str>, Option<&str>) {
        let (format, distribution) = (&self.dest_format, &self.dest_distribution);
        (format.as_deref(), distribution.as_deref())
    }
}

fn formats(shared: &Shared) -> Result<()> {
    use imgconv::catalog::{FORMATS, TRANSPORTS};
    if shared.json {
        let formats: Vec<_> = FORMATS
            .iter()
            .map(|format| serde_json::json!({ "id": format.id().0, "about": format.facts().about }))
            .collect();
        let transports: Vec<_> = TRANSPORTS
            .iter()
            .map(|transport| {
                let place = transport.place();
                serde_json::json!({
                    "scheme": place.scheme,
                    "syntax": place.syntax,
                    "about": place.about,
                    "writes": place.formats().iter().map(|id| id.0).collect::<Vec<_>>(),
                })
            })
            .collect();
        return render::json(&serde_json::json!({ "formats": formats, "transports": transports }));
    }
    let mut text = String::from("formats:\n");
    for format in FORMATS {
        text.push_str(&format!("  {:24} {}\n", format.id(), format.facts().about));
    }
    text.push_str("transports:\n");
    for transport in TRANSPORTS {
        let place = transport.place();
        text.push_str(&format!("  {:24} {}\n", place.syntax, place.about));
    }
    render::print(&text)
}
