//! Lines of a file of any size, each in bounded memory.

use std::io::{self, BufRead};

/// A line, without its end.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Its bytes, at most the reader's limit.
    pub(crate) bytes: Vec<u8>,
    /// Its length in characters (bytes that begin one), also beyond the limit.
    pub(crate) chars: usize,
}

/// Reads the next line into `line`, keeping at most `keep` bytes of it. `false` at the end of the file.
pub(crate) fn next_line(reader: &mut impl BufRead, keep: usize, line: &mut Line) -> io::Result<bool> {
    line.bytes.clear();
    line.chars = 0;
    let mut any = false;
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        line.chars += piece.iter().filter(|byte| !is_continuation(**byte)).count();
        let room = keep.saturating_sub(line.bytes.len());
        line.bytes.extend(piece.iter().take(room));
        let used = piece.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            if line.bytes.last() == Some(&b'\r') {
                line.bytes.pop();
                line.chars -= 1;
            }
            return Ok(true);
        }
    }
}

pub(crate) fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// The first `max` characters of `bytes` as text, whether a byte had to be replaced, and whether more follows.
pub(crate) fn shown(bytes: &[u8], max: usize) -> (String, bool, bool) {
    let text = String::from_utf8_lossy(bytes);
    let end = text.char_indices().nth(max).map(|(at, _)| at);
    // A character cut by the limit of bytes is no fault of the file.
    let kept = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    let lossy = matches!(text, std::borrow::Cow::Owned(_)) && kept.contains(char::REPLACEMENT_CHARACTER);
    (kept.to_owned(), lossy, end.is_some())
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(bytes: &[u8], keep: usize) -> Vec<(String, usize)> {
        // A tiny buffer, so that lines fall over its edges.
        let mut reader = BufReader::with_capacity(3, bytes);
        let mut line = Line::default();
        let mut all = Vec::new();
        while next_line(&mut reader, keep, &mut line).unwrap() {
            all.push((String::from_utf8_lossy(&line.bytes).into_owned(), line.chars));
        }
        all
    }

    #[test]
    fn lines_come_whole_with_and_without_their_ends() {
        let expected = [("ab".to_owned(), 2), (String::new(), 0), ("cdé".to_owned(), 3)];
        assert_eq!(lines("ab\r\n\ncdé".as_bytes(), 100), expected);
        assert_eq!(lines(b"", 100), []);
        assert_eq!(lines(b"\n", 100), [(String::new(), 0)]);
    }

    #[test]
    fn a_long_line_keeps_its_beginning_and_its_length() {
        assert_eq!(lines(b"abcdefgh\nx\n", 4), [("abcd".to_owned(), 8), ("x".to_owned(), 1)]);
    }

    #[test]
    fn what_is_shown_tells_of_replaced_bytes_and_of_the_rest() {
        assert_eq!(shown("aé".as_bytes(), 2), ("aé".to_owned(), false, false));
        assert_eq!(shown("aéb".as_bytes(), 2), ("aé".to_owned(), false, true));
        assert_eq!(shown(b"a\xffb", 9), ("a\u{fffd}b".to_owned(), true, false));
        assert_eq!(shown("\u{fffd}".as_bytes(), 9), ("\u{fffd}".to_owned(), false, false));
    }
}
