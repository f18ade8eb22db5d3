//! The rules by which headers are joined to one entry, and the combinations that are refused
//! because readers disagree about them.

use crate::{EntryKind, header::Fields, number};
use imgconv_model::{Code, Error, Result, quote};

/// Returns the PAX record or the GNU long name, of which only one may be present. GNU tar writes a
/// PAX path beside a sparse name, but never a long name.
pub(crate) fn one_of(
    key: &str,
    record: Option<Vec<u8>>,
    long: Option<Vec<u8>>,
    is_overridden: bool,
) -> Result<Option<Vec<u8>>> {
    match (record, long) {
        (record, Some(long)) if record.is_some() || is_overridden => {
            let message = format!(
                "a PAX `{key}` and the GNU long name {} before one member",
                quote(long)
            );
            Err(Error::new(Code::Ambiguous, message))
        }
        (record, long) => Ok(record.or(long)),
    }
}

/// Returns the kind of the member; a final slash makes an old regular file a directory. Some
/// readers look for the slash in the name of the header block, some in the final name.
pub(crate) fn kind(flag: u8, slash_in_header: bool, slash_in_path: bool) -> Result<EntryKind> {
    let kind = match flag {
        0 | b'0' | b'7' | b'S' => EntryKind::Regular,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        other => {
            let message = format!(
                "the type flag {} (0x{other:02x}) is not supported",
                quote([other])
            );
            return Err(Error::new(Code::Unsupported, message));
        }
    };
    if kind != EntryKind::Regular {
        return Ok(kind);
    }
    match (flag, slash_in_header, slash_in_path) {
        (0, true, true) => Ok(EntryKind::Directory),
        (0, true, false) | (_, _, true) => {
            let message =
                "a regular file has a name with a final slash: some readers see a directory";
            Err(Error::new(Code::Ambiguous, message))
        }
        _ => Ok(kind),
    }
}

pub(crate) fn device(kind: EntryKind, fields: &Fields) -> Result<(u32, u32)> {
    if !matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
        return Ok((0, 0));
    }
    let part = |name: &str, value: i64| {
        u32::try_from(value).map_err(|_| {
            let message = format!("the device {name} number is out of range: {value}");
            Error::new(Code::BadTar, message)
        })
    };
    Ok((
        part("major", fields.device.0)?,
        part("minor", fields.device.1)?,
    ))
}

/// An empty PAX name deletes the name in the header for some readers, and is ignored by others.
pub(crate) fn owner(key: &str, record: Option<Vec<u8>>, field: Vec<u8>) -> Result<Vec<u8>> {
    match record {
        Some(record) if record.is_empty() && !field.is_empty() => {
            let message = format!(
                "the PAX `{key}` is empty, but the header says {}",
                quote(field)
            );
            Err(Error::new(Code::Ambiguous, message))
        }
        Some(record) => Ok(record),
        None => Ok(field),
    }
}

/// Refuses vendor records that libarchive and star use as fields, if their values differ.
pub(crate) fn check_shadows(
    records: &[(Vec<u8>, Vec<u8>)],
    kind: EntryKind,
    size: u64,
    device: (u32, u32),
) -> Result<()> {
    let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    for (key, value) in records {
        let field = match key.as_slice() {
            b"SCHILY.realsize" => size,
            b"SCHILY.devmajor" if is_device => u64::from(device.0),
            b"SCHILY.devminor" if is_device => u64::from(device.1),
            _ => continue,
        };
        if number::decimal(value) != Some(field) {
            let message = format!(
                "the PAX record {} is {}, the header says {field}: only some readers apply it",
                quote(key),
                quote(value)
            );
            return Err(Error::new(Code::Ambiguous, message));
        }
    }
    Ok(())
}
