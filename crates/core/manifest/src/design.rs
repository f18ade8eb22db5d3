//! Decisions where the specification leaves room, numbered so that code and tests can name them.
//!
//! 1. **A subject does not make an image an artifact.** A manifest with an image config and layers
//!    that are tars is an image, whether or not it has a `subject` or an `artifactType`; both are
//!    kept as extensions (`manifest.subject`, `manifest.artifactType`).
//! 2. **The config decides, then the layers.** Any config type but that of an image makes the
//!    manifest an artifact. With an image config, one layer of an unknown type makes the whole
//!    opaque: an image that can't be converted if some layer could be a tar (an encrypted one, an
//!    octet stream), an artifact if none could (an attestation, a signature).
//! 3. **An unchanged image keeps its bytes.** Encoding starts from the original documents, changes
//!    only the fields whose meaning changed, and returns the original bytes if there are none. The
//!    original's unknown fields stay; taking one away means to take the original away.
//! 4. **A manifest that changes tells the truth.** As long as nothing changes, a wrong media type
//!    of a layer stays. Once the manifest is written anew, every layer gets the type of its true
//!    compression, and Docker's types become OCI's. A non-distributable type stays only where the
//!    blob is the same and `urls` say where to have it; it is never given anew.
//! 5. **Annotations of a table of contents** (eStargz, zstd:chunked) describe compressed bytes.
//!    They go when the bytes do, and that is no loss: their subject is gone (robustness C15). Those that
//!    were made with the new bytes are written.
//! 6. **No invented history.** A new config has a history if the image has one that fits its
//!    layers. Engines and `umoci` accept none, and refuse one that does not fit.
//! 7. **No invented date.** `created` is written if the image has one, or if the caller gave an
//!    epoch; an absent date is valid, today's date is not reproducible.
//! 8. **An assumed platform is said.** `os` and `architecture` are required, so a new or changed
//!    config names the host's where the image names none: a loss and a warning. A copy that changes
//!    nothing is left alone.
//! 9. **An image without layers is written as it is**, with an empty list, or with none if its
//!    manifest stays: the specification says SHOULD have one, and inventing a layer would change the
//!    image. Whoever squashes makes one layer of nothing, so an image from another format has one.
//! 10. **A carried ACI manifest is an annotation**, `imgconv.aci.manifest`, up to 1 MiB as it
//!     stands in JSON; a manifest may hold 4 MiB in all. It is not among the image's annotations.
//! 11. **Embedded `data` stands in for a blob that is absent** and is compared with its digest
//!     whether or not it is needed. It only repeats the blob, so it goes without a loss when the blob
//!     is written anew.
//! 12. **A misspelt or alien field is an error** even in a document that is only carried: two
//!     readers would see different images (CVE-2021-41190).
//! 13. **Ports and volumes are sets**: another order is no change.
//!
//! For both families:
//!
//! 14. **A config is a config.** OCI's and Docker's are the same JSON, so the original of one is the
//!     base for the other, an unchanged image keeps its config's bytes, and with them its ID; what
//!     the model has no field for (`config.Healthcheck`) is no loss between them.
//! 15. **A manifest is not.** Between families it is written anew, and what only its own family has a
//!     field for (`manifest.subject`) is a loss.
//! 16. **Docker's manifests have no annotations.** Those that an original has all the same are read
//!     like OCI's and stay with it; none is added. There is no other place that readers would look
//!     into, so they are reported, as is what only the manifest of an ACI says.
//! 17. **An index keeps what it is not asked to change**, whichever family it is of: engines read
//!     Docker's lists and OCI's indexes by one structure. An entry that stays keeps its descriptor: a
//!     platform that only the config names is not written. Without a format that was asked for, an
//!     index whose entries all stay keeps its bytes and its family.
//! 18. **A foreign layer of one family is one of the other**, as long as its blob is the same and
//!     `urls` say where to have it. Within a family decision 4 holds.
//! 19. **An image config says something of a root file system.** A document of that type which is no
//!     JSON object, or has no `rootfs`, makes its manifest an artifact: tools that store files give
//!     any document the type. One that is malformed in another way is an error.
//! 20. **Null and empty are absent** for optional members with a text: no reader in Go can tell them
//!     apart. The bytes stay.
//! 21. **A config that is made can be loaded.** A member that engines can't read by its type is warned of
//!     and kept in a copy; in a config of another format, or one that changes, it is left out, or mended
//!     where its place says all, and is a loss (robustness K36).
