//! What real Spark 3.5 and 4 made of each of these inputs, and laws over all inputs.

use proptest::prelude::*;

use super::*;
use crate::spec::{EventTime, JsonOptions, OutputColumn, OutputMode, ParseMode, Semantics};
use crate::types::{Column, Span, TextSource, Value};

const SALES: [(&str, DataType); 4] = [
    ("store", DataType::String),
    ("item", DataType::String),
    ("price", DataType::Double),
    ("ts", DataType::Long),
];

fn pipeline(schema: &[(&str, DataType)], time: Option<(usize, TimeFormat)>) -> Pipeline {
    let column = |(name, data_type): &(&str, DataType)| Column {
        name: (*name).to_owned(),
        data_type: *data_type,
    };
    let schema: Vec<Column> = schema.iter().map(column).collect();
    let output = schema.iter().enumerate().map(|(index, column)| OutputColumn {
        name: column.name.clone(),
        source: OutputSource::Column(index),
        data_type: column.data_type,
    });
    Pipeline {
        name: "test".to_owned(),
        topic: "test".to_owned(),
        output: output.collect(),
        schema,
        event_time: time.map(|(column, format)| EventTime {
            column,
            format,
            watermark_delay_ms: None,
        }),
        filter: None,
        filter_above_watermark: None,
        deduplication: None,
        query: Query::Projection,
        computed: Vec::new(),
        output_mode: OutputMode::Append,
        parse_mode: ParseMode::Permissive,
        json: JsonOptions::default(),
        corrupt_column: None,
        session_time_zone: "UTC".to_owned(),
        semantics: Semantics::default(),
        max_future_skew_ms: None,
    }
}

fn sales() -> Decoder {
    Decoder::new(&pipeline(&SALES, None)).unwrap()
}

fn shown(value: Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Double(value) => crate::types::double_text(value),
        Value::String(text) => text.to_owned(),
        Value::Timestamp(value) => value.0.to_string(),
        Value::Decimal(value) => value.to_string(),
    }
}

fn row(decoded: &Decoded<'_>) -> Vec<String> {
    (0..decoded.event.cells.len()).map(|column| shown(decoded.event.value(column))).collect()
}

/// Decodes twice: what was learnt from a record must not change how it is read.
fn check(
    decoder: &mut Decoder,
    payload: &[u8],
    expected: &[&str],
    fault: Option<(FaultReason, Option<usize>)>,
) {
    for _ in 0..2 {
        let decoded = decoder.decode(Some(payload));
        let text = String::from_utf8_lossy(payload);
        assert_eq!(row(&decoded), expected, "{text}");
        assert_eq!(decoded.fault.map(|fault| (fault.reason, fault.column)), fault, "{text}");
    }
}

const NULLS: [&str; 4] = ["NULL"; 4];

#[test]
fn a_record_that_is_no_json_object_is_a_row_of_nulls() {
    use FaultReason::{Empty, NotAnObject, Syntax};
    let cases: [(&[u8], FaultReason); 36] = [
        (br#"{"store":"m0","item":"i","price":1.0,"ts":1756800005"#, Syntax),
        (br#"{"store":"m1","item":"i","pri"#, Syntax),
        (br#"{"store":"m2"#, Syntax),
        (br#"[{"store":"m3","item":"i","price":1.0,"ts":1756800005}]"#, NotAnObject),
        (br#"[{"store":"m4a","ts":1},{"store":"m4b","ts":2}]"#, NotAnObject),
        (b"[]", NotAnObject),
        (b"5", NotAnObject),
        (br#""abc""#, NotAnObject),
        (b"true", NotAnObject),
        (b"null", NotAnObject),
        (b"", Empty),
        (b"   ", Empty),
        (b" \t\r\n", Empty),
        (b"hello", Syntax),
        (br#"{"store":"m17","ts":1,}"#, Syntax),
        (br#"{store:"m19",ts:1}"#, Syntax),
        (br#"{"store":"m20"/*c*/,"ts":1}"#, Syntax),
        (b"{\"store\":\"a\nb\",\"ts\":1}", Syntax),
        (b"{\"store\":\"a\tb\",\"ts\":1}", Syntax),
        (b"{\"store\":\"a\x01b\",\"ts\":1}", Syntax),
        (br#"{"store":"a\xb","ts":1}"#, Syntax),
        (b"\xef\xbb\xbf{\"store\":\"m39\",\"ts\":1}", Syntax),
        (b"\xff\xfe{\0}\0", Syntax),
        (b"{\0\"\0a\0", Syntax),
        (br#"{"store":"m44","price":"abc","ts":1"#, Syntax),
        (br#"{"store":"m45","price":2.5,"ts":9,,}"#, Syntax),
        (br#"{"store":"m49","price":-,"ts":1}"#, Syntax),
        (br#"{"store":"p","price":0x10,"ts":1}"#, Syntax),
        (br#"{"store":"p","price":01,"ts":1}"#, Syntax),
        (br#"{"store":"p","price":.5,"ts":1}"#, Syntax),
        (br#"{"store":"p","price":5.,"ts":1}"#, Syntax),
        (br#"{"store":"p","price":+1,"ts":1}"#, Syntax),
        (br#"{"store":"p","price":INF,"ts":1}"#, Syntax),
        (br#"{"store":"t23","ts":00}"#, Syntax),
        (b"{\"store\":\"a\"\xff,\"ts\":1}", Syntax),
        (br#"{"x":{"y":[1,{"z":}]},"ts":1}"#, Syntax),
    ];
    let mut decoder = sales();
    for (payload, reason) in cases {
        check(&mut decoder, payload, &NULLS, Some((reason, None)));
    }
    let decoded = decoder.decode(None);
    assert_eq!(decoded.fault, Some(Fault { reason: FaultReason::NullValue, column: None }));
    assert_eq!(row(&decoded), NULLS);
}

#[test]
fn fields_are_found_whatever_stands_around_them() {
    let cases: [(&str, [&str; 4]); 17] = [
        (
            r#"{"store":"m14","item":"i","price":1.0,"ts":1756800005}xyz"#,
            ["m14", "i", "1.0", "1756800005"],
        ),
        (r#"{"store":"m15","ts":1}{"store":"m15b","ts":2}"#, ["m15", "NULL", "NULL", "1"]),
        (
            "{\"store\":\"m16\",\"ts\":1}\n{\"store\":\"m16b\",\"ts\":2}",
            ["m16", "NULL", "NULL", "1"],
        ),
        ("{}", NULLS),
        ("{'store':'m18','ts':1}", ["m18", "NULL", "NULL", "1"]),
        (
            r#"{"store":"m21","store":"m21b","price":1,"price":2,"ts":1}"#,
            ["m21b", "NULL", "2.0", "1"],
        ),
        (r#"{"store":"m22","store":null,"ts":1}"#, ["NULL", "NULL", "NULL", "1"]),
        (r#"{"store":"m28","x":{"y":[1,{"z":2}]},"ts":1,"zz":null}"#, ["m28", "NULL", "NULL", "1"]),
        (r#"{"Store":"m29","ITEM":"i","Price":2,"TS":3}"#, NULLS),
        (r#"{"a":1}"#, NULLS),
        ("  \n {\"store\":\"m40\",\"ts\":1} \n ", ["m40", "NULL", "NULL", "1"]),
        (r#"{"":1,"store":"m46"}"#, ["m46", "NULL", "NULL", "NULL"]),
        (r#"{"ts" : 7 , "price": 2.5, "item":"i" ,"store" :"s"}"#, ["s", "i", "2.5", "7"]),
        (r#"{"\u0073tore":"escaped name","t\u0073":4}"#, ["escaped name", "NULL", "NULL", "4"]),
        (
            r#"{"stor\ud800":1,"storee":2,"stor":3,"store\"":4,"store":"s"}"#,
            ["s", "NULL", "NULL", "NULL"],
        ),
        (r#"{'store':"it's",'item':'a"b','x':'\''}"#, ["it's", "a\"b", "NULL", "NULL"]),
        (r#"{"store":"a","ts":1,"é":"ü","item":"日本"}"#, ["a", "日本", "NULL", "1"]),
    ];
    let mut decoder = sales();
    for (payload, expected) in cases {
        check(&mut decoder, payload.as_bytes(), &expected, None);
    }
}

#[test]
fn string_columns_take_any_value() {
    let cases: [(&[u8], &str); 24] = [
        (br#"{"a":1, "b":[1,2.50,"x"]}"#, r#"{"a":1,"b":[1,2.5,"x"]}"#),
        (br#"[1,"x",null]"#, r#"[1,"x",null]"#),
        (b"5", "5"),
        (b"1.50", "1.5"),
        (b"1e3", "1000.0"),
        (b"123456789012345678901234567890", "123456789012345678901234567890"),
        (b"-0", "0"),
        (b"-0.0", "-0.0"),
        (b"true", "true"),
        (b"false", "false"),
        (b"null", "NULL"),
        (b"NaN", "\"NaN\""),
        (b"\"\"", ""),
        (br#""a\"b\\c\/d\u0041\n\t\r\b\f""#, "a\"b\\c/dA\n\t\r\u{8}\u{c}"),
        (br#""a\u0000b""#, "a\0b"),
        (br#""a\ud800b""#, "a?b"),
        (br#""\ud83d\ude00""#, "😀"),
        (b"\"a\xffb\"", "a\u{fffd}b"),
        (b"\"a\xed\xa0\x80b\"", "a\u{fffd}b"),
        ("\"日本語 é\"".as_bytes(), "日本語 é"),
        (b"{}", "{}"),
        (b"[ ]", "[]"),
        (br#"{'a':{"b":[{}]}}"#, r#"{"a":{"b":[{}]}}"#),
        (b"\"NULL\"", "NULL"),
    ];
    let mut decoder = sales();
    for (value, expected) in cases {
        let payload = [&br#"{"store":"#[..], value, br#","item":"#, value, br#","ts":1}"#].concat();
        check(&mut decoder, &payload, &[expected, expected, "NULL", "1"], None);
    }
}

#[test]
fn a_value_of_the_wrong_type_leaves_its_column_and_keeps_the_others() {
    use FaultReason::{OutOfRange, WrongType};
    let mut decoder = sales();
    let price = |value: &str| format!(r#"{{"store":"p","price":{value},"ts":1,"item":"i"}}"#);
    for (value, expected) in [
        ("1.5", "1.5"),
        ("null", "NULL"),
        ("5", "5.0"),
        ("-3.7", "-3.7"),
        ("1e308", "1.0E308"),
        ("12345678901234567890", "1.2345678901234567E19"),
        ("\"NaN\"", "NaN"),
        ("\"Infinity\"", "Infinity"),
        ("\"-Infinity\"", "-Infinity"),
        ("\"-INF\"", "-Infinity"),
        ("\"+INF\"", "Infinity"),
        ("\"+Infinity\"", "Infinity"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-INF", "-Infinity"),
        ("+INF", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("-0.0", "-0.0"),
        ("-0", "0.0"),
        ("1e400", "Infinity"),
        ("1e-400", "0.0"),
        ("1e5", "100000.0"),
        ("1E+5", "100000.0"),
        ("-0e5", "-0.0"),
        ("-1e-400", "-0.0"),
        ("\"Na\\u004e\"", "NaN"),
        ("0.1234567890123456789", "0.12345678901234568"),
    ] {
        check(&mut decoder, price(value).as_bytes(), &["p", "i", expected, "1"], None);
    }
    for value in [
        "\"1.5\"",
        "\"INF\"",
        "true",
        "false",
        "[]",
        "{}",
        "\"abc\"",
        "\"\"",
        "\"1e5\"",
        "\" 1.5 \"",
        "\"1,5\"",
        "\"0x1p3\"",
        "{\"a\":1}",
    ] {
        check(
            &mut decoder,
            price(value).as_bytes(),
            &["p", "i", "NULL", "1"],
            Some((WrongType, Some(2))),
        );
    }
    let ts = |value: &str| format!(r#"{{"store":"t","ts":{value},"item":"i","price":1.0}}"#);
    for (value, expected) in [
        ("1756800000", "1756800000"),
        ("9223372036854775807", "9223372036854775807"),
        ("-1", "-1"),
        ("-0", "0"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("null", "NULL"),
        ("0", "0"),
    ] {
        check(&mut decoder, ts(value).as_bytes(), &["t", "i", "1.0", expected], None);
    }
    for (value, reason) in [
        ("\"1756800000\"", WrongType),
        ("1756800000.5", WrongType),
        ("1.7568e9", WrongType),
        ("true", WrongType),
        ("9223372036854775808", OutOfRange),
        ("[1]", WrongType),
        ("-0.0", WrongType),
        ("1e2", WrongType),
        ("\"\"", WrongType),
        ("NaN", WrongType),
        ("{\"a\":[1]}", WrongType),
    ] {
        check(
            &mut decoder,
            ts(value).as_bytes(),
            &["t", "i", "1.0", "NULL"],
            Some((reason, Some(3))),
        );
    }
    // The first fault counts; a bad value does not undo a good one before it.
    let twice = br#"{"price":1,"price":"x","ts":"y"}"#;
    check(&mut decoder, twice, &["NULL", "NULL", "1.0", "NULL"], Some((WrongType, Some(2))));
}

#[test]
fn decimals_round_half_up_and_take_quoted_numbers() {
    use FaultReason::{OutOfRange, WrongType};
    let schema = [("d", DataType::Decimal { precision: 18, scale: 2 })];
    let mut decoder = Decoder::new(&pipeline(&schema, None)).unwrap();
    let json = |value: &str| format!(r#"{{"d":{value}}}"#);
    for (value, expected) in [
        ("1.5", "1.50"),
        ("0.125", "0.13"),
        ("0.135", "0.14"),
        ("2.005", "2.01"),
        ("-0.005", "-0.01"),
        ("0.004", "0.00"),
        ("12", "12.00"),
        ("1e2", "100.00"),
        ("1e-3", "0.00"),
        ("\"1.5\"", "1.50"),
        ("null", "NULL"),
        ("9999999999999999.99", "9999999999999999.99"),
        ("0.1", "0.10"),
        ("-0.0", "0.00"),
        ("1E+15", "1000000000000000.00"),
        ("123456789.999", "123456790.00"),
        ("\"1,234.50\"", "1234.50"),
    ] {
        check(&mut decoder, json(value).as_bytes(), &[expected], None);
    }
    for (value, reason) in [
        ("\"abc\"", WrongType),
        ("99999999999999999", OutOfRange),
        ("12345678901234567.894", OutOfRange),
        ("NaN", WrongType),
        ("\"NaN\"", WrongType),
        ("true", WrongType),
        ("\" 2.5 \"", WrongType),
        ("\"\"", WrongType),
        ("\",\"", WrongType),
        ("1e1000000000", OutOfRange),
        ("9999999999999999.995", OutOfRange),
    ] {
        check(&mut decoder, json(value).as_bytes(), &["NULL"], Some((reason, Some(0))));
    }
}

#[test]
fn ints_booleans_and_timestamps_take_only_their_own() {
    use FaultReason::{OutOfRange, WrongType};
    let schema = [("i", DataType::Int), ("b", DataType::Boolean), ("t", DataType::Timestamp)];
    let mut decoder = Decoder::new(&pipeline(&schema, None)).unwrap();
    check(
        &mut decoder,
        br#"{"i":-2147483648,"b":true,"t":-1}"#,
        &["-2147483648", "true", "-1000000"],
        None,
    );
    check(
        &mut decoder,
        br#"{"i":1,"b":false,"t":"1970-01-01 00:00:01.5"}"#,
        &["1", "false", "1500000"],
        None,
    );
    check(&mut decoder, br#"{"i":2147483648,"b":null}"#, &["NULL"; 3], Some((OutOfRange, Some(0))));
    check(&mut decoder, br#"{"b":1,"i":2}"#, &["2", "NULL", "NULL"], Some((WrongType, Some(1))));
    check(&mut decoder, br#"{"b":"true"}"#, &["NULL"; 3], Some((WrongType, Some(1))));
    check(&mut decoder, br#"{"t":1.5}"#, &["NULL"; 3], Some((WrongType, Some(2))));
    check(&mut decoder, br#"{"t":"soon"}"#, &["NULL"; 3], Some((WrongType, Some(2))));
    check(
        &mut decoder,
        br#"{"t":9223372036854775807}"#,
        &["NULL", "NULL", "9223372036854775807"],
        None,
    );
}

#[test]
fn event_times_come_from_seconds_and_saturate() {
    let mut decoder = Decoder::new(&pipeline(&SALES, Some((3, TimeFormat::Seconds)))).unwrap();
    let mut time = |ts: &str| {
        let payload = format!(r#"{{"ts":{ts}}}"#);
        let decoded = decoder.decode(Some(payload.as_bytes()));
        (
            decoded.event.time.map(|time| time.0),
            decoded.fault.map(|fault| (fault.reason, fault.column)),
        )
    };
    assert_eq!(time("1756800000"), (Some(1_756_800_000_000_000), None));
    assert_eq!(time("-62135596801"), (Some(-62_135_596_801_000_000), None));
    assert_eq!(time("1756800000000"), (Some(1_756_800_000_000_000_000), None));
    assert_eq!(time("9223372036854775807"), (Some(i64::MAX), None));
    assert_eq!(time("-9223372036854775808"), (Some(i64::MIN), None));
    assert_eq!(time("null"), (None, Some((FaultReason::NoEventTime, Some(3)))));
    assert_eq!(time("\"x\""), (None, Some((FaultReason::WrongType, Some(3)))));
    assert_eq!(time("1,"), (None, Some((FaultReason::Syntax, None))));
}

#[test]
fn event_times_come_from_every_format() {
    let check = |data_type, format, value: &str, expected: Option<i64>| {
        let plan = pipeline(&[("t", data_type)], Some((0, format)));
        let mut decoder = Decoder::new(&plan).unwrap();
        let payload = format!(r#"{{"t":{value}}}"#);
        let time = decoder.decode(Some(payload.as_bytes())).event.time;
        assert_eq!(time.map(|time| time.0), expected, "{data_type} {value}");
    };
    let decimal = DataType::Decimal { precision: 20, scale: 7 };
    check(DataType::Long, TimeFormat::Milliseconds, "-1500", Some(-1_500_000));
    check(DataType::Long, TimeFormat::Milliseconds, "1756800000123", Some(1_756_800_000_123_000));
    check(DataType::Int, TimeFormat::Seconds, "-1", Some(-1_000_000));
    check(DataType::Double, TimeFormat::Seconds, "1.5", Some(1_500_000));
    check(DataType::Double, TimeFormat::Seconds, "NaN", None);
    check(decimal, TimeFormat::Seconds, "-1.0000019", Some(-1_000_001));
    check(DataType::String, TimeFormat::Iso, "\"1970-01-01T00:00:01Z\"", Some(1_000_000));
    check(DataType::String, TimeFormat::Iso, "\"1970-01-01T00:00\\u003a01Z\"", Some(1_000_000));
    check(DataType::String, TimeFormat::Iso, "\"soon\"", None);
    check(
        DataType::String,
        TimeFormat::Pattern("d.M.yyyy".to_owned()),
        "\"2.1.1970\"",
        Some(86_400_000_000),
    );
    check(DataType::Timestamp, TimeFormat::Timestamp, "1", Some(1_000_000));
}

#[test]
fn a_pattern_or_type_that_cannot_be_used_is_refused_by_name() {
    let error = |data_type, format| {
        Decoder::new(&pipeline(&[("when", data_type)], Some((0, format)))).unwrap_err().to_string()
    };
    let pattern = error(DataType::String, TimeFormat::Pattern("YYYY".to_owned()));
    assert!(
        pattern.contains("\"when\"") && pattern.contains("`YYYY` is not supported"),
        "{pattern}"
    );
    assert!(
        error(DataType::String, TimeFormat::Seconds)
            .contains("\"when\" is string; seconds need long")
    );
    assert!(error(DataType::Long, TimeFormat::Iso).contains("ISO 8601 texts need string"));
}

#[test]
fn columns_without_use_stay_null_and_cannot_be_at_fault() {
    let mut plan = pipeline(&SALES, Some((3, TimeFormat::Seconds)));
    plan.output.truncate(1);
    plan.filter = Some(Expression::Not(Box::new(Expression::In(
        Box::new(Expression::Literal(crate::spec::Literal::Null)),
        vec![Expression::Column(2)],
    ))));
    let mut decoder = Decoder::new(&plan).unwrap();
    check(
        &mut decoder,
        br#"{"store":"s","item":[1],"price":2,"ts":3}"#,
        &["s", "NULL", "2.0", "3"],
        None,
    );
    plan.filter = None;
    let mut decoder = Decoder::new(&plan).unwrap();
    check(
        &mut decoder,
        br#"{"store":"s","item":[1],"price":"x","ts":3}"#,
        &["s", "NULL", "NULL", "3"],
        None,
    );
    check(&mut decoder, br#"{"price":01,"ts":3}"#, &NULLS, Some((FaultReason::Syntax, None)));
}

#[test]
fn deep_large_and_endless_records_are_faults_of_their_own() {
    let mut decoder = sales();
    let nested =
        |name: &str, depth| format!("{{\"{name}\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let text = "[".repeat(999) + &"]".repeat(999);
    check(&mut decoder, nested("x", 999).as_bytes(), &NULLS, None);
    check(&mut decoder, nested("store", 999).as_bytes(), &[&text, "NULL", "NULL", "NULL"], None);
    for payload in [
        nested("x", 1000),
        nested("store", 1000),
        nested("price", 100_000),
        "{\"x\":".repeat(100_000),
    ] {
        check(&mut decoder, payload.as_bytes(), &NULLS, Some((FaultReason::TooDeep, None)));
    }
    let long = format!(r#"{{"store":"s","price":{}}}"#, "9".repeat(1001));
    check(&mut decoder, long.as_bytes(), &NULLS, Some((FaultReason::TooLarge, None)));
    decoder.set_max_value_bytes(13);
    check(&mut decoder, br#"{"store":"s"}"#, &["s", "NULL", "NULL", "NULL"], None);
    check(&mut decoder, br#"{"store":"st"}"#, &NULLS, Some((FaultReason::TooLarge, None)));
}

#[test]
fn names_that_need_escapes_are_found_and_not_mistaken() {
    let schema = [
        ("a\"", DataType::Long),
        ("b\\", DataType::Long),
        ("a_name_longer_than_sixteen", DataType::Long),
    ];
    let mut decoder = Decoder::new(&pipeline(&schema, None)).unwrap();
    check(
        &mut decoder,
        br#"{"a\"":1,"b\\":2,"a_name_longer_than_sixteen":3}"#,
        &["1", "2", "3"],
        None,
    );
    check(&mut decoder, br#"{"a_name_longer_than_sixtees":3}"#, &["NULL"; 3], None);
    check(&mut decoder, br#"{"a"":1}"#, &["NULL"; 3], Some((FaultReason::Syntax, None)));
    let mut nothing = Decoder::new(&pipeline(&[], None)).unwrap();
    check(&mut nothing, br#"{"a":1}"#, &[], None);
}

#[test]
fn what_was_learnt_of_one_place_is_not_taken_at_another() {
    let mut decoder = sales();
    let sale = br#"{"store":"s","item":"i","price":1.5,"ts":7}"#;
    let syntax = Some((FaultReason::Syntax, None));
    for payload in [
        &br#"{"x":1{"store":"s"}"#[..],
        br#"{"x":1{"store":"s","item":"i","price":1.5,"ts":7}"#,
        br#"{"store":"s"{"store":"s"}"#,
        br#","item":"i"}"#,
        br#"{,"item":"i"}"#,
        br#"{"store":"s","item":}"#,
        br#"{"store":"s","item":"#,
        br#"{"store":"s","ite"#,
        br#"{"store":"s","item":"i","price":1.5,}"#,
        b"}",
    ] {
        check(&mut decoder, sale, &["s", "i", "1.5", "7"], None);
        check(&mut decoder, payload, &NULLS, syntax);
    }
    let unknown: String = (0..200).map(|number| format!("\"u{number}\":{number},")).collect();
    let payload = format!("{{{unknown}\"ts\":7}}");
    check(&mut decoder, payload.as_bytes(), &["NULL", "NULL", "NULL", "7"], None);
    let payload = format!("{{\"item\":\"i\",{unknown}\"ts\":7}}");
    check(&mut decoder, payload.as_bytes(), &["NULL", "i", "NULL", "7"], None);
    assert!(decoder.places.len() <= 2 + SALES.len() + MOST_UNKNOWN_PLACES);
    let glue = [" ".repeat(40).as_str(), "\"store\":"].concat();
    for payload in [format!("{{{glue}\"s\"}}"), format!("{{\"ts\":7,{glue}\"s\"}}")] {
        let ts = if payload.contains("ts") { "7" } else { "NULL" };
        check(&mut decoder, payload.as_bytes(), &["s", "NULL", "NULL", ts], None);
    }
}

/// What the sales schema makes of an object, as Spark does.
fn expected_row(object: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    let field = |name: &str| object.get(name).unwrap_or(&serde_json::Value::Null);
    let text = |name: &str| match field(name) {
        serde_json::Value::Null => "NULL".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => rendered(other),
    };
    let price = match field("price") {
        serde_json::Value::Number(number) => shown(Value::Double(number.as_f64().unwrap())),
        _ => "NULL".to_owned(),
    };
    let ts = match field("ts") {
        serde_json::Value::Number(number) => {
            number.as_i64().map_or("NULL".to_owned(), |value| value.to_string())
        }
        _ => "NULL".to_owned(),
    };
    vec![text("store"), text("item"), price, ts]
}

fn rendered(value: &serde_json::Value) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        serde_json::Value::Number(number) if number.is_f64() => {
            shown(Value::Double(number.as_f64().unwrap()))
        }
        serde_json::Value::Array(values) => {
            format!("[{}]", join(values.iter().map(rendered).collect()))
        }
        serde_json::Value::Object(fields) => {
            let field = |(name, value): (&String, &serde_json::Value)| {
                format!(
                    "{}:{}",
                    rendered(&serde_json::Value::String(name.clone())),
                    rendered(value)
                )
            };
            format!("{{{}}}", join(fields.iter().map(field).collect()))
        }
        other => other.to_string(),
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    // Characters that both write alike in nested JSON: no control characters, nothing beyond U+FFFF.
    let text = "[a-zA-Z0-9 éß日\"/\\\\\n\t]{0,12}";
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        (-100_000i64..100_000).prop_map(|cents| serde_json::Value::from(cents as f64 / 100.0)),
        any::<f64>()
            .prop_filter("JSON has no such number", |value| value.is_finite())
            .prop_map(serde_json::Value::from),
        text.prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::btree_map(text, inner, 0..5)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
    let name = prop_oneof![
        4 => prop::sample::select(vec!["store", "item", "price", "ts"]).prop_map(str::to_owned),
        1 => "[a-z\"\\\\é]{0,6}",
    ];
    prop::collection::vec((name, any_json()), 0..8).prop_map(|fields| fields.into_iter().collect())
}

/// Bytes that mean something to a JSON reader.
const MARKS: &[u8] = br#"{}[]",:\'0-+.eEINn/"#;

type Damage = (prop::sample::Index, u8, u8);

fn any_damage() -> impl Strategy<Value = Vec<Damage>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4)
}

fn damaged(mut payload: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for (at, byte, kind) in damage {
        let at = at.index(payload.len() + 1);
        match kind {
            0 if at < payload.len() => payload[at] = *byte,
            1 => payload.truncate(at),
            2 if at < payload.len() => drop(payload.remove(at)),
            _ => payload.insert(at, MARKS[usize::from(*byte) % MARKS.len()]),
        }
    }
    payload
}

/// An object as careless hands would write one: odd numbers and texts, values of any kind in any column,
/// blanks, names twice.
fn near_json() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "\"store\"",
        "'price'",
        "\"ts\"",
        "\"i\"",
        "\"b\"",
        "\"m\"",
        "\"at\"",
        "\"x\"",
        "\"\\u0069\"",
        "\"\"",
    ]);
    let leaf = prop_oneof![
        "-?[0-9]{1,25}(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?",
        "\"([a-z é日']|\\\\[\"\\\\/bfnrtu']|\\\\u[0-9a-fD]{4}){0,8}\"",
        "\"[0-9,.:TZe+-]{0,24}\"",
        prop::sample::select(vec![
            "true",
            "false",
            "null",
            "NaN",
            "Infinity",
            "+Infinity",
            "+INF",
            "-INF",
            "-Infinity",
            "\"NaN\"",
            "\"-INF\"",
            "'it'",
            "'\"'",
            "-0",
            "0.0",
            "-0e9",
            "{}",
            "[]",
            "\"2025-09-02T08:00:00Z\"",
            "\"1,5\"",
        ])
        .prop_map(str::to_owned),
    ];
    let blank = prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t")];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec(("\"[a-z]{0,3}\"", inner), 0..4).prop_map(|fields| {
                let field = |(name, value): &(String, String)| format!("{name} :{value}");
                format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(" ,"))
            }),
        ]
    });
    prop::collection::vec((name, blank, value), 0..8).prop_map(|fields| {
        let field = |(name, blank, value): &(&str, &str, String)| {
            format!("{blank}{name}{blank}:{blank}{value}{blank}")
        };
        format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(",")).into_bytes()
    })
}

/// How a producer writes records: what stands before, behind and around each name, in its order.
type Manner = Vec<(&'static str, &'static str, &'static str)>;

fn manner() -> impl Strategy<Value = Manner> {
    let blanks = || prop::sample::select(vec!["", "", "", " ", "\r\n\t", "                 "]);
    let name = prop::sample::select(vec![
        "\"store\"",
        "'store'",
        "\"item\"",
        "\"price\"",
        "\"ts\"",
        "\"t\\u0073\"",
        "\"a_name_that_is_longer_than_sixteen\"",
        "\"a_name_of_sixteen\"",
        "\"unknown\"",
        "store",
    ]);
    prop::collection::vec((blanks(), name, blanks()), 0..7)
}

/// Records of a few producers, some of them damaged.
fn records_of_producers() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let value = prop::sample::select(vec![
        "\"s\"",
        "\"ein Süßes\"",
        "\"a\\nb\"",
        "1",
        "12.34",
        "1756800005",
        " 7",
        "0",
        "{}",
        "null",
        "nul",
        "",
    ]);
    let record = (
        any::<prop::sample::Index>(),
        prop::collection::vec(value, 7),
        prop::option::weighted(0.3, any_damage()),
    );
    (prop::collection::vec(manner(), 1..3), prop::collection::vec(record, 1..12)).prop_map(
        |(manners, records)| {
            let write =
                |(which, values, damage): (prop::sample::Index, Vec<&str>, Option<Vec<Damage>>)| {
                    let fields = which.get(&manners).iter().zip(values);
                    let fields: Vec<_> = fields
                        .map(|((before, name, behind), value)| {
                            format!("{before}{name}{behind}:{behind}{value}")
                        })
                        .collect();
                    let payload = format!("{{{}}}", fields.join(",")).into_bytes();
                    damaged(payload, &damage.unwrap_or_default())
                };
            records.into_iter().map(write).collect()
        },
    )
}

fn spans_lie_inside(decoded: &Decoded<'_>) -> bool {
    let source = decoded.event.source;
    let inside = |span: Span| {
        let buffer = match span.source {
            TextSource::Payload => source.payload,
            TextSource::Scratch => source.scratch,
        };
        let (start, len) = (span.start as usize, span.len as usize);
        buffer.get(start..start + len).is_some_and(|bytes| std::str::from_utf8(bytes).is_ok())
    };
    std::str::from_utf8(source.scratch).is_ok()
        && decoded.event.cells.iter().all(|cell| match cell {
            Cell::String(span) | Cell::Double(crate::types::Number::Text(span)) => inside(*span),
            _ => true,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_another_library_writes_is_read_as_it_was_meant(object in any_object(), pretty: bool) {
        let payload = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
        let mut decoder = sales();
        for _ in 0..2 {
            let decoded = decoder.decode(Some(payload.as_bytes()));
            prop_assert_eq!(row(&decoded), expected_row(&object), "{}", payload);
            prop_assert!(spans_lie_inside(&decoded));
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut decoder = Decoder::new(&pipeline(&SALES, Some((3, TimeFormat::Seconds)))).unwrap();
        prop_assert!(spans_lie_inside(&decoder.decode(Some(&bytes))));
    }

    #[test]
    fn damaged_json_is_decoded_without_panic_and_wholly_or_not_at_all(
        object in any_object(),
        damage in any_damage(),
    ) {
        let payload = damaged(serde_json::to_vec(&object).unwrap(), &damage);
        let mut decoder = Decoder::new(&pipeline(&SALES, Some((3, TimeFormat::Seconds)))).unwrap();
        let decoded = decoder.decode(Some(&payload));
        prop_assert!(spans_lie_inside(&decoded));
        // A fault inside of a column's text spoils that column alone.
        if decoded.fault.is_some_and(|fault| fault.reason <= FaultReason::TooLarge && fault.column.is_none()) {
            prop_assert!(decoded.event.cells.iter().all(|cell| *cell == Cell::Null));
        }
        // Another reader takes only what this one takes too.
        if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&payload).is_ok() {
            prop_assert!(decoded.fault.is_none_or(|fault| fault.reason > FaultReason::TooLarge));
        }
    }

    #[test]
    fn what_was_read_before_does_not_change_how_a_record_is_read(records in records_of_producers()) {
        let schema = [&SALES[..], &[
            ("a_name_that_is_longer_than_sixteen", DataType::String),
            ("a_name_of_sixteen", DataType::Double),
        ]].concat();
        let mut plan = pipeline(&schema, Some((3, TimeFormat::Seconds)));
        // A column that is not used.
        plan.output.remove(1);
        let fresh = Decoder::new(&plan).unwrap();
        let mut used = fresh.clone();
        for record in &records {
            let expected = format!("{:?}", fresh.clone().decode(Some(record)));
            let found = format!("{:?}", used.decode(Some(record)));
            prop_assert_eq!(found, expected, "{}", record.escape_ascii());
        }
    }

    #[test]
    fn the_quick_reader_and_the_careful_one_agree(record in near_json(), fault in any_damage()) {
        let every_type = [
            ("store", DataType::String),
            ("price", DataType::Double),
            ("ts", DataType::Long),
            ("i", DataType::Int),
            ("b", DataType::Boolean),
            ("m", DataType::Decimal { precision: 18, scale: 2 }),
            ("at", DataType::Timestamp),
        ];
        let mut decoder = Decoder::new(&pipeline(&every_type, None)).unwrap();
        for payload in [record.clone(), damaged(record, &fault)] {
            if let Some((quick, careful)) = decoder.read_both_ways(&payload) {
                prop_assert_eq!(quick, careful, "{}", payload.escape_ascii());
            }
        }
    }

    #[test]
    fn texts_of_times_are_read_without_panic(text in "\\PC{0,40}", near in "[0-9T:Z+. -]{0,30}") {
        let pattern = Pattern::new("[yyyyMMdd][EEE ]d/M/yy HH:mm[:ss[.SSS]][XXX][ z]").unwrap();
        for text in [text, near] {
            let session = Session { zone: Zone::UTC, clock: Timestamp(0) };
            let _ = time::iso(text.as_bytes(), &session);
            let _ = pattern.parse(&text, &Zone::UTC);
        }
    }
}

fn with(change: impl FnOnce(&mut Pipeline)) -> Decoder {
    let schema = [SALES.as_slice(), &[("_corrupt_record", DataType::String)]].concat();
    let mut pipeline = pipeline(&schema, None);
    pipeline.corrupt_column = Some(4);
    change(&mut pipeline);
    Decoder::new(&pipeline).unwrap()
}

#[test]
fn a_malformed_record_is_kept_whole_in_its_column() {
    let mut decoder = with(|_| {});
    let mut check = |payload: &[u8], expected: [&str; 5]| {
        assert_eq!(row(&decoder.decode(Some(payload))), expected);
    };
    let broken = r#"{"store":"a""#;
    check(broken.as_bytes(), ["NULL", "NULL", "NULL", "NULL", broken]);
    let misfit = r#"{"store":"a","price":"x","_corrupt_record":"y"}"#;
    check(misfit.as_bytes(), ["a", "NULL", "NULL", "NULL", misfit]);
    check(b"[1]", ["NULL", "NULL", "NULL", "NULL", "[1]"]);
    check(br#"{"store":"a","_corrupt_record":"y"}"#, ["a", "NULL", "NULL", "NULL", "NULL"]);
    check(b" ", ["NULL"; 5]);
    check(b"\xff{", ["NULL", "NULL", "NULL", "NULL", "\u{fffd}{"]);
}

#[test]
fn a_fault_inside_of_a_columns_text_spoils_that_column_alone() {
    let mut decoder = with(|_| {});
    let mut check = |payload: &str, expected: [&str; 4]| {
        let found = row(&decoder.decode(Some(payload.as_bytes())));
        assert_eq!(found[..4], expected, "{payload}");
        assert_eq!(found[4], payload);
    };
    check(r#"{"item":"i","store":"x\q}"#, ["NULL", "i", "NULL", "NULL"]);
    check(r#"{"store":"x\q,"item":"i"}"#, ["NULL", "i", "NULL", "NULL"]);
    check(r#"{"item":"i","store":"x\qy"}"#, NULLS);
    check(r#"{"item":"i","unknown":"x\q}"#, NULLS);
    check(r#"{"item":"i","store":{"ts":"x\q,"ts":5},"ts":6}"#, ["NULL", "i", "NULL", "5"]);
    check("{\"item\":\"i\",\"store\":\"x\n}", ["NULL", "i", "NULL", "NULL"]);
}

#[test]
fn options_take_in_more_or_less() {
    let check = |change: fn(&mut JsonOptions), payload: &str, expected: [&str; 4]| {
        let mut decoder = with(|pipeline| change(&mut pipeline.json));
        assert_eq!(row(&decoder.decode(Some(payload.as_bytes())))[..4], expected, "{payload}");
        let narrow = with(|_| {}).decode(Some(payload.as_bytes())).fault.is_some();
        let changed = decoder.decode(Some(payload.as_bytes())).fault.is_some();
        assert_ne!(narrow, changed, "{payload}");
    };
    let a = ["a", "NULL", "NULL", "NULL"];
    check(|json| json.allow_comments = true, "/*x*/{\"store\"://y\n\"a\"/*z*/}", a);
    check(|json| json.allow_unquoted_field_names = true, r#"{store:"a"}"#, a);
    check(|json| json.allow_backslash_escaping_any_character = true, r#"{"store":"\a"}"#, a);
    check(
        |json| json.allow_unquoted_control_chars = true,
        "{\"store\":\"a\tb\"}",
        ["a\tb", "NULL", "NULL", "NULL"],
    );
    check(
        |json| json.allow_numeric_leading_zeros = true,
        r#"{"store":-007,"item":-00,"price":01.50,"ts":0007}"#,
        ["-7", "0", "1.5", "7"],
    );
    check(|json| json.allow_single_quotes = false, "{'store':'a'}", NULLS);
    check(|json| json.allow_non_numeric_numbers = false, r#"{"price":NaN}"#, NULLS);
    check(|json| json.allow_non_numeric_numbers = false, r#"{"price":"NaN"}"#, NULLS);
}

#[test]
fn an_event_time_that_cannot_be_read_is_null_or_ends_the_run() {
    let read = |format: TimeFormat, semantics: Semantics, text: &str| {
        let mut pipeline = pipeline(&[("ts", DataType::String)], Some((0, format)));
        pipeline.semantics = semantics;
        let payload = format!("{{\"ts\":\"{text}\"}}");
        let mut decoder = Decoder::new(&pipeline).unwrap();
        let decoded = decoder.decode(Some(payload.as_bytes()));
        (decoded.event.time, decoded.time_error.map(|error| error.to_string()))
    };
    let pattern = || TimeFormat::Pattern("yyyy-MM-dd HH:mm:ss".to_owned());
    let (spark_35, spark_4) = (Semantics::of(Compat::Spark35), Semantics::of(Compat::Spark4));
    assert_eq!(read(TimeFormat::Iso, spark_35, "hello"), (None, None));
    let (_, error) = read(TimeFormat::Iso, spark_4, "hello");
    assert!(error.unwrap().starts_with("[CAST_INVALID_INPUT] The value 'hello'"));
    let (_, error) = read(pattern(), spark_35, "2025-9-2 8:0:5");
    assert!(error.unwrap().contains("PARSE_DATETIME_BY_NEW_PARSER"));
    assert_eq!(read(pattern(), spark_35, "2025-09-02T08:00:05"), (None, None));
    let (_, error) = read(pattern(), spark_4, "2025-9-2 8:0:5");
    assert!(error.unwrap().starts_with("[CANNOT_PARSE_TIMESTAMP] Text '2025-9-2 8:0:5'"));
    assert_eq!(read(pattern(), Semantics::default(), "2025-9-2 8:0:5"), (None, None));
}
