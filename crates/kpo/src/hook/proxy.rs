//! Which proxy leads to a server, if any.
//!
//! As client-go: a cluster's `proxy-url` always holds; else the environment decides as Go's `golang.org/x/net/http/httpproxy` reads it.
//! (kube 5.0 matches NO_PROXY against the proxy's own host.)

use std::net::IpAddr;

use http::Uri;

/// An environment variable's value; tests bring their own environment.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The proxy that the environment names for a server. `None`: a direct connection.
///
/// # Errors
/// The variable whose value is no URL.
pub(super) fn from_environment(server: &Uri, env: Lookup<'_>) -> Result<Option<Uri>, &'static str> {
    let https = server.scheme_str() != Some("http");
    let names: [&'static str; 2] = if https { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let set = names.into_iter().find_map(|name| env(name).filter(|v| !v.is_empty()).map(|value| (name, value)));
    let Some((name, value)) = set else { return Ok(None) };
    let no_proxy = env("NO_PROXY").filter(|v| !v.is_empty()).or_else(|| env("no_proxy")).unwrap_or_default();
    if is_direct(server, &no_proxy) {
        return Ok(None);
    }
    parse(&value).map(Some).ok_or(name)
}

/// A proxy's URL; without a scheme it is `http://`, as Go takes it.
pub(super) fn parse(text: &str) -> Option<Uri> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    with_scheme.parse::<Uri>().ok().filter(|uri| uri.host().is_some())
}

/// Whether NO_PROXY, or the server's being this machine, asks for a direct connection.
fn is_direct(server: &Uri, no_proxy: &str) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
        return true;
    }
    no_proxy
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .any(|entry| matches(entry, &host, address, port))
}

fn matches(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let entry = entry.to_ascii_lowercase();
    if let Some((network, bits)) = entry.split_once('/') {
        return address.is_some_and(|address| in_network(address, network, bits));
    }
    let (name, wanted_port) = split_port(&entry);
    if wanted_port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let Ok(wanted) = name.parse::<IpAddr>() {
        return address == Some(wanted);
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    match name.strip_prefix('.') {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
        None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
    }
}

/// `name:port`, `[v6]:port`, `[v6]`, or a bare v6 address, which has no port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if entry.parse::<IpAddr>().is_ok() {
        return (entry, None);
    }
    match entry.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name.trim_matches(['[', ']']), port.parse().ok()),
        _ => (entry.trim_matches(['[', ']']), None),
    }
}

fn in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => same_prefix(a.to_bits().into(), n.to_bits().into(), 32 - bits),
        (IpAddr::V6(a), IpAddr::V6(n)) if bits <= 128 => same_prefix(a.to_bits(), n.to_bits(), 128 - bits),
        _ => false,
    }
}

fn same_prefix(a: u128, b: u128, ignored_bits: u32) -> bool {
    a.checked_shr(ignored_bits).unwrap_or(0) == b.checked_shr(ignored_bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(server: &str, env: &[(&str, &str)]) -> Option<String> {
        let lookup = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        from_environment(&server.parse().unwrap(), &lookup).unwrap().map(|uri| uri.to_string())
    }

    #[test]
    fn the_scheme_chooses_the_variable() {
        let env = [("HTTPS_PROXY", "http://s:1"), ("HTTP_PROXY", "http://p:2")];
        assert_eq!(chosen("https://api.example", &env).as_deref(), Some("http://s:1/"));
        assert_eq!(chosen("http://api.example", &env).as_deref(), Some("http://p:2/"));
        assert_eq!(chosen("https://api.example", &[("https_proxy", "s:1")]).as_deref(), Some("http://s:1/"));
        assert_eq!(chosen("https://api.example", &[]), None);
    }

    #[test]
    fn no_proxy_is_matched_against_the_server() {
        // entry, server, whether the connection is direct: rows of Go's httpproxy documentation and tests.
        let rows = [
            ("*", "https://api.example", true),
            ("example", "https://api.example", true),
            ("api.example", "https://api.example:6443", true),
            (".example", "https://api.example", true),
            (".api.example", "https://api.example", false),
            ("*.example", "https://api.example", true),
            ("ample", "https://api.example", false),
            ("api.example:6443", "https://api.example:6443", true),
            ("api.example:6443", "https://api.example", false),
            ("a.b,, 10.0.0.0/8 ,", "https://10.3.2.1:6443", true),
            ("10.0.0.0/8", "https://11.3.2.1", false),
            ("10.1.2.3", "https://10.1.2.3", true),
            ("10.1.2.3:443", "https://10.1.2.3", true),
            ("0.0.0.0/0", "https://api.example", false),
            ("fd00::/8", "https://[fd00::7]:6443", true),
            ("[fd00::7]:6443", "https://[fd00::7]:6443", true),
            ("fd00::7", "https://[fd00::8]:6443", false),
            ("proxy.example", "https://api.cluster", false),
            ("", "https://127.0.0.1:6443", true),
            ("", "https://localhost:6443", true),
        ];
        for (no_proxy, server, direct) in rows {
            let env = [("HTTPS_PROXY", "http://proxy.example:3128"), ("NO_PROXY", no_proxy)];
            assert_eq!(chosen(server, &env).is_none(), direct, "{no_proxy} {server}");
        }
    }
}
