//! The losses of writing a flat tar: everything that an image says beside its files.
//!
//! Fields have the names of an OCI config, as in the losses of every other format.

use imgconv_json::join;
use imgconv_model::{Exec, Image, Outcome, Platform, Report, RunConfig};

const NO_PLACE: &str = "a flat tar holds files and nothing else";

/// Reports every field that is not a file.
pub(crate) fn report(image: &Image, report: &mut Report) {
    let Image {
        name,
        platform,
        created,
        author,
        config,
        layers: _,
        history,
        annotations,
        extensions,
        originals: _, // They say the same once more.
    } = image;
    let mut lose = |field: String| report.lose(field, Outcome::Dropped, NO_PLACE);
    let mut lose_if = |is_there: bool, field: &str| {
        if is_there {
            lose(field.to_owned());
        }
    };
    lose_if(name.is_some(), "name");
    lose_if(*platform != Platform::default(), "platform");
    lose_if(created.is_some(), "created");
    lose_if(author.is_some(), "author");
    lose_if(!history.is_empty(), "history");
    run(config, &mut lose_if);
    for key in config.labels.keys() {
        lose(join("config.Labels", key));
    }
    for key in annotations.keys() {
        lose(format!("annotations.{key}"));
    }
    for (_, path) in extensions.keys() {
        lose(path.clone());
    }
}

/// Reports how the image is run, but for the labels.
fn run(config: &RunConfig, lose_if: &mut impl FnMut(bool, &str)) {
    let RunConfig {
        exec,
        user,
        env,
        working_dir,
        ports,
        volumes,
        labels: _, // one loss each
        stop_signal,
    } = config;
    let has =
        |part: fn(&Exec) -> &[String]| exec.as_ref().is_some_and(|exec| !part(exec).is_empty());
    lose_if(has(|exec| &exec.entrypoint), "config.Entrypoint");
    lose_if(has(|exec| &exec.cmd), "config.Cmd");
    lose_if(user.is_some(), "config.User");
    lose_if(!env.is_empty(), "config.Env");
    lose_if(working_dir.is_some(), "config.WorkingDir");
    lose_if(!ports.is_empty(), "config.ExposedPorts");
    lose_if(!volumes.is_empty(), "config.Volumes");
    lose_if(stop_signal.is_some(), "config.StopSignal");
}
