use bytes::Bytes;

use super::{Documents, Error, Mapping, Source};

struct Known {
    input: Bytes,
    reserve: Option<Bytes>,
}

impl Documents for Known {
    fn document(&self, source: &Source) -> Option<&Bytes> {
        match source {
            Source::Input => Some(&self.input),
            Source::Step(name) if name == "reserve" => self.reserve.as_ref(),
            Source::Step(_) => None,
        }
    }
}

fn known() -> Known {
    Known {
        input: Bytes::from_static(
            br#"{"order": {"id": 12345678901234567890123, "a/b": {"m~n": [10, 2.50]}}, "": 1}"#,
        ),
        reserve: Some(Bytes::from_static(br#"{"reservation": "R-1"}"#)),
    }
}

fn evaluate(mapping: &str) -> Result<String, Error> {
    let mapping = Mapping::parse(mapping)?;
    // What is written reads back as the same.
    assert_eq!(Mapping::parse(&mapping.to_json()), Ok(mapping.clone()));
    let document = mapping.evaluate(&known(), 1_000)?;
    Ok(String::from_utf8(document.to_vec()).unwrap())
}

#[test]
fn references_are_replaced_digit_for_digit() {
    let mapping = r#"{"id": {"$ref": "input#/order/id"}, "kept": [{"$ref": "steps/reserve#/reservation"}, true]}"#;
    assert_eq!(
        evaluate(mapping).unwrap(),
        r#"{"id":12345678901234567890123,"kept":["R-1",true]}"#
    );
    for (pointer, value) in [
        ("/order/a~1b/m~0n/1", "2.50"),
        ("/order/a~1b/m~0n/0", "10"),
        ("/", "1"),
    ] {
        let mapping = format!(r#"[{{"$ref": "input#{pointer}"}}]"#);
        assert_eq!(evaluate(&mapping).unwrap(), format!("[{value}]"));
    }
}

#[test]
fn a_default_stands_in_for_what_is_not_there() {
    let mapping = r#"{"a": {"$ref": "input#/nothing", "default": {"$ref": 1}}}"#;
    assert_eq!(evaluate(mapping).unwrap(), r#"{"a":{"$ref":1}}"#);
    let missing = evaluate(r#"{"a": {"$ref": "steps/charge#/receipt"}}"#).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "refers to steps/charge#/receipt, where there is nothing, and has no default"
    );
    for pointer in ["/order/a~1b/m~0n/01", "/order/a~1b/m~0n/-", "/order/id/x"] {
        let mapping = format!(r#"[{{"$ref": "input#{pointer}"}}]"#);
        assert!(matches!(evaluate(&mapping), Err(Error::Missing { .. })));
    }
}

#[test]
fn a_literal_may_look_like_a_reference() {
    let literal = r#"{"$literal":{"$literal":{"$ref":"input"}}}"#;
    assert_eq!(
        evaluate(literal).unwrap(),
        r#"{"$literal":{"$ref":"input"}}"#
    );
    let dollar = r#"{"$other":{"$ref":"steps/reserve"}}"#;
    assert_eq!(
        evaluate(dollar).unwrap(),
        r#"{"$other":{"reservation": "R-1"}}"#
    );
}

#[test]
fn a_whole_document_is_passed_on_as_it_is() {
    let opaque = Known {
        input: Bytes::from_static(b"\xff not JSON"),
        reserve: None,
    };
    let whole = Mapping::whole_input();
    assert_eq!(whole.evaluate(&opaque, 1_000), Ok(opaque.input.clone()));
    assert_eq!(
        whole.evaluate(&opaque, 3),
        Err(Error::TooLarge { limit: 3 })
    );
    let part = Mapping::parse(r#"{"$ref": "input#/a"}"#).unwrap();
    assert!(matches!(
        part.evaluate(&opaque, 1_000),
        Err(Error::SourceNotJson { .. })
    ));
}

#[test]
fn what_is_no_mapping_is_refused_with_its_reason() {
    for (mapping, reason) in [
        ("{", "is not JSON"),
        (r#"{"$ref": "order#/id"}"#, "has the reference"),
        (r#"{"$ref": "steps/#/id"}"#, "has the reference"),
        (r#"{"$ref": 7}"#, "has the reference"),
        (r#"{"$ref": "input#order"}"#, "not a JSON Pointer"),
        (r#"{"$ref": "input#/a~2"}"#, "not a JSON Pointer"),
        (r#"{"$ref": "input", "else": 1}"#, "has the key \"else\""),
        (
            "[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]",
            "nested more than 16 deep",
        ),
    ] {
        let error = Mapping::parse(mapping).unwrap_err().to_string();
        assert!(error.contains(reason), "{mapping}: {error}");
    }
}
