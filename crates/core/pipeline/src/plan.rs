//! The plan: which step each layer takes. A pure function of what is known of the layers, what the
//! target holds, and what the user asked for.

use std::fmt;

use imgconv_model::{Capabilities, Code, Compression, Error, Result};
use imgconv_stream::{Encoding, Level};

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The compression of every layer; `None` keeps what is there.
    pub compression: Option<Compression>,
    /// The level of what is compressed anew.
    pub level: Level,
    /// Compress again even where the compression is right already.
    pub force: bool,
    /// Make one layer of all.
    pub squash: bool,
}

/// What is known of a layer before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The compression that its first bytes show.
    pub compression: Compression,
    /// True if the bytes are stored under a digest; false if they are made while they are read.
    pub stored: bool,
    /// True if it is a foreign layer whose blob is not here: it can only stay as it is.
    pub absent: bool,
}

/// The step of one resulting layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerStep {
    /// Copy the stored bytes of that layer.
    Keep(usize),
    /// Compress the tar of that layer.
    Recompress(usize, Encoding),
    /// Merge all layers to one.
    Squash(Encoding),
}

/// The steps, base first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One step for each resulting layer.
    pub steps: Vec<LayerStep>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            match step {
                LayerStep::Keep(layer) => write!(f, "keep layer {layer}")?,
                LayerStep::Recompress(layer, encoding) => {
                    write!(f, "recompress layer {layer} as {}", encoding.compression)?;
                }
                LayerStep::Squash(encoding) => {
                    write!(f, "squash all layers to one as {}", encoding.compression)?;
                }
            }
        }
        Ok(())
    }
}

/// Plans the steps.
///
/// # Errors
/// [`Code::Unsupported`] if the target can't hold the compression that was asked for.
pub fn plan(layers: &[Known], target: &Capabilities, options: &Options) -> Result<Plan> {
    if let Some(wanted) = options.compression
        && !target.compressions.contains(&wanted)
    {
        let possible: Vec<String> = target
            .compressions
            .iter()
            .map(ToString::to_string)
            .collect();
        let message = format!("the target can't hold layers compressed with {wanted}");
        return Err(Error::new(Code::Unsupported, message)
            .hint(format!("it can hold: {}", possible.join(", "))));
    }
    let default = target.compressions[0];
    let encoding = |compression| Encoding {
        compression,
        level: options.level,
    };
    let too_many = target.max_layers.is_some_and(|most| layers.len() > most);
    // One layer is squashed too: what it hides must not come along as markers.
    if options.squash || too_many {
        let wanted = options.compression.unwrap_or(default);
        return Ok(Plan {
            steps: vec![LayerStep::Squash(encoding(wanted))],
        });
    }
    let steps = layers.iter().enumerate().map(|(i, known)| {
        if known.absent {
            return LayerStep::Keep(i);
        }
        let holdable = target.compressions.contains(&known.compression);
        let wanted = match options.compression {
            Some(wanted) => wanted,
            None if known.stored && holdable => known.compression,
            None => default,
        };
        if known.stored && known.compression == wanted && !options.force {
            LayerStep::Keep(i)
        } else {
            LayerStep::Recompress(i, encoding(wanted))
        }
    });
    Ok(Plan {
        steps: steps.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: Capabilities = Capabilities {
        stream: false,
        max_layers: None,
        compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
        index: true,
        opaque: true,
        root_kinds: &[],
    };

    fn steps(layers: &[(Compression, bool)], options: Options) -> String {
        let known: Vec<Known> = layers
            .iter()
            .map(|&(compression, stored)| Known {
                compression,
                stored,
                absent: false,
            })
            .collect();
        plan(&known, &OCI, &options).map_or_else(|error| error.to_string(), |plan| plan.to_string())
    }

    #[test]
    fn keep_is_the_default_where_the_target_can_hold_it() {
        use Compression::{Bzip2, Gzip, None, Zstd};
        let layers = [
            (Gzip, true),
            (Zstd, true),
            (None, true),
            (Bzip2, true),
            (None, false),
        ];
        assert_eq!(
            steps(&layers, Options::default()),
            "keep layer 0, keep layer 1, keep layer 2, recompress layer 3 as gzip, \
             recompress layer 4 as gzip"
        );
    }

    #[test]
    fn only_what_differs_is_compressed_again_unless_forced() {
        use Compression::{Gzip, Zstd};
        let options = Options {
            compression: Some(Zstd),
            ..Options::default()
        };
        assert_eq!(
            steps(&[(Gzip, true), (Zstd, true)], options),
            "recompress layer 0 as zstd, keep layer 1"
        );
        let forced = Options {
            force: true,
            ..options
        };
        assert_eq!(steps(&[(Zstd, true)], forced), "recompress layer 0 as zstd");
    }

    #[test]
    fn c6a_a_layer_that_is_not_here_stays_as_it_is() {
        let absent = Known {
            compression: Compression::Gzip,
            stored: true,
            absent: true,
        };
        let options = Options {
            compression: Some(Compression::Zstd),
            force: true,
            ..Options::default()
        };
        let plan = plan(&[absent], &OCI, &options).unwrap();
        assert_eq!(plan.to_string(), "keep layer 0");
    }

    #[test]
    fn squash_takes_no_shortcut_for_one_layer() {
        let options = Options {
            squash: true,
            ..Options::default()
        };
        for layers in [
            &[(Compression::Gzip, true)][..],
            &[(Compression::Gzip, true); 3][..],
        ] {
            assert_eq!(steps(layers, options), "squash all layers to one as gzip");
        }
    }

    #[test]
    fn a_compression_that_the_target_lacks_is_refused() {
        let options = Options {
            compression: Some(Compression::Xz),
            ..Options::default()
        };
        assert_eq!(
            steps(&[(Compression::Gzip, true)], options),
            "the target can't hold layers compressed with xz"
        );
    }
}
