//! What a file is, by its first bytes.

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, or something that can be read as text.
    Text,
    /// An image that models can see, of this media type.
    Image(&'static str),
    /// Something else, in words.
    Binary(&'static str),
}

/// How many of the first bytes are looked at.
pub(crate) const HEAD: usize = 8 * 1024;

const KINDS: &[(usize, &[u8], &str)] = &[
    (0, b"\x7fELF", "an ELF executable"),
    (0, b"MZ", "a Windows executable"),
    (0, b"\xcf\xfa\xed\xfe", "a Mach-O executable"),
    (0, b"\xca\xfe\xba\xbe", "a Java class or universal binary"),
    (0, b"\0asm", "a WebAssembly module"),
    (0, b"!<arch>\n", "a static library"),
    (0, b"PK\x03\x04", "a ZIP archive (or a document that is one, as DOCX and JAR are)"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"BZh", "bzip2 data"),
    (0, b"\xfd7zXZ\0", "xz data"),
    (0, b"\x28\xb5\x2f\xfd", "zstd data"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"OggS", "Ogg audio"),
    (0, b"ID3", "MP3 audio"),
    (0, b"fLaC", "FLAC audio"),
    (4, b"ftyp", "an MP4 video"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"BM", "a BMP image"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"wOF2", "a font"),
    (0, b"\0\x01\0\0", "a font"),
    (0, b"\xff\xfe", "UTF-16 text; convert it to UTF-8 first, as with iconv"),
    (0, b"\xfe\xff", "UTF-16 text; convert it to UTF-8 first, as with iconv"),
];

/// What a file with this head is. Text may begin like anything (`MZ`, `BM`), so all but the unmistakable counts only
/// when the head is not text.
pub(crate) fn kind_of(head: &[u8]) -> Kind {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if at(0, b"\x89PNG\r\n\x1a\n") {
        return Kind::Image("image/png");
    }
    if at(0, b"\xff\xd8\xff") {
        return Kind::Image("image/jpeg");
    }
    if at(0, b"GIF87a") || at(0, b"GIF89a") {
        return Kind::Image("image/gif");
    }
    if at(0, b"RIFF") && at(8, b"WEBP") {
        return Kind::Image("image/webp");
    }
    if at(0, b"%PDF-") {
        return Kind::Binary("a PDF document");
    }
    let has_nul = head.contains(&0);
    if !has_nul && is_utf8(head) {
        return Kind::Text;
    }
    if let Some((.., name)) = KINDS.iter().find(|(offset, magic, _)| at(*offset, magic)) {
        return Kind::Binary(name);
    }
    if has_nul { Kind::Binary("binary data") } else { Kind::Text }
}

/// Whether it is UTF-8, but for a character that the end of the head cuts.
fn is_utf8(head: &[u8]) -> bool {
    std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        for (head, kind) in [
            (&b"fn main() {}"[..], Kind::Text),
            (b"", Kind::Text),
            (b"MZ is how this text begins", Kind::Text),
            (b"caf\xe9 in Latin-1", Kind::Text),
            (b"cut \xc3", Kind::Text),
            (b"\x89PNG\r\n\x1a\n....", Kind::Image("image/png")),
            (b"\xff\xd8\xff\xe0", Kind::Image("image/jpeg")),
            (b"GIF89a", Kind::Image("image/gif")),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Kind::Image("image/webp")),
            (b"%PDF-1.7\n", Kind::Binary("a PDF document")),
            (b"\x7fELF\x02\x01\x01\0", Kind::Binary("an ELF executable")),
            (b"\x1f\x8b\x08\0", Kind::Binary("gzip data")),
            (b"a\0b", Kind::Binary("binary data")),
        ] {
            assert_eq!(kind_of(head), kind, "{head:?}");
        }
        assert!(matches!(kind_of(b"PK\x03\x04\x14\0"), Kind::Binary(name) if name.contains("ZIP")));
        assert!(matches!(kind_of(b"\xff\xfeh\0i\0"), Kind::Binary(name) if name.contains("UTF-16")));
    }
}
