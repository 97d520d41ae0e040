use std::path::Path;

use super::*;

fn places(url: &str) -> Vec<String> {
    let url = PostgresUrl::parse(url).unwrap();
    (0..url.len()).map(|server| place(&url.options(server).unwrap())).collect()
}

fn used(url: &str) -> Result<PgConnectOptions, ConnectError> {
    PostgresUrl::parse(url)?.options(0)
}

fn refusal(url: &str) -> String {
    used(url).expect_err("it is refused").to_string()
}

#[test]
fn a_parameter_that_the_driver_does_not_know_is_refused_by_name_alone() {
    for (url, name) in [
        ("postgres://u@h/d?sslpassword=hunter2", "sslpassword"),
        ("postgres://u@h/d?sslmode=disable&secret=hunter2", "secret"),
        ("postgres://u@h/d?hunter=2#x", "hunter"),
        ("postgres://u@h/d?a=b&c", "a"),
        ("postgres://u@h/d?SSLMODE=hunter2", "SSLMODE"),
    ] {
        let error = refusal(url);
        assert!(error.contains(&format!("unknown parameter {name:?}")), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_question_mark_in_a_password_is_not_taken_for_a_parameter() {
    for url in ["postgres://ann:pa?hunter2@h/d", "postgres://ann:pa?hun=ter2@h/d", "postgres://h/d?hun.ter2"]
    {
        let error = refusal(url);
        assert!(!error.contains("hun"), "{error}");
    }
}

#[test]
fn parameters_that_the_driver_knows_are_taken() {
    for query in [
        "",
        "sslmode=disable",
        "options[search_path]=a&application_name=x",
        "options%5Ba%5D=b",
        "&host=x",
        "target_session_attrs=primary",
    ] {
        assert!(used(&format!("postgres://u@h/d?{query}")).is_ok(), "{query}");
    }
}

#[test]
fn every_part_reaches_the_driver_as_it_was_meant() {
    let url = "postgresql://ann%40x:p%2Bw+d@h:5433/my%20db?application_name=a%20b&options=-c%20x%3D1+2";
    let url = PostgresUrl::parse(url).unwrap();
    let options = url.options(0).unwrap();
    assert_eq!((options.get_host(), options.get_port()), ("h", 5433));
    assert_eq!((options.get_username(), options.get_database()), ("ann@x", Some("my db")));
    assert_eq!(options.get_application_name(), Some("a b"));
    assert_eq!(options.get_options(), Some("-c x=1 2"));
    assert!(url.has_password() && format!("{options:?}").contains("p+w+d"));
}

#[test]
fn an_ipv6_address_loses_its_brackets_on_the_way_to_the_driver() {
    for (url, host, port) in [
        ("postgres://user@[::1]:5433/db", "::1", 5433),
        ("postgres://[fe80::1]:5434", "fe80::1", 5434),
        ("postgres://h/db?host=[::1]&port=5435", "::1", 5435),
        ("postgres://h/db?hostaddr=::1&port=5436", "::1", 5436),
    ] {
        let options = PostgresUrl::parse(url).unwrap().options(0).unwrap();
        assert_eq!((options.get_host(), options.get_port()), (host, port), "{url}");
    }
    assert_eq!(places("postgres://u@[::1]:5433,h:5432/db"), ["[::1]:5433", "h:5432"]);
    for url in ["postgres://u@::1:5432/db", "postgres://u@[::1:5432/db", "postgres://u@::1]:5432/db"] {
        let error = refusal(url);
        assert!(error.contains("expected") && !error.contains("::1:5432"), "{error}");
    }
}

#[test]
fn several_servers_are_read_as_libpq_reads_them() {
    assert_eq!(places("postgres://u@h1:5433,h2:5434/db"), ["h1:5433", "h2:5434"]);
    assert_eq!(places("postgres://u:p@h1,h2/db?port=5433"), ["h1:5433", "h2:5433"]);
    assert_eq!(places("postgres:///db?host=h1,h2&port=5433,5434"), ["h1:5433", "h2:5434"]);
    assert_eq!(places("postgres://u@h:5433/db?host=a,b,c"), ["a:5433", "b:5433", "c:5433"]);
    assert_eq!(places("postgres://u@%2Frun%2Fa,h2:5434/db"), ["/run/a", "h2:5434"]);
    let seventeen = vec!["h"; 17].join(",");
    for (url, words) in [
        ("postgres://u@h1,h2,h3/db?port=1,2", "3 hosts and 2 ports"),
        ("postgres://u@h1:5432,h2:hunter2/db", "invalid port number"),
        ("postgres://u@h1:0/db", "invalid port number"),
        (&format!("postgres://u@{seventeen}/db"), "17 servers"),
    ] {
        let error = refusal(url);
        assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn each_wanted_session_is_told_by_its_name_and_another_name_is_refused_with_all_of_them() {
    let primary = SessionKind { is_standby: false, is_read_only: false };
    let frozen = SessionKind { is_standby: false, is_read_only: true };
    let standby = SessionKind { is_standby: true, is_read_only: true };
    for (name, fits) in [
        ("any", [true, true, true]),
        ("read-write", [true, false, false]),
        ("read-only", [false, true, true]),
        ("primary", [true, true, false]),
        ("standby", [false, false, true]),
        ("prefer-standby", [false, false, true]),
    ] {
        let url = format!("postgres://u@h1,h2/db?target_session_attrs={name}");
        let wanted = PostgresUrl::parse(&url).unwrap().wanted();
        assert_eq!(wanted.name(), name);
        assert_eq!([primary, frozen, standby].map(|session| wanted.fits(session)), fits, "{name}");
    }
    for value in ["", "master", "READ-WRITE", "hunter2"] {
        let error = refusal(&format!("postgres://u@h1,h2/db?target_session_attrs={value}"));
        assert!(error.contains("target_session_attrs") && error.contains("prefer-standby"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_file_for_tls_that_cannot_be_used_is_named() {
    let folder = std::env::temp_dir().join(format!("leasehold-url-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let wrong = folder.join("wrong.pem");
    std::fs::write(&wrong, "hunter2").unwrap();
    let with = |name: &str, path: &Path, more: &str| {
        used(&format!("postgres://u@h/d?{name}={}{more}", path.display()))
    };
    for name in ["sslrootcert", "ssl-ca", "sslcert", "sslkey"] {
        for path in [folder.join("no such.pem"), wrong.clone()] {
            let error = with(name, &path, "").expect_err("it is refused").to_string();
            assert!(error.contains(&*path.to_string_lossy()) && error.contains(name), "{error}");
            assert!(error.contains("PEM") && !error.contains("hunter2"), "{error}");
            assert!(with(name, &path, "&sslmode=disable").is_ok());
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn only_a_password_may_be_another_one() {
    let url = |text: &str| PostgresUrl::parse(text).unwrap();
    let one = url("postgres://u:one@h:5432/d?sslmode=disable");
    for (other, is_same) in [
        ("postgres://u:two@h:5432/d?sslmode=disable", true),
        ("postgres://u@h:5432/d?sslmode=disable&password=three", true),
        ("postgres://v:one@h:5432/d?sslmode=disable", false),
        ("postgres://u:one@g:5432/d?sslmode=disable", false),
        ("postgres://u:one@h:5432/e?sslmode=disable", false),
    ] {
        assert_eq!(one.is_same_but_for_the_password(&url(other)), is_same, "{other}");
    }
}

#[test]
fn it_is_shown_without_its_password() {
    for (url, shown) in [
        ("postgres://ann:hunter2@db:5433/prod?password=hunter2", "postgres://ann@db:5433/prod"),
        ("postgres://ann:hunter2@[::1],b:5433", "postgres://ann@[::1]:5432,b:5433/ann"),
    ] {
        assert_eq!(PostgresUrl::parse(url).unwrap().shown().unwrap(), shown);
    }
}
