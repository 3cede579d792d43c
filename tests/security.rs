//! What a stranger can try with the real binary: reading its state, planting links in its directories,
//! putting text where a terminal or a path would take it for more, and looking for its secrets in what it
//! writes and says.
//!
//! Each test says how many checks it made on a line `CHECKED n`, which `scripts/security.sh` adds up. Not
//! here: brokers with TLS and a login (`secure_kafka`), arbitrary bytes (`fuzz`).

mod support;

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
};

use support::{
    Broker, CANARY, assert_no_secret, available_now, out_dir, produce, sales_stream, succeed,
};

/// Nothing listens on port 1 of the loopback interface.
const NOBODY: &str = "127.0.0.1:1";

/// What librdkafka says of its settings, logins and requests. Not of its queues and messages: a producer
/// that is flushed makes new words of those faster than they are taken.
const DEBUG: &str = "debug=security,conf,feature,protocol,metadata";

/// Counts what was tried and says so at the end.
#[derive(Default)]
struct Checks(u64);

impl Drop for Checks {
    fn drop(&mut self) {
        if self.0 > 0 {
            println!("CHECKED {}", self.0);
        }
    }
}

impl Checks {
    /// Runs a command to its end, whatever that is, and looks for the secret in what it said.
    fn run(&mut self, command: &mut Command) -> Output {
        self.0 += 1;
        let output = command.output().expect("the binary can be started");
        assert_no_secret(&format!("stdout of {:?}", command.get_program()), &output.stdout);
        assert_no_secret(&format!("stderr of {:?}", command.get_program()), &output.stderr);
        output
    }

    fn run_side_by_side(&mut self, commands: Vec<Command>) {
        std::thread::scope(|scope| {
            let run = |mut command: Command| {
                let mut checks = Checks::default();
                checks.run(&mut command);
                std::mem::take(&mut checks.0)
            };
            let started: Vec<_> =
                commands.into_iter().map(|command| scope.spawn(move || run(command))).collect();
            self.0 += started.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>();
        });
    }

    /// Runs a command that must end with `code` and say `expected`.
    fn refuse(&mut self, command: &mut Command, code: i32, expected: &str) -> String {
        let output = self.run(command);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{command:?}: {message}");
        assert!(message.contains(expected), "{expected:?} is not in: {message}");
        message
    }
}

/// Everything below a directory, without following links.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found
}

fn assert_no_secret_in_files(directory: &Path, checks: &mut Checks) {
    for path in below(directory) {
        assert_no_secret(&path.display().to_string(), path.as_os_str().as_encoded_bytes());
        if path.is_file() {
            checks.0 += 1;
            assert_no_secret(&path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Lets a command's process begin with this umask.
fn with_umask(command: &mut Command, umask: u32) -> &mut Command {
    // SAFETY: setting the umask is all that happens between fork and exec, and is safe there.
    unsafe {
        command.pre_exec(move || {
            libc::umask(umask);
            Ok(())
        })
    }
}

#[test]
fn state_is_for_its_owner_alone_and_results_for_whom_the_umask_lets_in() {
    let mut checks = Checks::default();
    let broker = Broker::start(&["sales:1"]);
    produce(&broker.address, "sales", 500, &[]);
    for umask in [0o000, 0o022, 0o027] {
        let home = tempfile::tempdir().unwrap();
        let name = format!("mode{umask}");
        let mut run = available_now(&broker.address, "sales", home.path(), &name);
        run.arg("--progress").arg(format!("jsonl:{}", home.path().join("progress").display()));
        succeed(with_umask(&mut run, umask));
        let state = home.path().join(format!("checkpoint-{name}"));
        succeed(with_umask(
            sales_stream()
                .args(["checkpoints", "backup"])
                .arg(home.path().join("copy"))
                .args(["--checkpoint-dir", state.to_str().unwrap()]),
            umask,
        ));
        for root in [state.join("sales"), home.path().join("copy")] {
            for path in below(&root).iter().chain([&root]) {
                let allowed = if path.is_dir() { 0o700 } else { 0o600 };
                assert_eq!(mode(path) & !allowed, 0, "{} {:o}", path.display(), mode(path));
                checks.0 += 1;
            }
        }
        let out = out_dir(home.path(), &name);
        assert_eq!(mode(&out), 0o777 & !umask);
        for path in below(&out).iter().chain([&home.path().join("progress")]) {
            assert_eq!(mode(path), 0o666 & !umask, "{}", path.display());
            checks.0 += 1;
        }
    }
}

#[test]
fn state_that_others_may_read_is_closed_to_them_and_what_they_may_write_is_refused() {
    let mut checks = Checks::default();
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let run = || available_now(&broker.address, "sales", home.path(), "a");
    succeed(&mut run());
    let state = home.path().join("checkpoint-a/sales");
    fs::set_permissions(state.join("db"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(state.join("db/CURRENT"), fs::Permissions::from_mode(0o644)).unwrap();
    succeed(&mut run());
    assert_eq!(mode(&state.join("db")), 0o700);
    assert_eq!(mode(&state.join("db/CURRENT")), 0o600);
    for open in [0o770, 0o702, 0o1777] {
        fs::set_permissions(&state, fs::Permissions::from_mode(open)).unwrap();
        checks.refuse(&mut run(), 12, "chmod 700");
        assert_eq!(mode(&state), open, "nothing was changed");
    }
    checks.0 += 4;
}

/// What there is to be protected: a file that must not change, and a directory that must stay empty.
struct Victim {
    file: PathBuf,
    directory: PathBuf,
}

impl Victim {
    fn new(home: &Path) -> Victim {
        let victim = Victim { file: home.join("victim"), directory: home.join("elsewhere") };
        fs::write(&victim.file, "precious\n").unwrap();
        fs::create_dir(&victim.directory).unwrap();
        victim
    }

    fn assert_untouched(&self) {
        assert_eq!(fs::read_to_string(&self.file).unwrap(), "precious\n");
        assert_eq!(fs::read_dir(&self.directory).unwrap().count(), 0);
    }
}

#[test]
fn links_and_pipes_in_a_state_directory_are_refused_and_nothing_behind_them_is_touched() {
    let mut checks = Checks::default();
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let victim = Victim::new(home.path());
    let run = |name: &str| available_now(&broker.address, "sales", home.path(), name);
    succeed(&mut run("whole"));
    let whole = home.path().join("checkpoint-whole");
    // The last column: whether a look without a lock meets it.
    let planted: [(&str, &Path); 8] = [
        ("", &victim.directory),
        ("db", &victim.directory),
        ("visible", &victim.file),
        (".lock", &victim.file),
        (".visible.new", &victim.file),
        (".restoring", &victim.directory),
        ("db/CURRENT", &victim.file),
        ("db/LOG", &victim.file),
    ];
    for (number, (name, target)) in planted.into_iter().enumerate() {
        for began in [true, false] {
            let root = home.path().join(format!("checkpoint-{number}{began}"));
            let state = root.join("sales");
            fs::create_dir(&root).unwrap();
            if began {
                support::copy_dir(&whole.join("sales"), &state);
            } else if name.is_empty() || !name.contains('/') {
                fs::create_dir(&state).unwrap();
            } else {
                continue;
            }
            fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
            let place = if name.is_empty() { state.clone() } else { state.join(name) };
            if place.is_dir() {
                fs::remove_dir_all(&place).unwrap();
            } else {
                let _ = fs::remove_file(&place);
            }
            symlink(target, &place).unwrap();
            let told = checks.refuse(&mut run(&format!("{number}{began}")), 12, "symbolic link");
            assert!(told.contains(name), "{told}");
            let look = |verb: &[&str]| {
                let mut look = sales_stream();
                look.args(verb).args(["--pipeline", "sales", "--checkpoint-dir"]).arg(&root);
                look
            };
            checks.refuse(&mut look(&["checkpoints", "verify"]), 12, "symbolic link");
            checks.refuse(&mut look(&["inspect"]), 12, "symbolic link");
            victim.assert_untouched();
        }
    }
    // A pipe is waited for by whoever opens it.
    let state = home.path().join("checkpoint-pipe/sales");
    support::copy_dir(&whole.join("sales"), &state);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(state.join("visible")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, state.join("visible"), rustix::fs::Mode::RUSR).unwrap();
    assert!(fs::symlink_metadata(state.join("visible")).unwrap().file_type().is_fifo());
    checks.refuse(&mut run("pipe"), 12, "neither file nor directory");
}

#[test]
fn links_in_the_directory_of_results_are_not_followed() {
    let mut checks = Checks::default();
    let broker = Broker::start(&["sales:1"]);
    produce(&broker.address, "sales", 500, &[]);
    for name in [
        "_query",
        ".lock",
        "batch-000000000000.jsonl",
        "batch-000000000001.jsonl",
        "._query.tmp",
        ".batch-000000000000.jsonl.tmp",
        ".batch-000000000001.jsonl.tmp",
    ] {
        let home = tempfile::tempdir().unwrap();
        let victim = Victim::new(home.path());
        let mut run = available_now(&broker.address, "sales", home.path(), &name.replace('.', "-"));
        let out = out_dir(home.path(), &name.replace('.', "-"));
        fs::create_dir(&out).unwrap();
        symlink(&victim.file, out.join(name)).unwrap();
        let output = checks.run(&mut run);
        victim.assert_untouched();
        // Temporary names are ours to take back; under the others somebody else's file stays.
        assert_eq!(output.status.success(), name.ends_with(".tmp"), "{name}");
    }
}

#[test]
fn copies_go_where_they_are_told_and_nowhere_else() {
    let mut checks = Checks::default();
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let victim = Victim::new(home.path());
    succeed(&mut available_now(&broker.address, "sales", home.path(), "a"));
    let root = home.path().join("checkpoint-a");
    let command = |verb: &str, place: &Path, root: &Path| {
        let mut command = sales_stream();
        command.args(["checkpoints", verb]).arg(place).arg("--checkpoint-dir").arg(root);
        command
    };
    let link = home.path().join("link");
    symlink(&victim.directory, &link).unwrap();
    checks.refuse(&mut command("backup", &link, &root), 12, "symbolic link");
    let open = home.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    checks.refuse(&mut command("backup", &open, &root), 12, "chmod 700");
    victim.assert_untouched();

    let copy = home.path().join("copy");
    succeed(&mut command("backup", &copy, &root));
    let manifest = fs::read_to_string(copy.join("manifest.json")).unwrap();
    let file = "\"visible\"";
    for (from, to, code) in [
        ("\"sales\"", "\"../stolen\"", 11),
        ("\"sales\"", "\"/tmp/stolen\"", 11),
        (file, "\"../visible\"", 11),
        (file, "\"db/../../visible\"", 11),
        (file, "\"/etc/visible\"", 11),
    ] {
        let changed = manifest.replacen(from, to, 1);
        assert_ne!(changed, manifest, "{from}");
        fs::write(copy.join("manifest.json"), changed).unwrap();
        let into = home.path().join("restored");
        checks.refuse(&mut command("restore", &copy, &into), code, "manifest.json");
        assert!(!home.path().join("stolen").exists() && !home.path().join("visible").exists());
    }
    fs::write(copy.join("manifest.json"), &manifest).unwrap();
    // The same bytes behind a link: what is copied would be whatever is there at that moment.
    fs::rename(copy.join("visible"), home.path().join("moved")).unwrap();
    symlink(home.path().join("moved"), copy.join("visible")).unwrap();
    checks.refuse(
        &mut command("restore", &copy, &home.path().join("linked")),
        14,
        "symbolic links",
    );
    fs::remove_file(copy.join("visible")).unwrap();
    fs::rename(home.path().join("moved"), copy.join("visible")).unwrap();
    let dangling = home.path().join("target");
    fs::create_dir(&dangling).unwrap();
    symlink(&victim.directory, dangling.join("sales")).unwrap();
    checks.refuse(&mut command("restore", &copy, &dangling), 12, "symbolic link");
    victim.assert_untouched();
    succeed(&mut command("restore", &copy, &home.path().join("right")));
}

#[test]
fn names_cannot_leave_their_directory() {
    let mut checks = Checks::default();
    let home = tempfile::tempdir().unwrap();
    let spec = home.path().join("spec.toml");
    let preset =
        String::from_utf8(succeed(sales_stream().args(["pipeline", "show", "sales"])).stdout)
            .unwrap();
    for name in ["../x", "/tmp/x", "..", ".", "a/b", "a\\u0000b", "", "-x"] {
        fs::write(&spec, preset.replace("name = \"sales\"", &format!("name = \"{name}\"")))
            .unwrap();
        let mut run = sales_stream();
        run.current_dir(home.path()).args(["--brokers", NOBODY, "--startup-timeout", "1s"]);
        checks.refuse(run.arg("--pipeline").arg(&spec), 2, "name");
        let mut look = sales_stream();
        look.current_dir(home.path()).args(["checkpoints", "verify"]);
        if !name.contains("\\u") {
            checks.refuse(look.arg(format!("--pipeline={name}")), 2, "pipeline");
        }
    }
    for topic in ["../x", "a/b", "..", "a b", "a\nb", ""] {
        let mut run = sales_stream();
        run.current_dir(home.path()).args(["--brokers", NOBODY, "--startup-timeout", "1s"]);
        checks.refuse(run.arg(format!("--topic={topic}")), 2, "topic");
    }
    assert_eq!(below(home.path()), [spec], "nothing was made");
}

#[test]
fn text_of_strangers_is_escaped_wherever_it_is_shown() {
    let mut checks = Checks::default();
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let hostile = [
        "\\u001b]0;owned\\u0007\\u001b[2J",
        "line\\nbreak\\r\\n{\\\"store\\\":\\\"forged\\\"}",
        "\\u009b31m\\u0000\\u0008",
        "../../../../tmp/owned",
        "${jndi:ldap://x} $(touch owned) `id`",
    ];
    let mut values: Vec<Vec<u8>> =
        hostile.iter().map(|store| support::sale_json(store, "1.00", 5)).collect();
    values.push(b"{\"store\": \"\x1b[2J".to_vec());
    values.push(support::sale_json("later", "1.00", 500));
    let borrowed: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    support::send(&broker.address, "sales", 0, &borrowed);
    let letters = home.path().join("letters");
    let mut run = available_now(&broker.address, "sales", home.path(), "a");
    run.args(["--sink", "console", "--truncate", "false", "--log-level", "trace"]);
    run.arg("--dead-letter").arg(format!("files:{}", letters.display()));
    run.args(["--progress", "stderr"]);
    let output = checks.run(&mut run);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut inspect = sales_stream();
    inspect.args(["inspect", "--window", "0", "--checkpoint-dir"]);
    let inspected = checks.run(inspect.arg(home.path().join("checkpoint-a")));
    let mut json = sales_stream();
    json.args(["inspect", "--json", "--window", "0", "--checkpoint-dir"]);
    let json = checks.run(json.arg(home.path().join("checkpoint-a")));
    // A table in a pipe has Spark's bytes; for a terminal it escapes more (`sink::console`).
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(!table.contains(['\r', '\u{7}', '\u{8}']), "{}", table.escape_debug());
    assert!(!table.contains("\n{\"store\":\"forged\"}"), "{table}");
    let mut shown =
        vec![output.stderr, inspected.stdout, inspected.stderr, json.stdout, json.stderr];
    for directory in [&out_dir(home.path(), "a"), &letters] {
        shown.extend(support::batch_files(directory).into_values());
    }
    for bytes in shown {
        let text = String::from_utf8(bytes).unwrap();
        let command = text.chars().find(|c| matches!(c, '\u{1b}' | '\u{7}' | '\u{8}' | '\r'));
        assert_eq!(command, None, "{}", text.escape_debug());
        assert!(!text.contains("\n{\"store\":\"forged\"}"), "{text}");
        checks.0 += 1;
    }
    let rows = support::results(&out_dir(home.path(), "a"));
    assert_eq!(rows.len(), hostile.len(), "each is one row of its own: {rows:?}");
    assert!(!home.path().join("owned").exists() && !Path::new("/tmp/owned").exists());
}

/// Options that hold a secret, with what else they need to be looked at by librdkafka.
fn secrets() -> Vec<(&'static str, String, &'static [&'static str])> {
    let key = format!("-----BEGIN PRIVATE KEY-----\\n{CANARY}\\n-----END PRIVATE KEY-----");
    let login = &["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", "sasl.username=u"];
    let tls = &["security.protocol=SSL"];
    let token = &["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=OAUTHBEARER"];
    let unsecured = &[
        "security.protocol=SASL_PLAINTEXT",
        "sasl.mechanism=OAUTHBEARER",
        "enable.sasl.oauthbearer.unsecure.jwt=true",
    ];
    vec![
        ("sasl.password", CANARY.to_owned(), login),
        ("sasl.password", CANARY.to_owned(), &[]),
        ("ssl.key.pem", key.clone(), tls),
        ("ssl.key.password", CANARY.to_owned(), tls),
        ("ssl.keystore.password", CANARY.to_owned(), tls),
        ("ssl.certificate.pem", CANARY.to_owned(), tls),
        ("sasl.oauthbearer.config", format!("principal=me {CANARY}"), unsecured),
        ("sasl.oauthbearer.config", format!("principal={CANARY} scope=x"), unsecured),
        ("sasl.oauthbearer.config", CANARY.to_owned(), token),
        ("sasl.oauthbearer.client.secret", CANARY.to_owned(), token),
        ("sasl.jaas.config", format!("x.PlainLoginModule required password=\"{CANARY}\";"), login),
        ("retries", CANARY.to_owned(), &[]),
        ("security.protocol", CANARY.to_owned(), &[]),
        ("debug", CANARY.to_owned(), &[]),
    ]
}

/// Every way to a Kafka client, each as a command that ends by itself.
fn verbs(brokers: &str, home: &Path) -> Vec<Command> {
    let mut run = available_now(brokers, "sales", home, "a");
    run.args(["--startup-timeout", "500ms", "--shutdown-timeout", "1s"]);
    run.arg("--progress").arg(format!("jsonl:{}", home.join("progress").display()));
    let with = |arguments: &[&str]| {
        let mut command = sales_stream();
        command.args(arguments).args(["--brokers", brokers]);
        command
    };
    let timed = ["--timeout", "500ms"];
    let mut inspect = with(&["inspect", "--checkpoint-dir"]);
    inspect.arg(home.join("checkpoint-a"));
    vec![
        run,
        with(&[&["produce", "sales", "--events", "3", "--rate", "unlimited"], &timed[..]].concat()),
        with(&[&["consume", "sales", "--from-beginning", "--max", "1"], &timed[..]].concat()),
        with(&[&["topics", "create", "more"], &timed[..]].concat()),
        with(&[&["topics", "list"], &timed[..]].concat()),
        inspect,
    ]
}

#[test]
fn no_output_and_no_file_shows_a_secret_however_it_is_given() {
    let mut checks = Checks::default();
    let broker = Broker::start(&["sales:1"]);
    produce(&broker.address, "sales", 200, &[]);
    let home = tempfile::tempdir().unwrap();
    let loud = ["--log-level", "trace", "--allow-unsafe-kafka-options"];
    for (index, (name, value, more)) in secrets().into_iter().enumerate() {
        // The verbs side by side, for most of them only wait; each is given every other secret as a flag.
        let mut commands = verbs(&broker.address, home.path());
        for (number, command) in commands.iter_mut().enumerate() {
            command.args(loud).args(["--kafka-option", DEBUG]);
            for option in more {
                command.args(["--kafka-option", option]);
            }
            if (index + number) % 2 == 0 {
                command.arg("--kafka-option").arg(format!("{name}={value}"));
            } else {
                let all = more.join("\n");
                command.env_remove("SALES_STREAM_KAFKA_OPTIONS");
                command.env("SALES_STREAM_KAFKA_OPTIONS", format!("{all}\n{name}={value}\n"));
            }
        }
        checks.run_side_by_side(commands);
    }
    let mut commands = verbs(NOBODY, home.path());
    for command in &mut commands {
        command.args(loud).args(["--kafka-option", DEBUG]);
    }
    checks.run_side_by_side(commands);
    assert_no_secret_in_files(home.path(), &mut checks);
}

#[test]
fn a_secret_in_a_spec_is_neither_kept_nor_told() {
    let mut checks = Checks::default();
    let broker = Broker::start(&["sales:1"]);
    produce(&broker.address, "sales", 200, &[]);
    let home = tempfile::tempdir().unwrap();
    let preset =
        String::from_utf8(succeed(sales_stream().args(["pipeline", "show", "sales"])).stdout)
            .unwrap();
    let spec = home.path().join("spec.toml");
    let secrets = format!(
        "# the old one was {CANARY}\n{preset}\n[run.kafka]\n\"sasl.password\" = \"{CANARY}\"\n\
         \"ssl.key.pem\" = \"{CANARY}\"\n"
    );
    fs::write(&spec, &secrets).unwrap();
    let mut run = available_now(&broker.address, "sales", home.path(), "a");
    run.arg("--pipeline").arg(&spec).args(["--log-level", "trace"]);
    let output = checks.run(&mut run);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let state = home.path().join("checkpoint-a");
    let look = |arguments: &[&str]| {
        let mut look = sales_stream();
        look.args(arguments).arg("--checkpoint-dir").arg(&state);
        look
    };
    let copy = home.path().join("copy");
    for arguments in [
        &["inspect"][..],
        &["inspect", "--json"],
        &["checkpoints", "list"],
        &["checkpoints", "verify"],
        &["checkpoints", "backup", copy.to_str().unwrap()],
    ] {
        let output = checks.run(&mut look(arguments));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // Mistakes right beside it.
    for wrong in [
        format!("[run.kafka]\n\"sasl.password\" = {CANARY}\n"),
        format!("[run.kafka]\nsasl.password = \"{CANARY}\"\n"),
        format!("[run.kafka]\n\"sasl.password\" = [\"{CANARY}\"]\n"),
        format!("[run.kafka]\n\"sasl.password\" = \"{CANARY}\n"),
        format!("[run.kafka]\n\"sasl.password\" = '''{CANARY}\n"),
        format!("kafka = \"sasl.password={CANARY}\"\n"),
        format!("kafka = [\"sasl.password={CANARY}\"]\n"),
        format!("\"sasl.password\" = \"{CANARY}\"\n"),
        format!("[kafka]\n\"sasl.password\" = \"{CANARY}\"\n"),
        format!("[run.kafka]\n\"group.id\" = \"{CANARY}\"\n"),
        format!("[run.kafka]\n\"plugin.library.paths\" = \"{CANARY}\"\n"),
        format!("[run.kafka]\n\"sasl.password\" = \"\\q{CANARY}\"\n"),
        format!("[run.kafka]\n\"sasl.password\" = \"{CANARY}\" \"{CANARY}\"\n"),
    ] {
        let path = home.path().join("wrong.toml");
        fs::write(&path, format!("{preset}\n{wrong}")).unwrap();
        checks.run(sales_stream().args(["pipeline", "check"]).arg(&path));
        let mut run = sales_stream();
        run.args(["--brokers", NOBODY, "--startup-timeout", "300ms", "--pipeline"]).arg(&path);
        run.arg("--checkpoint-dir").arg(home.path().join("none"));
        let output = checks.run(&mut run);
        assert!(!output.status.success(), "{wrong}");
        fs::remove_file(&path).unwrap();
    }
    fs::remove_file(&spec).unwrap();
    assert_no_secret_in_files(home.path(), &mut checks);
}

#[test]
fn a_slip_on_the_command_line_does_not_quote_a_secret() {
    let mut checks = Checks::default();
    let pair = format!("sasl.password={CANARY}");
    for arguments in [
        &["--kafka-option", "x.y=z", &pair][..],
        &["--kafka-optoin", &pair],
        &["--kafka-option", "sasl.password", CANARY],
        &["--kafka-option=sasl.password", CANARY],
        &["produce", "sales", &pair],
        &["topics", "list", "--kafka-option", "sasl.password", CANARY],
        &["--trigger", "no", "--kafka-option", &pair],
        &["--kafka-option", &pair, "produce", "sales"],
        &["--kafka-option", CANARY],
        &["--brokers", "", "--kafka-option", &pair],
        &["--help", "--kafka-option", &pair],
    ] {
        let output = checks.run(sales_stream().args(arguments));
        assert!(matches!(output.status.code(), Some(0 | 2)), "{arguments:?}");
    }
}

#[test]
fn options_that_run_or_load_things_need_permission_on_every_way_in() {
    let mut checks = Checks::default();
    let home = tempfile::tempdir().unwrap();
    let owned = home.path().join("owned");
    let touch = format!("touch {}", owned.display());
    for (name, value) in [
        ("plugin.library.paths", "/tmp/evil.so"),
        ("topic.plugin.library.paths", "/tmp/evil.so"),
        ("sasl.kerberos.kinit.cmd", &touch),
        ("sasl.kerberos.principal", "$(id)"),
        ("ssl.engine.location", "/tmp/evil.so"),
        ("ssl.providers", "evil"),
        ("sasl.oauthbearer.token.endpoint.url", "file:///etc/passwd"),
        ("some.future.option", "x"),
    ] {
        let spec = home.path().join("spec.toml");
        let preset = succeed(sales_stream().args(["pipeline", "show", "sales"])).stdout;
        let preset = String::from_utf8(preset).unwrap();
        fs::write(&spec, format!("{preset}\n[run.kafka]\n\"{name}\" = \"{value}\"\n")).unwrap();
        let pair = format!("{name}={value}");
        for mut command in verbs(NOBODY, home.path()) {
            // A view needs a checkpoint first, and asks Kafka after it.
            if command.get_args().any(|argument| argument == "inspect") {
                continue;
            }
            let refused = "--allow-unsafe-kafka-options";
            checks.refuse(command.args(["--kafka-option", &pair]), 2, refused);
        }
        let mut run = sales_stream();
        run.args(["--brokers", NOBODY]).arg("--pipeline").arg(&spec);
        checks.refuse(&mut run, 2, "--allow-unsafe-kafka-options");
        let mut run = sales_stream();
        run.args(["--brokers", NOBODY]).env("SALES_STREAM_KAFKA_OPTIONS", &pair);
        checks.refuse(&mut run, 2, "--allow-unsafe-kafka-options");
    }
    assert!(!owned.exists());
}

#[test]
fn a_connection_that_is_not_checked_is_warned_of() {
    let mut checks = Checks::default();
    for (option, expected) in [
        ("enable.ssl.certificate.verification=false", "certificates are not checked"),
        ("ssl.endpoint.identification.algorithm=none", "any host"),
        ("security.protocol=SASL_PLAINTEXT", "without encryption"),
    ] {
        let mut list = sales_stream();
        list.args(["topics", "list", "--brokers", NOBODY, "--timeout", "200ms"]);
        let message = checks.run(list.args(["--kafka-option", option]));
        let message = String::from_utf8_lossy(&message.stderr).into_owned();
        assert!(message.contains("WARN") && message.contains(expected), "{message}");
    }
}
