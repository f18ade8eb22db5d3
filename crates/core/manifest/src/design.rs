//! Decisions where the specification leaves room, numbered so that code and tests can name them.
//!
//! 1. **A subject does not make an image an artifact.** A manifest with an image config and layers
//!    that are tars is an image, whether or not it has a `subject` or an `artifactType`; both are
//!    kept as extensions (`manifest.subject`, `manifest.artifactType`).
//! 2. **The config decides, then the layers.** Any config type but that of an image makes the
//!    manifest an artifact. With an image config, one layer of an unknown type makes the whole
//!    opaque: an image that can't be converted if some layer could be a tar (an encrypted layer, an
//!    octet stream), an artifact if none could (an attestation, a signature).
//! 3. **An unchanged image keeps its bytes.** Encoding starts from the original documents, changes
//!    only the fields whose meaning changed, and returns the original bytes if there are none. The
//!    original's unknown fields stay; removing one of them means removing the original.
//! 4. **A changed manifest has correct types.** As long as no field changes, a wrong media type of
//!    a layer stays. When the manifest is written anew, every layer gets the type of its true
//!    compression, and Docker's types become OCI's. A non-distributable type stays only if the blob
//!    is the same and has `urls`; no other layer gets such a type.
//! 5. **Annotations of a table of contents** (eStargz, zstd:chunked) describe compressed bytes.
//!    They are dropped with these bytes, and that is not a loss (robustness C15); so are the digest
//!    and the size of an OverlayBD blob. Annotations that were made with the new bytes are written.
//!    `containerd.io/uncompressed` repeats the diff ID, so it gets the one of the new bytes.
//! 6. **No invented history.** A new config has a history if the image has one that fits its
//!    layers. Engines and `umoci` accept a missing history, and refuse one that does not fit.
//! 7. **No invented date.** `created` is written if the image has one, or if the caller gave an
//!    epoch; an absent date is valid, today's date is not reproducible.
//! 8. **An assumed platform is reported.** `os` and `architecture` are required, so a new or
//!    changed config gets those of the host if the image has none: a loss and a warning. A copy
//!    without changes keeps its config.
//! 9. **An image without layers is written without layers**, with an empty list, or with no list if
//!    its manifest stays: the specification says SHOULD have one, and inventing a layer would
//!    change the image. Squashing makes one layer of no layers, so an image from another format has
//!    one.
//! 10. **A carried ACI manifest is an annotation**, `imgconv.aci.manifest`, up to 1 MiB in its JSON
//!     form; a manifest may hold 4 MiB in all. It is not among the image's annotations.
//! 11. **Embedded `data` replaces a blob that is absent** and is compared with its digest whether
//!     or not it is needed. It only repeats the blob, so it is dropped without a loss when the blob
//!     is written anew.
//! 12. **A misspelt or alien field is an error** even in a document that is only carried: two
//!     readers would see different images (CVE-2021-41190).
//! 13. **Ports and volumes are sets**: another order is not a change.
//!
//! For both families:
//!
//! 14. **Configs are shared.** OCI's and Docker's configs are the same JSON, so the original of one
//!     is the base for the other, an unchanged image keeps its config's bytes, and with them its
//!     ID; fields that the model does not have (`config.Healthcheck`) are not losses between the
//!     two.
//! 15. **Manifests are not shared.** Between families a manifest is written anew, and a field of
//!     its own family only (`manifest.subject`) is a loss.
//! 16. **Docker's manifests have no annotations.** Annotations that an original has nevertheless
//!     are read like OCI's and stay in it; none is added. No reader would look for them elsewhere,
//!     so they are reported, and so are fields of an ACI manifest only.
//! 17. **An index keeps everything that no option changes**, in either family: engines read
//!     Docker's lists and OCI's indexes by one structure. An entry that stays keeps its descriptor:
//!     a platform that only the config has is not written. Without a requested format, an index
//!     whose entries all stay keeps its bytes and its family.
//! 18. **A foreign layer of one family is foreign in the other**, as long as its blob is the same
//!     and it has `urls`. Within a family decision 4 holds.
//! 19. **An image config has a root file system.** A document of that type which is not a JSON
//!     object, or has no `rootfs`, makes its manifest an artifact: tools that store files give any
//!     document the type. A config that is malformed in another way is an error.
//! 20. **Null and empty are absent** for optional members with a text: no reader in Go can
//!     distinguish them. The bytes stay.
//! 21. **A new config can be loaded.** A member of a type that engines can't read gets a warning
//!     and stays in a copy; in a config of another format, or in a changed config, it is dropped,
//!     or corrected if its key is complete without a value, and is a loss (robustness K36).
