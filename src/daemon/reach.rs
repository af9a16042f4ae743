//! What must be found out before a source can be dialled: secrets, tokens, names. Blocks: all of it
//! runs on threads of its own.

use std::net::SocketAddr;

use super::leash::Tether;
use super::redirect::Journey;
use super::replaying::Recording;
use super::sandbox::Sandbox;
use super::token;
use crate::codec::ws::Request;
use crate::config::approach::Approach;
use crate::config::settings::Source;
use crate::config::target::Target;
use crate::net::certificate::Trust;
use crate::net::dial::Way;
use crate::net::proxy::Proxy;
use crate::net::resolver;
use crate::net::tls::TlsConnector;
use crate::relay::script::Script;

/// All that must be known of a source to dial it.
#[derive(Debug)]
pub struct Resolved {
    pub(super) leg: Leg,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) way: Way,
    pub(super) tls: Option<TlsConnector>,
}

/// Where a dial leads, and through what.
#[derive(Clone, Debug)]
pub(super) struct Leg {
    pub(super) journey: Journey,
    pub(super) proxy: Option<Proxy>,
    pub(super) script: Script,
}

/// Reads what may have changed since the last dial, and runs the program that makes its token on a
/// tether. Blocks: runs on a thread of its own.
pub(super) fn resolve(
    source: &Source,
    tether: Option<Tether>,
    sandbox: &Sandbox,
) -> Result<Box<Resolved>, String> {
    with_remedy(begin(source, tether, sandbox), source, sandbox)
}

/// Says if it was the sandbox.
fn with_remedy<T>(
    reached: Result<T, String>,
    source: &Source,
    sandbox: &Sandbox,
) -> Result<T, String> {
    reached.map_err(|why| match sandbox.unreadable(|| source.files()) {
        Some(outside) => format!("{why}; {}", outside.to_string().replace('\n', "; ")),
        None => why,
    })
}

/// Opens a recording. Blocks: runs on a thread of its own.
pub(super) fn open(source: &Source, sandbox: &Sandbox) -> Result<Recording, String> {
    let opened = source.recording().map_err(|error| error.to_string()).and_then(|path| {
        let replay = source.replay.ok_or("there is nothing to play")?;
        Recording::open(&path, replay, &source.relay.name, source.relay.max_message_size)
    });
    with_remedy(opened, source, sandbox)
}

fn begin(
    source: &Source,
    tether: Option<Tether>,
    sandbox: &Sandbox,
) -> Result<Box<Resolved>, String> {
    let approach = &source.approach;
    let fillings = token::fillings(approach, tether);
    let fillings = fillings.map_err(|why| why + sandbox.hint_for_programs())?;
    let Target { url, headers } = source.target(&fillings).map_err(|error| error.to_string())?;
    let proxy = approach.proxy(&fillings).map_err(|why| format!("proxy: {why}"))?;
    let script = source.session.script(&fillings).map_err(|error| error.to_string())?;
    let mut secrets = fillings.into_used();
    secrets.extend(url.credentials().into_iter().flat_map(|credentials| credentials.split(':')));
    let request = Request {
        path_and_query: url.path_and_query().to_owned(),
        host: url.host_header(),
        headers,
        subprotocols: source.subprotocols.clone(),
        secrets,
    };
    reach(source, Leg { journey: Journey::new(url, request), proxy, script })
}

/// Finds out how to get to where a dial leads.
pub(super) fn reach(source: &Source, leg: Leg) -> Result<Box<Resolved>, String> {
    let Leg { journey, proxy, .. } = &leg;
    let url = journey.url();
    let tunnel = proxy.as_ref().map(|proxy| proxy.tunnel(url.host(), url.port()));
    let addresses = match proxy {
        Some(proxy) => addresses(proxy.host(), proxy.port())?,
        None => addresses(url.host(), url.port())?,
    };
    let Approach { exit, tcp_user_timeout, .. } = source.approach.clone();
    let way = Way { exit, user_timeout: tcp_user_timeout, tunnel };
    Ok(Box::new(Resolved { tls: connector(source, journey)?, leg, addresses, way }))
}

fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    resolver::resolve(host, port).map_err(|error| {
        // The system says twice what failed.
        let cause = error.to_string();
        let cause = cause.trim_start_matches("failed to lookup address information: ");
        format!("cannot resolve {host}: {cause}")
    })
}

/// Another host than the configuration's is not shown our certificate.
fn connector(source: &Source, journey: &Journey) -> Result<Option<TlsConnector>, String> {
    if !journey.url().is_tls() {
        return Ok(None);
    }
    let identity = source.trust.identity.clone().filter(|_| !journey.is_abroad());
    let connector = TlsConnector::read(&Trust { identity, ..source.trust.clone() });
    connector.map(Some).map_err(|error| error.to_string())
}
