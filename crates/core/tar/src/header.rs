//! One header block: checksum, dialect and fields, through the byte views of the `tar` crate.
//!
//! `pax` and `gnu` read extension headers, which belong to a later member; `frame` joins the
//! headers of a member.

use crate::{BLOCK, number};
use imgconv_model::{Code, Error, Result, quote};
use tar::Header;

/// The rules that a header block follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// No magic: names of at most 100 bytes, no owner names, no devices.
    V7,
    /// POSIX, the dialect of PAX archives.
    Ustar,
    /// The old GNU form: no prefix, but times and a sparse map.
    Gnu,
    /// Jörg Schilling's form of ustar: a shorter prefix, and times.
    Star,
}

/// The fields of one header block.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) dialect: Dialect,
    pub(crate) flag: u8,
    /// The name with its prefix.
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) uname: Vec<u8>,
    pub(crate) gname: Vec<u8>,
    /// Major and minor number, whose range is not checked yet: only devices use them.
    pub(crate) device: (i64, i64),
    /// Times of a GNU or xstar header; 0 means that there is none.
    pub(crate) atime: i64,
    pub(crate) ctime: i64,
}

/// Decodes a block that is not all NUL.
///
/// A version other than `00` after the ustar magic is corrected in the block: every reader reads
/// the block as ustar, only the view of the crate would not.
///
/// # Errors
/// [`Code::BadTar`] if the checksum or a number is wrong; [`Code::Ambiguous`] if readers disagree
/// about the name.
pub(crate) fn decode(block: &mut Header) -> Result<Fields> {
    check_sum(block)?;
    let dialect = dialect(block)?;
    let old = block.as_old();
    let mut fields = Fields {
        dialect,
        flag: old.linkflag[0],
        name: text(&old.name).to_vec(),
        link: text(&old.linkname).to_vec(),
        // Writers put the file type there too; only the low bits are permissions.
        mode: (unsigned(&old.mode, "mode")? & 0o7777) as u32,
        uid: id(&old.uid, "uid")?,
        gid: id(&old.gid, "gid")?,
        size: unsigned(&old.size, "size")?,
        mtime: signed(&old.mtime, "mtime")?,
        uname: Vec::new(),
        gname: Vec::new(),
        device: (0, 0),
        atime: 0,
        ctime: 0,
    };
    if let Some(gnu) = block.as_gnu() {
        fields.uname = text(&gnu.uname).to_vec();
        fields.gname = text(&gnu.gname).to_vec();
        fields.device = (
            signed(&gnu.dev_major, "device major")?,
            signed(&gnu.dev_minor, "device minor")?,
        );
        gnu_times(block, &mut fields)?;
    } else if let Some(ustar) = block.as_ustar() {
        fields.uname = text(&ustar.uname).to_vec();
        fields.gname = text(&ustar.gname).to_vec();
        fields.device = (
            signed(&ustar.dev_major, "device major")?,
            signed(&ustar.dev_minor, "device minor")?,
        );
        add_prefix(&mut fields.name, text(&ustar.prefix));
        if dialect == Dialect::Star {
            fields.atime = signed(&ustar.prefix[131..143], "atime")?;
            fields.ctime = signed(&ustar.prefix[143..155], "ctime")?;
        }
    }
    Ok(fields)
}

/// Checks that a block can start a tar: a header, or the first of the two blocks of NULs that are a
/// tar without entries.
///
/// # Errors
/// [`Code::BadTar`] otherwise.
pub fn check_start(block: &[u8; 512]) -> Result<()> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    check_sum(Header::from_byte_slice(block)).map_err(|error| error.at("offset 0"))
}

/// Compares the checksum with the sums of unsigned and of signed bytes; old writers used either.
fn check_sum(block: &Header) -> Result<()> {
    let bytes = block.as_bytes();
    let field = &block.as_old().cksum;
    // The checksum field itself counts as eight spaces.
    let spaces = 8 * i64::from(b' ');
    let of_field: u32 = field.iter().map(|b| u32::from(*b)).sum();
    let sum = i64::from(number::byte_sum(bytes) - of_field) + spaces;
    // The bytes after the NUL of this field are ignored, as in every reader. For other numbers they
    // are an error: libarchive does not accept a file with such a number as a tar.
    let stated = match text(field) {
        [] => number::octal(field),
        digits => number::octal(digits),
    };
    let stated = stated.and_then(|value| i64::try_from(value).ok());
    if stated == Some(sum) {
        return Ok(());
    }
    let signed = |part: &[u8]| part.iter().map(|b| i64::from(*b as i8)).sum::<i64>();
    if stated == Some(signed(bytes) - signed(field) + spaces) {
        return Ok(());
    }
    let message = match stated {
        Some(_) => format!(
            "header checksum is {}, computed {sum:o}",
            quote(text(field))
        ),
        None => format!(
            "the header checksum is no octal number: {}, computed {sum:o}",
            quote(field)
        ),
    };
    Err(Error::new(Code::BadTar, message))
}

fn dialect(block: &mut Header) -> Result<Dialect> {
    let bytes = block.as_mut_bytes();
    if bytes[257..265] == *b"ustar  \0" {
        return Ok(Dialect::Gnu);
    }
    if bytes[257..263] == *b"ustar\0" {
        bytes[263..265].copy_from_slice(b"00");
        if bytes[508..BLOCK] != *b"tar\0" {
            return Ok(Dialect::Ustar);
        }
        if bytes[345 + 130] != 0 {
            // Some readers would take the times as the end of the prefix.
            let message =
                "the xstar prefix is not ended: readers disagree about the start of the name";
            return Err(Error::new(Code::Ambiguous, message));
        }
        return Ok(Dialect::Star);
    }
    if bytes[345] != 0 {
        let message = format!(
            "a header with the magic {} has a prefix, which only some readers apply",
            quote(&bytes[257..265])
        );
        return Err(Error::new(Code::Ambiguous, message));
    }
    Ok(Dialect::V7)
}

/// Reads the times of a GNU header, or the prefix that Go up to 1.7 wrote in their place.
fn gnu_times(block: &Header, fields: &mut Fields) -> Result<()> {
    let gnu = block.as_gnu().expect("called for GNU headers only");
    // An unused area starts with NUL, whatever the next bytes.
    let used = |area: &[u8]| area[0] != 0;
    let value = |area: &[u8]| {
        if used(area) {
            number::field(area)
        } else {
            Some(0)
        }
    };
    if let (Some(atime), Some(ctime)) = (value(&gnu.atime), value(&gnu.ctime)) {
        (fields.atime, fields.ctime) = (atime, ctime);
        return Ok(());
    }
    let lenient = |area: &[u8]| {
        !used(area) || number::field(area).is_some() || number::is_lenient_octal(area)
    };
    let prefix = text(&block.as_bytes()[345..500]);
    let printable = prefix.iter().all(|b| matches!(b, b' '..=b'~'));
    if (lenient(&gnu.atime) && lenient(&gnu.ctime)) || !printable || fields.flag == b'S' {
        let message = format!(
            "the time fields of a GNU header are not numbers: {}",
            quote(prefix)
        );
        return Err(Error::new(Code::BadTar, message));
    }
    add_prefix(&mut fields.name, prefix);
    Ok(())
}

fn add_prefix(name: &mut Vec<u8>, prefix: &[u8]) {
    if !prefix.is_empty() {
        let mut whole = Vec::with_capacity(prefix.len() + 1 + name.len());
        whole.extend_from_slice(prefix);
        whole.push(b'/');
        whole.append(name);
        *name = whole;
    }
}

/// Returns the bytes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

fn signed(field: &[u8], name: &str) -> Result<i64> {
    number::field(field).ok_or_else(|| {
        let message = format!("the `{name}` field is not a number: {}", quote(field));
        Error::new(Code::BadTar, message)
    })
}

fn unsigned(field: &[u8], name: &str) -> Result<u64> {
    let value = signed(field, name)?;
    u64::try_from(value).map_err(|_| {
        Error::new(
            Code::BadTar,
            format!("the `{name}` field is negative: {value}"),
        )
    })
}

fn id(field: &[u8], name: &str) -> Result<u32> {
    let value = unsigned(field, name)?;
    u32::try_from(value).map_err(|_| {
        Error::new(
            Code::BadTar,
            format!("the `{name}` field is above 2^32 - 1: {value}"),
        )
    })
}
