//! The commands `tags` and `publish`: from arguments to a call of the library, and its result to the
//! screen.

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use imgconv::{Labels, Locator, PublishOptions, Signing, SiteOptions, TagLine};
use imgconv_model::{Code, Env, Error, Result};

use crate::{
    args::{Publish, Shared, Site, Tags},
    commands::{conversion_options, refuse_stream, reported},
    failure::Status,
    render,
};

/// Runs one of the commands of `tags`.
pub(crate) fn run(command: &Tags, shared: &Shared, env: &Env) -> Result<ExitCode> {
    match command {
        Tags::Export { source, from, name } => {
            export(&from.locator(source)?, name.as_deref(), shared, env)?;
        }
        Tags::Resolve { file, tag, label } => {
            let tags = imgconv::read_tags(file, env)?;
            let resolution = imgconv::resolve_tag(&tags, tag, &labels(label)?)?;
            if shared.json {
                render::json(&resolution)?;
            } else {
                let pairs = resolution.labels.iter();
                let text: String = pairs
                    .map(|(name, value)| format!("{name}={}\n", render::clean(value)))
                    .collect();
                render::print(&text)?;
            }
        }
        Tags::List { file } => {
            let lines = imgconv::list_tags(&imgconv::read_tags(file, env)?);
            if shared.json {
                render::json(&serde_json::json!({ "tags": lines }))?;
            } else {
                render::print(&lines.iter().map(line).collect::<String>())?;
            }
            if lines.iter().any(|line| line.error.is_some()) {
                return Ok(Status::Failed.into());
            }
        }
        Tags::Validate { file } => return validate(file, shared, env),
        Tags::Fetch { from } => {
            render::print_document(&imgconv::fetch_tags(from, env)?.to_bytes())?
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn export(source: &Locator, name: Option<&str>, shared: &Shared, env: &Env) -> Result<()> {
    let mut found = imgconv::export_tags(source, env)?;
    let all: Vec<String> = found
        .iter()
        .filter_map(|found| found.name.clone())
        .collect();
    if let Some(name) = name {
        found.retain(|found| found.name.as_deref() == Some(name));
    }
    if shared.json {
        let images: Vec<_> = found
            .iter()
            .map(|found| {
                let tags = imgconv::list_tags(&found.tags);
                serde_json::json!({ "name": found.name, "tags": tags })
            })
            .collect();
        return render::json(&serde_json::json!({ "images": images }));
    }
    match &found[..] {
        [one] => render::print_document(&one.tags.to_bytes()),
        [] => Err(Error::new(Code::Missing, "no image of that name has a tag")
            .hint(format!("there is: {}", render::clean(&all.join(", "))))),
        several => {
            let message = format!("there are {} image names, a file is for one", several.len());
            Err(Error::new(Code::Ambiguous, message)
                .at(render::clean(&source.to_string()))
                .hint(format!(
                    "`--name` chooses: {}",
                    render::clean(&all.join(", "))
                )))
        }
    }
}

/// Prints everything that is wrong; a file that can't be read at all is one such thing.
fn validate(file: &str, shared: &Shared, env: &Env) -> Result<ExitCode> {
    let problems = match imgconv::read_tags(file, env) {
        Ok(tags) => tags.problems(),
        Err(error) if error.code() == Code::Io => return Err(error),
        Err(error) => vec![error],
    };
    if shared.json {
        let problems: Vec<_> = problems
            .iter()
            .map(|error| {
                serde_json::json!({
                    "code": error.code().as_str(), "at": error.places(), "message": error.message(),
                })
            })
            .collect();
        render::json(&serde_json::json!({ "problems": problems }))?;
    } else {
        let lines = problems.iter();
        let text: String = lines
            .map(|error| format!("{}: {}\n", error.code(), render::clean(&error.to_string())))
            .collect();
        render::print(&text)?;
    }
    Ok(match problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => Status::Failed.into(),
    })
}

/// `TAG [-> ALIAS] LABELS`.
fn line(line: &TagLine) -> String {
    let mut words = vec![line.tag.clone()];
    if let Some(alias) = &line.alias {
        words.push(format!("-> {alias}"));
    }
    match (&line.labels, &line.error) {
        (_, Some(error)) => words.push(format!("error: {error}")),
        (labels, None) => words.extend(
            labels
                .iter()
                .flatten()
                .map(|(name, value)| format!("{name}={value}")),
        ),
    }
    format!("{}\n", render::clean(&words.join("  ")))
}

/// Reads `NAME=VALUE` labels.
fn labels(texts: &[String]) -> Result<Labels> {
    let mut labels = Labels::new();
    for text in texts {
        let pair = text.split_once('=');
        let (name, value) = pair.ok_or_else(|| {
            Error::new(Code::Usage, format!("`--label {text}` is not `NAME=VALUE`"))
        })?;
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            let message = format!("the label `{name}` is given twice");
            return Err(Error::new(Code::Usage, message));
        }
    }
    Ok(labels)
}

/// Publishes a site.
pub(crate) fn publish(publish: &Publish, shared: &Shared, env: &Env) -> Result<ExitCode> {
    let directory = imgconv::directory(&publish.directory)?;
    refuse_stream("publish", Path::new(directory))?;
    let mut conversion = conversion_options(&publish.conversion)?;
    conversion.host.clone_from(&publish.site.host);
    let site = site(&publish.site, env);
    let options = PublishOptions { conversion, site };
    let sources = publish.conversion.writing.from.locators(&publish.sources)?;
    let run = || imgconv::publish(&sources, Path::new(directory), &options, env);
    reported(&publish.conversion.writing, shared, false, env, run)
}

/// What a site is told.
pub(crate) fn site(site: &Site, env: &Env) -> SiteOptions {
    SiteOptions {
        url: site.url.clone(),
        public_keys: site.pubkeys.clone(),
        signing: site.pgp_key.as_ref().map(|key| Signing {
            key: key.clone(),
            passphrase: site.pgp_passphrase.clone(),
            time: time(env),
        }),
    }
}

/// The time of signatures: `SOURCE_DATE_EPOCH`, else now.
fn time(env: &Env) -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line asks for the time"
    )]
    let now = SystemTime::now;
    let epoch = env.epoch.and_then(|seconds| u64::try_from(seconds).ok());
    epoch.map_or_else(now, |seconds| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    })
}
