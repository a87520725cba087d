use outrigger_core::saga::{
    Definition,
    definition::{Attempts, Mode, Target, Version},
};

use super::parse;
use crate::saga::convert;

/// The example of the module's documentation.
fn example() -> String {
    let source = include_str!("../definition_file.rs");
    let lines = source.lines().filter_map(|line| line.strip_prefix("//!"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let inside = lines.skip_while(|line| *line != "```yaml").skip(1);
    let inside: Vec<_> = inside.take_while(|line| *line != "```").collect();
    inside.join("\n")
}

fn define(text: &str) -> Result<Definition, String> {
    let parsed = parse(text).map_err(|error| error.to_string())?;
    let refund = Version(7);
    let latest = move |name: &str| (name == "refund").then_some(refund);
    convert::definition(&parsed, &latest).map_err(|error| error.to_string())
}

#[test]
fn the_documented_file_is_a_definition_in_yaml_and_in_json() {
    let definition = define(&example()).unwrap();
    assert_eq!(definition.name(), "order");
    let charge = definition.step(definition.pivot().unwrap()).unwrap();
    assert_eq!(
        (charge.name.as_str(), charge.depends_on.len()),
        ("charge", 2)
    );
    assert_eq!(charge.action.retry.otherwise.attempts, Attempts::AtMost(20));

    // As JSON it is the same.
    let value: serde_json::Value = serde_saphyr::from_str(&example()).unwrap();
    let json = define(&value.to_string()).unwrap();
    assert_eq!(json.version(), definition.version());
    // So it is after a journey over the wire.
    let again = convert::definition(&convert::to_proto(&definition), &|_| None).unwrap();
    assert_eq!(again, definition);
}

#[test]
fn tcc_and_sagas_in_sagas_have_a_form_too() {
    let tcc = define(
        "{name: points, mode: tcc, steps: [{name: debit, try: {http: http://p/try}, \
         confirm: {http: http://p/confirm}, cancel: {http: http://p/cancel}}]}",
    );
    let tcc = tcc.unwrap();
    assert_eq!(tcc.mode(), Mode::Tcc);
    let outer = "{name: outer, steps: [{name: inner, action: {saga: {definition: refund}}}]}";
    let outer = define(outer).unwrap();
    let target = &outer.steps()[0].action.target;
    assert!(matches!(
        target,
        Target::Saga {
            version: Version(7),
            ..
        }
    ));
    for definition in [tcc, outer] {
        let again = convert::definition(&convert::to_proto(&definition), &|_| None).unwrap();
        assert_eq!(again, definition);
    }
}

#[test]
fn every_fault_of_a_file_names_its_place() {
    let step = |step: &str| format!("name: order\nsteps:\n  - name: a\n    {step}\n");
    let done = "action: {http: http://a/do}\n    undo: {http: http://a/undo}";
    for (text, expected) in [
        ("name: [".to_owned(), "line 1"),
        (
            step("action: {http: http://a}\n    undoo: {http: http://a}"),
            "unknown field `undoo`",
        ),
        (
            step("action: {http: http://a, retry: {classes: {late: {}}}}"),
            "late",
        ),
        (
            format!("{}  - name: a\n    {done}\n", step(done)),
            "step \"a\": name: another",
        ),
        (
            step(&format!("depends_on: [b]\n    {done}")),
            "step \"a\": depends_on: there is no step \"b\"",
        ),
        (
            step(&format!("depends_on: [a]\n    {done}")),
            "step \"a\": depends_on: the steps wait for each other: a -> a",
        ),
        (
            step("action: {http: http://a}"),
            "step \"a\": undo is missing",
        ),
        (
            step("nothing_to_undo: true"),
            "step \"a\": action is missing",
        ),
        (
            step(&format!("{done}\n    nothing_to_undo: true")),
            "step \"a\": undo and nothing_to_undo exclude each other",
        ),
        (
            step("action: {http: http://a, message: {topic: t}}"),
            "step \"a\": action: exactly one of http, grpc, message and saga is needed, there are 2",
        ),
        (
            step("try: {http: http://a}"),
            "step \"a\": try is for mode tcc only",
        ),
        (
            step(done).replace("steps:", "mode: tcc\nsteps:"),
            "step \"a\": action is for mode saga only",
        ),
        (
            step(&done.replace("/do}", "/do, input: {$ref: \"order#/id\"}}")),
            "step \"a\": action.input has the reference",
        ),
        (
            step(&done.replace("/do}", "/do, input: {$ref: \"steps/b#/id\"}}")),
            "step \"a\": action.input refers to the output of \"b\"",
        ),
        (
            step("action: {saga: {definition: gone}}"),
            "step \"a\": action.saga: there is no definition \"gone\"",
        ),
        (
            step("action: {saga: {definition: refund, version: latest}}"),
            "step \"a\": action.saga: \"latest\" is not a version",
        ),
        (
            step(&done.replace("/do}", "/do, timeout_ms: 5}")),
            "step \"a\": action.timeout_ms is 5, 10 to 3600000 is allowed",
        ),
        (
            format!("{}deliver_to: [{{}}]\n", step(done)),
            "deliver_to: exactly one of webhook and message is needed",
        ),
        (
            format!("{}output: {{$ref: \"steps/b\"}}\n", step(done)),
            "output refers to the step \"b\"",
        ),
        (
            format!("{}#{}", step(done), "x".repeat(1024 * 1024)),
            "the file has",
        ),
    ] {
        let error = define(&text).unwrap_err();
        assert!(error.contains(expected), "{text}\n{error}");
    }
}
