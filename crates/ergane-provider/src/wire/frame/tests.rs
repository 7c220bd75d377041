use super::*;

fn event(name: &str, data: &str) -> SseItem {
    SseItem::Event { name: name.to_owned(), data: data.to_owned() }
}

fn decode(pieces: &[&[u8]]) -> Result<Vec<SseItem>, FrameError> {
    let mut decoder = SseDecoder::new();
    let mut items = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut items)?;
    }
    decoder.end(&mut items);
    Ok(items)
}

/// In one piece, byte by byte, and split at every position: always the same.
fn decode_every_way(body: &[u8]) -> Vec<SseItem> {
    let whole = decode(&[body]).unwrap();
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(decode(&bytes).unwrap(), whole, "byte by byte");
    for at in 0..=body.len() {
        let (head, tail) = body.split_at(at);
        assert_eq!(decode(&[head, tail]).unwrap(), whole, "split at {at}");
    }
    whole
}

#[test]
fn edge_03_every_kind_of_line_end_separates_lines_also_when_split_between_cr_and_lf() {
    for body in [
        "event: e\r\ndata: y\r\n\r\n",
        "event: e\ndata: y\n\n",
        "event: e\rdata: y\r\r",
        "event: e\r\ndata: y\n\r",
    ] {
        assert_eq!(decode_every_way(body.as_bytes()), [event("e", "y")], "{body:?}");
    }
}

#[test]
fn edge_04_a_mark_comments_and_fields_of_no_interest_are_passed_over_and_one_space_is_taken() {
    let body = "\u{feff}: hello\nid: 7\nretry: 10\ndata:x\n\ndata:  x\n\ndata\n\n";
    assert_eq!(decode_every_way(body.as_bytes()), [event("", "x"), event("", " x"), event("", "")]);
}

#[test]
fn edge_05_lines_of_data_are_joined_by_line_feeds() {
    assert_eq!(decode_every_way(b"data: {\"a\":\ndata: 1}\n\n"), [event("", "{\"a\":\n1}")]);
}

#[test]
fn an_event_name_holds_for_its_event_only_and_an_event_without_data_is_none() {
    assert_eq!(
        decode_every_way(b"event: a\n\ndata: 1\n\nevent: b\ndata: 2\n\ndata: 3\n\n"),
        [event("", "1"), event("b", "2"), event("", "3")]
    );
}

#[test]
fn edge_10_an_event_that_no_blank_line_closed_is_not_dispatched() {
    assert_eq!(decode_every_way(b"data: 1\n\ndata: 2\n"), [event("", "1")]);
    assert_eq!(decode_every_way(b"data: 1\n\ndata: 2"), [event("", "1")]);
}

#[test]
fn edge_02_characters_split_inside_their_bytes_stay_whole() {
    assert_eq!(decode_every_way("data: é🦉\n\n".as_bytes()), [event("", "é🦉")]);
}

#[test]
fn edge_02_bytes_that_are_no_utf8_are_an_error_and_no_panic() {
    assert_eq!(decode(&[b"data: \xff\xfe\n\n"]), Err(FrameError::NotUtf8));
    assert_eq!(decode(&[b"\xff"]), Ok(vec![]));
}

#[test]
fn edge_36_bare_json_between_events_is_kept_also_over_several_lines_and_at_the_end() {
    let residue = |body: &str| match decode_every_way(body.as_bytes()).as_slice() {
        [.., SseItem::Residue(text)] => serde_json::from_str::<serde_json::Value>(text).unwrap(),
        other => panic!("{other:?}"),
    };
    let expected = serde_json::json!({"error": {"code": 503}});
    assert_eq!(residue("data: 1\n\n{\n \"error\": {\n\n  \"code\": 503\n }\n}"), expected);
    assert_eq!(residue("{\"error\":{\"code\":503}}\n\n"), expected);
    assert_eq!(residue("{\"error\":{\"code\":503}}"), expected);
    for stray in [
        "upstream said \"oops\n\n",
        "upstream said \"oops\n",
        "\"oops {\n\n",
        "  oops [\n",
        "{oops\n\n",
        "[\"a\": <\n",
    ] {
        assert_eq!(residue(&format!("{stray}{{\"error\":{{\"code\":503}}}}\n\n")), expected, "{stray}");
    }
    assert_eq!(decode_every_way(b"hello there\n\ndata: 1\n\n"), [event("", "1")]);
}

#[test]
fn edge_06_an_event_of_eight_mebibytes_is_fine_and_one_of_twenty_is_refused() {
    let eight = format!("data: {}\n\n", "x".repeat(8 << 20));
    assert_eq!(decode(&[eight.as_bytes()]).unwrap().len(), 1);
    let piece = "x".repeat(1 << 20);
    let mut decoder = SseDecoder::new();
    let mut items = Vec::new();
    decoder.feed(b"data: ", &mut items).unwrap();
    let fed = (0..20).take_while(|_| decoder.feed(piece.as_bytes(), &mut items).is_ok()).count();
    assert!((15..=16).contains(&fed), "{fed}");
    let mut decoder = SseDecoder::new();
    let line = format!("data: {piece}\n");
    let fed = (0..20).take_while(|_| decoder.feed(line.as_bytes(), &mut items).is_ok()).count();
    assert!((15..=16).contains(&fed), "many lines of one event: {fed}");
    assert!(items.is_empty());
}

#[test]
fn residue_does_not_grow_without_bound() {
    let mut decoder = SseDecoder::new();
    let mut items = Vec::new();
    for _ in 0..10_000 {
        decoder.feed(b"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,\n", &mut items).unwrap();
    }
    assert!(decoder.event.residue.len() <= MAX_ERROR_BODY);
}

#[test]
fn residue_is_not_read_again_for_every_blank_line() {
    // As many lines as bytes, each of which might end what stands before it.
    let half = MAX_ERROR_BODY / 4;
    for body in [
        "[\n\n".to_owned() + &"1,\n\n".repeat(half) + &"\n".repeat(1 << 20),
        "\"\n\n".to_owned() + &"x\n\n".repeat(half),
    ] {
        assert_eq!(decode(&[body.as_bytes()]), Ok(Vec::new()));
    }
    let in_pieces = "{\n\n\"error\": \"a } \\\" b\"\n\n, \"b\": []\n}\n\ndata: 1\n\n";
    assert!(matches!(&*decode_every_way(in_pieces.as_bytes()), [SseItem::Residue(_), SseItem::Event { .. }]));
    assert_eq!(decode_every_way(b"]\n\n{}\n\n"), [SseItem::Residue("{}\n".to_owned())]);
}

#[test]
fn json_lines_are_trimmed_and_the_last_needs_no_end() {
    let mut decoder = LineDecoder::default();
    let mut out = Vec::new();
    decoder.feed(b"\n\n {\"a\":1}\r\n\r\n{\"b\"", &mut out).unwrap();
    decoder.feed(b":\"\xc3", &mut out).unwrap();
    decoder.feed(b"\xa9\"}", &mut out).unwrap();
    assert_eq!(out, ["{\"a\":1}"]);
    decoder.end(&mut out).unwrap();
    assert_eq!(out, ["{\"a\":1}", "{\"b\":\"é\"}"]);
}
