//! Bytes that are written once and read once: in memory while they are few, else in an unnamed file.

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek as _, Write as _},
    path::PathBuf,
};

use imgconv_model::{Error, Result, quote_path};

/// The bytes that stay in memory.
const MEMORY: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    memory: Vec<u8>,
    file: Option<File>,
    size: u64,
}

impl Spool {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            memory: Vec::new(),
            file: None,
            size: 0,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    fn at(&self) -> impl Fn(io::Error) -> Error + use<> {
        let place = format!("temporary directory {}", quote_path(&self.directory));
        move |error| Error::io(error, place.clone())
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let at = self.at();
        self.size += bytes.len() as u64;
        if self.file.is_none() && self.memory.len() + bytes.len() > MEMORY {
            let mut file = tempfile::tempfile_in(&self.directory).map_err(&at)?;
            file.write_all(&self.memory).map_err(&at)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes).map_err(&at),
            None => {
                self.memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Returns all bytes.
    pub(crate) fn into_reader(self) -> Result<Box<dyn Read + Send>> {
        let at = self.at();
        Ok(match self.file {
            Some(mut file) => {
                file.rewind().map_err(&at)?;
                Box::new(file)
            }
            None => Box::new(Cursor::new(self.memory)),
        })
    }
}
