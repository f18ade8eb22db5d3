//! The ratio warning, with a threshold that is reached quickly.

use std::io::{self, Read, Write};

use imgconv_model::{Compression, Limits, Notes, Report};

use super::Decoder;

/// Decodes 16 MiB of zeros and returns the warnings.
fn zeros(compression: Compression, from: u64, limits: &Limits) -> Report {
    let zeros = vec![0; 16 << 20];
    let packed = match compression {
        Compression::Gzip => {
            let level = flate2::Compression::new(9);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(&zeros).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Bzip2 => {
            let level = bzip2::Compression::new(9);
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
            encoder.write_all(&zeros).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(&zeros).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(&zeros[..], 1).unwrap(),
        Compression::None => zeros,
    };
    let notes = Notes::default();
    let source = Box::new(io::Cursor::new(packed));
    let mut decoder = Decoder::new(source, limits, &notes, "layer 1").unwrap();
    decoder.ratio_from = from;
    assert_eq!(io::copy(&mut decoder, &mut io::sink()).unwrap(), 16 << 20);
    assert_eq!(decoder.read(&mut [0]).unwrap(), 0);
    notes.take()
}

#[test]
fn g6a_a_suspicious_ratio_gives_one_warning() {
    let limits = Limits::default();
    for compression in [Compression::Zstd, Compression::Xz, Compression::Bzip2] {
        let report = zeros(compression, (16 << 20) - 1, &limits);
        let codes: Vec<_> = report.warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, ["ratio"], "{compression}");
        assert!(report.warnings[0].message.contains("expand to 16777216"));
        assert!(
            zeros(compression, 16 << 20, &limits).is_clean(),
            "{compression}"
        );
    }
    // Deflate can't reach a ratio of 2000.
    assert!(zeros(Compression::Gzip, 1, &limits).is_clean());
    assert!(zeros(Compression::None, 1, &limits).is_clean());
    let limits = Limits {
        ratio_warn: 900,
        ..limits
    };
    assert_eq!(zeros(Compression::Gzip, 1, &limits).warnings.len(), 1);
}
