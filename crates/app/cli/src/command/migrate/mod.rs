//! The command `migrate`.

mod merge_reports;
mod show;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum};
use imgconv::{Code, Document, Env, Error, Merged, MigrateOptions, Result, Rules, Shard};

use crate::{
    environment::completion_index,
    options::{Common, Conversion, Destination, Site},
    outcome::{open_digests, open_page, open_report, write_digests},
    screen::line,
};

const EXAMPLES: &str = "\
Examples:
  imgconv migrate /var/lib/registry oci:all                 storage of a registry to one layout
  imgconv migrate rkt:/var/lib/rkt oci:out --split repo     a layout for each repository
  imgconv migrate saved/ docker://registry.example.com/old --rename '^docker.io/='
  imgconv migrate docker://old.example.com oci:all          every repository of a registry
  imgconv migrate old/ oci:all --dry-run --only '*/team/*'  print the plan
  imgconv migrate old/ oci:all --report-html report.html    a report to look at
  imgconv migrate old/ oci:all --shard 1/4 --report 1.json  the first of four workers
  imgconv migrate merge-reports 1.json 2.json 3.json 4.json";

/// Copy every image of a store to another place; resumable
///
/// The command reads the whole store and makes a plan first. Two different images with one name are an
/// error before anything is written. Then several images are copied at a time. A failure does not stop
/// the other images: its error is in the report, and the exit code is 1.
///
/// The same command, run again, continues where the last run ended. A journal in the destination
/// (`.imgconv-migrate`) records the images and the layers that are finished. Each record is compared
/// with the destination before it is used; `imgconv verify` reads the images completely. The images of
/// a layout appear together at the end, images of other destinations one by one.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = EXAMPLES
)]
pub(crate) struct Migrate {
    #[command(subcommand)]
    command: Option<Subcommands>,
    /// Locator of a store, a layout, an archive, a directory of them, or a registry (`docker://HOST`)
    #[arg(value_name = "SRC", required = true)]
    source: Option<String>,
    /// `oci:DIR`, `docker-archive:DIR/` or `aci:DIR/` (a file for each image), or `docker://HOST/PREFIX`
    #[arg(value_name = "DST", required = true)]
    destination: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Make `aci:DIR/` a site for appc discovery, as `publish` does
    #[arg(long, help_heading = "Site")]
    site: bool,
    #[command(flatten)]
    of_site: Site,
    #[command(flatten)]
    conversion: Conversion,
    #[command(flatten)]
    to: Destination,
}

/// Which images are copied, and how the work is divided.
#[derive(Debug, Args)]
#[command(next_help_heading = "Migration")]
struct Selection {
    /// Copy only images whose name in `ls` matches; `*` matches any text (repeatable)
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Leave out images whose name matches (repeatable)
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Rename images, as in `^old.example.com/=new.example.com/`; `$1` is a group (repeatable)
    #[arg(long, value_name = "REGEX=REPLACEMENT")]
    rename: Vec<String>,
    /// Make one layout for each repository, below the directory
    #[arg(long, value_enum, value_name = "BY")]
    split: Option<Split>,
    /// Do only share I of N, from 1; images with a common base are in the same share, or in few of them
    ///
    /// `job/N` is the share of this pod of an Indexed Job of Kubernetes, whose number from 0 is in
    /// JOB_COMPLETION_INDEX.
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
    /// Directory of the journal [default: in the destination; for a registry: no journal]
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    journal: Option<PathBuf>,
    /// Write the report as an HTML page
    ///
    /// `imgconv report` makes the same page of a report that `--report` wrote.
    #[arg(long, value_name = "FILE")]
    report_html: Option<PathBuf>,
    /// Continue even if the layers are larger than the free space at the destination
    #[arg(long, hide_short_help = true)]
    ignore_space: bool,
}

/// How a migration is split into several destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Split {
    /// By repository
    Repo,
}

/// The commands of `migrate`.
#[derive(Debug, Subcommand)]
enum Subcommands {
    MergeReports(merge_reports::MergeReports),
}

impl Migrate {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        if let Some(Subcommands::MergeReports(command)) = &self.command {
            return command.run(common);
        }
        let [Some(source), Some(destination)] = [&self.source, &self.destination] else {
            let message = "`migrate` needs a source and a destination";
            return Err(Error::new(Code::Usage, message));
        };
        let writing = &self.conversion.writing;
        let mut env = writing.env(env)?;
        env.places.keep_files = !writing.safety.overwrite;
        let options = self.options(&env)?;
        let report = open_report(writing.report.as_deref(), &env)?;
        let digests = open_digests(writing, &env)?;
        let page = self.selection.report_html.as_deref();
        let page = page.map(|path| open_page(path, "--report-html", &env));
        let page = page.transpose()?;
        let source = writing.source.locator(source)?;
        let destination = self.to.locator(destination)?;
        let migration = imgconv::migrate(&source, &destination, &options, &env)?;
        if let Some(file) = digests {
            let images = migration.images.iter();
            write_digests(file, images.filter_map(|image| image.digest.as_deref()))?;
        }
        if let Some(report) = report {
            let text = line(&Document::new(&migration)) + "\n";
            report.write(text.as_bytes())?;
        }
        let merged = Merged {
            migration,
            missing: Vec::new(),
        };
        if let Some(page) = page {
            page.write(imgconv::report_page(&merged)?.as_bytes())?;
        }
        let migration = merged.migration;
        show::show(&migration, &migration, common)?;
        let dry_run = options.conversion.dry_run;
        Ok(show::exit_code(&migration, dry_run))
    }

    fn options(&self, env: &Env) -> Result<MigrateOptions> {
        let mut conversion = self.conversion.options()?;
        conversion.host.clone_from(&self.of_site.host);
        if !self.site && self.of_site.is_given() {
            let message = "`--url`, `--pubkeys` and `--pgp-key` belong to a site";
            let hint = "`--site` makes a site of the destination";
            return Err(Error::new(Code::Usage, message).hint(hint));
        }
        let selection = &self.selection;
        let rules = Rules::read(&selection.only, &selection.exclude, &selection.rename)?;
        if conversion.name.is_some() {
            let message = "`--name` names one image, but a migration copies many";
            let hint = "`--rename 'REGEX=REPLACEMENT'` renames images";
            return Err(Error::new(Code::Usage, message).hint(hint));
        }
        Ok(MigrateOptions {
            conversion,
            rules,
            split: matches!(selection.split, Some(Split::Repo)),
            shard: selection.shard.as_deref().map(share).transpose()?,
            journal: selection.journal.clone(),
            site: self.site.then(|| self.of_site.options(env)),
            ignore_space: selection.ignore_space,
        })
    }
}

/// Reads the value of `--shard`.
fn share(text: &str) -> Result<Shard> {
    let Some(count) = text.strip_prefix("job/") else {
        return Shard::parse(text);
    };
    let number = completion_index().ok_or_else(|| {
        let message = "`--shard job/N` needs a number in JOB_COMPLETION_INDEX";
        let hint = "Kubernetes sets the variable in jobs with `completionMode: Indexed`; elsewhere \
                    write `I/N`";
        Error::new(Code::Usage, message).hint(hint)
    })?;
    Shard::parse(&format!("{}/{count}", number.saturating_add(1)))
}
