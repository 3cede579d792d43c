//! What can be typed, what is refused, and what help shows.

use clap::{CommandFactory as _, error::ErrorKind};

use super::*;
use crate::batch::Permission;

fn refused(arguments: &[&str]) -> clap::Error {
    match parse(["sales-stream"].iter().chain(arguments)) {
        Ok(parsed) => panic!("{arguments:?} are taken: {parsed:?}"),
        Err(error) => error,
    }
}

fn produce_sales(arguments: &[&str]) -> ProduceSalesArguments {
    let all = ["sales-stream", "produce", "sales"].iter().chain(arguments);
    match parse(all).unwrap_or_else(|error| panic!("{error}")).command {
        Some(Command::Produce(ProduceCommand::Sales(sales))) => sales,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_arguments_fit_together() {
    Arguments::command().debug_assert();
}

#[test]
fn every_option_of_a_run_has_a_variable_named_after_it() {
    for argument in Arguments::command().get_arguments() {
        let Some(long) = argument.get_long() else { continue };
        if matches!(long, "help" | "version") {
            continue;
        }
        let variable = argument.get_env().expect(long).to_str().unwrap();
        // The one variable that is a list by nature.
        let name = if long == "kafka-option" { "kafka-options" } else { long };
        let expected = format!("SALES_STREAM_{}", name.to_uppercase().replace('-', "_"));
        assert_eq!(variable, expected);
    }
}

#[test]
fn no_help_shows_the_value_of_a_variable() {
    fn check(command: &clap::Command) {
        for argument in command.get_arguments().filter(|argument| argument.get_env().is_some()) {
            assert!(argument.is_hide_env_values_set(), "{}", argument.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    check(&prepared(Arguments::command()));
}

#[test]
fn a_million_reproducible_sales_can_be_asked_for() {
    let sales = produce_sales(&[
        "--events",
        "1000000",
        "--rate",
        "unlimited",
        "--seed",
        "7",
        "--stores",
        "100",
        "--time-scale",
        "4",
        "--out-of-order",
        "20s",
        "--start-time",
        "2025-09-02T08:00:00Z",
    ]);
    assert_eq!(sales.events, Events::Limited(1_000_000));
    assert_eq!(sales.time_scale, crate::producer::TimeScale(4_000_000));
    assert_eq!(sales.out_of_order, std::time::Duration::from_secs(20));
    assert_eq!(sales.start_time, Some(crate::types::Timestamp(1_756_800_000_000_000)));
}

#[test]
fn options_of_a_run_are_not_ignored_in_front_of_another_command() {
    let error = refused(&["--brokers", "x:1", "produce", "sales"]);
    assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    let message = error.to_string();
    assert!(message.contains("--brokers") && message.contains("produce"), "{message}");
    assert!(parse(["sales-stream", "--log-level", "off", "produce", "sales"]).is_ok());
    assert!(parse(["sales-stream", "produce", "sales", "--log-level", "off"]).is_ok());
}

#[test]
fn mistakes_say_what_would_be_right() {
    let check = |arguments: &[&str], part: &str| {
        let message = refused(arguments).to_string();
        assert!(message.contains(part), "{message}");
    };
    check(&["--trigger", "ten"], "available-now");
    check(&["--sink", "file:x"], "files:DIR");
    check(&["--output-mode", "upsert"], "append or update or complete");
    check(&["--truncate", "maybe"], "true, false");
    check(&["--triger", "10s"], "--trigger");
    check(&["prodcue", "sales"], "produce");
    check(&["produce", "sales", "--rate", "0"], "unlimited");
    check(&["produce", "sales", "--start-time", "today"], "2025-09-02T08:00:00Z");
    check(&["topics", "create", "sales", "--partitions", "0"], "1..");
    check(&["pipeline", "show", "slaes"], "sales");
}

#[test]
fn a_negative_value_is_refused_by_its_own_option() {
    let all: &[&[&str]] = &[
        &["--max-offsets-per-trigger", "-1"],
        &["--num-rows", "-1"],
        &["--trigger", "-5s"],
        &["--watermark", "-30s"],
        &["--startup-timeout", "-1s"],
        &["produce", "sales", "--rate", "-1"],
        &["produce", "sales", "--events", "-3"],
        &["produce", "sales", "--late-fraction", "-0.5"],
        &["produce", "sales", "--out-of-order", "-1s"],
        &["topics", "create", "sales", "--partitions", "-3"],
    ];
    for arguments in all {
        let error = refused(arguments);
        assert_eq!(error.kind(), ErrorKind::ValueValidation, "{arguments:?}: {error}");
        let option = arguments[arguments.len() - 2];
        assert!(error.to_string().contains(option), "{error}");
    }
}

#[test]
fn run_version_and_help_may_be_typed_as_words() {
    let run = parse(["sales-stream", "run", "--brokers", "x:1"]).unwrap();
    assert!(run.command.is_none());
    assert_eq!(run.run.connect.brokers.as_deref(), Some("x:1"));
    assert_eq!(refused(&["version"]).kind(), ErrorKind::DisplayVersion);
    assert_eq!(refused(&["help"]).kind(), ErrorKind::DisplayHelp);
    let produce = refused(&["help", "produce"]);
    assert_eq!(produce.kind(), ErrorKind::DisplayHelp);
    assert!(produce.to_string().contains("transactions"), "{produce}");
}

#[test]
fn nothing_typed_shows_the_value_of_a_kafka_option() {
    let parsed = parse(["sales-stream", "--kafka-option", "sasl.password=hunter2"]).unwrap();
    assert!(!format!("{parsed:?}").contains("hunter2"));
}

#[test]
fn every_command_explains_itself_and_every_argument_has_a_help() {
    fn check(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    check(&Arguments::command());
}

#[test]
fn a_permission_is_given_alone_or_with_the_lineage_that_is_given_up() {
    let given = |argument: &str| {
        let parsed = parse(["sales-stream", argument]).unwrap_or_else(|error| panic!("{error}"));
        parsed.run.checkpoint.accept_rollback
    };
    let lineage = crate::types::Lineage(42);
    assert_eq!(given("--accept-rollback"), Some(Permission::Unnamed));
    let named = given(&format!("--accept-rollback={lineage}"));
    assert_eq!(named, Some(Permission::Naming(lineage)));
    assert_eq!(given("--start-over"), None);
    for wrong in ["--accept-rollback=", "--start-over=42", "--start-over=yes"] {
        assert!(refused(&[wrong]).to_string().contains("32 hexadecimal digits"), "{wrong}");
    }
    refused(&["--start-over", &lineage.to_string()]);
}
