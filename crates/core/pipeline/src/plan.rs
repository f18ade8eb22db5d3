//! The plan: the step of each layer. A pure function of the known facts of the layers, the
//! capabilities of the target, and the user's options.

use std::{fmt, num::NonZeroUsize};

use imgconv_chunked::Scheme;
use imgconv_model::{Capabilities, Code, Compression, Error, Result};
use imgconv_stream::{Encoding, Level};

/// The user's options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The compression of every layer; `None` keeps the compression of the source.
    pub compression: Option<Compression>,
    /// True if every layer gets a table of contents, for runtimes that fetch single files: eStargz
    /// with gzip, zstd:chunked with zstd.
    pub toc: bool,
    /// The level for layers that are compressed anew.
    pub level: Level,
    /// True to compress every layer again, even if its compression is right already.
    pub force: bool,
    /// The latest time that an entry may have, seconds since 1970; see [`clamp()`](crate::clamp()).
    /// Every stored layer is then made anew.
    pub clamp_mtime: Option<i64>,
    /// The layers that are merged to one; `None` keeps each layer, if the target can hold so many.
    pub squash: Option<Squash>,
}

/// The layers that are merged to one. They are always the topmost layers: the layers below stay, as
/// other images share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squash {
    /// All layers.
    All,
    /// The last N layers; all if there are fewer.
    Last(NonZeroUsize),
    /// All but the first N layers; none if there are no more.
    KeepBase(usize),
    /// As few of the last layers as leave at most N; none if there are no more.
    AtMost(NonZeroUsize),
}

impl Squash {
    /// Returns the lowest merged layer of `layers` layers; all layers above it are merged too.
    /// `None` if no layer is to be merged.
    pub fn from(self, layers: usize) -> Option<usize> {
        match self {
            Self::All => Some(0),
            Self::Last(n) => Some(layers.saturating_sub(n.get())),
            Self::KeepBase(n) => (layers > n).then_some(n),
            Self::AtMost(n) => (layers > n.get()).then_some(n.get() - 1),
        }
    }
}

/// The facts of a layer that are known before its tar is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The compression that its first bytes show.
    pub compression: Compression,
    /// True if the bytes are stored under a digest; false if they are generated while they are
    /// read.
    pub stored: bool,
    /// True for a foreign layer whose blob is not stored: it can only stay unchanged.
    pub absent: bool,
    /// True if its annotations have the position of a table of contents that fits its compression.
    pub toc: bool,
    /// False if its media type states another compression.
    pub labelled: bool,
}

/// The step of one resulting layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerStep {
    /// Copy the stored bytes of that layer.
    Keep(usize),
    /// Compress the tar of that layer anew.
    Recompress(usize, Encoding),
    /// Merge that layer and all above it to one.
    Squash(usize, Encoding),
}

/// The reason for the step of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The stored layer fits the target and the user's options.
    Suits,
    /// The layer is foreign and not stored with its image.
    Absent,
    /// The user asked for another compression.
    AskedCompression,
    /// The target can't hold the layer's compression.
    CompressionNotHeld(Compression),
    /// The layer has no stored bytes under a digest: they are generated while they are read.
    NotStored,
    /// The user asked for this compression, and the media type of the layer states another one.
    WrongLabel,
    /// The user asked for a table of contents, which the layer lacks.
    NoTableOfContents,
    /// The user asked to compress every layer anew.
    Forced,
    /// The user asked for a latest time of entries.
    LatestTime,
    /// The user asked to merge layers.
    AskedSquash,
    /// The target holds at most so many layers.
    MostLayers(NonZeroUsize),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suits => f.write_str("the target takes the stored bytes"),
            Self::Absent => f.write_str("the layer is foreign and not stored with its image"),
            Self::AskedCompression => f.write_str("another compression was requested"),
            Self::CompressionNotHeld(found) => {
                write!(f, "the target can't hold layers compressed with {found}")
            }
            Self::NotStored => f.write_str("the layer is made while it is read"),
            Self::WrongLabel => f.write_str("its media type states another compression"),
            Self::NoTableOfContents => f.write_str("a table of contents was requested"),
            Self::Forced => f.write_str("`--force` recompresses every layer"),
            Self::LatestTime => f.write_str("`--clamp-mtime` rewrites every layer"),
            Self::AskedSquash => f.write_str("merging was requested"),
            Self::MostLayers(most) => write!(f, "the target holds at most {most} layers"),
        }
    }
}

/// The steps, base first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One step for each resulting layer.
    pub steps: Vec<LayerStep>,
    /// One reason for each step.
    pub reasons: Vec<Reason>,
    /// True if layers that are compressed anew get a table of contents.
    pub toc: bool,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |encoding: &Encoding| match encoding.compression {
            Compression::Gzip if self.toc => "estargz".to_owned(),
            Compression::Zstd if self.toc => "zstd:chunked".to_owned(),
            compression => compression.to_string(),
        };
        for (i, step) in self.steps.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            match step {
                LayerStep::Keep(layer) => write!(f, "keep layer {layer}")?,
                LayerStep::Recompress(layer, encoding) => {
                    write!(f, "recompress layer {layer} as {}", name(encoding))?;
                }
                LayerStep::Squash(0, encoding) => {
                    write!(f, "squash all layers to one as {}", name(encoding))?;
                }
                LayerStep::Squash(from, encoding) => {
                    let to = name(encoding);
                    write!(f, "squash layers {from} and above to one as {to}")?;
                }
            }
        }
        Ok(())
    }
}

/// Plans the steps.
///
/// # Errors
/// [`Code::Unsupported`] if the target can't hold the requested compression or tables of contents,
/// [`Code::Usage`] if there is no table of contents for the compression, or if the level does not
/// exist for a layer that is compressed anew.
pub fn plan(layers: &[Known], target: &Capabilities, options: &Options) -> Result<Plan> {
    if options.toc {
        check_toc(target, options)?;
    }
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
    // A single layer is squashed too, so that its whiteouts are not kept as entries.
    let asked = options.squash.and_then(|squash| squash.from(layers.len()));
    let most = target.max_layers.and_then(NonZeroUsize::new);
    let needed = most.and_then(|most| Squash::AtMost(most).from(layers.len()));
    let from = asked.into_iter().chain(needed).min();
    let kept = &layers[..from.unwrap_or(layers.len())];
    let steps = kept.iter().enumerate().map(|(i, known)| {
        if known.absent {
            return (LayerStep::Keep(i), Reason::Absent);
        }
        let holdable = target.compressions.contains(&known.compression);
        let wanted = match options.compression {
            Some(wanted) => wanted,
            None if known.stored && holdable => known.compression,
            None => default,
        };
        let reason = match known {
            Known { stored: false, .. } => Reason::NotStored,
            _ if !holdable => Reason::CompressionNotHeld(known.compression),
            _ if known.compression != wanted => Reason::AskedCompression,
            _ if options.compression.is_some() && !known.labelled => Reason::WrongLabel,
            _ if options.toc && !known.toc => Reason::NoTableOfContents,
            _ if options.force => Reason::Forced,
            _ if options.clamp_mtime.is_some() => Reason::LatestTime,
            _ => return (LayerStep::Keep(i), Reason::Suits),
        };
        (LayerStep::Recompress(i, encoding(wanted)), reason)
    });
    let squashed = from.map(|from| {
        let wanted = options.compression.unwrap_or(default);
        let reason = match (asked, most) {
            (None, Some(most)) => Reason::MostLayers(most),
            (Some(asked), Some(most)) if asked > from => Reason::MostLayers(most),
            _ => Reason::AskedSquash,
        };
        (LayerStep::Squash(from, encoding(wanted)), reason)
    });
    let (steps, reasons): (Vec<LayerStep>, Vec<Reason>) = steps.chain(squashed).unzip();
    for step in &steps {
        match step {
            LayerStep::Keep(_) => {}
            LayerStep::Recompress(_, encoding) | LayerStep::Squash(_, encoding) => {
                encoding.check()?;
            }
        }
    }
    let toc = options.toc || keeps_toc(layers, &steps, target, options);
    Ok(Plan {
        steps,
        reasons,
        toc,
    })
}

/// Says whether layers that are made anew keep their tables of contents: where no other compression was requested,
/// and each of these layers has a table that is no part of its tar. The table of eStargz is an entry of the tar, so
/// another table would change the diff ID.
fn keeps_toc(
    layers: &[Known],
    steps: &[LayerStep],
    target: &Capabilities,
    options: &Options,
) -> bool {
    let mut made = steps
        .iter()
        .filter(|step| !matches!(step, LayerStep::Keep(_)));
    let has_toc = |step: &LayerStep| match step {
        LayerStep::Recompress(i, encoding) => {
            let kept = layers[*i].compression == encoding.compression;
            layers[*i].toc && kept && encoding.compression == Compression::Zstd
        }
        LayerStep::Keep(_) | LayerStep::Squash(..) => false,
    };
    let any = made.clone().next().is_some();
    options.compression.is_none() && target.annotations && any && made.all(has_toc)
}

/// Checks that layers can have a table of contents.
fn check_toc(target: &Capabilities, options: &Options) -> Result<()> {
    if options.compression.and_then(Scheme::of).is_none() {
        let message = "a layer with a table of contents is compressed with gzip or zstd";
        return Err(Error::new(Code::Usage, message));
    }
    if !target.annotations {
        let message = "the target can't hold layers with a table of contents: it has no \
                       annotations for the position of the table";
        return Err(Error::new(Code::Unsupported, message)
            .hint("OCI has such annotations: write to `oci:PATH` or `oci-archive:PATH`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: Capabilities = Capabilities {
        max_layers: None,
        compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
        annotations: true,
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
                toc: false,
                labelled: true,
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
        let clamped = Options {
            clamp_mtime: Some(0),
            ..Options::default()
        };
        assert_eq!(
            steps(&[(Zstd, true)], clamped),
            "recompress layer 0 as zstd"
        );
    }

    #[test]
    fn every_step_has_a_reason() {
        use Compression::{Bzip2, Gzip, Zstd};
        let known = |compression, stored, absent| Known {
            compression,
            stored,
            absent,
            toc: false,
            labelled: true,
        };
        let n = |n| NonZeroUsize::new(n).unwrap();
        let reasons = |layers: &[Known], target: &Capabilities, options: Options| {
            let plan = plan(layers, target, &options).unwrap();
            assert_eq!(plan.steps.len(), plan.reasons.len());
            plan.reasons
        };
        let layers = [
            known(Gzip, true, false),
            known(Bzip2, true, false),
            known(Gzip, false, false),
            known(Gzip, true, true),
        ];
        assert_eq!(
            reasons(&layers, &OCI, Options::default()),
            [
                Reason::Suits,
                Reason::CompressionNotHeld(Bzip2),
                Reason::NotStored,
                Reason::Absent
            ]
        );
        let one = &layers[..1];
        let rows = [
            (
                Options {
                    compression: Some(Zstd),
                    ..Options::default()
                },
                Reason::AskedCompression,
            ),
            (
                Options {
                    compression: Some(Gzip),
                    toc: true,
                    ..Options::default()
                },
                Reason::NoTableOfContents,
            ),
            (
                Options {
                    force: true,
                    ..Options::default()
                },
                Reason::Forced,
            ),
            (
                Options {
                    clamp_mtime: Some(0),
                    ..Options::default()
                },
                Reason::LatestTime,
            ),
            (
                Options {
                    squash: Some(Squash::All),
                    ..Options::default()
                },
                Reason::AskedSquash,
            ),
        ];
        for (options, reason) in rows {
            assert_eq!(reasons(one, &OCI, options), [reason]);
        }
        let few = Capabilities {
            max_layers: Some(2),
            ..OCI
        };
        assert_eq!(
            reasons(&[layers[0]; 3], &few, Options::default()),
            [Reason::Suits, Reason::MostLayers(n(2))]
        );
        assert_eq!(
            Reason::CompressionNotHeld(Bzip2).to_string(),
            "the target can't hold layers compressed with bzip2"
        );
    }

    #[test]
    fn c6a_a_layer_that_is_not_stored_stays_unchanged() {
        let absent = Known {
            compression: Compression::Gzip,
            stored: true,
            absent: true,
            toc: false,
            labelled: true,
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
            squash: Some(Squash::All),
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
    fn the_topmost_layers_are_squashed_and_the_base_stays() {
        use Compression::{Gzip, None, Zstd};
        let layers = [(Gzip, true), (Zstd, true), (None, true)];
        let n = |n| NonZeroUsize::new(n).unwrap();
        let all = "squash all layers to one as gzip";
        let two = "keep layer 0, squash layers 1 and above to one as gzip";
        let one = "keep layer 0, keep layer 1, squash layers 2 and above to one as gzip";
        let none = "keep layer 0, keep layer 1, keep layer 2";
        let rows = [
            (Squash::All, all),
            (Squash::Last(n(1)), one),
            (Squash::Last(n(2)), two),
            (Squash::Last(n(3)), all),
            (Squash::Last(n(9)), all),
            (Squash::KeepBase(0), all),
            (Squash::KeepBase(1), two),
            (Squash::KeepBase(2), one),
            (Squash::KeepBase(3), none),
            (Squash::KeepBase(9), none),
            (Squash::AtMost(n(1)), all),
            (Squash::AtMost(n(2)), two),
            (Squash::AtMost(n(3)), none),
        ];
        for (squash, expected) in rows {
            let options = Options {
                squash: Some(squash),
                ..Options::default()
            };
            assert_eq!(steps(&layers, options), expected, "{squash:?}");
        }
    }

    #[test]
    fn a_target_with_a_bound_gets_no_more_layers_than_it_holds() {
        let known = Known {
            compression: Compression::Gzip,
            stored: true,
            absent: false,
            toc: false,
            labelled: true,
        };
        let target = Capabilities {
            max_layers: Some(2),
            ..OCI
        };
        let steps = |n: usize, options| plan(&vec![known; n], &target, &options).unwrap();
        assert_eq!(
            steps(4, Options::default()).to_string(),
            "keep layer 0, squash layers 1 and above to one as gzip"
        );
        assert_eq!(
            steps(2, Options::default()).to_string(),
            "keep layer 0, keep layer 1"
        );
        let most = Options {
            squash: Some(Squash::KeepBase(3)),
            ..Options::default()
        };
        assert_eq!(steps(4, most), steps(4, Options::default()));
    }

    #[test]
    fn a_level_is_checked_where_something_is_compressed() {
        let level = |number, force| Options {
            level: Level::Number(number),
            force,
            ..Options::default()
        };
        let layers = [(Compression::Gzip, true)];
        assert_eq!(steps(&layers, level(13, false)), "keep layer 0");
        assert_eq!(
            steps(&layers, level(13, true)),
            "gzip has no compression level 13: levels are 0 to 12"
        );
        assert_eq!(
            steps(&[(Compression::Zstd, true)], level(0, true)),
            "zstd has no compression level 0: levels are 1 to 22"
        );
        assert_eq!(steps(&layers, level(0, true)), "recompress layer 0 as gzip");
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

    #[test]
    fn a_table_of_contents_is_made_for_layers_that_claim_none() {
        let options = Options {
            compression: Some(Compression::Zstd),
            toc: true,
            ..Options::default()
        };
        let known = |toc| Known {
            compression: Compression::Zstd,
            stored: true,
            absent: false,
            toc,
            labelled: true,
        };
        let made = plan(&[known(false), known(true)], &OCI, &options).unwrap();
        assert_eq!(
            made.to_string(),
            "recompress layer 0 as zstd:chunked, keep layer 1"
        );
        let clamped = Options {
            clamp_mtime: Some(1),
            ..Options::default()
        };
        for (layers, expected) in [
            (
                [known(true), known(true)],
                "recompress layer 0 as zstd:chunked, recompress layer 1 as zstd:chunked",
            ),
            (
                [known(true), known(false)],
                "recompress layer 0 as zstd, recompress layer 1 as zstd",
            ),
        ] {
            let kept = plan(&layers, &OCI, &clamped).unwrap();
            assert_eq!(kept.to_string(), expected);
        }
        let gzip = Options {
            compression: Some(Compression::Gzip),
            ..options
        };
        let made = plan(&[known(true)], &OCI, &gzip).unwrap();
        assert_eq!(made.to_string(), "recompress layer 0 as estargz");
    }

    #[test]
    fn a_layer_with_a_wrong_label_is_made_anew_where_its_compression_is_requested() {
        let layer = Known {
            compression: Compression::Zstd,
            stored: true,
            absent: false,
            toc: false,
            labelled: false,
        };
        let options = Options {
            compression: Some(Compression::Zstd),
            ..Options::default()
        };
        let made = plan(&[layer], &OCI, &options).unwrap();
        assert_eq!(made.reasons, [Reason::WrongLabel]);
        assert_eq!(made.to_string(), "recompress layer 0 as zstd");
        let kept = plan(&[layer], &OCI, &Options::default()).unwrap();
        assert_eq!(kept.reasons, [Reason::Suits]);
    }

    #[test]
    fn a_table_of_contents_needs_a_compression_and_a_target_with_annotations() {
        let options = |compression| Options {
            compression,
            toc: true,
            ..Options::default()
        };
        let code = |target: &Capabilities, compression| {
            plan(&[], target, &options(compression)).unwrap_err().code()
        };
        assert_eq!(code(&OCI, None), Code::Usage);
        assert_eq!(code(&OCI, Some(Compression::None)), Code::Usage);
        let docker = Capabilities {
            annotations: false,
            ..OCI
        };
        let error = plan(&[], &docker, &options(Some(Compression::Gzip))).unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.advice().unwrap().contains("oci-archive:"));
    }
}
