//! A PostgreSQL URL: the servers that it names, in their order, and what each connection is given.
//!
//! The driver knows one server, and takes the brackets of an IPv6 address for a part of it, so the URL is
//! taken apart here, and the driver gets a URL for each server. The rules are libpq's. Nothing here may show
//! the URL: it may hold a password, and a password with a reserved character may be anywhere in it. Only the
//! names of parameters are shown, and of the values the files.

mod files;

use form_urlencoded::Serializer;
use sqlx::postgres::PgConnectOptions;

use crate::ConnectError;

/// Parameters that the driver knows, and those that are read here.
const PARAMETERS: [&str; 19] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "target_session_attrs",
    "user",
];
/// Form of a URL, for messages.
const EXPECTED: &str = "expected postgres://user:password@host:port/database, with any of @ : / ? # % in the \
                        user or the password written as %40 %3A %2F %3F %23 %25";
/// Maximum number of servers.
const MAX_SERVERS: usize = 16;

/// The session that is wanted, as libpq's `target_session_attrs` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WantedSession {
    #[default]
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    /// A standby, or any other server where no standby answers.
    PreferStandby,
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionKind {
    pub(super) is_standby: bool,
    pub(super) is_read_only: bool,
}

/// A URL that was understood. It holds a password, if there is one, and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PostgresUrl {
    scheme: String,
    user: String,
    password: Option<String>,
    servers: Vec<NamedServer>,
    path: String,
    /// The parameters, without those that name the servers.
    parameters: Vec<(String, String)>,
    wanted: WantedSession,
}

/// A server as it is named in a URL: what is empty has the driver's default.
#[derive(Clone, PartialEq, Eq)]
struct NamedServer {
    host: String,
    port: String,
}

impl WantedSession {
    const NAMES: [(&str, Self); 6] = [
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];

    fn parse(value: &str) -> Result<Self, ConnectError> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == value);
        found.map(|(_, wanted)| *wanted).ok_or_else(|| {
            let names = Self::NAMES.map(|(name, _)| name).join(", ");
            refuse(format!("target_session_attrs has a value that is not known; expected one of {names}"))
        })
    }

    /// The name, as it is written in a URL.
    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, wanted)| *wanted == self).map_or("any", |(name, _)| name)
    }

    /// Returns whether a session of this kind is the first choice.
    pub(super) fn fits(self, session: SessionKind) -> bool {
        match self {
            Self::Any => true,
            Self::ReadWrite => !session.is_read_only,
            Self::ReadOnly => session.is_read_only,
            Self::Primary => !session.is_standby,
            Self::Standby | Self::PreferStandby => session.is_standby,
        }
    }

    /// Returns whether a session of another kind must not be used.
    pub(super) fn is_strict(self) -> bool {
        !matches!(self, Self::Any | Self::PreferStandby)
    }
}

impl SessionKind {
    /// The kind in words.
    pub(super) fn words(self) -> &'static str {
        match (self.is_standby, self.is_read_only) {
            (true, _) => "a standby",
            (false, true) => "a primary that may only be read",
            (false, false) => "a primary",
        }
    }
}

impl PostgresUrl {
    /// Takes a URL apart. What the driver and the files make of it shows with the [`options`](Self::options).
    pub(super) fn parse(url: &str) -> Result<Self, ConnectError> {
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme @ ("postgres" | "postgresql"), rest)) => (scheme, rest),
            Some(_) => return Err(refuse("its scheme is not postgres://".to_owned())),
            None => return Err(refuse("it does not begin with postgres://".to_owned())),
        };
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        check_parameters(query)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (user, servers) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) =
            user.split_once(':').map_or((user, None), |(user, password)| (user, Some(password.to_owned())));
        let mut parameters = Vec::new();
        let (mut hosts, mut ports) = (None, None);
        let mut wanted = WantedSession::Any;
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            match name.as_str() {
                "host" | "hostaddr" => hosts = Some(value),
                "port" => ports = Some(value),
                "target_session_attrs" => wanted = WantedSession::parse(&value)?,
                _ => parameters.push((name, value)),
            }
        }
        let servers = servers_of(servers, hosts.as_deref(), ports.as_deref())?;
        let (scheme, user, path) = (scheme.to_owned(), user.to_owned(), path.to_owned());
        Ok(Self { scheme, user, password, servers, path, parameters, wanted })
    }

    /// The number of servers, which is one at least.
    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    pub(super) fn wanted(&self) -> WantedSession {
        self.wanted
    }

    /// Returns whether it may not always be the same server that is connected to.
    pub(super) fn has_choice(&self) -> bool {
        self.len() > 1 || self.wanted != WantedSession::Any
    }

    /// Returns whether the password is in the URL itself.
    pub(super) fn has_password(&self) -> bool {
        self.password.as_ref().is_some_and(|password| !password.is_empty())
            || self.parameters.iter().any(|(name, _)| name == "password")
    }

    /// Returns the URL without a password, for people.
    pub(super) fn shown(&self) -> Result<String, ConnectError> {
        let servers = (0..self.len()).map(|server| self.options(server)).collect::<Result<Vec<_>, _>>()?;
        let places: Vec<String> = servers.iter().map(place).collect();
        let user = servers.first().map_or("", |options| options.get_username());
        // libpq's rule: a database without a name has the user's.
        let name = servers.first().and_then(|options| options.get_database()).unwrap_or(user);
        Ok(format!("postgres://{user}@{}/{name}", places.join(",")))
    }

    /// Returns whether the other URL differs in nothing but its password.
    pub(super) fn is_same_but_for_the_password(&self, other: &Self) -> bool {
        let bare = |url: &Self| {
            let mut url = url.clone();
            url.password = None;
            url.parameters.retain(|(name, _)| name != "password");
            url
        };
        bare(self) == bare(other)
    }

    /// Returns the driver's options for the server of this number; the files that belong to them are read
    /// again.
    pub(super) fn options(&self, server: usize) -> Result<PgConnectOptions, ConnectError> {
        let server = self.servers.get(server).ok_or_else(|| refuse("it names no server".to_owned()))?;
        let parsed = self.driver_url(server).parse().map_err(|error| {
            let problem = match error {
                sqlx::Error::Configuration(problem) => problem.to_string(),
                _ => "it cannot be parsed".to_owned(),
            };
            refuse(format!("{problem}; {EXPECTED}"))
        })?;
        files::check(&self.parameters)?;
        Ok(parsed)
    }

    /// Returns the URL of one server, as the driver understands it: the server is a parameter, since the
    /// driver neither decodes a host before the path nor takes the brackets off.
    fn driver_url(&self, server: &NamedServer) -> String {
        let Self { scheme, user, path, .. } = self;
        let password = self.password.as_ref().map_or_else(String::new, |password| format!(":{password}"));
        let login = if user.is_empty() && password.is_empty() {
            String::new()
        } else {
            // A name has to be there, and is not used where the server has another one.
            format!("{user}{password}@{}", if server.host.is_empty() { "" } else { "localhost" })
        };
        let mut query = Serializer::new(String::new());
        query.extend_pairs(&self.parameters);
        if !server.host.is_empty() {
            query.append_pair("host", &server.host);
        }
        if !server.port.is_empty() {
            query.append_pair("port", &server.port);
        }
        format!("{scheme}://{login}{path}?{}", query.finish())
    }
}

/// Returns the place of a server, as a URL has it.
pub(super) fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None if options.get_host().contains(':') => {
            format!("[{}]:{}", options.get_host(), options.get_port())
        }
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

pub(super) fn refuse(reason: String) -> ConnectError {
    ConnectError::Url { reason }
}

/// Refuses parameters that are not known: the driver would log them, with their values.
fn check_parameters(query: &str) -> Result<(), ConnectError> {
    if query.contains('@') {
        let expected = "it has an @ behind a ?; expected any of @ : / ? # % in the user or the password, and \
                        any @ in a parameter, written as %40 %3A %2F %3F %23 %25";
        return Err(refuse(expected.to_owned()));
    }
    let names = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    for name in names {
        if !PARAMETERS.contains(&name) && !name.starts_with("options[") && !name.starts_with("options%5B") {
            // A text that is no name may be a part of something else.
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-'));
            let which = if is_name {
                format!("parameter {name:?}")
            } else {
                "parameter, which is no name".to_owned()
            };
            return Err(refuse(format!(
                "it has the unknown {which}; expected one of {}, options[NAME]",
                PARAMETERS.join(", ")
            )));
        }
    }
    Ok(())
}

/// Returns the servers that are named before the path, or by parameters, which come first.
fn servers_of(
    authority: &str,
    hosts: Option<&str>,
    ports: Option<&str>,
) -> Result<Vec<NamedServer>, ConnectError> {
    let named = authority.split(',').map(server_of).collect::<Result<Vec<_>, _>>()?;
    let hosts: Vec<String> = match hosts {
        Some(hosts) => hosts.split(',').map(|host| without_brackets(host).to_owned()).collect(),
        None => named.iter().map(|server| server.host.clone()).collect(),
    };
    let ports: Vec<String> = match ports {
        Some(ports) => ports.split(',').map(str::to_owned).collect(),
        None => named.into_iter().map(|server| server.port).collect(),
    };
    if hosts.len() > MAX_SERVERS {
        return Err(refuse(format!("it names {} servers; expected {MAX_SERVERS} at most", hosts.len())));
    }
    if ports.len() != 1 && ports.len() != hosts.len() {
        let (hosts, ports) = (hosts.len(), ports.len());
        let expected = "expected one port for all, or one for each";
        return Err(refuse(format!("it names {hosts} hosts and {ports} ports; {expected}")));
    }
    if !ports.iter().all(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|port| port != 0)) {
        return Err(refuse(format!(
            "invalid port number; {EXPECTED}, and several servers as h1:5432,h2:5432"
        )));
    }
    let one = ports.first().cloned().unwrap_or_default();
    let ports = ports.into_iter().chain(std::iter::repeat(one));
    Ok(hosts.into_iter().zip(ports).map(|(host, port)| NamedServer { host, port }).collect())
}

/// Reads `host`, `host:port`, `[address]` or `[address]:port`.
fn server_of(text: &str) -> Result<NamedServer, ConnectError> {
    let bracket = text.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match text.get(bracket..).and_then(|rest| rest.find(':')) {
        Some(colon) => (text.get(..bracket + colon), text.get(bracket + colon + 1..)),
        None => (Some(text), Some("")),
    };
    let (host, port) = (host.unwrap_or_default(), port.unwrap_or_default());
    let bare = without_brackets(host);
    if bare.contains(['[', ']']) || (bare.len() == host.len() && host.contains(':')) {
        return Err(refuse(format!(
            "a host is not usable; {EXPECTED}, and an IPv6 address in brackets, [::1]"
        )));
    }
    // A plus is no space here, as it would be in a parameter.
    let pair = format!("host={}", bare.replace('+', "%2B").replace('&', "%26"));
    let host = form_urlencoded::parse(pair.as_bytes()).next().map(|(_, host)| host.into_owned());
    Ok(NamedServer { host: host.unwrap_or_default(), port: port.to_owned() })
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests;
