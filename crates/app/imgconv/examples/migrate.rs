//! Migrates every image of a store to an OCI layout, and writes a report as JSON:
//! `cargo run -p imgconv --example migrate -- /var/lib/registry out report.json`

use imgconv::{Code, Env, Error, Locator, MigrateOptions, Migration, Platform, Result, migrate};

#[expect(clippy::print_stdout, reason = "a program prints its result")]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(store), Some(layout), Some(report)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        let message = "expected `migrate STORE LAYOUT REPORT`";
        return Err(Error::new(Code::Usage, message));
    };
    let migration = to_layout(&store, &layout)?;
    write_report(&migration, &report)?;
    let totals = migration.totals;
    println!(
        "{} of {} images are at {layout}",
        totals.done + totals.kept,
        totals.images
    );
    // An image that fails does not stop the others, so failures are looked for at the end.
    for image in &migration.images {
        if let Some(error) = &image.error {
            println!("{}: {} [{}]", image.source, error.message, error.code);
        }
    }
    Ok(())
}

/// Migrates a store to a layout. A run that was ended goes on where it was, when it is started again.
pub(crate) fn to_layout(store: &str, layout: &str) -> Result<Migration> {
    let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    let destination = Locator::destination(&format!("oci:{layout}"))?;
    migrate(
        &Locator::source(store)?,
        &destination,
        &MigrateOptions::default(),
        &env,
    )
}

/// Writes the report of a migration as JSON, as `imgconv migrate --report` does.
pub(crate) fn write_report(migration: &Migration, path: &str) -> Result<()> {
    let text = serde_json::to_string_pretty(migration)
        .map_err(|error| Error::new(Code::Io, error.to_string()).at(path))?;
    std::fs::write(path, text).map_err(|error| Error::io(error, path))
}
