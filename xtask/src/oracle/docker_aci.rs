//! Checks of Docker -> ACI -> Docker: other tools read both results, and the reports must be
//! complete.

use super::checks::{Oracle, contains, same_tree};
use super::docker::{IMAGES, LAYERS_PRINT, equal, loaded};
use super::engine::Engine;
use super::from_aci::extracted;
use crate::process::Result;

/// Docker to ACI and back: an image with fields that only Docker has, made by `docker commit`.
pub(super) fn run(oracle: &mut Oracle, engine: &Engine) {
    let title = |what: &str| format!("docker-aci: {what}");
    let image = "example.com/oracle/committed:1";
    let made = oracle.check(
        &title("docker commit and save"),
        &["skopeo", "root"],
        |oracle| {
            loaded(oracle, engine, IMAGES[1].0)?;
            let create = ["create", "--network", "none", IMAGES[1].0];
            let container = engine.docker(oracle, &create)?;
            let container = container.trim();
            let health = "HEALTHCHECK --interval=5s CMD /bin/true";
            engine.docker(
                oracle,
                &[
                    "commit",
                    "--change",
                    health,
                    "--change",
                    "ONBUILD RUN x",
                    container,
                    image,
                ],
            )?;
            engine.docker(oracle, &["rm", "-v", container])?;
            engine
                .docker(oracle, &["save", "-o", "committed.tar", image])
                .map(drop)
        },
    );
    if !made {
        return;
    }
    let converted = oracle.check(
        &title("imgconv docker-to-aci reports what only docker knows"),
        &["jq"],
        |oracle| {
            oracle.imgconv(&[
                "docker-to-aci",
                "--report",
                "to-aci.json",
                "committed.tar",
                "committed.aci",
            ])?;
            let losses = oracle.shell("jq -r '.images[].losses[].field' to-aci.json")?;
            for field in ["config.Healthcheck", "config.OnBuild", "history"] {
                contains(&losses, field)?;
            }
            Ok(())
        },
    );
    if !converted {
        return;
    }
    oracle.check(&title("actool validate"), &["actool"], |oracle| {
        oracle
            .peer("actool", &["validate", "committed.aci"])
            .map(drop)
    });
    oracle.check(
        &title("the ACI's rootfs equals umoci unpack"),
        &["root", "tar"],
        |oracle| {
            let found = extracted(oracle, &oracle.path("committed.aci"), "committed-plain")?;
            same_tree(&oracle.path(IMAGES[1].1), &found)
        },
    );
    oracle.check(
        &title("docker -> aci -> docker differs only in what was reported"),
        &["jq"],
        |oracle| {
            oracle.imgconv(&[
                "aci-to-docker",
                "--report",
                "to-docker.json",
                "committed.aci",
                "committed-back.tar",
            ])?;
            // Ends with 1 where the images differ.
            let found = oracle.shell(&format!(
                "'{}' diff committed.tar committed-back.tar || test $? = 1",
                oracle.program.display()
            ))?;
            // A line is `- FIELD: VALUE` or `+ FIELD: VALUE`.
            let pairs = found.lines().map(|line| {
                let rest = line.get(2..).unwrap_or_default();
                (rest.split(": ").next().unwrap_or_default(), line)
            });
            all_reported(oracle, &pairs.collect::<Vec<_>>())
        },
    );
    oracle.check(
        &title("the config of the way back differs only in what was reported"),
        &["jq", "tar"],
        |oracle| {
            for file in ["committed", "committed-back"] {
                oracle.shell(&format!(
                    "name=$(tar -xOf {file}.tar manifest.json | jq -r '.[0].Config')\n\
                     tar -xOf {file}.tar \"$name\" > {file}.json"
                ))?;
            }
            let found = oracle.shell(&format!(
                "jq -rs '{CHANGED}' committed.json committed-back.json"
            ))?;
            let pairs: Vec<_> = found.lines().map(|line| (line, line)).collect();
            all_reported(oracle, &pairs)
        },
    );
    oracle.check(
        &title("what only docker knows comes back"),
        &["jq"],
        |oracle| {
            for field in ["Healthcheck", "OnBuild"] {
                let read = |file: &str| oracle.shell(&format!("jq -c .config.{field} {file}.json"));
                let (before, after) = (read("committed")?, read("committed-back")?);
                equal(field, after.as_str(), before.as_str())?;
                if before.trim() == "null" {
                    return Err(format!("docker wrote no {field}: nothing was compared"));
                }
            }
            let steps = |file: &str| oracle.shell(&format!("jq '.history | length' {file}.json"));
            let count = |text: String| text.trim().parse::<u32>().map_err(|e| e.to_string());
            // One more step made the remaining layer.
            equal(
                "the number of steps",
                &count(steps("committed-back")?)?,
                &(count(steps("committed")?)? + 1),
            )
        },
    );
    oracle.check(&title("docker runs the way back"), &[], |oracle| {
        engine.docker(oracle, &["rmi", image])?;
        engine.docker(oracle, &["load", "-i", "committed-back.tar"])?;
        let run = ["run", "--rm", "--network", "none", image];
        let printed = engine.docker(oracle, &run)?;
        equal("what it printed", printed.as_str(), LAYERS_PRINT)
    });
}

/// Lists the fields in which two configs differ. An empty value is the same as none; the layers
/// are merged on the way.
const CHANGED: &str = r#"
def clean: with_entries(select(.value | IN(null, "", false, [], {}) | not));
def changed($a; $b; $prefix): ($a | clean) as $a | ($b | clean) as $b
    | ($a + $b | keys[]) | select($a[.] != $b[.]) | $prefix + .;
changed(.[0].config; .[1].config; "config."),
changed(.[0] | del(.config, .rootfs); .[1] | del(.config, .rootfs); "")
"#;

/// Fails unless the reports of both conversions have every field, beside the line that names the
/// field.
fn all_reported(oracle: &Oracle, fields: &[(&str, &str)]) -> Result {
    let losses = oracle.shell("jq -r '.images[].losses[].field' to-aci.json to-docker.json")?;
    for (field, line) in fields {
        if !losses.lines().any(|lost| lost == *field) {
            return Err(format!("nothing was reported of:\n{line}"));
        }
    }
    Ok(())
}
